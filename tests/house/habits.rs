//! Habits: one clock, no sleeping, no unwrap, no leftovers of writing, no stray printing.
//! Must never judge style that rustfmt or clippy settle. Invariant: what holds inside a macro's tokens holds too.

use crate::source::{Name, Source, Word};
use crate::{Offence, covers, program, report};

/// Who reads the clock of the day.
const CLOCK: &[&str] = &["src/base/time.rs"];
/// Who measures how long something takes, or gives it a deadline.
const STOPWATCH: &[&str] = &[
    "src/http/server*",
    "src/http/desk*",
    "src/http/local*",
    "src/store/writer*",
    "src/store/reader*",
    "src/cli/",
    "src/base/time.rs",
];
/// Who prints.
const VOICE: &[&str] = &["src/cli/", "src/main.rs", "src/daemon*"];

/// What an `expect` must begin with: it states why the case cannot be.
const INVARIANT: &str = "invariant: ";

fn stands_in(places: &[&str], source: &Source) -> bool {
    places.iter().any(|place| covers(place, &source.path))
}

/// Clocks read and sleeps taken outside their place.
pub fn check_time(source: &Source) -> Vec<Offence> {
    let judge = |name: &Name| {
        let what = if name.words.iter().any(|word| word == "SystemTime") && !stands_in(CLOCK, source) {
            "only base/time.rs knows the clock of the day - take a Clock or a Millis from the caller"
        } else if (name.ends_with(&["Instant", "now"]) || name.renamed && name.ends_with(&["Instant"]))
            && !name.test
            && !stands_in(STOPWATCH, source)
        {
            "time is measured only in http/server, store/writer and cli - take a Clock from the caller"
        } else if name.ends_with(&["thread", "sleep"]) {
            "nobody sleeps - wait on a channel or a Condvar with a timeout, so that stopping is prompt"
        } else {
            return None;
        };
        Some(Offence::new(&source.path, name.line, format!("`{}`: {what}", name.text())))
    };
    source.names.iter().filter_map(judge).collect()
}

/// `unwrap`, and `expect` without an invariant, outside tests.
pub fn check_unwrap(source: &Source) -> Vec<Offence> {
    let mut found = Vec::new();
    for call in source.calls.iter().filter(|it| !it.test) {
        let excused = call.method == "expect" && call.literal.as_deref().is_some_and(|it| it.starts_with(INVARIANT));
        if !excused {
            let what = format!(
                "`.{}(...)` - return an Error, or expect(\"{INVARIANT}why it cannot be\") where it cannot",
                call.method
            );
            found.push(Offence::new(&source.path, call.line, what));
        }
    }
    for name in source.names.iter().filter(|it| !it.test) {
        if name.ends_with(&["Option", "unwrap"]) || name.ends_with(&["Result", "unwrap"]) {
            let what = format!("`{}` - return an Error", name.text());
            found.push(Offence::new(&source.path, name.line, what));
        }
    }
    found
}

/// Macros that have no place in finished code, and printing outside the command line.
pub fn check_macros(source: &Source) -> Vec<Offence> {
    let judge = |word: &Word| {
        let what = match word.text.as_str() {
            "todo" | "unimplemented" => "unfinished - finish it, or leave it out",
            "dbg" => "left over from a search - remove it",
            "println" | "eprintln" | "print" | "eprint" if !word.test && !stands_in(VOICE, source) => {
                "only cli, main and daemon print - use log, or return the text"
            }
            _ => return None,
        };
        Some(Offence::new(&source.path, word.line, format!("`{}!`: {what}", word.text)))
    };
    source.macros.iter().filter_map(judge).collect()
}

#[test]
fn the_clock_has_one_reader_and_nobody_sleeps() {
    report(program().flat_map(check_time).collect());
}

#[test]
fn nothing_is_unwrapped_outside_tests() {
    report(program().flat_map(check_unwrap).collect());
}

#[test]
fn nothing_is_unfinished_and_only_commands_print() {
    report(program().flat_map(check_macros).collect());
}

#[cfg(test)]
mod tests {
    use super::{check_macros, check_time, check_unwrap};
    use crate::lines_found;

    #[test]
    fn a_second_clock_is_found() {
        let text = "use std::time::{Instant, SystemTime as S};\nfn f() { std::time::SystemTime::now(); }\n\
                    fn g() { Instant::now(); }\nfn h() { info!(\"{:?}\", Instant::now()); }\n";
        assert_eq!(lines_found("src/forward/retry.rs", text, check_time), [1, 2, 3, 4]);
        assert_eq!(lines_found("src/store/writer.rs", text, check_time), [1, 2]);
        assert_eq!(lines_found("src/base/time.rs", text, check_time), []);
        assert_eq!(
            lines_found("src/domain/a.rs", "use std::time::Instant as T;\nfn f(at: Instant) {}", check_time),
            [1]
        );
        assert_eq!(lines_found("src/domain/a.rs", "#[test]\nfn f() { Instant::now(); }", check_time), []);
    }

    #[test]
    fn sleep_is_found_in_tests_too() {
        let text = "use std::thread;\n#[test]\nfn f() { thread::sleep(d); }\nuse std::thread::sleep;\n";
        assert_eq!(lines_found("src/upkeep/mod.rs", text, check_time), [3, 4]);
    }

    #[test]
    fn unwrap_is_found_outside_tests_only() {
        let text = "fn f() { a.unwrap();\na.expect(\"no\");\na.expect(\"invariant: held\");\na.expect(why);\n\
                    vec![a.unwrap()];\ninfo!(\"{}\", a.expect(\"invariant: x\"));\nb.map(Option::unwrap);\n\
                    a.unwrap_or(1); }\n#[cfg(test)]\nmod tests { fn f() { a.unwrap(); } }\n#[cfg(not(test))]\n\
                    fn g() { a.unwrap(); }\n";
        assert_eq!(lines_found("src/base/id.rs", text, check_unwrap), [1, 2, 4, 5, 7, 12]);
        assert_eq!(lines_found("src/base/tests.rs", text, check_unwrap), []);
    }

    #[test]
    fn leftovers_and_stray_printing_are_found() {
        let text = "fn f() { todo!();\nunimplemented!();\ndbg!(1);\nprintln!();\nstd::eprintln!();\n\
                    vec![dbg!(2)];\na != (b); }\n";
        assert_eq!(lines_found("src/base/id.rs", text, check_macros), [1, 2, 3, 4, 5, 6]);
        assert_eq!(lines_found("src/cli/mod.rs", text, check_macros), [1, 2, 3, 6]);
        assert_eq!(lines_found("src/daemon.rs", "fn f() { eprintln!(); }", check_macros), []);
    }
}
