//! The papers against the program: commands in README and man page, and the verifier printed in `packaging/doc/batches.md`.
//! Must never judge wording. Invariant: what a reader can type or run from a paper works.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use wayside::base::digest::SigningKey;
use wayside::base::gzip;
use wayside::base::id::{EdgeId, Epoch, Salt, Seq};
use wayside::base::text::hex;
use wayside::base::time::Millis;
use wayside::domain::batch::{FORMAT, Manifest, SealedPart, key_id};
use wayside::domain::line::{HoleReason, Line, LineKind, SCHEMA, digest, line_hash, render_hole};
use wayside::domain::visitor::Rights;

const MAN: &str = "packaging/man/wayside.1";
const README: &str = "README.md";

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn paper(path: &str) -> String {
    std::fs::read_to_string(root().join(path)).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// The help of a command, or `None` where there is no such command.
fn help(words: &[&str]) -> Option<String> {
    let out = Command::new(env!("CARGO_BIN_EXE_wayside")).args(words).arg("--help").output().expect("wayside runs");
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

/// The commands a help text lists.
fn commands(help: &str) -> BTreeSet<String> {
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    // a description that goes on in the next line is indented deeper
    let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    names.filter_map(|line| line.split_whitespace().next()).filter(|name| *name != "help").map(str::to_owned).collect()
}

/// Every command and subcommand, as words.
fn every_command() -> Vec<Vec<String>> {
    let mut out = Vec::new();
    for one in commands(&help(&[]).expect("the program's help")) {
        let below = commands(&help(&[&one]).unwrap_or_else(|| panic!("wayside {one} --help")));
        out.push(vec![one.clone()]);
        out.extend(below.into_iter().map(|two| vec![one.clone(), two]));
    }
    assert!(out.iter().any(|words| words.join(" ") == "batches verify"), "the help was not understood: {out:?}");
    out
}

/// Lines of the fenced blocks of a paper that call wayside, each from the word behind `wayside` on.
fn calls(text: &str) -> Vec<Vec<String>> {
    let mut inside = false;
    let mut out = Vec::new();
    for line in text.lines() {
        if line.starts_with("```") {
            inside = !inside;
            continue;
        }
        let command = line.trim().trim_start_matches("$ ");
        // what goes into it stands before the bar
        let call = command
            .rsplit("| ")
            .find_map(|part| part.trim().trim_start_matches("target/release/").strip_prefix("wayside "));
        if let Some(call) = call.filter(|_| inside) {
            let code = call.split(" # ").next().unwrap_or(call);
            let code = code.split(['>', '<', '\'']).next().unwrap_or(code);
            out.push(code.split_whitespace().map(str::to_owned).collect());
        }
    }
    out
}

#[test]
fn every_command_stands_in_the_man_page_and_in_the_readme() {
    let (man, readme) = (paper(MAN).replace("\\-", "-"), paper(README));
    let mut missing = Vec::new();
    for words in every_command() {
        let name = words.join(" ");
        // a top-level command is a tagged paragraph of the man page
        let in_man = if words.len() == 1 { man.contains(&format!("\n.B {name}")) } else { man.contains(&words[1]) };
        let in_readme = readme.contains(&format!("`{}", words[0])) && readme.contains(words.last().expect("a word"));
        if !in_man {
            missing.push(format!("{MAN}: {name}"));
        }
        if !in_readme {
            missing.push(format!("{README}: {name}"));
        }
    }
    assert!(missing.is_empty(), "not there: {missing:#?}");
}

#[test]
fn the_papers_name_no_command_or_flag_that_is_not_there() {
    let known: BTreeSet<String> = every_command().into_iter().map(|words| words.join(" ")).collect();
    let mut wrong = Vec::new();
    for name in [README, "packaging/doc/batches.md"] {
        let calls = calls(&paper(name));
        assert!(name != README || calls.len() > 5, "the examples were not found");
        for call in calls {
            // global flags may stand before the command
            let plain: Vec<&str> = call.iter().map(String::as_str).collect();
            let at = plain.iter().position(|word| known.contains(*word)).unwrap_or(plain.len());
            let two = plain.get(at..at + 2).map(|two| two.join(" ")).filter(|two| known.contains(two));
            let depth = if two.is_some() { 2 } else { 1 };
            let Some(text) = plain.get(at..(at + depth).min(plain.len())).filter(|it| !it.is_empty()).and_then(help)
            else {
                wrong.push(format!("{name}: wayside {}: no such command", plain.join(" ")));
                continue;
            };
            let flags = plain.iter().filter(|word| word.starts_with("--"));
            for flag in flags.map(|word| word.split('=').next().unwrap_or(word)) {
                let there = text.split(|c: char| c.is_whitespace() || ",[]<>=".contains(c)).any(|word| word == flag);
                if !there {
                    wrong.push(format!("{name}: wayside {}: no flag {flag}", plain.join(" ")));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}

#[test]
fn the_readme_opens_with_two_commands() {
    let readme = paper(README);
    let before: &str = readme.split("\n## Try it").next().expect("an opening");
    let blocks: Vec<&str> =
        before.split("```").skip(1).step_by(2).map(|block| block.trim_start_matches("sh").trim()).collect();
    assert_eq!(blocks, ["cargo run --release -- serve", "tests/run.sh"]);
    assert!(readme.lines().count() <= 350, "{} lines", readme.lines().count());
}

/// A line of a batch with that number.
fn line(seq: i64) -> Vec<u8> {
    let line = Line {
        kind: LineKind::Event,
        seq: Seq(seq),
        first_seq: Seq(seq),
        origin: (EdgeId([1; 16]), Epoch([2; 8])),
        site: Some("shop".into()),
        event_id: Some(format!("e{seq}")),
        received: Millis(0),
        corrected: Millis(0),
        rights: Rights::default(),
        salt: Salt([3; 12]),
        about: None,
        body: "\"name\":\"page_viewed\",\"title\":\"\u{2028}Caf\u{e9}\"".to_owned(),
        moved: false,
    };
    line.render("Kiosk \"7\"")
}

/// Writes a batch of two lines and a hole, and returns its manifest and its digest.
fn batch(dir: &Path, batch_no: i64, previous: Option<String>) -> (PathBuf, String) {
    let first = batch_no * 10;
    let rows = [line(first), line(first + 1), line(first + 2)];
    let hashes: Vec<_> = rows.iter().map(|row| line_hash(row)).collect();
    let hole = render_hole((EdgeId([1; 16]), Epoch([2; 8])), Seq(first + 1), HoleReason::Withdrawn, &hashes[1]);
    let ndjson: Vec<u8> = [&rows[0], &hole, &rows[2]].into_iter().flat_map(|row| [row, &b"\n"[..]].concat()).collect();
    let key = SigningKey::from_seed([9; 32]);
    let digest = hex(&digest(&hashes));
    let part = SealedPart {
        format: FORMAT,
        edge: EdgeId([1; 16]).to_string(),
        epoch: Epoch([2; 8]).to_string(),
        lane: "pages".to_owned(),
        batch_no,
        first_seq: first,
        last_seq: first + 2,
        count: 3,
        digest: digest.clone(),
        previous_digest: previous,
        previous_epoch: None,
        min_received_at: Millis(0).rfc3339(),
        max_received_at: Millis(0).rfc3339(),
        sealed_at: Millis(0).rfc3339(),
        schema: SCHEMA.to_owned(),
        key_id: key_id(&key.public()),
    };
    let (sealed, signature) = part.sign(&key);
    let manifest = Manifest {
        sealed: String::from_utf8(sealed).expect("text"),
        signature: hex(&signature),
        public_key: hex(&key.public()),
        holes: 1,
        complete_until: Millis(0).rfc3339(),
        backlog_rows: 0,
    };
    let path = dir.join(format!("{batch_no:012}.manifest.json"));
    std::fs::write(&path, serde_json::to_vec(&manifest).expect("JSON")).expect("a file");
    std::fs::write(dir.join(format!("{batch_no:012}.ndjson.gz")), gzip::compress(&ndjson, 6)).expect("a file");
    (path, digest)
}

fn python() -> String {
    std::env::var("WAYSIDE_TEST_PYTHON").unwrap_or_else(|_| "python3".to_owned())
}

#[test]
fn the_printed_verifier_passes_whole_batches_and_notices_changed_ones() {
    let text = paper("packaging/doc/batches.md");
    let program = text.split("```python\n").nth(1).and_then(|rest| rest.split("```").next()).expect("a Python block");
    let dir = tempfile::tempdir().expect("a folder");
    let run = |manifests: &[&PathBuf]| -> Output {
        Command::new(python()).arg("-c").arg(program).args(manifests).output().expect("python3 runs")
    };
    let (first, digest) = batch(dir.path(), 1, None);
    let (second, _) = batch(dir.path(), 2, Some(digest));
    let good = run(&[&first, &second]);
    let told = String::from_utf8_lossy(&good.stdout);
    assert!(good.status.success(), "{}", String::from_utf8_lossy(&good.stderr));
    assert_eq!(told.matches("3 lines, ok").count(), 2, "{told}");
    // a batch that is not the next one, and a line that is not the one that was sealed
    let (apart, _) = batch(dir.path(), 3, Some("00".repeat(32)));
    assert!(!run(&[&second, &apart]).status.success(), "a broken chain");
    std::fs::write(dir.path().join("000000000002.ndjson.gz"), gzip::compress(&[line(20), b"\n".to_vec()].concat(), 6))
        .expect("a file");
    assert!(!run(&[&second]).status.success(), "changed lines");
}
