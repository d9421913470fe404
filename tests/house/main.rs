//! The architecture as tests: floors, owners, habits, sizes, tables, and what may be committed.
//! Must never start, link or change the program. Invariant: every rule is a function over files given as text, is run
//! on the whole tree by a test whose name is its claim, and is shown a wrong snippet by another: it can fail.
//!
//! | module   | rules                                                             |
//! |----------|-------------------------------------------------------------------|
//! | `floors` | imports point downward; doors never see the store                 |
//! | `duties` | what meets each duty of the law, and the test that proves it |
//! | `owners` | who may name which outside crate; each dependency has its reason  |
//! | `habits` | one clock, no sleeping, no unwrap, no leftovers                   |
//! | `shape`  | sizes, opening words, names of files and folders                  |
//! | `tables` | one owner file for each table of `schema.sql`                     |
//! | `papers` | what the repository as a whole may hold                           |

mod duties;
mod floors;
mod habits;
mod owners;
mod papers;
mod reader;
mod shape;
mod source;
mod tables;

use std::collections::HashSet;
use std::fmt;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use source::Source;

/// One thing that is wrong, and what to do about it.
#[derive(Debug)]
pub struct Offence {
    path: String,
    line: usize,
    what: String,
}

impl Offence {
    /// `what` reads "what is wrong - what to do".
    fn new(path: &str, line: usize, what: impl Into<String>) -> Offence {
        Offence { path: path.to_string(), line, what: what.into() }
    }
}

impl fmt::Display for Offence {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}:{} {}", self.path, self.line, self.what)
    }
}

/// Fails with every offence, one a line, in the order of the files.
#[track_caller]
fn report(mut found: Vec<Offence>) {
    found.sort_by(|a, b| (&a.path, a.line).cmp(&(&b.path, b.line)));
    let lines: Vec<String> = found.iter().map(Offence::to_string).collect();
    assert!(lines.is_empty(), "{} against the house rules:\n{}\n", lines.len(), lines.join("\n"));
}

/// The folder of the package.
fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// A file of the package as text; an offence where it is missing.
fn paper(path: &str) -> Result<String, Vec<Offence>> {
    std::fs::read_to_string(root().join(path))
        .map_err(|e| vec![Offence::new(path, 0, format!("cannot be read ({e}) - add it: the house rules need it"))])
}

/// All Rust files of `src/`, `tests/` and `benches/`, read once for all rules.
fn sources() -> &'static [Source] {
    static ALL: OnceLock<Vec<Source>> = OnceLock::new();
    ALL.get_or_init(|| {
        let files = ["src", "tests", "benches"].iter().flat_map(|folder| rust_files(&root().join(folder)));
        let texts = files.map(|file| {
            let path = file.strip_prefix(root()).expect("a file below the root").to_string_lossy().replace('\\', "/");
            (path, std::fs::read_to_string(&file).expect("a readable file"))
        });
        read_all(texts)
    })
}

/// Only those below `src/`.
fn program() -> impl Iterator<Item = &'static Source> {
    sources().iter().filter(|it| it.path.starts_with("src/"))
}

/// Reads files, then marks those which another file declares for tests only.
fn read_all(files: impl IntoIterator<Item = (String, String)>) -> Vec<Source> {
    let read = |(path, text): (String, String)| {
        Source::read(&path, &text).unwrap_or_else(|(line, what)| panic!("{path}:{line} is not Rust: {what}"))
    };
    let mut all: Vec<Source> = side_by_side(files.into_iter().collect(), read);
    let for_tests: HashSet<String> = all.iter().flat_map(|it| it.test_files.clone()).collect();
    for source in &mut all {
        let own = source.path.trim_end_matches(".rs").trim_end_matches("/mod");
        if for_tests.iter().any(|it| own == it || own.starts_with(&format!("{it}/"))) {
            source.mark_as_test();
        }
    }
    all
}

/// `files.map(read)` on all cores, in order: reading is nearly all of the time these tests take.
fn side_by_side<A: Send, B: Send>(files: Vec<A>, read: impl Fn(A) -> B + Sync) -> Vec<B> {
    let lanes = std::thread::available_parallelism().map_or(1, usize::from);
    let mut work: Vec<Vec<A>> = Vec::new();
    let share = files.len().div_ceil(lanes).max(1);
    for (at, file) in files.into_iter().enumerate() {
        if at % share == 0 {
            work.push(Vec::new());
        }
        work.last_mut().expect("a lane").push(file);
    }
    let read = &read;
    std::thread::scope(|scope| {
        let lanes: Vec<_> =
            work.into_iter().map(|lane| scope.spawn(move || lane.into_iter().map(read).collect::<Vec<B>>())).collect();
        lanes.into_iter().flat_map(|lane| lane.join().expect("every file is Rust, see above")).collect()
    })
}

fn rust_files(folder: &Path) -> Vec<PathBuf> {
    let Ok(entries) = std::fs::read_dir(folder) else { return Vec::new() };
    let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    paths.sort();
    let deeper = |path: PathBuf| match path.is_dir() {
        true => rust_files(&path),
        false => vec![path],
    };
    paths.into_iter().flat_map(deeper).filter(|path| path.extension().is_some_and(|it| it == "rs")).collect()
}

/// Whether a file is one a rule names: `src/a/` a folder, `src/a.rs` a file and the folder beside it, `src/a*` a start.
fn covers(rule: &str, path: &str) -> bool {
    if let Some(start) = rule.strip_suffix('*') {
        return path.starts_with(start);
    }
    match rule.strip_suffix(".rs") {
        Some(folder) => path == rule || path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/')),
        None => rule.ends_with('/') && path.starts_with(rule),
    }
}

/// Runs a rule over one snippet, for the tests of the rules: the lines it finds wrong.
#[cfg(test)]
fn lines_found(path: &str, text: &str, rule: impl Fn(&Source) -> Vec<Offence>) -> Vec<usize> {
    let all = read_all([(path.to_string(), text.to_string())]);
    let mut lines: Vec<usize> = all.iter().flat_map(rule).map(|it| it.line).collect();
    lines.sort_unstable();
    lines
}

#[test]
fn a_rule_covers_a_folder_a_file_with_its_folder_or_a_start() {
    assert!(covers("src/store/", "src/store/row.rs"));
    assert!(!covers("src/store/", "src/storehouse.rs"));
    assert!(covers("src/a.rs", "src/a.rs") && covers("src/a.rs", "src/a/tests.rs"));
    assert!(!covers("src/a.rs", "src/ab.rs"));
    assert!(covers("src/daemon*", "src/daemon.rs") && covers("src/daemon*", "src/daemon/stop.rs"));
}

#[test]
fn a_file_declared_for_tests_counts_as_test_code() {
    let parent = ("src/base/mod.rs".to_string(), "#[cfg(test)]\nmod bench_kit;\nmod text;".to_string());
    let kit = ("src/base/bench_kit.rs".to_string(), "fn f() { a::b(); }".to_string());
    let text = ("src/base/text.rs".to_string(), "fn f() { a::b(); }".to_string());
    let all = read_all([parent, kit, text]);
    assert!(all[1].names.iter().all(|it| it.test));
    assert!(all[2].names.iter().all(|it| !it.test));
}
