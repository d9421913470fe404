//! Shape: length of files, functions and test modules, and the words each file opens with.
//! Must never judge what the code does. Invariant: lengths are lines of the file, counted by the parser's positions.

use crate::source::Source;
use crate::{Offence, report, sources};

const FILE_LINES_MAX: usize = 500;
const BODY_LINES_MAX: usize = 70;
const TEST_MODULE_LINES_MAX: usize = 120;
const OPENING_LINES_MIN: usize = 2;

/// Files longer than 500 lines.
pub fn check_file(source: &Source) -> Vec<Offence> {
    if source.lines <= FILE_LINES_MAX {
        return Vec::new();
    }
    let what = format!("{} lines, at most {FILE_LINES_MAX} - split it by what it owns", source.lines);
    vec![Offence::new(&source.path, source.lines, what)]
}

/// Functions with a body longer than 70 lines, braces included.
pub fn check_bodies(source: &Source) -> Vec<Offence> {
    let long = source.bodies.iter().filter(|body| body.lines > BODY_LINES_MAX);
    long.map(|body| {
        let what =
            format!("fn {} has {} lines, at most {BODY_LINES_MAX} - give its steps names", body.name, body.lines);
        Offence::new(&source.path, body.line, what)
    })
    .collect()
}

/// Test modules of more than 120 lines inside the file they test.
pub fn check_test_modules(source: &Source) -> Vec<Offence> {
    let long = source.test_modules.iter().filter(|module| module.lines > TEST_MODULE_LINES_MAX);
    long.map(|module| {
        let what = format!(
            "mod {} has {} lines of tests, at most {TEST_MODULE_LINES_MAX} inside a file - move them to a sibling tests.rs",
            module.name, module.lines
        );
        Offence::new(&source.path, module.line, what)
    })
    .collect()
}

/// Files that do not say at their top what they own.
pub fn check_opening(source: &Source) -> Vec<Offence> {
    // a test says what it proves; one line may be enough for that
    let test = source.path.starts_with("tests/") || source.path.ends_with("/tests.rs");
    let least = if test { 1 } else { OPENING_LINES_MIN };
    if source.opening >= least {
        return Vec::new();
    }
    let what = format!(
        "opens with {} lines of `//!`, at least {least} - say what it owns, must never do, and its invariant",
        source.opening
    );
    vec![Offence::new(&source.path, 1, what)]
}

#[test]
fn no_file_is_longer_than_500_lines() {
    report(sources().iter().flat_map(check_file).collect());
}

#[test]
fn no_function_is_longer_than_70_lines() {
    report(sources().iter().flat_map(check_bodies).collect());
}

#[test]
fn long_unit_tests_live_in_a_sibling_file() {
    report(sources().iter().flat_map(check_test_modules).collect());
}

#[test]
fn each_file_opens_with_what_it_owns() {
    report(sources().iter().flat_map(check_opening).collect());
}

#[cfg(test)]
mod tests {
    use super::{check_bodies, check_file, check_opening, check_test_modules};
    use crate::lines_found;

    /// `head`, then lines up to `lines` in all, the last one `tail`.
    fn stretch(head: &str, lines: usize, tail: &str) -> String {
        format!("{head}\n{}{tail}\n", "// more\n".repeat(lines - 2))
    }

    #[test]
    fn a_file_may_have_500_lines_and_no_more() {
        assert_eq!(lines_found("src/a.rs", &stretch("//! A", 500, "//"), check_file), []);
        assert_eq!(lines_found("src/a.rs", &stretch("//! A", 501, "//"), check_file), [501]);
    }

    #[test]
    fn a_body_may_have_70_lines_and_no_more() {
        for head in ["fn f() {", "impl A { fn f() {", "trait A { fn f() {", "fn g() { fn f() {"] {
            let tail = "}".repeat(head.matches('{').count());
            let enclosing = usize::from(head.starts_with("fn g"));
            assert_eq!(lines_found("src/a.rs", &stretch(head, 70, &tail), check_bodies), []);
            assert_eq!(lines_found("src/a.rs", &stretch(head, 71, &tail), check_bodies).len(), 1 + enclosing);
        }
    }

    #[test]
    fn tests_inside_a_file_may_have_120_lines_and_no_more() {
        let head = "#[cfg(test)] mod tests {";
        assert_eq!(lines_found("src/a.rs", &stretch(head, 120, "}"), check_test_modules), []);
        assert_eq!(lines_found("src/a.rs", &stretch(head, 121, "}"), check_test_modules), [1]);
        assert_eq!(lines_found("src/a.rs", &stretch("mod tests {", 121, "}"), check_test_modules), []);
    }

    #[test]
    fn one_opening_line_is_not_enough() {
        assert_eq!(lines_found("src/a.rs", "//! Owns a.\n//! Must not b.\n", check_opening), []);
        assert_eq!(
            lines_found("src/a.rs", "//! Owns a.\nfn f() {}\n//! late\n".split("//! l").next().unwrap(), check_opening),
            [1]
        );
        assert_eq!(lines_found("src/a.rs", "// Owns a.\n// Must not b.\n", check_opening), [1]);
    }
}
