//! `packaging/doc/prove-it.md`, run as it is printed: every `sh` block in one shell, and what it printed against the `text` block
//! that follows. Must never help the page along: the tests give it a folder, a PATH and the second verifier's place, nothing else.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Command, Stdio};

const PAGE: &str = include_str!("../../packaging/doc/prove-it.md");
/// Printed before each block.
const MARK: &str = "== block of the page ==";
/// Stands for what differs each time; alone on a line, for any lines.
const ANY: char = '…';

/// A block of commands, and what it is to print, where that is said.
struct Step {
    line: usize,
    commands: String,
    printed: Option<String>,
}

/// The blocks of a page, in order.
fn steps(page: &str) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut lines = page.lines().enumerate();
    while let Some((at, line)) = lines.next() {
        let Some(kind) = line.strip_prefix("```") else { continue };
        let body: Vec<&str> = lines.by_ref().map(|(_, line)| line).take_while(|line| *line != "```").collect();
        match (kind, steps.last_mut()) {
            ("sh", _) => steps.push(Step { line: at + 1, commands: body.join("\n"), printed: None }),
            ("text", Some(step)) if step.printed.is_none() => step.printed = Some(body.join("\n")),
            _ => panic!("line {}: a block of {kind:?} that no commands stand before", at + 1),
        }
    }
    steps
}

/// Does a line fit its pattern?
fn fits(pattern: &str, line: &str) -> bool {
    let mut parts = pattern.split(ANY);
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, middle)) = parts.split_last() else { return rest.is_empty() };
    for part in middle {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

/// Do lines fit patterns, where a pattern that is `…` alone fits any number of lines?
fn all_fit(patterns: &[&str], lines: &[&str]) -> bool {
    match patterns.split_first() {
        None => lines.is_empty(),
        Some((pattern, rest)) if pattern.chars().eq([ANY]) => (0..=lines.len()).any(|n| all_fit(rest, &lines[n..])),
        Some((pattern, rest)) => {
            lines.split_first().is_some_and(|(line, more)| fits(pattern, line) && all_fit(rest, more))
        }
    }
}

/// Runs blocks in one shell, stopping at the first that fails; what each printed on either output.
fn run(steps: &[Step], folder: &Path, settings: &[(&str, &str)]) -> (Vec<String>, bool) {
    let mut script = "exec 2>&1\nset -e\n".to_owned();
    for step in steps {
        script.push_str(&format!("echo '{MARK}'\n{}\n", step.commands));
    }
    let programs = folder.join("programs");
    fs::create_dir(&programs).unwrap();
    symlink(env!("CARGO_BIN_EXE_wayside"), programs.join("wayside")).unwrap();
    let path = format!("{}:{}", programs.display(), std::env::var("PATH").unwrap());
    let mut command = Command::new("sh");
    for name in ["WAYSIDE_CONFIG", "WAYSIDE_DATA_DIR", "WAYSIDE_LOG", "WAYSIDE_LISTEN"] {
        command.env_remove(name);
    }
    let verifier = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/verify-ledger.py");
    command.envs(settings.iter().copied());
    command.env("PATH", path).env("VERIFIER", verifier).env("TMPDIR", folder).current_dir(folder);
    let out = command.arg("-c").arg(script).stdin(Stdio::null()).output().unwrap();
    let text = String::from_utf8(out.stdout).unwrap();
    let told = text.split(&format!("{MARK}\n")).skip(1).map(|part| part.trim_end().to_owned()).collect();
    (told, out.status.success())
}

/// Every block of a page runs, and prints what stands there. `settings` = variables the page takes from outside.
#[track_caller]
pub fn page_holds(name: &str, page: &str, settings: &[(&str, &str)]) {
    let folder = tempfile::tempdir().unwrap();
    let steps = steps(page);
    let (told, whole) = run(&steps, folder.path(), settings);
    let last = told.last().cloned().unwrap_or_default();
    for (step, told) in steps.iter().zip(&told) {
        let wanted: Vec<&str> = step.printed.as_deref().unwrap_or_default().lines().collect();
        let fits = all_fit(&wanted, &told.lines().collect::<Vec<_>>());
        assert!(
            fits,
            "line {} of {name}:\n{}\nprinted\n{told}\nand not\n{}",
            step.line,
            step.commands,
            wanted.join("\n")
        );
    }
    assert!(whole && told.len() == steps.len(), "block {} of {} failed: {last}", told.len(), steps.len());
}

#[test]
fn the_page_does_what_it_says() {
    page_holds("prove-it.md", PAGE, &[]);
}

#[test]
fn the_page_shows_every_step_that_was_promised() {
    let all: String = steps(PAGE).into_iter().map(|step| step.commands + "\n").collect();
    for words in [
        "wayside notice publish",
        "wayside consent give",
        "wayside record",
        "wayside consent receipt",
        "wayside consent verify",
        "python3 \"$VERIFIER\"",
        "wayside consent withdraw",
        "wayside forward --once",
        "wayside subject open access",
        "wayside erasures begin",
    ] {
        assert!(all.contains(words), "{words} is not shown");
    }
    let verified = all.matches("wayside consent verify --against").count();
    assert!(
        verified >= 2 && all.rfind("wayside consent verify") > all.rfind("wayside erasures begin"),
        "and verified again"
    );
}

#[test]
fn a_page_that_says_something_else_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let page =
        "```sh\necho one\necho two 1>&2\n```\n\n```text\none\n…wo\n```\n```sh\nfalse\n```\n```sh\necho never\n```\n";
    let steps = steps(page);
    let (told, whole) = run(&steps, folder.path(), &[]);
    assert_eq!((told, whole), (vec!["one\ntwo".to_owned(), String::new()], false), "it stops where a command fails");
    assert!(all_fit(&["one", "…wo"], &["one", "two"]) && !all_fit(&["one"], &["one", "two"]));
    assert!(!all_fit(&["one", "two"], &["one"]) && all_fit(&["…", "two"], &["a", "b", "two"]));
    assert!(fits("a … c…", "a b c d") && !fits("a … c", "a b c d") && !fits("a", "ab"));
}
