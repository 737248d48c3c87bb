//! Bytes from outside as a piece of one line of the log: nothing in them can end the line, move a
//! terminal's cursor or change its colours.

use super::SHOWN_BYTES;
use std::fmt::{Display, Formatter, Result, Write};

/// Shows the first bytes: what is no printable text as an escape, and `...` if there are more.
#[derive(Clone, Copy, Debug)]
pub struct Shown<'a>(pub &'a [u8]);

impl Display for Shown<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let cut = self.0.len() > SHOWN_BYTES;
        let mut bytes = &self.0[..self.0.len().min(SHOWN_BYTES)];
        if cut {
            bytes = whole_characters(bytes);
        }
        for chunk in bytes.utf8_chunks() {
            for c in chunk.valid().chars() {
                match c {
                    // Quotes are common in lines, and harmless.
                    '"' | '\'' => f.write_char(c)?,
                    c => write!(f, "{}", c.escape_debug())?,
                }
            }
            for byte in chunk.invalid() {
                write!(f, "\\x{byte:02x}")?;
            }
        }
        f.write_str(if cut { "..." } else { "" })
    }
}

/// `bytes` without a character that was cut in two at the end.
fn whole_characters(bytes: &[u8]) -> &[u8] {
    let end = bytes.len();
    for length in 1..=end.min(3) {
        let byte = bytes[end - length];
        if byte >= 0xc0 {
            let needs = if byte >= 0xf0 { 4 } else { 3 - usize::from(byte < 0xe0) };
            return if needs > length { &bytes[..end - length] } else { bytes };
        }
        if byte < 0x80 {
            break;
        }
    }
    bytes
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_a_terminal_would_obey_is_escaped() {
        for (bytes, shown) in [
            (&b"m,a=\"b\" f='1"[..], "m,a=\"b\" f='1"),
            (b"a\nb\r\tc\\", "a\\nb\\r\\tc\\\\"),
            (b"\x1b[2J\x07", "\\u{1b}[2J\\u{7}"),
            ("\u{9b}31m \u{202e}".as_bytes(), "\\u{9b}31m \\u{202e}"),
            ("gr\u{f6}\u{df}e".as_bytes(), "gr\u{f6}\u{df}e"),
            (b"\xff\x00", "\\xff\\0"),
        ] {
            assert_eq!(Shown(bytes).to_string(), shown);
        }
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        assert_eq!(Shown(&[b'x'; 100]).to_string(), "x".repeat(100));
        assert_eq!(Shown(&[b'x'; 101]).to_string(), "x".repeat(100) + "...");
        for character in ["\u{f6}", "\u{20ac}", "\u{1f980}"] {
            for start in 96..100 {
                let line = "x".repeat(start) + &character.repeat(9);
                let whole = (100 - start) / character.len();
                let expected = "x".repeat(start) + &character.repeat(whole) + "...";
                assert_eq!(Shown(line.as_bytes()).to_string(), expected);
            }
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_printable_and_short(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let shown = Shown(&bytes).to_string();
            prop_assert!(!shown.chars().any(char::is_control), "{shown:?}");
            prop_assert!(shown.len() <= 10 * SHOWN_BYTES);
        }
    }
}
