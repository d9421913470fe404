//! A ledger after a restore, against a checkpoint of before: its end is missing, and both verifiers name the restore.

use wayside::base::text::hex;
use wayside::base::time::{Clock, MINUTE_MS, SystemClock};
use wayside::consent::verify::FaultKind::{Chain, Truncated};
use wayside::store::{backup, restore};

use crate::support::{decide, gravest, python, rust, second, sign, stranger};

#[test]
fn what_a_restore_lost_is_told_as_that() {
    let root = tempfile::tempdir().unwrap();
    let (data, copy) = (root.path().join("data"), root.path().join("backup.db"));
    let m = "\"measure\"";
    decide(&data, &[("a", "give", m), ("b", "give", m)]);
    sign(&data);
    backup::run(&data, &copy, backup::BackupOptions::default(), &mut |_: u64, _: u64| {}).unwrap();
    decide(&data, &[("c", "give", m), ("d", "give", m)]);
    let kept = sign(&data);
    for tail in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(data.join(format!("wayside.db{tail}")));
    }
    let options =
        restore::RestoreOptions { backup: copy, data_dir: data.clone(), logs: Vec::new(), without_log: false };
    restore::run(&options, SystemClock.now().plus(MINUTE_MS)).unwrap();
    let file = root.path().join("kept.ndjson");
    let line = serde_json::json!({"signed": kept.text, "signature": hex(&kept.signature)});
    std::fs::write(&file, format!("{line}\n")).unwrap();

    let both = |wanted| {
        assert_eq!(rust(&data, None).exit_code(), 0, "what is there holds");
        let verified = rust(&data, Some(&kept));
        assert_eq!(gravest(&verified), Some(wanted), "{:?}", verified.faults);
        assert!(verified.faults[0].what.contains("a backup of "), "{:?}", verified.faults);
        if let Some(python) = python() {
            let (exit, out) = second(&python, &data, Some(&file));
            assert!(exit == 4 && out.starts_with("entry 3: what was signed from here to 4 is not here"), "{out}");
        }
    };
    both((Truncated, 3)); // it ends at the entry that tells of the restore
    decide(&data, &[("e", "give", m), ("f", "give", m)]);
    both((Truncated, 3)); // it has grown beyond: another entry 4 than the one signed

    // a restore that nobody told of is a rewritten ledger
    let forged = tempfile::tempdir().unwrap();
    stranger(&data, forged.path()).execute_batch("UPDATE ledger SET kind = 'request' WHERE kind = 'restore'").unwrap();
    assert_eq!(gravest(&rust(forged.path(), Some(&kept))).map(|(kind, _)| kind), Some(Chain));
}
