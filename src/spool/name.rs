//! The names of a segment's two files, which carry all that is known of it: the format's version,
//! its number, so that names sort by age, and its salt.

use std::fmt;

const VERSION: &str = "v1";
const RECORDS: &str = "records";
const SETTLED: &str = "settled";

/// Which segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Name {
    /// From 1, ascending.
    pub(super) id: u64,
    /// Nobody who writes into the segment knows it.
    pub(super) salt: u64,
}

/// Which of its files.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Part {
    /// The records.
    Records,
    /// The marks of those that are settled.
    Settled,
}

/// What a name in the directory says.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Parsed {
    /// It is a file of the spool.
    Ours(Name, Part),
    /// It is one of another version's.
    OtherVersion,
    /// It is none of the spool's.
    Foreign,
}

impl Name {
    pub(super) fn file(self, part: Part) -> String {
        let suffix = match part {
            Part::Records => RECORDS,
            Part::Settled => SETTLED,
        };
        format!("{self}.{suffix}")
    }

    pub(super) fn parse(file: &str) -> Parsed {
        let Some((stem, part)) = file.split_once('.') else { return Parsed::Foreign };
        let part = match part {
            RECORDS => Part::Records,
            SETTLED => Part::Settled,
            _ => return Parsed::Foreign,
        };
        let mut fields = stem.split('-');
        let (version, id, salt) = (fields.next(), fields.next(), fields.next());
        if version != Some(VERSION) {
            return Parsed::OtherVersion;
        }
        let id = id.and_then(|id| id.parse().ok());
        let salt = salt.and_then(|salt| u64::from_str_radix(salt, 16).ok());
        match (id, salt) {
            (Some(id), Some(salt)) if Self { id, salt }.file(part) == file => {
                Parsed::Ours(Self { id, salt }, part)
            }
            _ => Parsed::Foreign,
        }
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{VERSION}-{:020}-{:016x}", self.id, self.salt)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_sort_by_number_and_come_back() {
        let name = |id| Name { id, salt: 0xabc };
        let files: Vec<_> = [9, 10, u64::MAX].map(|id| name(id).file(Part::Records)).into();
        assert!(files.is_sorted());
        assert_eq!(files[0], "v1-00000000000000000009-0000000000000abc.records");
        for part in [Part::Records, Part::Settled] {
            assert_eq!(Name::parse(&name(7).file(part)), Parsed::Ours(name(7), part));
        }
        assert_eq!(Name::parse("v2-1-2-3.records"), Parsed::OtherVersion);
        for foreign in ["lock", "v1-7-abc.records", "v1-.settled", "a.b", ".records.swp"] {
            assert_eq!(Name::parse(foreign), Parsed::Foreign, "{foreign}");
        }
    }
}
