//! The `[[filter]]` tables, checked, and given to the outputs that they name.
//!
//! Called by [`super::check`] once all outputs are known. As in the Go relay, a name stands for
//! every output of that name, whatever its listener, and several filters of one output must all
//! be passed.

use super::Output;
use super::raw::Section;
use crate::filter::{Expression, Filter};
use std::sync::Arc;

/// Gives each output its filter.
pub(super) fn attach(root: Section<'_>, mut outputs: Vec<&mut Output>) {
    let mut filters: Vec<Filter> = outputs.iter().map(|_| Filter::default()).collect();
    for section in root.sections("filter") {
        let measurement = expression(section, "measurement-expression");
        let tag = expression(section, "tag-expression");
        if section.texts("outputs").next().is_none() {
            section.wrong_table("names no output; list them as in outputs = [\"NAME\"]");
        }
        for name in section.texts("outputs") {
            let mut known = false;
            let named =
                outputs.iter().zip(&mut filters).filter(|(output, _)| &*output.name == name);
            for (_, filter) in named {
                known = true;
                filter.measurement.extend(measurement.clone());
                filter.tag.extend(tag.clone());
            }
            if !known {
                let wrong =
                    format!("names \"{name}\", which no output is called; correct the name");
                section.wrong("outputs", wrong);
            }
        }
    }
    let mut distinct: Vec<Arc<Filter>> = Vec::new();
    for (output, filter) in outputs.iter_mut().zip(filters) {
        if filter == Filter::default() {
            continue;
        }
        let known = distinct.iter().find(|known| ***known == filter).map(Arc::clone);
        output.filter = Some(known.unwrap_or_else(|| {
            distinct.push(Arc::new(filter));
            Arc::clone(&distinct[distinct.len() - 1])
        }));
    }
}

/// The expression of a key, if there is one that is right.
fn expression(section: Section<'_>, key: &str) -> Option<Expression> {
    match Expression::parse(section.text(key)?) {
        Ok(expression) => Some(expression),
        Err(bad) => {
            let remedy = "correct it; to match a sign itself, put a backslash before it";
            section.wrong(key, format!("is no regular expression: {bad}; {remedy}"));
            None
        }
    }
}
