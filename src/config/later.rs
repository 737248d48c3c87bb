//! The keys that are read and checked, and whose function a later version brings.
//!
//! Taking them in silence would promise what is not done, so they are refused. A function that
//! gets served loses its row here.

use super::raw::Section;
use super::schema::{HTTP, HTTP_OUTPUT, Kind, Table};
use toml::de::DeValue;

struct Row {
    table: &'static Table,
    key: &'static str,
    /// Whether this value asks for the function; the value that turns it off is taken.
    asks: fn(&DeValue<'_>) -> bool,
    remedy: &'static str,
}

static ROWS: [Row; 4] = [
    Row {
        table: &HTTP,
        key: "rate-limit",
        asks: is_given,
        remedy: "remove it, or limit requests in a proxy in front of the relay",
    },
    Row { table: &HTTP, key: "burst-limit", asks: is_given, remedy: "remove it" },
    Row {
        table: &HTTP_OUTPUT,
        key: "type",
        asks: |value| value.as_str() == Some("prometheus"),
        remedy: "remove this output; the relay takes line protocol only",
    },
    Row {
        table: &HTTP_OUTPUT,
        key: "endpoints",
        asks: is_prometheus_only,
        remedy: "add `write`, or remove this output; the relay takes line protocol only",
    },
];

/// Reports what this version does not serve, in the whole tree.
pub(super) fn refuse(section: Section<'_>) {
    for row in ROWS.iter().filter(|row| std::ptr::eq(row.table, section.table())) {
        if section.value(row.key).is_some_and(row.asks) {
            let wrong = format!("is not served by this version yet; {}", row.remedy);
            section.wrong(row.key, wrong);
        }
    }
    for key in section.table().keys {
        if matches!(key.kind, Kind::Table(_) | Kind::Tables(_)) {
            section.sections(key.name).for_each(refuse);
        }
    }
}

fn is_given(value: &DeValue<'_>) -> bool {
    match value {
        DeValue::String(text) => !text.is_empty(),
        DeValue::Integer(number) => number.as_str().contains(|digit| digit != '0'),
        DeValue::Boolean(value) => *value,
        _ => true,
    }
}

fn is_prometheus_only(value: &DeValue<'_>) -> bool {
    let given = |key| {
        let text = value.as_table().and_then(|table| table.get(key));
        text.and_then(|text| text.get_ref().as_str()).is_some_and(|text| !text.is_empty())
    };
    given("write_prom") && !given("write")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_names_a_key_of_its_table() {
        for row in &ROWS {
            assert!(row.table.key(row.key).is_some(), "{} of {}", row.key, row.table.title);
        }
    }
}
