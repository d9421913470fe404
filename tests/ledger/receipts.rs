//! Receipts against the ledger, by both verifiers. Must never pass unseen: without Python it says so. Invariant: whoever changes a byte of a receipt, or what the ledger says of its decision, is found.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Value, json};
use wayside::base::digest::{SigningKey, sha256};
use wayside::base::text::hex;
use wayside::consent::receipt::SIGNED_BEFORE;

use crate::support::{ask, here, publish, python, stranger};

/// A decision under a notice, with evidence, and its receipt with the signature beside it.
fn receipt(dir: &Path, visitor: &str) -> PathBuf {
    let here = here(dir);
    let body = json!({"visitor": visitor, "action": "give", "purposes": ["measure"], "notice": "1", "language": "en",
                      "decisionId": "0192f3a0-0000-7000-8000-0000000000b2", "pageUrl": "https://shop.example/"});
    ask(&here, "POST", "/v1/consent", &body);
    let reply = here.serve("GET", &format!("/v1/consent/receipt?visitor={visitor}"), &[], Vec::new()).unwrap();
    here.close().unwrap();
    assert_eq!(reply.status, 200, "{}", String::from_utf8_lossy(&reply.body));
    let header = |name: &str| reply.header(name).unwrap().to_owned();
    let path = dir.join("receipt.json");
    let proof = json!({"key_id": header("wayside-key-id"), "signature": header("wayside-signature")});
    std::fs::write(&path, &reply.body).unwrap();
    std::fs::write(dir.join("receipt.json.sig"), proof.to_string()).unwrap();
    path
}

/// Signs changed bytes as somebody with another key would, who names the edge's.
fn resigned(path: &Path, change: impl Fn(&mut Value)) {
    let mut said: Value = serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap();
    change(&mut said);
    std::fs::write(path, said.to_string()).unwrap();
}

/// Exit code and output of each verifier.
fn run(python: Option<&Path>, dir: &Path, path: &Path) -> Vec<(i32, String)> {
    let mut ours = Command::new(env!("CARGO_BIN_EXE_wayside"));
    ours.arg("--data-dir").arg(dir).args(["consent", "verify"]);
    let theirs = python.map(|python| {
        let mut theirs = Command::new(python);
        theirs.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/verify-ledger.py")).arg(dir);
        theirs
    });
    let each = |mut command: Command| {
        let out = command.arg("--receipt").arg(path).output().unwrap();
        let text = format!("{}{}", String::from_utf8_lossy(&out.stdout), String::from_utf8_lossy(&out.stderr));
        (out.status.code().unwrap(), text)
    };
    [Some(ours), theirs].into_iter().flatten().map(each).collect()
}

#[test]
fn both_verifiers_follow_a_receipt_into_the_ledger() {
    let python = python();
    let python = python.as_deref();
    let built_in = tempfile::tempdir().unwrap();
    publish(built_in.path(), "1", "We record which pages are opened.");
    let path = receipt(built_in.path(), "a");
    for (exit, out) in run(python, built_in.path(), &path) {
        assert_eq!(exit, 0, "{out}");
    }

    type Tamper = (&'static str, &'static str, i32, &'static str);
    let rows: [Tamper; 5] = [
        ("the decision is changed", "UPDATE decisions SET after = 127 WHERE ledger_no = 2", 2, "entry 2"),
        ("another decision takes its place", "UPDATE ledger SET hash = zeroblob(32) WHERE ledger_no = 2", 2, "entry 2"),
        ("the notice's words are changed", "UPDATE notices SET body = replace(body, 'opened', 'sold')", 2, "entry 1"),
        ("the notice is gone", "DELETE FROM notices WHERE language = 'en'", 2, "entry 1"),
        ("the entry is cut off", "DELETE FROM decisions; DELETE FROM ledger WHERE ledger_no >= 2", 2, "entry 2"),
    ];
    for (name, sql, code, first) in rows {
        let dir = tempfile::tempdir().unwrap();
        stranger(built_in.path(), dir.path()).execute_batch(sql).unwrap();
        for (exit, out) in run(python, dir.path(), &path) {
            assert!(exit == code && out.starts_with(first), "{name}: {exit} {out}");
        }
    }

    // another time, and other evidence: the signature does not hold
    let copy = built_in.path().join("copy.json");
    let proof = |text: &str| std::fs::write(built_in.path().join("copy.json.sig"), text).unwrap();
    let kept = std::fs::read_to_string(built_in.path().join("receipt.json.sig")).unwrap();
    for place in ["dct:identifier", "dpv:hasJurisdiction"] {
        std::fs::copy(&path, &copy).unwrap();
        proof(&kept);
        resigned(&copy, |said| said[place] = json!("other"));
        for (exit, out) in run(python, built_in.path(), &copy) {
            assert!(exit == 3 && out.contains("signature does not hold"), "{place}: {out}");
        }
    }
    // a key that was never the edge's, named as its own
    let key = SigningKey::from_seed([3; 32]);
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&copy, &bytes).unwrap();
    let id = hex(&sha256(&key.public()))[..16].to_owned();
    proof(&json!({"key_id": id, "signature": hex(&key.sign(&[SIGNED_BEFORE, &bytes].concat()))}).to_string());
    for (exit, out) in run(python, built_in.path(), &copy) {
        assert!(exit == 3 && out.contains("never this edge's"), "{out}");
    }
}
