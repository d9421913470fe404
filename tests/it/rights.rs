//! Rights carried through to the end by the program as it is installed: the privacy page, a kiosk's code, the desk, the GDPR API,
//! both verifiers of the ledger, and a restore that knows what was exercised after the backup.
//! Must never call the program's own functions. Invariant: what was taken away is away, and what is somebody else's is there.

use std::path::Path;
use std::process::{Command, Output};

use rusqlite::Connection;
use serde_json::{Value, json};

use crate::support::*;
use crate::tokens::{make, wayside};

const CONFIG: &str = "[[site]]\nid = \"shop\"\n";

fn asked(daemon: &Daemon, path: &str, header: (&str, &str)) -> Answer {
    daemon.send(&post(path).header(header.0, header.1).body("{}"))
}

fn with_token(daemon: &Daemon, path: &str, token: &str) -> Answer {
    asked(daemon, path, ("Wayside-Visitor-Token", token))
}

/// A device on which nobody was known at first, and where anna signed in later.
fn annas_device(daemon: &Daemon, visitor: &str) -> String {
    let token = daemon.give(visitor, &["measure", "personal"]);
    let event = |name: &str, ago_s: i64, more: Value| {
        with(json!({"name": name, "visitor": visitor, "time": ago(ago_s * SECOND).rfc3339()}), more)
    };
    let events = json!([
        event("page_viewed", 9_000, json!({"url": "https://shop.example/nobody"})),
        event("SignIn", 4_000, json!({"data": {"userId": "customer-anna"}})),
        event("page_viewed", 3_990, json!({"url": "https://shop.example/anna"})),
    ]);
    assert_eq!(daemon.events(&events).outcomes(200), ["accepted"; 3]);
    assert_eq!(daemon.count("visits"), 2);
    token
}

fn paths(daemon: &Daemon) -> Vec<Value> {
    daemon.rows("SELECT replace(url, 'https://shop.example', '') FROM events WHERE url IS NOT NULL ORDER BY seq")
}

#[test]
fn the_privacy_page_erases_what_a_device_may_reach_and_nothing_of_who_signed_in() {
    let daemon = Daemon::with(CONFIG);
    let token = annas_device(&daemon, "device");
    let answer = with_token(&daemon, "/v1/me/erase", &token);
    assert_eq!((answer.status, &answer.json()["state"]), (202, &json!("running")), "{answer:?}");
    daemon.upkeep();
    assert_eq!(paths(&daemon), [json!(["/anna"])]);
    assert_eq!(daemon.rows("SELECT state, level, channel FROM requests"), [json!(["answered", "device", "page"])]);
    let me = daemon.send(&get("/v1/me").header("Wayside-Visitor-Token", &token));
    assert_eq!(me.status, 200, "the device is known still");
    let again = with_token(&daemon, "/v1/me/erase", &token);
    assert_eq!(again.status, 202);
    daemon.upkeep();
    assert_eq!(paths(&daemon), [json!(["/anna"])], "asking again reaches no further");
}

#[test]
fn who_was_erased_reads_like_somebody_never_seen() {
    let daemon = Daemon::with(CONFIG);
    let token = daemon.give("lonely", &["measure"]);
    daemon.events(&page_view("lonely"));
    assert_eq!(with_token(&daemon, "/v1/me/erase", &token).status, 202);
    let unknown = format!("unknown.{}", token.rsplit_once('.').unwrap().1);
    for path in ["/v1/me/erase", "/v1/me/withdraw"] {
        let (erased, never) = (with_token(&daemon, path, &token), with_token(&daemon, path, &unknown));
        assert_eq!((erased.status, erased.body), (never.status, never.body), "{path}, at once");
    }
    daemon.upkeep();
    assert_eq!((daemon.count("events"), daemon.count("visitors")), (0, 0));
    assert_eq!(daemon.events(&page_view("lonely")).outcomes(200), ["counted"], "only a new yes begins anew");
}

/// A turn at a kiosk, and the code on its receipt.
fn turn(daemon: &Daemon, visitor: &str) -> String {
    let body = json!({
        "visitor": visitor, "action": "give", "purposes": ["measure"], "method": "kiosk_touch", "kioskId": "k7",
    });
    let code = daemon.decide(&body).json()["code"].as_str().unwrap().to_owned();
    assert_eq!(daemon.events(&page_view(visitor)).outcomes(200), ["accepted"]);
    code
}

#[test]
fn the_code_of_a_receipt_alone_opens_access_withdrawal_and_erasure_of_its_visit() {
    let daemon = Daemon::with(CONFIG);
    let (mine, other) = (turn(&daemon, "turn-1"), turn(&daemon, "turn-2"));
    let see = |code: &str| daemon.send(&get("/v1/me").header("Wayside-Code", code));
    let text = String::from_utf8(see(&mine).body).unwrap();
    assert!(text.contains("turn-1") && !text.contains("turn-2"), "{text}");
    let no = asked(&daemon, "/v1/me/withdraw", ("Wayside-Code", &other));
    assert_eq!((no.status, &no.json()["granted"]), (200, &json!([])), "{no:?}");
    let erase = asked(&daemon, "/v1/me/erase", ("Wayside-Code", &mine.to_lowercase().replace('-', " ")));
    assert_eq!(erase.status, 202, "{erase:?}");
    assert_error(&see(&mine), 403, "code_unknown");
    daemon.upkeep();
    assert_eq!(daemon.rows("SELECT level, verification FROM requests"), [json!(["device", "the code of a receipt"])]);
    assert_error(&asked(&daemon, "/v1/me/erase", ("Wayside-Code", &mine)), 403, "code_unknown");
}

#[test]
fn staff_open_a_request_by_the_code_of_a_receipt() {
    let daemon = Daemon::with(CONFIG);
    let code = turn(&daemon, "turn-1");
    turn(&daemon, "turn-2");
    let opened = wayside(&daemon, &["subject", "open", "access", "--code", &code, "--json"]);
    assert_eq!(
        (&opened["state"], &opened["level"], &opened["visitors"]),
        (&json!("verified"), &json!("device"), &json!(1))
    );
    let file = daemon.home.data().parent().unwrap().join("copy.json");
    let id = opened["id"].as_str().unwrap();
    wayside(&daemon, &["subject", "run", id, "--output", file.to_str().unwrap(), "--json"]);
    let text = std::fs::read_to_string(&file).unwrap();
    assert!(text.contains("turn-1") && !text.contains("turn-2"));
    let erase = wayside(&daemon, &["subject", "open", "erase", "--code", &code, "--json"]);
    let done = wayside(&daemon, &["subject", "run", erase["id"].as_str().unwrap(), "--json"]);
    assert_eq!(done["state"], "answered", "{done}");
    assert_eq!(daemon.rows("SELECT DISTINCT v.key FROM visitors v"), [json!(["turn-2"])]);
    let wrong = run(&daemon.home, &["subject", "open", "access", "--code", "ABCD-EFGH-JKLN"]);
    assert_eq!(wrong.status.code(), Some(65), "{wrong:?}");
}

/// A command with the configuration of the home, whether a daemon runs or not.
fn run(home: &Home, words: &[&str]) -> Output {
    let folder = home.data().parent().unwrap().to_owned();
    Command::new(env!("CARGO_BIN_EXE_wayside"))
        .args(["--config", "wayside.toml", "--data-dir", "data"])
        .args(words)
        .current_dir(folder)
        .output()
        .unwrap()
}

fn done(home: &Home, words: &[&str]) -> String {
    let out = run(home, words);
    assert!(out.status.success(), "{words:?}: {}", String::from_utf8_lossy(&out.stderr));
    String::from_utf8(out.stdout).unwrap()
}

/// Exit codes of both verifiers; the second is left out where there is no Python.
fn verified(home: &Home) -> Vec<i32> {
    let mut codes = vec![run(home, &["consent", "verify"]).status.code().unwrap()];
    let python = std::env::var_os("WAYSIDE_TEST_PYTHON").unwrap_or_else(|| "python3".into());
    if Command::new(&python).args(["-c", "import sqlite3"]).output().is_ok_and(|out| out.status.success()) {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/verify-ledger.py");
        codes.push(Command::new(&python).arg(script).arg(home.data()).output().unwrap().status.code().unwrap());
    } else {
        skipped("no python3 with sqlite3: the second verifier is left out");
    }
    codes
}

#[test]
fn a_proof_of_who_was_erased_opens_with_the_key_and_the_ledger_holds_the_result() {
    let home = Home::new(CONFIG);
    let said = done(&home, &["consent", "proof-key", "--out", "proof.key"]);
    let line = said.lines().find(|line| line.starts_with("proof_key")).unwrap();
    let folder = home.data().parent().unwrap().to_owned();
    std::fs::write(folder.join("wayside.toml"), format!("{CONFIG}[erase]\n{line}\n")).unwrap();
    let daemon = home.start();
    daemon.give("gone", &["measure", "share"]);
    daemon.events(&page_view("gone"));
    let opened =
        wayside(&daemon, &["subject", "open", "erase", "--visitor", "gone", "--verified", "by mail", "--json"]);
    let erased = wayside(&daemon, &["subject", "run", opened["id"].as_str().unwrap(), "--json"]);
    assert_eq!(erased["state"], "answered", "{erased}");
    let ledger = daemon.value("SELECT detail FROM ledger WHERE kind = 'erase'");
    assert!(ledger.as_str().unwrap().contains(erased["result_sha256"].as_str().unwrap()));
    let reason = ["consent", "prove", "--sealed", "--key", "proof.key", "--reason", "a complaint", "--json"];
    let proof: Value = serde_json::from_str(&done(&daemon.home, &reason)).unwrap();
    let text = proof.to_string();
    assert!(text.contains("\"give\"") && text.contains("\"holds\":true"), "{proof}");
    let home = daemon.stop();
    assert!(verified(&home).iter().all(|code| *code == 0));
    let stranger = Connection::open(home.database()).unwrap();
    stranger.execute("UPDATE erasures SET result = replace(result, '\"hits\":0', '\"hits\":1')", []).unwrap();
    drop(stranger);
    assert!(verified(&home).iter().all(|code| *code == 2), "{:?}", verified(&home));
}

#[test]
fn the_gdpr_api_deletes_by_itself_and_tells_how_far_it_is() {
    let daemon = Daemon::with(CONFIG);
    daemon.give("cookie-1", &["measure"]);
    daemon.events(&page_view("cookie-1"));
    let (_, secret) = make(&daemon, "privacy", "subject");
    let bearer = format!("Bearer {secret}");
    let body =
        json!({"requestType": "GDPR_DELETE", "subject": {"journeyCustomer": {"type": "cookie", "id": "cookie-1"}}});
    let path = "/api/v2/gdpr/requests";
    let sent = daemon.send(&post(&format!("{path}?deleteConfirmed=true")).header("Authorization", &bearer).json(&body));
    assert_eq!((sent.status, &sent.json()["status"]), (200, &json!("DELETING")), "{sent:?}");
    assert_eq!(sent.json()["subject"], json!({}), "who is being erased is named no more");
    daemon.upkeep();
    let show = format!("{path}/{}", sent.json()["id"].as_str().unwrap());
    let told = daemon.send(&get(&show).header("Authorization", &bearer)).json();
    assert_eq!(told["status"], "COMPLETED", "nothing of it had left: {told}");
    assert_eq!((daemon.count("events"), daemon.count("visitors")), (0, 0));
}

#[test]
fn what_was_exercised_after_a_backup_holds_after_the_restore() {
    exercised_after_a_backup(false);
}

#[test]
fn a_restore_erases_from_batches_too_that_its_backup_knows_nothing_of() {
    exercised_after_a_backup(true);
}

/// `forwarded`: rows lie in the outbox when the backup is made, and what is decided afterwards follows them at once.
fn exercised_after_a_backup(forwarded: bool) {
    let config = format!(
        "[forward]\nseal_after_seconds = 3600\n{CONFIG}[[site.purposes]]\nname = \"measure\"\nbasis = \"consent\"\n[[site.purposes]]\nname = \"profile\"\n\
         basis = \"legitimate_interest\"\n"
    );
    let daemon = Daemon::with(&config);
    for visitor in ["withdraws", "objects", "restricts", "released", "goes", "stays"] {
        daemon.give(visitor, &["measure"]);
        assert_eq!(daemon.events(&page_view(visitor)).outcomes(200), ["accepted"]);
    }
    let shared = annas_device_beside(&daemon);
    wayside(&daemon, &["consent", "restrict", "released", "--site", "shop", "--json"]);
    if forwarded {
        wayside(&daemon, &["forward", "--once", "--json"]);
    }
    let backup = daemon.home.data().parent().unwrap().join("copy.db");
    done(&daemon.home, &["backup", backup.to_str().unwrap()]);
    // what nobody may undo by restoring
    for (action, visitor) in [
        ("withdraw", "withdraws"),
        ("refuse", "never-seen"),
        ("object", "objects"),
        ("restrict", "restricts"),
        ("release", "released"),
    ] {
        wayside(&daemon, &["consent", action, visitor, "--site", "shop", "--json"]);
    }
    wayside(&daemon, &["erasures", "begin", "--site", "shop", "--visitor", "goes", "--json"]);
    assert_eq!(with_token(&daemon, "/v1/me/erase", &shared).status, 202);
    let anna = wayside(
        &daemon,
        &["subject", "open", "erase", "--identity", "customer-ben", "--verified", "by mail", "--json"],
    );
    wayside(&daemon, &["subject", "run", anna["id"].as_str().unwrap(), "--json"]);
    let epoch = daemon.value("SELECT epoch FROM epochs ORDER BY epoch_id DESC LIMIT 1");
    if forwarded {
        decisions_are_put(&daemon);
    }
    let home = daemon.kill();
    let words = ["restore", backup.to_str().unwrap(), "--to", "data", "--json"];
    let refused = run(&home, &words);
    assert_eq!(refused.status.code(), Some(65), "it overwrites nothing: {refused:?}");
    remove_database(&home);
    let told: Value = serde_json::from_str(&done(&home, &words)).unwrap();
    assert_ne!(told["epoch"], epoch);
    assert_eq!(told["waiting"], json!([]), "{told}");
    assert!(told["backup_at"].as_str().unwrap() > "2026", "{told}");
    let daemon = home.start();
    daemon.upkeep();
    let keys = daemon.rows("SELECT key FROM visitors ORDER BY key");
    assert!(!keys.contains(&json!(["goes"])) && keys.contains(&json!(["stays"])), "{keys:?}");
    let urls = paths(&daemon);
    assert!(urls.contains(&json!(["/anna"])), "a customer nobody erased is there: {urls:?}");
    assert!(!urls.contains(&json!(["/nobody"])) && !urls.contains(&json!(["/ben"])), "{urls:?}");
    for (visitor, outcome) in [
        ("withdraws", "counted"),
        ("never-seen", "counted"),
        ("restricts", "counted"),
        ("goes", "counted"),
        ("released", "accepted"),
        ("objects", "accepted"),
        ("stays", "accepted"),
    ] {
        assert_eq!(daemon.events(&page_view(visitor)).outcomes(200), [outcome], "{visitor}");
    }
    let flags = |visitor: &str| daemon.value(&format!("SELECT denied FROM visitors WHERE key = '{visitor}'")).as_i64();
    assert!(flags("objects").unwrap() & 4 != 0, "profiling was objected to");
    assert_eq!(daemon.rows("SELECT state FROM requests"), [] as [Value; 0], "the register is that of the backup");
    assert!(verified(&daemon.stop()).iter().all(|code| *code == 0));
}

fn remove_database(home: &Home) {
    for tail in ["", "-wal", "-shm"] {
        let file = home.data().join(format!("wayside.db{tail}"));
        assert!(!file.exists() || std::fs::remove_file(file).is_ok());
    }
}

/// A batch that a backup knows nothing of lies in the outbox, and names people who are erased again by a restore.
fn decisions_are_put(daemon: &Daemon) {
    let folder = daemon.value("SELECT edge || '/' || epoch FROM epochs ORDER BY epoch_id DESC LIMIT 1");
    let told = format!("outbox/{}/consent/000000000002.manifest.json", folder.as_str().unwrap());
    let told = daemon.home.data().join(told);
    until(PATIENCE, "the decisions are put", || told.exists());
}

/// Visits of nobody, of ben and of anna on one device.
fn annas_device_beside(daemon: &Daemon) -> String {
    let token = daemon.give("shared", &["measure", "personal"]);
    let event = |name: &str, ago_s: i64, more: Value| {
        with(json!({"name": name, "visitor": "shared", "time": ago(ago_s * SECOND).rfc3339()}), more)
    };
    let view = |path: &str| json!({"url": format!("https://shop.example/{path}")});
    let signed = |who: &str| json!({"data": {"userId": format!("customer-{who}")}});
    let events = json!([
        event("page_viewed", 20_000, view("nobody")),
        event("SignIn", 12_000, signed("ben")),
        event("page_viewed", 11_990, view("ben")),
        event("SignOut", 11_980, json!({})),
        event("SignIn", 4_000, signed("anna")),
        event("page_viewed", 3_990, view("anna")),
    ]);
    assert_eq!(daemon.events(&events).outcomes(200), ["accepted"; 6]);
    token
}
