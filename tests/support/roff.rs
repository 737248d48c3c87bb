//! docs/configuration.md as a manual page: Markdown's events in, man(7) out. Used by
//! tests/manuals.rs. Knows the few forms that the document uses, and panics at others.

use pulldown_cmark::{CodeBlockKind, Event, HeadingLevel, Options, Parser, Tag, TagEnd};

const HEAD: &str = r#".\" Made of docs/configuration.md by tests/manuals.rs: change that page.
.TH RINGRELAY.TOML 5 "" "ringrelay" "File Formats"
.SH NAME
ringrelay.toml \- configuration of ringrelay
.SH DESCRIPTION
"#;

const FOOT: &str = ".SH SEE ALSO
.BR ringrelay (1)
.PP
The pages that are named here are in /usr/share/doc/ringrelay.
";

/// The manual page of a document.
pub(crate) fn page(markdown: &str) -> String {
    let mut page = Page { out: HEAD.to_owned(), ..Page::default() };
    for event in Parser::new_ext(markdown, Options::ENABLE_TABLES) {
        page.take(event);
    }
    page.out.push_str(FOOT);
    page.out
}

#[derive(Default)]
struct Page {
    out: String,
    /// The text of the paragraph, item, heading or cell that is open.
    text: String,
    /// Where the open link leads, and where its text begins.
    link: Option<(String, usize)>,
    row: Vec<String>,
    in_item: bool,
    in_code: bool,
}

impl Page {
    fn take(&mut self, event: Event<'_>) {
        match event {
            Event::Start(tag) => self.open(tag),
            Event::End(tag) => self.close(tag),
            Event::Text(text) if self.in_code => self.out.push_str(&verbatim(&text)),
            Event::Text(text) => self.text.push_str(&escaped(&text)),
            Event::Code(text) => {
                let code = escaped(&text).replace('-', r"\-");
                self.text.push_str(&format!(r"\fB{code}\fR"));
            }
            Event::SoftBreak => self.text.push('\n'),
            other => panic!("the page has no form for {other:?}"),
        }
    }

    fn open(&mut self, tag: Tag<'_>) {
        match tag {
            Tag::Strong => self.text.push_str(r"\fB"),
            Tag::Emphasis => self.text.push_str(r"\fI"),
            Tag::Link { dest_url, .. } => {
                self.link = Some((dest_url.into_string(), self.text.len()))
            }
            Tag::Item => self.in_item = true,
            Tag::CodeBlock(CodeBlockKind::Indented) => {
                self.in_code = true;
                self.out.push_str(".PP\n.RS 4\n.nf\n");
            }
            Tag::Paragraph
            | Tag::Heading { .. }
            | Tag::List(None)
            | Tag::Table(_)
            | Tag::TableHead
            | Tag::TableRow
            | Tag::TableCell => {}
            other => panic!("the page has no form for {other:?}"),
        }
    }

    fn close(&mut self, tag: TagEnd) {
        match tag {
            TagEnd::Strong | TagEnd::Emphasis => self.text.push_str(r"\fR"),
            TagEnd::Link => self.end_link(),
            TagEnd::Heading(HeadingLevel::H2) => {
                let title = self.block();
                // A table's name stays as it is typed.
                let title = match title.strip_prefix(r"\fB") {
                    Some(name) => name.replace(r"\fR", ""),
                    None => title.to_uppercase(),
                };
                self.out.push_str(&format!(".SH \"{title}\"\n"));
            }
            // The page's own title says it.
            TagEnd::Heading(_) => self.text.clear(),
            TagEnd::Paragraph if self.in_item => {}
            TagEnd::Paragraph => {
                let text = self.block();
                self.out.push_str(&format!(".PP\n{text}\n"));
            }
            TagEnd::Item => {
                self.in_item = false;
                let text = self.block();
                self.out.push_str(&format!(".IP \\(bu 2\n{text}\n"));
            }
            TagEnd::CodeBlock => {
                self.in_code = false;
                self.out.push_str(".fi\n.RE\n");
            }
            TagEnd::TableCell => {
                let cell = self.block();
                self.row.push(cell);
            }
            TagEnd::TableHead => self.row.clear(),
            TagEnd::TableRow => self.end_row(),
            _ => {}
        }
    }

    /// What a link names is said, unless its text does.
    fn end_link(&mut self) {
        let (to, start) = self.link.take().expect("links do not nest");
        let name = to.rsplit('/').next().expect("a split has a last part");
        if !self.text[start..].replace(r"\-", "-").contains(name) {
            self.text.push_str(&format!(" ({})", escaped(name)));
        }
    }

    /// A key with its type, default, bounds and meaning; or two cells, a term and what it means.
    fn end_row(&mut self) {
        let row = std::mem::take(&mut self.row);
        if let [term, meaning] = &row[..] {
            return self.out.push_str(&format!(".TP\n{term}\n{meaning}\n"));
        }
        let [key, kind, default, bounds, meaning] = &row[..] else { panic!("five cells: {row:?}") };
        let mut facts = vec![kind.clone()];
        if !default.is_empty() {
            facts.push(if default == "required" {
                default.clone()
            } else {
                format!("default {default}")
            });
        }
        if !bounds.is_empty() {
            facts.push(bounds.clone());
        }
        let facts = facts.join("; ");
        self.out.push_str(&format!(".TP\n{key} ({facts})\n{meaning}\n"));
    }

    /// The text of the block that ends, no line of which is taken for a request.
    fn block(&mut self) -> String {
        let text = std::mem::take(&mut self.text);
        let lines = text.trim().lines().map(|line| match line.chars().next() {
            Some('.' | '\'') => format!(r"\&{line}"),
            _ => line.to_owned(),
        });
        lines.collect::<Vec<_>>().join("\n")
    }
}

fn escaped(text: &str) -> String {
    text.replace('\\', r"\e")
}

/// Lines of an example: what they hold is typed as it is.
fn verbatim(text: &str) -> String {
    let text = escaped(text).replace('-', r"\-");
    let lines = text.lines().map(|line| match line.chars().next() {
        Some('.' | '\'') => format!("\\&{line}\n"),
        _ => format!("{line}\n"),
    });
    lines.collect()
}
