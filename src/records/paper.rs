//! Markdown, as records are written: headings, paragraphs, lists, tables.
//! Must never let a value change the page's shape. Invariant: a cell stands on one line, and ends where it ends.

use std::fmt::Write;

/// A page that grows.
#[derive(Default)]
pub(in crate::records) struct Paper {
    text: String,
}

/// A value without what Markdown or HTML would read as its own.
pub(in crate::records) fn plain(value: &str) -> String {
    let mut out = String::with_capacity(value.len());
    for c in value.chars() {
        match c {
            '|' | '`' | '*' | '_' | '<' | '[' | '\\' => {
                out.push('\\');
                out.push(c);
            }
            '\n' | '\r' | '\t' => out.push(' '),
            c if c.is_control() => {}
            c => out.push(c),
        }
    }
    out
}

/// `plain`, or a mark where there is nothing.
pub(in crate::records) fn or_open(value: &str) -> String {
    if value.trim().is_empty() { OPEN.to_owned() } else { plain(value.trim()) }
}

/// What only the operator can fill in.
pub(in crate::records) const OPEN: &str = "**to be filled in**";

impl Paper {
    /// A heading of that level.
    pub(in crate::records) fn heading(&mut self, level: usize, text: &str) {
        self.gap();
        // writing to a string cannot fail
        let _ = writeln!(self.text, "{} {text}", "#".repeat(level));
    }

    /// A paragraph, written by us.
    pub(in crate::records) fn say(&mut self, text: &str) {
        self.gap();
        self.text.push_str(text);
        self.text.push('\n');
    }

    /// A list.
    pub(in crate::records) fn list(&mut self, items: impl IntoIterator<Item = String>) {
        self.gap();
        for item in items {
            let _ = writeln!(self.text, "- {item}");
        }
    }

    /// A table; cells are Markdown already. Nothing where there are no rows.
    pub(in crate::records) fn table<const N: usize>(&mut self, heads: [&str; N], rows: Vec<[String; N]>) {
        if rows.is_empty() {
            return;
        }
        self.gap();
        let _ = writeln!(self.text, "| {} |", heads.join(" | "));
        let _ = writeln!(self.text, "|{}", "---|".repeat(N));
        for row in rows {
            let _ = writeln!(self.text, "| {} |", row.join(" | "));
        }
    }

    fn gap(&mut self) {
        if !self.text.is_empty() {
            self.text.push('\n');
        }
    }

    /// The whole page.
    pub(in crate::records) fn done(self) -> String {
        self.text
    }
}

/// `yes` or `no`.
pub(in crate::records) fn yes(value: bool) -> String {
    if value { "yes" } else { "no" }.to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_cannot_break_out_of_its_cell() {
        let mut paper = Paper::default();
        paper.table(["a", "b"], vec![[plain("x | y\n# z"), plain("<b>*c*</b>\u{7}")]]);
        assert_eq!(paper.done(), "| a | b |\n|---|---|\n| x \\| y # z | \\<b>\\*c\\*\\</b> |\n");
    }
}
