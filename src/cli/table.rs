//! Aligned columns for people. Must never be wider than [`WIDTH`]: the widest column gives way first.
//! Invariant: a cell cannot break its line.

use crate::base::text::clean;

/// Characters of a line at the most; four less than a hundred, for indents.
pub const WIDTH: usize = 96;
/// A column is not cut below this.
const COLUMN_MIN: usize = 6;
/// Between columns.
const GAP: &str = "  ";

/// Rows under heads.
pub struct Table {
    heads: Vec<String>,
    rows: Vec<Vec<String>>,
    right: Vec<bool>,
    whole: Vec<bool>,
}

impl Table {
    /// An empty table. A head that begins with `>` makes its column flush right; such columns, and those whose head begins
    /// with `=`, are cut only when nothing else is left to cut.
    pub fn new(heads: &[&str]) -> Self {
        let right = heads.iter().map(|head| head.starts_with('>')).collect();
        let whole = heads.iter().map(|head| head.starts_with(['>', '='])).collect();
        let heads = heads.iter().map(|head| head.trim_start_matches(['>', '=']).to_owned()).collect();
        Table { heads, rows: Vec::new(), right, whole }
    }

    /// Adds a row; missing cells are empty, too many are left out.
    pub fn row(&mut self, cells: impl IntoIterator<Item = String>) {
        let mut row: Vec<String> = cells.into_iter().take(self.heads.len()).map(|cell| clean(&cell)).collect();
        row.resize(self.heads.len(), String::new());
        self.rows.push(row);
    }

    /// Takes a column away whose cells are all the same: it tells nothing, and others need its room.
    pub fn without_constant(mut self, head: &str) -> Self {
        let Some(at) = self.heads.iter().position(|have| have == head) else { return self };
        if self.rows.iter().all(|row| row.get(at) == self.rows[0].get(at)) {
            self.heads.remove(at);
            self.right.remove(at);
            self.whole.remove(at);
            for row in &mut self.rows {
                row.remove(at);
            }
        }
        self
    }

    /// Are there no rows?
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// The lines, heads first.
    pub fn lines(&self) -> Vec<String> {
        let widths = self.widths();
        std::iter::once(&self.heads).chain(&self.rows).map(|row| self.render(row, &widths)).collect()
    }

    fn widths(&self) -> Vec<usize> {
        let longest = |at: usize| self.rows.iter().map(|row| chars(&row[at])).chain([chars(&self.heads[at])]).max();
        let mut widths: Vec<usize> = (0..self.heads.len()).map(|at| longest(at).unwrap_or(0)).collect();
        let room = WIDTH.saturating_sub(GAP.len() * widths.len().saturating_sub(1));
        for all in [false, true] {
            while widths.iter().sum::<usize>() > room {
                let may = widths
                    .iter_mut()
                    .zip(&self.whole)
                    .filter(|(width, whole)| **width > COLUMN_MIN && (all || !**whole));
                let Some((widest, _)) = may.max() else { break };
                *widest -= 1;
            }
        }
        widths
    }

    fn render(&self, row: &[String], widths: &[usize]) -> String {
        let mut line = String::new();
        for ((cell, width), right) in row.iter().zip(widths).zip(&self.right) {
            let cell = cut(cell, *width);
            let pad = " ".repeat(width - chars(&cell));
            let parts = if *right { [&pad, &cell] } else { [&cell, &pad] };
            line.extend(parts.map(String::as_str));
            line.push_str(GAP);
        }
        line.trim_end().to_owned()
    }
}

fn chars(text: &str) -> usize {
    text.chars().count()
}

/// At most `width` characters; what was cut ends in an ellipsis.
pub fn cut(text: &str, width: usize) -> String {
    if chars(text) <= width {
        return text.to_owned();
    }
    let mut out: String = text.chars().take(width.saturating_sub(1)).collect();
    out.push('…');
    out
}

/// Names and values under each other, the values aligned.
pub fn pairs(indent: &str, list: &[(String, String)]) -> Vec<String> {
    let width = list.iter().map(|(name, _)| chars(name)).max().unwrap_or(0);
    list.iter()
        .map(|(name, value)| format!("{indent}{name}{}  {}", " ".repeat(width - chars(name)), clean(value)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let mut table = Table::new(&["name", ">count"]);
        table.row(["a".to_owned(), "5".to_owned()]);
        table.row(["longer".to_owned(), "12".to_owned()]);
        assert_eq!(table.lines(), ["name    count", "a           5", "longer     12"]);
    }

    #[test]
    fn no_line_is_wider_than_it_may_be() {
        let mut table = Table::new(&["a", "b", ">c"]);
        table.row(["x".repeat(300), "ü".repeat(90), "7".to_owned()]);
        table.row(["line\nbreak".to_owned()]);
        let lines = table.lines();
        assert!(lines.iter().all(|line| line.chars().count() <= WIDTH), "{lines:?}");
        assert!(lines[1].contains('…') && lines[1].ends_with('7'));
        assert!(lines[2].starts_with("line\\nbreak"));
    }

    #[test]
    fn a_column_that_tells_nothing_is_taken_away() {
        let table = |second: &str| {
            let mut table = Table::new(&["site", ">n"]);
            table.row(["shop".to_owned(), "1".to_owned()]);
            table.row([second.to_owned(), "2".to_owned()]);
            table.without_constant("site").lines()
        };
        assert_eq!(table("shop"), ["n", "1", "2"]);
        assert_eq!(table("blog")[0], "site  n");
        assert_eq!(Table::new(&["site"]).without_constant("site").lines(), [""]);
    }

    #[test]
    fn times_and_numbers_are_cut_last() {
        let mut table = Table::new(&["=time", "page", ">n"]);
        table.row(["2026-11-21 10:00:00Z".to_owned(), "x".repeat(80), "1234567".to_owned()]);
        assert!(table.lines()[1].starts_with("2026-11-21 10:00:00Z  xxx") && table.lines()[1].ends_with("…  1234567"));
    }

    #[test]
    fn many_columns_keep_a_little_of_each() {
        let heads = ["0123456789"; 30];
        let mut table = Table::new(&heads);
        table.row(std::iter::repeat_n("9876543210".to_owned(), 40));
        assert!(table.lines()[1].starts_with("98765…  98765…"));
    }

    #[test]
    fn pairs_stand_under_each_other() {
        let list = [("a".to_owned(), "1".to_owned()), ("long".to_owned(), "2".to_owned())];
        assert_eq!(pairs("  ", &list), ["  a     1", "  long  2"]);
    }
}
