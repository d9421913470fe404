//! The operator's records by command: beside a daemon and without one, as pages and as JSON; and that no answer of the daemon sets
//! a cookie, as `wayside cookies` says. What stands in them is tested in `src/daemon/tests/records.rs`.

use std::process::{Command, Output};

use serde_json::{Value, json};

use crate::support::*;

const EXEMPT: &str =
    "[controller]\nname = \"Example Ltd\"\n[[site]]\nid = \"shop\"\nwithout_consent = \"consent_exempt\"\n";

/// A command on the home's data, with its configuration.
fn wayside(home: &Home, words: &[&str]) -> Output {
    let data = home.data();
    let mut command = Command::new(env!("CARGO_BIN_EXE_wayside"));
    command.current_dir(data.parent().unwrap()).args(["--data-dir", "data", "--config", "wayside.toml"]);
    command.args(words).output().unwrap()
}

#[track_caller]
fn told(home: &Home, words: &[&str]) -> String {
    let out = wayside(home, words);
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

const PAGES: [&[&str]; 4] =
    [&["records"], &["dpia"], &["breach", "--since", "2020-01-01", "--until", "2120-01-01"], &["cookies"]];

#[test]
fn records_read_the_same_beside_a_daemon_and_without_one() {
    let daemon = Daemon::with("[controller]\nname = \"Example Ltd\"\n[[site]]\nid = \"shop\"\n");
    daemon.give("visitor-1", &["measure", "personal"]);
    assert_eq!(daemon.events(&page_view("visitor-1")).outcomes(200), ["accepted"]);
    let beside: Vec<String> = PAGES.iter().map(|words| told(&daemon.home, words)).collect();
    for (words, page) in PAGES.iter().zip(&beside) {
        assert!(page.starts_with("# "), "{words:?}: {page}");
        let whole: Value = serde_json::from_str(&told(&daemon.home, &[words, &["--json"][..]].concat())).unwrap();
        assert!(whole.is_object(), "{words:?}");
    }
    assert!(
        beside[0].contains("Example Ltd")
            && beside[0].contains("| measure | consent (Art. 6(1)(a)) | not needed | 1 |")
    );
    assert!(beside[2].contains("People: 1. Decisions: 1."), "{}", beside[2]);
    let home = daemon.stop();
    let until = |text: &str| text.lines().filter(|line| !line.contains("until")).collect::<Vec<_>>().join("\n");
    for (words, page) in PAGES.iter().zip(&beside) {
        assert_eq!(until(&told(&home, words)), until(page), "{words:?}");
    }
    let wrong = wayside(&home, &["breach", "--since", "2026-02-01", "--until", "2026-01-01"]);
    assert_eq!(wrong.status.code(), Some(65));
    assert_eq!(wayside(&home, &["exempt-report"]).status.code(), Some(66), "no site is exempt");
}

#[test]
fn one_row_against_a_condition_fails_the_exemption() {
    let daemon = Daemon::with(EXEMPT);
    for visitor in ["visitor-1", "visitor-2"] {
        assert_eq!(daemon.events(&page_view(visitor)).outcomes(200), ["accepted"]);
    }
    let home = daemon.stop();
    let failing = || -> Vec<String> {
        let out = wayside(&home, &["exempt-report", "--json"]);
        assert_eq!(out.status.code(), Some(65), "people are not told: there is no notice");
        let report: Value = serde_json::from_slice(&out.stdout).unwrap();
        let all = report["sites"][0]["conditions"].as_array().unwrap();
        let bad = all.iter().filter(|one| one["holds"] == json!(false));
        bad.map(|one| one["asked"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(failing(), ["people are told"]);
    let rows = rusqlite::Connection::open(home.database()).unwrap();
    for (sql, condition) in [
        ("UPDATE events SET flags = 5", "audience measurement only"),
        (
            "UPDATE visitors SET first_seen_at = first_seen_at - 34300800000",
            "the identifier lives 13 months at most and is not renewed",
        ),
        ("UPDATE visitors SET denied = 1", "people can object"),
        (
            "UPDATE events SET received_at = received_at - 68600000000 WHERE seq = (SELECT min(seq) FROM events)",
            "rows stay 25 months at most",
        ),
    ] {
        assert!(!failing().contains(&condition.to_owned()), "{condition}");
        rows.execute_batch(sql).unwrap();
        assert!(failing().contains(&condition.to_owned()), "{condition}: {:?}", failing());
    }
}

#[test]
fn no_answer_sets_a_cookie() {
    let daemon = Daemon::plain();
    let asked = json!({"visitor": "visitor-1", "action": "give", "purposes": ["measure"]});
    let answers = [
        daemon.send(&post("/v1/consent").json(&asked)),
        daemon.send(&post("/v1/events").json(&page_view("visitor-1"))),
        daemon.send(&get("/v1/pixel.gif?visitor=visitor-1&url=https://shop.example/")),
        daemon.send(&get("/v1/pixel.gif?url=https://shop.example/")),
        daemon.send(&get("/v1/consent/state?visitor=visitor-1")),
        daemon.send(&get("/v1/health")),
        daemon.send(&get("/.well-known/gpc.json")),
        daemon.send(&get("/api/v2/journey/deployments/default/customers/visitor-1/ping")),
    ];
    for answer in &answers {
        assert!(answer.status < 500, "{answer:?}");
        for name in ["set-cookie", "etag", "last-modified"] {
            assert!(answer.header(name).is_none(), "{name}, which a browser sends back: {answer:?}");
        }
    }
}

#[test]
fn whoever_refuses_is_answered_like_everybody_whatever_is_done_without_consent() {
    for without in ["count", "drop", "consent_exempt"] {
        let daemon = Daemon::with(&format!("[[site]]\nid = \"shop\"\nwithout_consent = \"{without}\"\n"));
        let no = daemon.decide(&json!({"visitor": "visitor-no", "action": "refuse"}));
        assert_eq!(no.status, 200, "{no:?}");
        let answers = |visitor: &str| {
            [
                daemon.events(&page_view(visitor)),
                daemon.send(&get(&format!("/v1/pixel.gif?visitor={visitor}&url=https://shop.example/"))),
                daemon.send(&get(&format!("/v1/consent/state?visitor={visitor}"))),
                daemon.send(&get(&format!("/api/v2/journey/deployments/shop/customers/{visitor}/ping"))),
            ]
        };
        for (refused, other) in answers("visitor-no").iter().zip(answers("visitor-new")) {
            assert_eq!((refused.status, other.status), (200, 200), "{without}: {refused:?}");
            assert_eq!(refused.header("content-type"), other.header("content-type"), "{without}");
        }
    }
}

/// Every command, and where what it does with people's data is written down. The routes it asks are in `src/daemon/tests/audit.rs`.
const COMMANDS: [(&str, &str); 37] = [
    ("serve", "takes data in"),
    ("check", "reads no row"),
    ("record", "takes data in; decisions are entries of the ledger"),
    ("consent", "decisions are entries of the ledger; prove --sealed by its route"),
    ("notice", "by its routes"),
    ("import", "by its route, at the end"),
    ("events", "shows pseudonymous rows to whoever may read the file"),
    ("visits", "personal_read, where personal fields are opened"),
    ("counts", "names nobody"),
    ("tail", "by its route"),
    ("status", "names nobody"),
    ("batches", "ack by its route"),
    ("forward", "does what the daemon does by itself"),
    ("edge", "renew and what is decided about other edges by their routes"),
    ("join", "settings of this edge; the relay writes edge_joined"),
    ("directive", "signs what is asked; each edge has a request in its register"),
    ("carry", "an attempt for each batch; signatures say what arrived"),
    ("reconcile", "names nobody"),
    ("prepare-image", "removes the audit with everything else"),
    ("pull", "at the other wayside: an attempt for each cursor and batch"),
    ("ack", "at the other wayside"),
    ("schema", "reads no row"),
    ("export", "exported"),
    ("backup", "backed_up"),
    ("subject", "by its routes"),
    ("keys", "opens what the controller's own key opens, elsewhere"),
    ("restore", "an entry of the ledger, and a loss record"),
    ("token", "by its routes"),
    ("erasures", "by its routes"),
    ("audit", "names nobody"),
    ("records", "names nobody"),
    ("dpia", "names nobody"),
    ("breach", "names nobody"),
    ("cookies", "reads no row"),
    ("exempt-report", "names nobody"),
    ("upkeep", "by its route, where a removal is confirmed"),
    ("version", "reads no row"),
];

#[test]
fn every_command_is_known_by_what_it_leaves_in_the_audit() {
    let out = Command::new(env!("CARGO_BIN_EXE_wayside")).arg("--help").output().unwrap();
    let help = String::from_utf8(out.stdout).unwrap();
    let list = help.lines().skip_while(|line| *line != "Commands:").skip(1).take_while(|line| !line.is_empty());
    let names = list.filter(|line| line.starts_with("  ") && !line.starts_with("   "));
    let names: Vec<&str> = names.filter_map(|line| line.split_whitespace().next()).collect();
    assert!(names.contains(&"serve"), "the help was not understood: {help}");
    for name in &names {
        assert!(
            COMMANDS.iter().any(|(known, _)| known == name),
            "{name}: say what it leaves in the audit, or why nothing"
        );
    }
    let gone: Vec<_> = COMMANDS.iter().filter(|(name, how)| !names.contains(name) || how.is_empty()).collect();
    assert!(gone.is_empty(), "{gone:?}");
}

#[test]
fn what_commands_read_of_people_beside_a_daemon_stands_in_the_audit() {
    let daemon = Daemon::with("[[site]]\nid = \"shop\"\n");
    daemon.give("visitor-1", &["measure", "personal"]);
    let event = with(page_view("visitor-1"), json!({"traits": {"email": "anna@home.example"}}));
    assert_eq!(daemon.events(&event).outcomes(200), ["accepted"]);
    let list: Value = serde_json::from_str(&told(&daemon.home, &["visits", "list", "--json"])).unwrap();
    let visit = list["items"][0]["visit_id"].as_str().unwrap().to_owned();
    let shown = told(&daemon.home, &["visits", "show", &visit]);
    assert!(shown.contains("anna@home.example"), "{shown}");
    told(&daemon.home, &["export", "events"]);
    told(&daemon.home, &["backup", "copy.db"]);
    let audit: Value = serde_json::from_str(&told(&daemon.home, &["audit", "--json"])).unwrap();
    let rows = audit.as_array().unwrap();
    let words: Vec<&str> = rows.iter().rev().map(|row| row["what"].as_str().unwrap()).collect();
    assert_eq!(words, ["personal_read", "exported", "backed_up"]);
    assert!(rows.iter().all(|row| row["who"] == "operator" && row["at"].is_string()), "{audit}");
    for value in ["visitor-1", "anna", &visit] {
        assert!(!audit.to_string().contains(value), "{value}: {audit}");
    }
    let home = daemon.stop();
    let out = wayside(&home, &["export", "events"]);
    assert!(String::from_utf8_lossy(&out.stderr).contains("this stands in no audit"), "{out:?}");
    assert_eq!(
        serde_json::from_str::<Value>(&told(&home, &["audit", "--json"])).unwrap(),
        audit,
        "and nothing was written"
    );
}
