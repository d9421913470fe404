//! Tests of the command line as a whole: every command parses, helps with an example, and does what it says against a
//! desk of the test's own and a real database file.

use std::cell::RefCell;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::channel;

use clap::CommandFactory;
use serde_json::{Value, json};

use super::output::Output;
use super::output::tests::Paper;
use super::*;
use crate::base::error::Kind;
use crate::base::time::{ManualClock, Millis};
use crate::cli::check::{Checked, Finding, Severity};
use crate::cli::context::{Fault, Verified};
use crate::domain::consent::{LawfulBasis, Purposes};
use crate::http::reply::Reply;
use crate::ingest::import::Tally;
use crate::store::{Store, StoreOptions};

const NOW: Millis = Millis(1_800_000_000_000);

/// What is answered to a target and a body.
type Answer = Rc<dyn Fn(&str, &[u8]) -> Reply>;
/// Requests that came.
type Asked = Rc<RefCell<Vec<(String, String, Vec<u8>)>>>;

struct TestDesk {
    asked: Asked,
    answer: Answer,
}

impl Desk for TestDesk {
    fn send(&mut self, method: &str, target: &str, _: &[(&str, &str)], body: Vec<u8>) -> Result<Reply> {
        self.asked.borrow_mut().push((method.to_owned(), target.to_owned(), body.clone()));
        Ok((self.answer)(target, &body))
    }
}

struct World {
    dir: tempfile::TempDir,
    out: Paper,
    err: Paper,
    asked: Asked,
}

impl World {
    fn new() -> World {
        World { dir: tempfile::tempdir().unwrap(), out: Paper::default(), err: Paper::default(), asked: Rc::default() }
    }

    /// Makes the database, and closes it.
    fn with_database(self) -> World {
        Store::open(&StoreOptions::at(self.dir.path()), Arc::new(ManualClock::at(NOW))).unwrap().close().unwrap();
        self
    }

    fn context(&self, answer: impl Fn(&str, &[u8]) -> Reply + 'static) -> Context {
        let mut context = Context::at(self.dir.path().to_owned(), self.dir.path().join("control.sock"));
        context.interactive = false;
        context.clock = Arc::new(ManualClock::at(NOW));
        context.input = None;
        context.output = Output { out: Box::new(self.out.clone()), err: Box::new(self.err.clone()) };
        let (asked, answer) = (Rc::clone(&self.asked), Rc::new(answer) as Answer);
        context.open_here =
            Box::new(move || Ok(Box::new(TestDesk { asked: Rc::clone(&asked), answer: Rc::clone(&answer) })));
        context
    }

    fn run(&self, line: &[&str], context: Context) -> Result<u8> {
        run(args(line), context)
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.out.text()).unwrap()
    }

    fn bodies(&self) -> Vec<Value> {
        self.asked.borrow().iter().map(|(_, _, body)| serde_json::from_slice(body).unwrap()).collect()
    }
}

fn args(line: &[&str]) -> Args {
    Args::try_parse_from([&["wayside"], line].concat()).unwrap_or_else(|e| panic!("{line:?}: {e}"))
}

fn nothing(_: &str, _: &[u8]) -> Reply {
    Reply::json(200, &json!({}))
}

#[test]
fn the_definition_of_the_command_line_holds() {
    Args::command().debug_assert();
}

/// Words of a line; what stands between single quotes is one.
fn as_a_shell_would(line: &str) -> Vec<String> {
    let quoted = line.split('\'').enumerate();
    let words = quoted.flat_map(|(n, part)| match n % 2 {
        0 => part.split_whitespace().map(str::to_owned).collect(),
        _ => vec![part.to_owned()],
    });
    words.collect()
}

#[test]
fn every_command_helps_with_an_example() {
    fn walk(command: &clap::Command, path: &str) {
        let help = command.get_after_help().map(ToString::to_string).unwrap_or_default();
        assert!(help.contains("Example:\n  "), "{path} has no example");
        assert!(command.get_about().is_some(), "{path} says nothing of itself");
        for line in help.lines().filter(|line| line.starts_with("  wayside ")) {
            let words = line.split("   ").find(|part| !part.trim().is_empty()).unwrap_or(line);
            let words = words.trim().split(" | ").next().unwrap().split(" < ").next().unwrap();
            let parsed = Args::try_parse_from(as_a_shell_would(words));
            assert!(parsed.is_ok(), "{path}: the example {words:?} does not parse: {}", parsed.err().unwrap());
        }
        for inner in command.get_subcommands() {
            walk(inner, &format!("{path} {}", inner.get_name()));
        }
    }
    walk(&Args::command(), "wayside");
}

#[test]
fn a_wrong_line_ends_with_65_and_help_with_0() {
    let code = |line: &[&str]| parse(line.iter().map(OsString::from)).err();
    assert_eq!(code(&["wayside", "nonsense"]), Some(65));
    assert_eq!(code(&["wayside", "events", "list", "--limit", "0"]), Some(65));
    assert_eq!(code(&["wayside", "events", "list", "--limit", "1001"]), Some(65));
    assert_eq!(code(&["wayside", "version", "--help"]), Some(0));
    assert_eq!(code(&["wayside", "events", "list", "--limit", "1000"]), None);
}

#[test]
fn global_flags_may_stand_anywhere() {
    let args = args(&["events", "list", "--data-dir", "/d", "--config", "/c.toml", "--log", "debug"]);
    assert_eq!((args.data_dir, args.config), (Some("/d".into()), Some("/c.toml".into())));
}

#[test]
fn a_consent_is_sent_as_it_was_said() {
    let world = World::new();
    let answer = json!({"outcome": "recorded", "decisionId": "d1", "seq": 7, "granted": ["measure"], "current": true});
    let context = world.context(move |_, _| Reply::json(200, &answer));
    let line = ["consent", "give", "demo", "--purposes", "measure,personal", "--method", "staff_standalone"];
    assert_eq!(world.run(&line, context).unwrap(), 0);
    let wanted =
        json!({"visitor": "demo", "action": "give", "purposes": ["measure", "personal"], "method": "staff_standalone"});
    assert_eq!(world.bodies(), [wanted]);
    assert_eq!(world.asked.borrow()[0].1, "/v1/consent");
    assert!(world.out.text().contains("granted now  measure"), "{}", world.out.text());
}

#[test]
fn what_the_collector_refuses_keeps_its_kind_and_remedy() {
    let world = World::new();
    let refuse = |_: &str, _: &[u8]| Reply::from_error(&Error::denied("not yours").remedy("use a token"));
    let error = world.run(&["consent", "withdraw", "demo"], world.context(refuse)).unwrap_err();
    assert_eq!((error.kind, error.remedy.as_str()), (Kind::Denied, "use a token"));
    let mut err = Vec::new();
    print_error(&error, &mut err);
    assert_eq!(String::from_utf8(err).unwrap(), "wayside: not yours\n  -> use a token\n");
}

/// Accepts every line but those of the name `bad`.
fn judge(_: &str, body: &[u8]) -> Reply {
    let results: Vec<Value> = std::str::from_utf8(body)
        .unwrap()
        .lines()
        .map(|line| match line.contains("bad") {
            true => json!({"outcome": "invalid", "field": "name", "what": "is bad"}),
            false => json!({"outcome": "accepted", "eventId": "e"}),
        })
        .collect();
    Reply::json(200, &json!({"results": results}))
}

#[test]
fn lines_go_in_batches_of_500_and_failures_name_their_line() {
    let world = World::new();
    let mut context = world.context(judge);
    let mut text: String = (0..1_200).map(|n| format!("{{\"name\":\"n{n}\"}}\n\n")).collect();
    text.push_str("{\"name\":\"bad\"}");
    context.input = Some(Box::new(std::io::Cursor::new(text.into_bytes())));
    assert_eq!(world.run(&["record", "--site", "my shop"], context).unwrap(), 65);
    let asked = world.asked.borrow();
    assert!(asked.len() >= 3 && asked.iter().all(|(_, target, _)| target == "/v1/events?site=my%20shop"));
    let lines = |body: &[u8]| body.iter().filter(|byte| **byte == b'\n').count();
    assert!(asked.iter().all(|(_, _, body)| lines(body) <= 500));
    assert_eq!(asked.iter().map(|(_, _, body)| lines(body)).sum::<usize>(), 1_201);
    assert_eq!(world.out.text(), "line 2401: invalid: name is bad\n");
    assert_eq!(world.err.text(), "1200 accepted, 1 invalid\n");
}

#[test]
fn a_line_that_is_too_long_takes_no_other_with_it() {
    let world = World::new();
    let mut context = world.context(judge);
    let text = format!("{{\"name\":\"a\"}}\n{}\n{{\"name\":\"b\"}}\n", "x".repeat(2 << 20));
    context.input = Some(Box::new(std::io::Cursor::new(text.into_bytes())));
    assert_eq!(world.run(&["record", "--json"], context).unwrap(), 65);
    let outcomes: Vec<Value> = world.out.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let told: Vec<_> = outcomes.iter().map(|o| (o["line"].as_u64().unwrap(), o["outcome"].as_str().unwrap())).collect();
    assert_eq!(told, [(1, "accepted"), (2, "invalid"), (3, "accepted")]);
}

#[test]
fn one_event_comes_from_flags() {
    let world = World::new();
    let line = ["record", "--name", "order", "--visitor", "v", "--attr", "total=9", "--attr", "note=a=b"];
    assert_eq!(world.run(&line, world.context(judge)).unwrap(), 0);
    let wanted = json!({"name": "order", "visitor": "v", "attributes": {"total": "9", "note": "a=b"}});
    assert_eq!(world.bodies(), [wanted]);
    assert_eq!(world.out.text(), "accepted e\n");
}

#[test]
fn importing_hands_over_what_was_stated() {
    let world = World::new();
    let mut context = world.context(nothing);
    context.import = Box::new(|request, _, told| {
        assert_eq!((request.sources.len(), request.options.follow), (2, false));
        assert_eq!(request.options.basis, Some(LawfulBasis::LegitimateInterest));
        assert_eq!(request.options.purposes, Purposes::MEASURE);
        told(5, Some(10));
        Ok(Tally { lines: 12, page_views: 7, ..Tally::default() })
    });
    let line = ["import", "--format", "combined", "--basis", "legitimate_interest", "--json", "a.log", "-"];
    assert_eq!(world.run(&line, context).unwrap(), 0);
    assert_eq!((world.json()["lines"].as_u64(), world.json()["page_views"].as_u64()), (Some(12), Some(7)));
    let consent = ["import", "--format", "combined", "--basis", "consent", "a.log"];
    assert_eq!(world.run(&consent, world.context(nothing)).unwrap_err().code, "import_basis");
}

#[test]
fn reading_commands_need_no_daemon() {
    let world = World::new().with_database();
    for line in [
        &["events", "list"][..],
        &["visits", "list"],
        &["batches", "list"],
        &["counts"],
        &["status"],
        &["export", "events"],
    ] {
        assert_eq!(world.run(line, world.context(nothing)).unwrap(), 0, "{line:?}");
    }
    assert!(world.asked.borrow().is_empty());
    assert!(world.out.text().contains("no daemon runs; read from"));
    let missing = world.run(&["events", "show", "7"], world.context(nothing)).unwrap_err();
    assert_eq!(missing.kind, Kind::NotFound);
    assert_eq!(world.run(&["tail"], world.context(nothing)).unwrap_err().code, "no_daemon");
}

#[test]
fn json_is_all_that_is_printed() {
    let world = World::new().with_database();
    world.run(&["events", "list", "--json"], world.context(nothing)).unwrap();
    assert_eq!(world.json(), json!({"items": [], "next": null}));
    let world = World::new().with_database();
    world.run(&["status", "--json"], world.context(nothing)).unwrap();
    assert_eq!((world.json()["attention"].is_array(), &world.json()["daemon"]["running"]), (true, &json!(false)));
    let world = World::new();
    world.run(&["version", "--json"], world.context(nothing)).unwrap();
    assert_eq!(world.json()["wayside"], env!("CARGO_PKG_VERSION"));
}

#[test]
fn keys_are_sealed_to_a_recipient_and_recovered() {
    let world = World::new().with_database();
    let file = |name: &str| world.dir.path().join(name).to_str().unwrap().to_owned();
    let (secret, copy, into) = (file("recovery.key"), file("copy.db"), file("restored"));
    world.run(&["keys", "recipient", &secret], world.context(nothing)).unwrap();
    let recipient = world.out.text().trim().to_owned();
    assert_eq!(recipient.len(), 64);
    assert!(!std::fs::read_to_string(&secret).unwrap().contains(&recipient), "the secret half is another text");
    let again = world.run(&["keys", "recipient", &secret], world.context(nothing)).unwrap_err();
    assert_eq!(again.code, "exists");
    let bad = world.run(&["backup", &copy, "--keys-to", "age1x"], world.context(nothing)).unwrap_err();
    assert_eq!(bad.code, "recipient");
    world.run(&["backup", &copy, "--keys-to", &recipient], world.context(nothing)).unwrap();
    let sealed = format!("{copy}.keys");
    assert!(world.out.text().contains(&sealed));
    let (root, moved) = (file("root.key"), std::path::Path::new(&into).join("root.key"));
    world.run(&["keys", "recover", &sealed, "--key", &secret, "--to", &into], world.context(nothing)).unwrap();
    assert_eq!(std::fs::read(root).unwrap(), std::fs::read(moved).unwrap());
    assert!(std::path::Path::new(&into).join("keys.db").exists());
}

#[test]
fn a_backup_is_made_and_told() {
    let world = World::new().with_database();
    let to = world.dir.path().join("copy.db");
    world.run(&["backup", to.to_str().unwrap()], world.context(nothing)).unwrap();
    assert!(to.exists() && world.out.text().contains("copy.db"));
}

#[test]
fn acknowledging_names_target_lane_and_number() {
    let world = World::new();
    let line = ["batches", "ack", "--target", "outbox", "--upto", "pages/12"];
    assert_eq!(world.run(&line, world.context(nothing)).unwrap(), 0);
    assert_eq!(world.bodies(), [json!({"target": "outbox", "lane": "pages", "upto": 12})]);
    world.run(&["forward", "--once"], world.context(nothing)).unwrap();
    world.run(&["upkeep", "--once", "--confirm"], world.context(nothing)).unwrap();
    assert_eq!(world.bodies()[1..], [json!({"force": true}), json!({"confirm": true})]);
}

#[test]
fn batches_that_do_not_hold_are_named_and_fail() {
    let world = World::new();
    let mut context = world.context(nothing);
    context.verify = Box::new(|_, _| {
        let fault = Fault { batch: "pages/3".to_owned(), what: "the digest differs".to_owned() };
        Ok(Verified { batches: 9, faults: vec![fault], ..Verified::default() })
    });
    assert_eq!(world.run(&["batches", "verify"], context).unwrap_err().code, "unverified");
    assert!(world.out.text().starts_with("pages/3: the digest differs\n"));
}

#[test]
fn a_configuration_with_an_error_ends_with_78() {
    let world = World::new();
    let finding = |severity| Finding {
        severity,
        line: Some(3),
        key: "door.listen".to_owned(),
        what: "is no address".to_owned(),
        remedy: "write host:port".to_owned(),
    };
    for (severity, code) in [(Severity::Error, 78), (Severity::Warning, 0)] {
        let mut context = world.context(nothing);
        context.check = Box::new(move || {
            Ok(Checked { file: None, findings: vec![finding(severity)], effective: "a = 1\n".into() })
        });
        assert_eq!(world.run(&["check"], context).unwrap(), code);
    }
    assert!(world.out.text().contains("error: line 3, door.listen: is no address\n  -> write host:port"));
}

#[test]
fn a_reader_that_went_away_is_no_error() {
    let world = World::new();
    let mut context = world.context(nothing);
    let (sender, stop) = channel();
    (context.stop, context.open) = (stop, Some(sender));
    context.check = Box::new(|| Err(Error::storage("printing").code("broken_pipe")));
    assert_eq!(world.run(&["check"], context).unwrap(), 0);
}

#[test]
fn a_notice_is_written_checked_previewed_and_compared() {
    use crate::domain::notice::Controller;
    use crate::domain::notice::lint::Facts;
    let world = World::new();
    let file = world.dir.path().join("notice.toml").display().to_string();
    let other = world.dir.path().join("other.toml").display().to_string();
    let page = world.dir.path().join("notice.html").display().to_string();
    let run = |line: &[&str], answer: Value| {
        let mut context = world.context(move |_, _| Reply::json(200, &answer));
        let controller = Controller {
            name: "Example Ltd".to_owned(),
            email: "privacy@shop.example".to_owned(),
            privacy_url: "https://shop.example/privacy".to_owned(),
            authority: "Authority, Town".to_owned(),
            ..Controller::default()
        };
        context.facts = vec![Facts {
            site: "default".to_owned(),
            controller,
            purposes: vec![("measure".to_owned(), LawfulBasis::Consent, String::new())],
            words: vec!["measure".to_owned(), "share".to_owned()],
            choice_months: 6,
            proof_months: None,
            ..Facts::default()
        }];
        world.run(line, context)
    };
    let none = || Value::Null;
    assert_eq!(run(&["notice", "new", "--from-config", "--lang", "de,en,fr", "--out", &file], none()).unwrap(), 0);
    assert_eq!(run(&["notice", "check", &file], none()).unwrap(), 65, "the French text is not translated");
    assert!(world.out.text().contains("language.fr.text"), "{}", world.out.text());
    assert_eq!(run(&["notice", "publish", &file], none()).unwrap(), 65);
    assert!(world.asked.borrow().is_empty(), "what cannot be published is not sent");
    let again = run(&["notice", "new", "--from-config", "--out", &file], none()).unwrap_err();
    assert_eq!(again.kind, Kind::Conflict, "a draft somebody edits is not written over");
    let new = ["notice", "new", "--from-config", "--lang", "de,en", "--version", "2", "--out", &other];
    assert_eq!(run(&new, none()).unwrap(), 0);
    assert_eq!(run(&["notice", "check", &other], none()).unwrap(), 0);
    assert_eq!(run(&["notice", "preview", &other, "--lang", "de", "--out", &page], none()).unwrap(), 0);
    let html = std::fs::read_to_string(&page).unwrap();
    assert!(html.contains("lang=\"de\"") && html.contains("Example Ltd") && html.contains("6 Monate"), "{html}");
    let told = json!({"published": [{"version": "2", "language": "en", "digest": "00", "valid_from": "2027-02-01T00:00:00.000Z"}]});
    assert_eq!(run(&["notice", "publish", &other, "--valid-from", "2027-02-01"], told).unwrap(), 0);
    let (method, target, body) = world.asked.borrow()[0].clone();
    assert_eq!((method.as_str(), target.as_str()), ("POST", "/v1/notices"));
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(body["validFrom"], json!(Millis::parse("2027-02-01T00:00:00Z").unwrap().0));
    assert_eq!(body["draft"]["language"]["en"]["title"], json!("Your privacy choices"));
    let text = std::fs::read_to_string(&other).unwrap();
    let third = world.dir.path().join("third.toml").display().to_string();
    std::fs::write(&third, text.replace("a random identifier", "a number of yours")).unwrap();
    assert_eq!(run(&["notice", "diff", &other, &third], none()).unwrap(), 0);
    let out = world.out.text();
    assert!(out.contains("en purposes.measure.text:") && out.contains("to be asked again: measure"), "{out}");
    assert_eq!(run(&["notice", "diff", &other, &other], none()).unwrap(), 0);
    assert!(world.out.text().ends_with("no difference\nnobody has to be asked again\n"));
}
