//! The file as it was typed: a TOML table together with the schema of its keys.
//!
//! [`Section::validate`] finds unknown keys and wrong types in the whole tree; after that the
//! checks read one value after the other, each within its bounds or its default. A value out of
//! bounds is reported and reads as its default, so that one run finds all such problems.

use super::duration;
use super::problem::Report;
use super::schema::{Key, Kind, ROOT, SECRETS, TABLES, Table};
use std::ops::Range;
use std::time::Duration;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

/// A name or an address is never longer; an expression may well be.
const TEXT_BYTES_MAX: usize = 4_096;

#[derive(Clone, Copy, Debug)]
pub(super) struct Section<'a> {
    table: &'static Table,
    entries: &'a DeTable<'a>,
    /// Where the table begins in the file.
    start: usize,
    report: &'a Report<'a>,
}

impl<'a> Section<'a> {
    pub(super) fn new(
        table: &'static Table,
        root: &'a Spanned<DeTable<'a>>,
        report: &'a Report<'a>,
    ) -> Self {
        Self { table, entries: root.get_ref(), start: root.span().start, report }
    }

    pub(super) fn table(&self) -> &'static Table {
        self.table
    }

    pub(super) fn line(&self) -> usize {
        self.report.line(self.start)
    }

    pub(super) fn has(&self, key: &str) -> bool {
        self.entries.contains_key(key)
    }

    pub(super) fn value(&self, key: &str) -> Option<&'a DeValue<'a>> {
        self.entries.get(key).map(Spanned::get_ref)
    }

    /// The line of a key, or of its table if the key is not there.
    pub(super) fn line_of(&self, key: &str) -> usize {
        self.entries.get_key_value(key).map_or_else(|| self.line(), |(k, _)| self.at(&k.span()))
    }

    fn at(&self, span: &Range<usize>) -> usize {
        self.report.line(span.start)
    }

    /// Reports a key's value, or the table if the key is not there.
    pub(super) fn wrong(&self, key: &str, wrong: impl Into<String>) {
        let subject = match self.entries.get(key) {
            Some(_) if SECRETS.contains(&key) => format!("{key} = ..."),
            Some(value) if !is_block(value) => {
                format!("{key} = {}", self.report.excerpt(value.span()))
            }
            Some(_) => key.to_owned(),
            None => self.table.title.to_owned(),
        };
        self.report.add(self.line_of(key), subject, wrong.into());
    }

    /// Reports the table as a whole.
    pub(super) fn wrong_table(&self, wrong: impl Into<String>) {
        self.report.add(self.line(), self.table.title.to_owned(), wrong.into());
    }

    /// Reports unknown keys and wrong types, here and in all tables below.
    pub(super) fn validate(&self) {
        for (name, value) in self.entries {
            match self.table.key(name.get_ref()) {
                None => {
                    let subject = self.report.excerpt(name.span());
                    let wrong = unknown(name.get_ref(), self.table);
                    self.report.add(self.at(&name.span()), subject, wrong);
                }
                Some(key) if !fits(&key.kind, value.get_ref()) => {
                    let found = value.get_ref().type_str();
                    let wanted = wanted(key, self.table);
                    self.wrong(key.name, format!("is of type {found}; {wanted}"));
                }
                Some(key) => self.sections(key.name).for_each(|section| section.validate()),
            }
        }
    }

    /// Reports values out of bounds, here and in all tables below, also of keys that nothing reads
    /// yet. Needs a validated tree.
    pub(super) fn check_bounds(&self) {
        for Key { name, kind } in self.table.keys {
            match kind {
                Kind::Text | Kind::Secret => drop(self.text(name)),
                Kind::Integer { .. } => drop(self.integer(name)),
                Kind::Duration { .. } => drop(self.duration(name)),
                Kind::Table(_) | Kind::Tables(_) => {
                    self.sections(name).for_each(|section| section.check_bounds());
                }
                Kind::Boolean | Kind::Texts => {}
            }
        }
    }

    /// The tables under a key: none, the one, or those of the array.
    pub(super) fn sections(&self, key: &str) -> impl Iterator<Item = Section<'a>> + use<'a> {
        let below = match self.table.key(key).map(|key| &key.kind) {
            Some(Kind::Table(table) | Kind::Tables(table)) => Some(*table),
            _ => None,
        };
        let one = self.entries.get(key).filter(|value| value.get_ref().is_table());
        let many = self.entries.get(key).and_then(|value| value.get_ref().as_array());
        let report = self.report;
        one.into_iter().chain(many.into_iter().flat_map(|array| array.iter())).filter_map(
            move |value| {
                let (table, entries) = (below?, value.get_ref().as_table()?);
                Some(Section { table, entries, start: value.span().start, report })
            },
        )
    }

    /// A text that is not empty.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        let text = self.value(key)?.as_str()?;
        if text.len() > TEXT_BYTES_MAX || text.contains(char::is_control) {
            self.wrong(
                key,
                format!(
                    "is longer than {TEXT_BYTES_MAX} bytes or has a control character; \
                     shorten or retype it"
                ),
            );
            return None;
        }
        Some(text).filter(|text| !text.is_empty())
    }

    /// As [`text`](Self::text), for a key that must be there.
    pub(super) fn required(&self, key: &str, remedy: &str) -> Option<&'a str> {
        match self.value(key) {
            None => self.wrong_table(format!("has no `{key}`; {remedy}")),
            Some(DeValue::String(text)) if text.is_empty() => {
                self.wrong(key, format!("is empty; {remedy}"));
            }
            Some(_) => {}
        }
        self.text(key)
    }

    pub(super) fn texts(&self, key: &str) -> impl Iterator<Item = &'a str> + use<'a> {
        let array = self.value(key).and_then(DeValue::as_array);
        array
            .into_iter()
            .flat_map(|array| array.iter())
            .filter_map(|value| value.get_ref().as_str())
    }

    /// An integer within the schema's bounds.
    pub(super) fn integer(&self, key: &str) -> u64 {
        let Some(Key { kind: Kind::Integer { default, min, max, zero }, .. }) = self.table.key(key)
        else {
            unreachable!("the schema has the integer `{key}` in {}", self.table.title);
        };
        let typed = self.value(key).and_then(DeValue::as_integer);
        let value = match typed.map(|n| i64::from_str_radix(n.as_str(), n.radix()).ok()) {
            None => *default,
            Some(Some(0)) if *zero => *default,
            Some(Some(value)) if (*min..=*max).contains(&value) => value,
            Some(_) => {
                let or_zero = if *zero { ", or 0 for the default" } else { "" };
                self.wrong(key, format!("is out of bounds; give {min} to {max}{or_zero}"));
                *default
            }
        };
        u64::try_from(value).expect("no default and no lower bound of the schema is negative")
    }

    /// A duration within the schema's bounds.
    pub(super) fn duration(&self, key: &str) -> Duration {
        let Some(Key { kind: Kind::Duration { default, min, max }, .. }) = self.table.key(key)
        else {
            unreachable!("the schema has the duration `{key}` in {}", self.table.title);
        };
        let Some(text) = self.text(key) else { return *default };
        let bounds = format!("{} to {}", duration::show(*min), duration::show(*max));
        match duration::parse(text) {
            Some(duration) if (*min..=*max).contains(&duration) => return duration,
            Some(_) => self.wrong(key, format!("is out of bounds; give {bounds}")),
            None => self.wrong(
                key,
                format!(
                    "is no duration; give {bounds}, each number with its unit, as in \"1m30s\""
                ),
            ),
        }
        *default
    }
}

/// Whether quoting the value would quote whole tables.
fn is_block(value: &Spanned<DeValue<'_>>) -> bool {
    match value.get_ref() {
        DeValue::Table(_) => true,
        DeValue::Array(array) => array.iter().any(|value| value.get_ref().is_table()),
        _ => false,
    }
}

fn fits(kind: &Kind, value: &DeValue<'_>) -> bool {
    match kind {
        Kind::Text | Kind::Secret | Kind::Duration { .. } => value.is_str(),
        Kind::Boolean => value.is_bool(),
        Kind::Integer { .. } => value.is_integer(),
        Kind::Texts => all(value, |value| value.is_str()),
        Kind::Table(_) => value.is_table(),
        Kind::Tables(_) => all(value, |value| value.is_table()),
    }
}

fn all(value: &DeValue<'_>, fits: fn(&DeValue<'_>) -> bool) -> bool {
    value.as_array().is_some_and(|array| array.iter().all(|value| fits(value.get_ref())))
}

/// What to write instead of a value of the wrong type.
fn wanted(key: &Key, table: &Table) -> String {
    let name = key.name;
    match &key.kind {
        Kind::Text | Kind::Secret => format!("write a text in quotes: {name} = \"...\""),
        Kind::Duration { default, .. } => {
            format!("write a duration in quotes: {name} = \"{}\"", duration::show(*default))
        }
        Kind::Boolean => format!("write {name} = true or {name} = false"),
        Kind::Integer { default, .. } => {
            format!("write a whole number without quotes: {name} = {default}")
        }
        Kind::Texts => format!("write texts in brackets: {name} = [\"...\", \"...\"]"),
        Kind::Table(below) => format!("write {name} = {{ {} = \"...\" }}", below.keys[0].name),
        Kind::Tables(below) if std::ptr::eq(table, &raw const ROOT) => {
            format!("write each as a table of its own under {}", below.title)
        }
        Kind::Tables(below) => {
            format!("write each under {}, or {name} = [{{ ... }}, {{ ... }}]", below.title)
        }
    }
}

/// Names the nearest key, or the tables that the key belongs to.
fn unknown(name: &str, table: &Table) -> String {
    let at_home: Vec<_> =
        TABLES.iter().filter(|table| table.key(name).is_some()).map(|table| table.title).collect();
    if !at_home.is_empty() {
        return format!("is no key of {}; it belongs to {}", table.title, at_home.join(", "));
    }
    let nearest = table
        .keys
        .iter()
        .map(|key| (strsim::jaro_winkler(name, key.name), key.name))
        .max_by(|a, b| a.0.total_cmp(&b.0));
    match nearest {
        Some((likeness, nearest)) if likeness >= 0.7 => {
            format!("is no key of {}; did you mean `{nearest}`?", table.title)
        }
        _ => {
            let keys: Vec<_> = table.keys.iter().map(|key| key.name).collect();
            format!("is no key of {}; its keys are {}", table.title, keys.join(", "))
        }
    }
}
