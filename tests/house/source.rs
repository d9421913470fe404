//! One source file as plain facts: paths named, calls, macros, literals, sizes, each with its line.
//! Must never judge: the rules do. Invariant: a fact inside `#[cfg(test)]` or `#[test]` says so.

use std::collections::HashSet;

use crate::reader;

/// A path as written (`a::b::c`), with `self` and `super` already turned into `crate::...`.
pub struct Name {
    pub words: Vec<String>,
    pub line: usize,
    pub test: bool,
    /// Stands in a `use`.
    pub imported: bool,
    /// Bound to another name: `use a::b as c`.
    pub renamed: bool,
    /// Begins with `::`, so it can only be an outside crate.
    pub rooted: bool,
}

impl Name {
    /// `a::b::c`, as a finding prints it.
    pub fn text(&self) -> String {
        self.words.join("::")
    }

    /// Whether the path ends in these words.
    pub fn ends_with(&self, tail: &[&str]) -> bool {
        self.words.len() >= tail.len() && self.words[self.words.len() - tail.len()..].iter().eq(tail)
    }

    /// Whether the path begins with these words.
    pub fn starts_with(&self, head: &[&str]) -> bool {
        self.words.len() >= head.len() && self.words[..head.len()].iter().eq(head)
    }
}

/// A method call; only `unwrap`-like ones are kept.
pub struct Call {
    pub method: String,
    /// The first argument where it is a string literal.
    pub literal: Option<String>,
    pub line: usize,
    pub test: bool,
}

/// The name of a macro in use, or the value of a string literal.
pub struct Word {
    pub text: String,
    pub line: usize,
    pub test: bool,
}

/// A stretch of lines: the body of a function, or a test module written inside a file.
pub struct Stretch {
    pub name: String,
    pub line: usize,
    pub lines: usize,
}

/// All facts of one file. `path` is relative to the package, with `/`.
#[derive(Default)]
pub struct Source {
    pub path: String,
    pub lines: usize,
    /// Lines of `//!` at the very top.
    pub opening: usize,
    pub names: Vec<Name>,
    pub calls: Vec<Call>,
    pub macros: Vec<Word>,
    pub texts: Vec<Word>,
    pub bodies: Vec<Stretch>,
    pub test_modules: Vec<Stretch>,
    /// Modules declared here (`mod x;`) for tests only, as paths without `.rs`.
    pub test_files: Vec<String>,
    /// Names this file gives to modules and imports of its own crate.
    pub bound: HashSet<String>,
}

impl Source {
    /// Reads one file; the error is the parser's, with its line.
    pub fn read(path: &str, text: &str) -> Result<Source, (usize, String)> {
        reader::read(path, text)
    }

    /// The outside crate a path of this file names, if any: first word of an import, or of `a::b` where `a` is not a
    /// name this file has given to something of its own.
    pub fn outside<'a>(&self, name: &'a Name) -> Option<&'a str> {
        let first = name.words.first()?.as_str();
        if name.rooted {
            return Some(first);
        }
        let path = name.imported || name.words.len() > 1;
        (path && !matches!(first, "crate" | "Self") && !self.bound.contains(first)).then_some(first)
    }

    /// Marks every fact as belonging to tests: some other file declares this one under `#[cfg(test)]`.
    pub fn mark_as_test(&mut self) {
        self.names.iter_mut().for_each(|it| it.test = true);
        self.calls.iter_mut().for_each(|it| it.test = true);
        self.macros.iter_mut().chain(&mut self.texts).for_each(|it| it.test = true);
    }
}
