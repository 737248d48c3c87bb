//! Why a line is refused. Fronts count and report refusals by it; `line` decides.

/// Declares [`Reason`] with its words and its label, so that no list can miss a variant.
macro_rules! reasons {
    ($($(#[$doc:meta])* $name:ident = $words:literal, $label:literal;)+) => {
        /// Why a line is refused.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Reason {
            $($(#[$doc])* $name,)+
        }

        impl Reason {
            /// All, in the order of their numbers.
            pub const ALL: [Self; Self::COUNT] = [$(Self::$name,)+];
            /// How many there are.
            pub const COUNT: usize = [$($words,)+].len();

            /// The reason in InfluxDB's words.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$name => $words,)+
                }
            }

            /// The value of the `reason` label.
            #[must_use]
            pub fn label(self) -> &'static str {
                match self {
                    $(Self::$name => $label,)+
                }
            }
        }
    };
}

reasons! {
    /// No measurement before the first comma.
    MissingMeasurement = "missing measurement", "missing_measurement";
    /// The line ends before its first field.
    MissingFields = "missing fields", "missing_fields";
    /// A comma with no tag key behind it.
    MissingTagKey = "missing tag key", "missing_tag_key";
    /// A tag key without a value.
    MissingTagValue = "missing tag value", "missing_tag_value";
    /// An unescaped `=` in a tag value.
    InvalidTagFormat = "invalid tag format", "invalid_tag_format";
    /// Two tags have the same key.
    DuplicateTags = "duplicate tags", "duplicate_tags";
    /// Measurement and tags, or those and a field key, are longer than 65535 bytes together.
    MaxKeyLengthExceeded = "max key length exceeded", "max_key_length_exceeded";
    /// No field key before an `=`.
    MissingFieldKey = "missing field key", "missing_field_key";
    /// Nothing behind a field's `=`.
    MissingFieldValue = "missing field value", "missing_field_value";
    /// The field set is not a list of `key=value`.
    InvalidFieldFormat = "invalid field format", "invalid_field_format";
    /// An escaped `=` or `,` leaves a field without a value of its own.
    InvalidValue = "invalid value", "invalid_value";
    /// A field value that begins like a number and is none.
    InvalidNumber = "invalid number", "invalid_number";
    /// A float that does not parse or exceeds 64 bits.
    InvalidFloat = "invalid float", "invalid_float";
    /// A field value that is no number and no string, and no boolean either.
    InvalidBoolean = "invalid boolean", "invalid_boolean";
    /// A string that is not closed.
    UnbalancedQuotes = "unbalanced quotes", "unbalanced_quotes";
    /// An integer or timestamp that exceeds 64 bits.
    ValueOutOfRange = "value out of range", "value_out_of_range";
    /// A timestamp with something else than digits in it.
    BadTimestamp = "bad timestamp", "bad_timestamp";
    /// A timestamp that is only a sign.
    InvalidSyntax = "invalid syntax", "invalid_syntax";
    /// A timestamp that exceeds the range of nanoseconds in 64 bits.
    TimeOutsideRange =
        "time outside range -9223372036854775806 - 9223372036854775806", "time_outside_range";
    /// Something behind the timestamp.
    PointIsInvalid = "point is invalid", "point_is_invalid";
    /// Complete alone, but a backslash at its end would escape the newline that ends it. InfluxDB
    /// takes it as the last line of a write; among others it would swallow its neighbour.
    TrailingBackslash = "backslash at the end of the line", "trailing_backslash";
}

#[cfg(test)]
mod tests {
    use super::Reason;
    use std::collections::HashSet;

    #[test]
    fn labels_are_snake_case_and_differ() {
        let labels: HashSet<_> = Reason::ALL.iter().map(|reason| reason.label()).collect();
        assert_eq!(labels.len(), Reason::COUNT);
        for label in labels {
            assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b == b'_'), "{label}");
        }
        for (number, reason) in Reason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
    }
}
