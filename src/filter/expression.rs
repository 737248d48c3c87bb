//! One regular expression of a filter, read as Go reads it.
//!
//! The two dialects are nearly one (both descend from RE2). What differs and matters here is that
//! Go's `\d`, `\w`, `\s` and `\b` know ASCII only.

use regex::bytes::{Regex, RegexBuilder};
use regex_syntax::ast;

/// Memory that one expression may compile to.
const COMPILED_BYTES_MAX: usize = 1 << 20;

/// A regular expression over a name.
#[derive(Clone, Debug)]
pub struct Expression {
    text: String,
    regex: Regex,
}

/// Why a text is no expression.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadExpression {
    /// It breaks the rules at one place.
    #[error("{why}, at character {at}")]
    Syntax {
        /// What is wrong there.
        why: String,
        /// Counted from 1.
        at: usize,
    },
    /// It keeps the rules and cannot be used.
    #[error("{0}")]
    Unusable(String),
}

impl Expression {
    /// Compiles `text`.
    ///
    /// # Errors
    /// It is no regular expression, or its compiled form is larger than 1 MiB.
    pub fn parse(text: &str) -> Result<Self, BadExpression> {
        ast::parse::Parser::new().parse(text).map_err(|error| BadExpression::Syntax {
            why: error.kind().to_string(),
            at: error.span().start.column,
        })?;
        let regex = RegexBuilder::new(&with_ascii_classes(text))
            .size_limit(COMPILED_BYTES_MAX)
            .build()
            .map_err(|error| BadExpression::Unusable(last_line(&error.to_string())))?;
        Ok(Self { text: text.to_owned(), regex })
    }

    /// Whether it matches somewhere in `name`.
    #[must_use]
    pub fn matches(&self, name: &[u8]) -> bool {
        self.regex.is_match(name)
    }

    /// The expression as it was typed.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

/// Spells the classes out as the ASCII ones that they are in Go. Brackets may stand in brackets.
fn with_ascii_classes(text: &str) -> String {
    let mut ascii = String::with_capacity(text.len());
    let mut chars = text.chars();
    while let Some(c) = chars.next() {
        if c != '\\' {
            ascii.push(c);
            continue;
        }
        match chars.next() {
            Some('d') => ascii.push_str("[0-9]"),
            Some('D') => ascii.push_str("[^0-9]"),
            Some('w') => ascii.push_str("[0-9A-Za-z_]"),
            Some('W') => ascii.push_str("[^0-9A-Za-z_]"),
            Some('s') => ascii.push_str(r"[\t\n\f\r\x20]"),
            Some('S') => ascii.push_str(r"[^\t\n\f\r\x20]"),
            Some('b') => ascii.push_str(r"(?-u:\b)"),
            Some('B') => ascii.push_str(r"(?-u:\B)"),
            other => {
                ascii.push(c);
                ascii.extend(other);
            }
        }
    }
    ascii
}

/// What the compiler says of a class that there is not stands below a picture of the place.
fn last_line(words: &str) -> String {
    let last = words.lines().last().unwrap_or_default();
    last.strip_prefix("error: ").unwrap_or(last).to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn matches(expression: &str, name: &str) -> bool {
        Expression::parse(expression).expect(expression).matches(name.as_bytes())
    }

    #[test]
    fn matches_anywhere_unless_anchored_and_counts_characters() {
        assert!(matches("pu", "cpu") && !matches("^pu", "cpu"));
        assert!(matches("^.{3}$", "für") && !matches("^.{4}$", "für"));
        assert!(matches("(?i)^CPU$", "cpu") && matches("^ü[äö]$", "üö"));
    }

    #[test]
    fn classes_know_ascii_only_as_in_go() {
        for (expression, name, passes) in [
            (r"^\d+$", "123", true),
            (r"^\d+$", "١٢٣", false),
            (r"^\w+$", "a_1", true),
            (r"^\w+$", "über", false),
            (r"^[\w-]+$", "a-b", true),
            (r"^[^\w]+$", "a", false),
            (r"^[^\w]+$", "ü", true),
            (r"^\W$", "ü", true),
            (r"^\S+$", "ü\u{a0}", true),
            (r"^a\sb$", "a b", true),
            (r"\bpu", "üpu", true),
            (r"\Bpu", "cpu", true),
            (r"^\\d$", r"\d", true),
        ] {
            assert_eq!(matches(expression, name), passes, "{expression} {name}");
        }
    }

    #[test]
    fn says_where_and_what() {
        let bad = |text| Expression::parse(text).expect_err(text).to_string();
        assert_eq!(bad("^ü(a|b"), "unclosed group, at character 3");
        assert_eq!(
            bad("a{2,1}"),
            "invalid repetition count range, the start must be <= the end, at character 2"
        );
        assert!(bad("(?=a)").contains("look-around"), "{}", bad("(?=a)"));
        assert!(bad(r"\p{Nothing}").contains("not found"), "{}", bad(r"\p{Nothing}"));
        assert!(bad("(a{1000}){1000}").contains("size limit"), "{}", bad("(a{1000}){1000}"));
    }
}
