//! Proving an event through the program: the decision that allowed it, and what the person was shown; and sealed proofs
//! against the ledger as it is now.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};
use wayside::base::cell::RecipientKey;
use wayside::consent::proofs::{self, EraseOptions, Live};
use wayside::store::{checkpoints, visitors};

use crate::support::{ask, here, open, publish, stranger};

fn prove(dir: &Path, more: &[&str]) -> (i32, String) {
    let out = Command::new(env!("CARGO_BIN_EXE_wayside"))
        .arg("--data-dir")
        .arg(dir)
        .args(["consent", "prove", "--event", "0192f3a0-0000-7000-8000-0000000000e1"])
        .args(more)
        .output()
        .unwrap();
    let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
    (out.status.code().unwrap(), text)
}

fn event(dir: &Path) {
    publish(dir, "1", "We record which pages are opened.");
    let here = here(dir);
    let give = json!({"visitor": "a", "action": "give", "purposes": ["measure"], "notice": "1", "language": "de"});
    ask(&here, "POST", "/v1/consent", &give);
    let page = json!({"name": "page_viewed", "visitor": "a", "eventId": "0192f3a0-0000-7000-8000-0000000000e1",
                      "page": {"url": "https://shop.example/"}});
    let answer = ask(&here, "POST", "/v1/events", &page);
    assert_eq!(answer["results"][0]["outcome"], "accepted", "{answer}");
    here.close().unwrap();
}

#[test]
fn an_event_is_proved_with_its_decision_and_the_notice_that_was_shown() {
    let built_in = tempfile::tempdir().unwrap();
    event(built_in.path());
    let (code, out) = prove(built_in.path(), &["--json"]);
    let told: Value = serde_json::from_str(&out).unwrap_or_default();
    assert_eq!((code, &told["allowed_by"]), (0, &json!("decision")), "{out}");
    let (decision, notice) = (&told["decision"], &told["notice"]);
    assert_eq!((&decision["holds"], &decision["ledger_no"], &notice["holds"]), (&json!(true), &json!(2), &json!(true)));
    assert_eq!(notice["sha256"], decision["notice_digest"]);
    assert_eq!((&notice["language"], &notice["version"]), (&json!("de"), &json!("1")));
    assert_eq!(notice["own"]["purposes"][0]["text"], "We record which pages are opened.");
    assert!(told["grant"].is_null(), "the decision is the yes itself");
    let (code, out) = prove(built_in.path(), &[]);
    assert!(code == 0 && out.contains("We record which pages are opened.") && out.contains("decision"), "{out}");

    for sql in [
        "UPDATE notices SET body = replace(body, 'opened', 'sold')",
        "UPDATE decisions SET after = 127",
        "UPDATE decisions SET notice_digest = zeroblob(32)",
    ] {
        let dir = tempfile::tempdir().unwrap();
        stranger(built_in.path(), dir.path()).execute_batch(sql).unwrap();
        let (code, out) = prove(dir.path(), &[]);
        assert!(code == 65 && out.contains("is not what the ledger says"), "{sql}: {code} {out}");
    }
}

#[test]
fn after_something_else_was_taken_back_the_yes_before_is_shown() {
    let dir = tempfile::tempdir().unwrap();
    publish(dir.path(), "1", "We record which pages are opened.");
    let here = here(dir.path());
    let decision = |action: &str| json!({"visitor": "a", "action": action, "purposes": ["measure"], "notice": "1", "language": "de"});
    ask(&here, "POST", "/v1/consent", &decision("give"));
    let object = json!({"visitor": "a", "action": "object", "purposes": ["marketing"]});
    ask(&here, "POST", "/v1/consent", &object);
    let page = json!({"name": "page_viewed", "visitor": "a", "eventId": "0192f3a0-0000-7000-8000-0000000000e1",
                      "url": "https://shop.example/"});
    assert_eq!(ask(&here, "POST", "/v1/events", &page)["results"][0]["outcome"], "accepted");
    here.close().unwrap();
    let (code, out) = prove(dir.path(), &["--json"]);
    let told: Value = serde_json::from_str(&out).unwrap_or_default();
    assert_eq!(
        (code, &told["decision"]["action"], &told["grant"]["action"]),
        (0, &json!("object"), &json!("give")),
        "{out}"
    );
    assert_eq!((&told["notice"]["holds"], &told["notice"]["language"]), (&json!(true), &json!("de")));
}

#[test]
fn a_sealed_proof_is_compared_with_the_ledger_as_it_is_now() {
    let built_in = tempfile::tempdir().unwrap();
    event(built_in.path());
    let key = RecipientKey::mint();
    let options = EraseOptions { proof_key: Some(key.recipient().to_string()), ..EraseOptions::default() };
    let store = open(built_in.path());
    let subject = store.read(|tx| {
        let mut found = None;
        visitors::each(tx, |_, _, _, reference| found = Some(reference)).map(|()| found.unwrap())
    });
    let subject = subject.unwrap();
    store.pen().call(move |tx| proofs::take_away(tx, subject, &options, 1_000)).unwrap();
    let sealed = proofs::ask(&store, "operator", "a complaint").unwrap();
    let sealed: Vec<Value> = sealed.iter().map(|proof| serde_json::to_value(proof).unwrap()).collect();
    let mut opened = proofs::open(&key.secret_text(), &sealed).unwrap();
    let mut live = |dir: &Path| {
        proofs::against(dir, 5_000, &mut opened).unwrap();
        opened[0].ledger
    };
    assert_eq!(live(built_in.path()), Some(Live::There));
    let no = store.read(checkpoints::anchored).unwrap();
    assert_eq!(no, 0);
    store.pen().call(|tx| checkpoints::anchor_at(tx, 2, checkpoints::Cut { left: None })).unwrap();
    store.pen().call(|tx| wayside::store::ledger::fold::delete(tx, 100)).unwrap();
    assert_eq!(live(built_in.path()), Some(Live::Folded));
    store.close().unwrap();
    let dir = tempfile::tempdir().unwrap();
    stranger(built_in.path(), dir.path())
        .execute_batch("DELETE FROM checkpoints; UPDATE ledger SET ledger_no = 2 WHERE ledger_no = 3")
        .unwrap();
    assert_eq!(live(dir.path()), Some(Live::Other));
}
