//! Tests of line ends and validation: InfluxDB's vectors, the two paths against each other, and
//! what must hold for any input.

use super::{Instructions, Item, Line, Lines, Reason};
use crate::timestamp::Precision;
use proptest::prelude::*;

const NS: Precision = Precision::Nanosecond;

fn lines(input: &[u8]) -> Vec<Item<'_>> {
    Lines::new(input, NS).collect()
}

fn with(input: &[u8], precision: Precision, instructions: Instructions) -> Vec<Item<'_>> {
    Lines::with(input, input.len(), precision, instructions).collect()
}

/// The accepted lines' bytes and the refused lines' reasons.
fn verdicts(input: &str) -> Vec<Result<&str, Reason>> {
    let text = |bytes| std::str::from_utf8(bytes).expect("cut out of a str at ASCII bytes");
    lines(input.as_bytes())
        .into_iter()
        .map(|item| match item {
            Item::Line(line) => Ok(text(line.bytes)),
            Item::Refused(refused) => Err(refused.reason),
        })
        .collect()
}

fn accepted(input: &[u8]) -> Vec<Line<'_>> {
    let line = |item| match item {
        Item::Line(line) => Some(line),
        Item::Refused(_) => None,
    };
    lines(input).into_iter().filter_map(line).collect()
}

#[test]
fn agrees_with_the_vectors() {
    let mut seen = 0;
    for vector in include_str!("../../tests/vectors/line-protocol.jsonl").lines() {
        let vector: serde_json::Value = serde_json::from_str(vector).expect("a vector is JSON");
        let hex = vector["input_hex"].as_str().expect("every vector has an input");
        let byte = |at| u8::from_str_radix(&hex[at..at + 2], 16).expect("hex");
        let input: Vec<u8> = (0..hex.len()).step_by(2).map(byte).collect();
        let shown = String::from_utf8_lossy(&input);
        let items = lines(&input);
        let refused = items.iter().find_map(|item| match item {
            Item::Refused(refused) => Some(refused.reason.as_str()),
            Item::Line(_) => None,
        });
        seen += 1;
        let addition = input.ends_with(b"\r\n")
            || matches!(&input[..], b"m f=1u")
            || input.ends_with(b"f=18446744073709551615u");
        if addition {
            assert_eq!((items.len(), refused), (1, None), "{shown:?}");
        } else if vector["accept"] == true {
            assert_eq!(
                (refused, Some(items.len() as u64)),
                (None, vector["points"].as_u64()),
                "{shown:?}"
            );
        } else {
            assert_eq!(refused, vector["reason"].as_str(), "{shown:?}");
        }
    }
    assert!(seen > 140, "only {seen} vectors");
}

#[test]
fn line_ends_blanks_and_comments() {
    let input = "\n  m f=1 \r\n\r\n \t\r\n# c\r\n\tn f=\"a\nb\" 5  \nm f=2\r";
    let starts: Vec<_> = accepted(input.as_bytes()).iter().map(|line| line.start).collect();
    assert_eq!(starts, [3, 23, 37]);
    assert_eq!(verdicts(input), [Ok("m f=1"), Ok("n f=\"a\nb\" 5"), Ok("m f=2")]);
    let stamped: Vec<_> = accepted(input.as_bytes()).iter().map(|line| line.stamped).collect();
    assert_eq!(stamped, [false, true, false]);
}

#[test]
fn a_refused_line_has_its_number_and_bytes() {
    let input = b"m f=1\nn f=\"\n\n\" 1\n#\n  bad f=x \r\nm f=1\n";
    let refused = lines(input).into_iter().find_map(|item| match item {
        Item::Refused(refused) => Some(refused),
        Item::Line(_) => None,
    });
    let refused = refused.expect("one line is bad");
    assert_eq!(refused.reason, Reason::InvalidBoolean);
    assert_eq!((refused.bytes, refused.number), (&b"bad f=x "[..], 6));
}

#[test]
fn an_open_quote_swallows_nobody() {
    let open = Err(Reason::UnbalancedQuotes);
    assert_eq!(verdicts("m f=\"a\nn f=1 1\no f=2"), [open, Ok("n f=1 1"), Ok("o f=2")]);
    assert_eq!(verdicts("# a=\"b \nn f=1 1"), [Ok("n f=1 1")].map(|x| x), "a comment neither");
    assert_eq!(verdicts("# a b=\"c \nn f=1 1"), [Ok("n f=1 1")]);
    // A quote in a tag value is none; a space before the measurement makes InfluxDB see one.
    assert_eq!(verdicts(" m,a=\" f=1\nn f=1"), [Ok("m,a=\" f=1"), Ok("n f=1")]);
}

#[test]
fn a_backslash_at_the_end_swallows_nobody() {
    assert_eq!(verdicts("m f=1 1\\\nn f=1 1"), [Err(Reason::BadTimestamp), Ok("n f=1 1")]);
    assert_eq!(verdicts("# c\\\nn f=1 1"), [Ok("n f=1 1")]);
    let trailing = Err(Reason::TrailingBackslash);
    for end in ["", "\n", "\r\n", " ", "  \n", "\\\\", "\\\\\n"] {
        let input = format!("m f=\"a\"b\\{end}");
        let spaced = end.starts_with(' ');
        let expected = if spaced { Ok("m f=\"a\"b\\ ") } else { trailing };
        assert_eq!(verdicts(&input), [expected], "{input:?}");
    }
    assert_eq!(verdicts("m,a=b\\\nc f=1 1"), [Ok("m,a=b\\\nc f=1 1")], "InfluxDB takes it so");
}

#[test]
fn a_closed_string_is_never_cut() {
    let bad = Err(Reason::BadTimestamp);
    assert_eq!(verdicts("m f=\"a\nevil f=1 1\nb\" x\nn f=1"), [bad, Ok("n f=1")]);
    assert_eq!(verdicts("# m f=\"a\nevil f=1 1\nb\" 1\nn f=1"), [Ok("n f=1")]);
}

#[test]
fn reads_quotes_and_escapes_as_both_scans_of_influxdb_do() {
    // Behind two backslashes the one scan sees a space, the other an escaped one.
    assert_eq!(verdicts("m\\\\ x=\"y f=1"), [Err(Reason::UnbalancedQuotes)]);
    assert_eq!(verdicts("m f\\\\=1"), [Err(Reason::InvalidValue)]);
    assert_eq!(verdicts("m f=\"a\"b\\,c"), [Err(Reason::InvalidValue)]);
    // InfluxDB takes this one, then answers 500 to the whole write.
    assert_eq!(verdicts("m j\\\\=\",-=b\",f=1"), [Err(Reason::InvalidValue)]);
    assert_eq!(verdicts("m,a==b f=1"), [Ok("m,a==b f=1")]);
    assert_eq!(verdicts("m \t=1"), [Ok("m \t=1")]);
}

#[test]
fn numbers_at_their_limits() {
    let number = Err(Reason::InvalidNumber);
    let range = Err(Reason::ValueOutOfRange);
    let digits = "9".repeat(400);
    for (value, expected) in [
        ("18446744073709551615u", None),
        ("18446744073709551616u", Some(range)),
        ("-1u", Some(number)),
        ("1iu", Some(number)),
        ("-9223372036854775808i", None),
        ("-9223372036854775809i", Some(range)),
        ("000000000000000000000000000001i", None),
        ("-e5", Some(Err(Reason::InvalidFloat))),
        ("1.e5", None),
        ("-", Some(number)),
        ("1e-400", None),
        (digits.as_str(), Some(Err(Reason::InvalidFloat))),
    ] {
        let input = format!("m f={value}");
        assert_eq!(verdicts(&input), [expected.unwrap_or(Ok(input.as_str()))], "{input}");
    }
}

#[test]
fn timestamps_are_checked_in_their_precision() {
    for (precision, max) in
        [(NS, i64::MAX - 1), (Precision::Second, 9_223_372_036), (Precision::Hour, 2_562_047)]
    {
        for (stamp, ok) in [(max, true), (-max, true), (max + 1, false), (-max - 1, false)] {
            let input = format!("m f=1 {stamp}\n");
            let items: Vec<_> = Lines::new(input.as_bytes(), precision).collect();
            assert_eq!(matches!(items[..], [Item::Line(_)]), ok, "{precision:?} {stamp}");
        }
    }
}

#[test]
fn keys_are_bounded() {
    let long = "k".repeat(65_535);
    assert_eq!(verdicts(&format!("{long} f=1")), [Err(Reason::MaxKeyLengthExceeded)]);
    assert_eq!(verdicts(&format!("{long}k f=1")), [Err(Reason::MaxKeyLengthExceeded)]);
    let fits = format!("{} f=1", &long[5..]);
    assert_eq!(verdicts(&fits), [Ok(fits.as_str())]);
    let tags: String = (0..40).map(|tag| format!(",t{tag}=v")).collect();
    let fits = format!("m{tags} f=1");
    assert_eq!(verdicts(&fits), [Ok(fits.as_str())]);
    assert_eq!(verdicts(&format!("m{tags},t7=v f=1")), [Err(Reason::DuplicateTags)]);
}

#[test]
fn hostile_input_costs_no_more_than_its_length() {
    // Each of these lines would reach to the end of the input if it were asked again and again.
    for line in ["m,t=\" f=\"\n", "m\\\n", "m f=\"\n", "#\\\n", "# a=\"\n", "m f=1 \"\\\n"] {
        let input = line.repeat(1 << 18);
        let begun = std::time::Instant::now();
        assert!(Lines::new(input.as_bytes(), NS).count() <= 1 << 18);
        assert!(begun.elapsed().as_secs() < 20, "{line:?} took {:?}", begun.elapsed());
    }
}

/// Text that is nearly line protocol, and at times is.
fn nearly() -> impl Strategy<Value = Vec<u8>> {
    let odd = "[mab01,= \"\\\\\n.i\\-e#tf\r\t\u{0}]{1,12}";
    let value = prop_oneof![
        6 => "-?[0-9]{1,21}i?",
        6 => "-?[0-9]{1,9}\\.[0-9]{0,40}",
        2 => "(t|true|F|False|TRUE|fals|tru)",
        4 => "\"[a-z ,=\n0-9.-]{0,80}\"",
        1 => "\"[a-z \\\\\"\n]{0,20}\"",
        1 => "[0-9.eiu+-]{1,8}",
        1 => odd,
    ];
    let pairs = |key: &'static str, value: BoxedStrategy<String>, count| {
        prop::collection::vec((key, value).prop_map(|(key, value)| format!("{key}={value}")), count)
            .prop_map(|pairs| pairs.join(","))
    };
    let tags = pairs("[a-d]{1,2}|[a-z_]{6,12}", "[a-z0-9.-]{1,30}".boxed(), 0..6);
    let fields = pairs("[a-d]{1,2}|[a-z_0-9]{6,12}", value.boxed(), 1..8);
    let end = prop_oneof![8 => "\n", 1 => "\r\n", 1 => " \n", 1 => "\n\n", 1 => "\\\\\n"];
    let stamp =
        prop_oneof![6 => " 1[0-9]{18}", 2 => "", 1 => " -?[0-9]{0,20}", 1 => "[ 0-9x]{0,6}"];
    let line =
        ("[a-z0-9.]{1,20}", tags, fields, stamp, end).prop_map(|(m, tags, f, stamp, end)| {
            let comma = if tags.is_empty() { "" } else { "," };
            format!("{m}{comma}{tags} {f}{stamp}{end}")
        });
    let piece = prop_oneof![12 => line, 1 => odd];
    (prop::collection::vec(piece, 0..6), any::<prop::sample::Index>(), any::<Option<u8>>())
        .prop_map(|(pieces, at, byte)| {
            let mut bytes = pieces.concat().into_bytes();
            if let (Some(byte), false) = (byte, bytes.is_empty()) {
                let at = at.index(bytes.len());
                bytes[at] = b",= \"\\\n.-i0ea#\r\t"[usize::from(byte) % 15];
            }
            bytes
        })
}

/// Common lines, of which one has a byte replaced, put in or taken out.
fn common_but_for_one_byte() -> impl Strategy<Value = Vec<u8>> {
    let pairs = |key: &'static str, value: &'static str, count| {
        prop::collection::vec((key, value).prop_map(|(key, value)| format!("{key}={value}")), count)
    };
    let number = "-?[0-9]{1,4}|[0-9]{1,3}\\.[0-9]{0,4}|-?[0-9]{1,5}i|[0-9]{17,20}i?|true|f";
    let line = ("[a-z]{1,9}", pairs("[ab]{1,2}|container_[a-d]{1,2}", "[a-z0-9.-]{1,12}", 0..5))
        .prop_map(|(measurement, tags)| [vec![measurement], tags].concat().join(","));
    let stamp = prop_oneof![6 => " 1[0-9]{18}", 2 => "", 1 => " [0-9]{1,20}"];
    let line = (line, pairs("[a-z_]{1,9}", number, 1..6), stamp)
        .prop_map(|(key, fields, stamp)| format!("{key} {}{stamp}\n", fields.join(",")));
    let bytes = prop::sample::select(&b",,== \n\r\"\\.-i0123456789eua#\t\0\xc3"[..]);
    let lines = prop::collection::vec(line, 1..5).prop_map(|lines| lines.concat().into_bytes());
    (lines, any::<prop::sample::Index>(), bytes, 0..4_u8).prop_map(|(mut lines, at, byte, how)| {
        let at = at.index(lines.len());
        match how {
            0 => lines[at] = byte,
            1 => lines.insert(at, byte),
            2 => drop(lines.remove(at)),
            _ => {}
        }
        lines
    })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5_000))]

    #[test]
    fn paths_agree_on_common_lines_but_for_one_byte(
        input in common_but_for_one_byte(), end in any::<bool>(),
    ) {
        let input = &input[..input.len() - usize::from(end && !input.is_empty())];
        for precision in [NS, Precision::Second] {
            let truth: Vec<_> = with(input, precision, Instructions::Scalar);
            for instructions in Instructions::all() {
                let items: Vec<_> = with(input, precision, instructions);
                prop_assert_eq!(&items, &truth, "{:?}", instructions);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn both_paths_agree_whatever_the_instructions(input in nearly(), skip in 0_usize..8) {
        let input = &input[skip.min(input.len())..];
        for precision in [NS, Precision::Second] {
            let truth: Vec<_> = with(input, precision, Instructions::Scalar);
            for instructions in Instructions::all() {
                let items: Vec<_> = with(input, precision, instructions);
                prop_assert_eq!(&items, &truth, "{:?}", instructions);
            }
        }
    }

    #[test]
    fn any_bytes_are_borne(input in prop::collection::vec(any::<u8>(), 0..300)) {
        let truth: Vec<_> = with(&input, NS, Instructions::Scalar);
        prop_assert_eq!(lines(&input), truth);
    }

    /// Accepted lines joined by newlines are the same lines again.
    #[test]
    fn joined_lines_stay_apart(inputs in prop::collection::vec(nearly(), 1..5)) {
        let all: Vec<_> = inputs.iter().flat_map(|input| accepted(input)).collect();
        let bytes: Vec<_> = all.iter().map(|line| line.bytes).collect();
        for end in ["\n", ""] {
            let joined = [bytes.join(&b'\n'), end.into()].concat();
            let again = lines(&joined);
            prop_assert_eq!(again.len(), all.len());
            let mut start = 0;
            for (item, line) in again.into_iter().zip(&all) {
                prop_assert_eq!(item, Item::Line(Line { start, ..*line }));
                start += line.bytes.len() + 1;
            }
        }
    }

    /// Where lines end, a stream can be cut: into datagrams, or into chunks.
    #[test]
    fn any_cut_at_line_ends_gives_the_same_lines(
        input in nearly(), cuts in prop::collection::vec(any::<bool>(), 64), keep in any::<bool>(),
    ) {
        let mut all = Lines::new(&input, NS);
        all.by_ref().for_each(drop);
        // Whether an open quote reaches over a cut is a matter of the cut.
        prop_assume!(all.cut_until == 0);
        let whole = accepted(&input);
        let mut parts = Vec::new();
        let mut begin = 0;
        for (line, cut) in whole.iter().zip(&cuts) {
            let end = line.start + line.bytes.len();
            let behind = input[end..].iter().position(|b| *b == b'\n');
            if let (Some(newline), true) = (behind, cut) {
                // The newline is the sender's to leave out, if nothing else stands there.
                let kept = usize::from(keep || newline > 0);
                parts.extend(accepted(&input[begin..end + newline + kept]));
                begin = end + newline + 1;
            }
        }
        parts.extend(accepted(&input[begin..]));
        let told = |lines: &[Line<'_>]| -> Vec<_> {
            lines.iter().map(|line| (line.bytes.to_vec(), line.stamped)).collect()
        };
        prop_assert_eq!(told(&parts), told(&whole));
    }

    #[test]
    fn starts_and_numbers_are_true(input in nearly()) {
        for item in Lines::new(&input, NS) {
            match item {
                Item::Line(line) => {
                    prop_assert_eq!(&input[line.start..line.start + line.bytes.len()], line.bytes);
                }
                Item::Refused(refused) => {
                    let start = refused.bytes.as_ptr() as usize - input.as_ptr() as usize;
                    let before = input[..start].iter().filter(|byte| **byte == b'\n').count();
                    prop_assert_eq!(refused.number as usize, before + 1);
                }
            }
        }
    }
}
