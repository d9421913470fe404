//! Where the keys of a configuration file stand, and the problems found in it.
//! Must never judge a value. Invariant: a line number points at the key itself, or at the nearest table that holds it.

use std::fmt;
use std::ops::Range;

use serde::Serialize;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::base::error::Error;
use crate::base::text;

/// How bad a problem is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// wayside does not start with it.
    Error,
    /// wayside starts; the operator should know.
    Warning,
}

/// One thing that is wrong with the configuration, or doubtful.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Problem {
    /// Does it forbid a start?
    pub severity: Severity,
    /// Line of the file, from 1; of the nearest enclosing table where the key itself is not written there.
    pub line: Option<usize>,
    /// Path of the key, for example `site[0].time_zone`; empty for the file as a whole.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

impl fmt::Display for Problem {
    /// One line for people: `error: line 3, door.listen: what; remedy`.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let severity = if self.severity == Severity::Error { "error" } else { "warning" };
        let line = self.line.map(|line| format!("line {line}")).into_iter();
        let key = (!self.key.is_empty()).then(|| self.key.clone()).into_iter();
        let place = line.chain(key).collect::<Vec<_>>().join(", ");
        let colon = if place.is_empty() { "" } else { ": " };
        let remedy = if self.remedy.is_empty() { String::new() } else { format!("; {}", self.remedy) };
        f.write_str(&text::clean(&format!("{severity}: {place}{colon}{}{remedy}", self.what)))
    }
}

/// The places of all keys of a file, by path: `door.listen`, `site[0].aliases[1]`.
#[derive(Debug, Default)]
pub(super) struct Places {
    spans: Vec<(String, Vec<Range<usize>>)>,
    line_starts: Vec<usize>,
}

impl Places {
    /// The places in a text; as far as it can be read where it is broken.
    pub fn of(text: &str) -> Places {
        let (table, _) = DeTable::parse_recoverable(text);
        Places::of_table(text, table.get_ref())
    }

    /// The places in a text that was read already.
    pub fn of_table(text: &str, table: &DeTable<'_>) -> Places {
        let newlines = text.bytes().enumerate().filter(|(_, b)| *b == b'\n').map(|(at, _)| at + 1);
        let mut places = Places { spans: Vec::new(), line_starts: std::iter::once(0).chain(newlines).collect() };
        places.add_table(table, "");
        places
    }

    fn add_table(&mut self, table: &DeTable<'_>, holder: &str) {
        for (key, value) in table.iter() {
            let path = join(holder, key.get_ref());
            self.spans.push((path.clone(), vec![key.span(), value.span()]));
            self.add_value(value, &path);
        }
    }

    fn add_value(&mut self, value: &Spanned<DeValue<'_>>, path: &str) {
        match value.get_ref() {
            DeValue::Table(table) => self.add_table(table, path),
            DeValue::Array(entries) => {
                for (n, entry) in entries.iter().enumerate() {
                    let path = format!("{path}[{n}]");
                    self.spans.push((path.clone(), vec![entry.span()]));
                    self.add_value(entry, &path);
                }
            }
            _ => {}
        }
    }

    /// Is the key itself written?
    pub fn has(&self, key: &str) -> bool {
        self.spans.iter().any(|(known, _)| known == key)
    }

    /// The line of a key, from 1; of the nearest table that holds it where the key is not written.
    pub fn line(&self, key: &str) -> Option<usize> {
        let mut path = key;
        loop {
            if let Some((_, spans)) = self.spans.iter().find(|(known, _)| known == path) {
                return spans.first().map(|span| self.line_at(span.start));
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// The line of a byte of the text, from 1.
    pub fn line_at(&self, byte: usize) -> usize {
        self.line_starts.partition_point(|start| *start <= byte)
    }

    /// The path of the innermost key whose own text holds this stretch.
    pub fn innermost(&self, stretch: &Range<usize>) -> Option<&str> {
        let holding = self.spans.iter().filter(|(_, spans)| spans.iter().any(|span| holds(span, stretch)));
        holding.map(|(path, _)| path.as_str()).max_by_key(|path| path.len())
    }
}

/// Does one stretch of a text lie inside another?
pub(super) fn holds(outer: &Range<usize>, inner: &Range<usize>) -> bool {
    outer.start <= inner.start && inner.end <= outer.end
}

/// The path of a key in a table.
pub(super) fn join(holder: &str, key: &str) -> String {
    if holder.is_empty() { key.to_owned() } else { format!("{holder}.{key}") }
}

/// Collects problems and finds their lines.
pub(super) struct Findings {
    places: Places,
    /// Keys whose value does not come from the file, and the flag or variable it comes from.
    above: Vec<(&'static str, &'static str)>,
    problems: Vec<Problem>,
}

impl Findings {
    pub fn new(places: Places, above: Vec<(&'static str, &'static str)>) -> Findings {
        Findings { places, above, problems: Vec::new() }
    }

    /// Something that forbids a start.
    pub fn error(&mut self, key: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Error, key.into(), what.into(), remedy.into());
    }

    /// Something the operator should know.
    pub fn warn(&mut self, key: impl Into<String>, what: impl Into<String>, remedy: impl Into<String>) {
        self.add(Severity::Warning, key.into(), what.into(), remedy.into());
    }

    /// Two keys that make no sense beside each other, blamed on the one that is written. Nothing is said where one of them
    /// is wrong in itself.
    pub fn clash(
        &mut self,
        severity: Severity,
        [key, other]: [&str; 2],
        what: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        if self.any_under(key) || self.any_under(other) {
            return;
        }
        let blamed = if self.places.has(key) || !self.places.has(other) { key } else { other };
        self.add(severity, blamed.to_owned(), what.into(), remedy.into());
    }

    /// What a rule of another floor refused.
    pub fn refused(&mut self, key: impl Into<String>, error: Error) {
        self.error(key, error.what, error.remedy);
    }

    /// Was anything found at this key or below it?
    pub fn any_under(&self, key: &str) -> bool {
        let below =
            |found: &str| found.strip_prefix(key).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']));
        self.problems.iter().any(|p| p.severity == Severity::Error && below(&p.key))
    }

    fn add(&mut self, severity: Severity, key: String, what: String, remedy: String) {
        let above = self.above.iter().find(|(own, _)| *own == key).map(|(_, source)| *source);
        let line = if above.is_some() { None } else { self.places.line(&key) };
        let what = above.map_or_else(|| what.clone(), |source| format!("{what} (from {source})"));
        self.problems.push(Problem { severity, line, key, what, remedy });
    }

    /// All problems, by line; those without a line come first.
    pub fn done(mut self) -> Vec<Problem> {
        self.problems.sort_by_key(|p| p.line);
        self.problems
    }
}
