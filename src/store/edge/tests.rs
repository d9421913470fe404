//! The edge's two files: minted once, kept through damage, changed on another machine, refused when incomplete.
//! Invariant of these tests: every start reads the files anew.

use std::os::unix::fs::PermissionsExt;

use super::*;
use crate::base::error::Kind;

fn machine(id: &str, macs: &[&str]) -> Hardware {
    Hardware { machine_id: Some(id.to_owned()), macs: macs.iter().map(|m| (*m).to_owned()).collect() }
}

fn start(dir: &Path, hardware: &Hardware) -> (Edge, Minted) {
    Edge::load_or_mint(dir, hardware, false, Millis(1_700_000_000_000)).unwrap()
}

fn same_hashes(a: &Edge, b: &Edge) -> bool {
    a.hash_key.hash64(&[b"x"]) == b.hash_key.hash64(&[b"x"])
}

#[test]
fn the_first_start_mints_and_the_second_finds() {
    let dir = tempfile::tempdir().unwrap();
    assert!(Edge::load(dir.path()).unwrap().is_none(), "nothing before the first start");
    let here = machine("m", &["a"]);
    let (edge, minted) = start(dir.path(), &here);
    assert_eq!((minted, edge.reason, edge.previous), (Minted::First, Reason::FirstStart, None));
    assert_eq!(edge.key_id, hex(&sha256(&edge.signing.public()))[..16]);
    let (again, minted) = start(dir.path(), &here);
    assert_eq!((minted, again.id, again.epoch, &again.key_id), (Minted::No, edge.id, edge.epoch, &edge.key_id));
    assert!(same_hashes(&edge, &again));
    assert_eq!(Edge::load(dir.path()).unwrap().unwrap().id, edge.id);
    for name in [RECORD, KEY] {
        let mode = std::fs::metadata(dir.path().join(name)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600, "{name}");
    }
    let text = std::fs::read_to_string(dir.path().join(RECORD)).unwrap();
    assert!(!text.contains("\"m\"") && !text.contains("\"a\""), "no raw hardware value: {text}");
}

#[test]
fn a_new_epoch_keeps_edge_and_keys() {
    let dir = tempfile::tempdir().unwrap();
    let (edge, _) = start(dir.path(), &machine("m", &["a"]));
    let next = Edge::new_epoch(dir.path(), Reason::FreshAfterDamage, Millis(1_700_000_000_001)).unwrap();
    assert_eq!((next.id, &next.key_id, next.previous), (edge.id, &edge.key_id, Some(edge.epoch)));
    assert_ne!(next.epoch, edge.epoch);
    assert_eq!((next.reason, next.started_at), (Reason::FreshAfterDamage, Millis(1_700_000_000_001)));
    assert!(same_hashes(&edge, &next));
    assert_eq!(next.keys.len(), 1, "one key signed both");
}

#[test]
fn another_machine_is_another_edge_with_the_same_hashes() {
    let dir = tempfile::tempdir().unwrap();
    let (edge, _) = start(dir.path(), &machine("m", &["a"]));
    let there = machine("n", &["b"]);
    let (other, minted) = start(dir.path(), &there);
    assert_eq!(
        (minted, other.reason, other.previous),
        (Minted::OtherHardware, Reason::OtherHardware, Some(edge.epoch))
    );
    assert!(other.id != edge.id && other.epoch != edge.epoch && other.key_id != edge.key_id);
    assert!(same_hashes(&edge, &other), "stored hashes keep their meaning");
    assert_eq!(other.keys.iter().map(|k| &k.key_id).collect::<Vec<_>>(), [&edge.key_id, &other.key_id]);
    let key = std::fs::read_to_string(dir.path().join(KEY)).unwrap();
    assert_eq!(key.lines().count(), 2, "the old signing key is gone");
    assert_eq!(start(dir.path(), &there).1, Minted::No);
}

#[test]
fn a_pinned_edge_stays_itself_and_takes_the_machine_in() {
    let dir = tempfile::tempdir().unwrap();
    let (edge, _) = start(dir.path(), &machine("m", &["a"]));
    let there = machine("n", &["b"]);
    let (pinned, minted) = Edge::load_or_mint(dir.path(), &there, true, Millis(0)).unwrap();
    assert_eq!((minted, pinned.id, pinned.epoch), (Minted::No, edge.id, edge.epoch));
    assert_eq!(start(dir.path(), &there).1, Minted::No, "also without the pin afterwards");
}

#[test]
fn a_change_of_machine_survives_a_cut_at_any_point() {
    let dir = tempfile::tempdir().unwrap();
    let (edge, _) = start(dir.path(), &machine("m", &["a"]));
    let old_record = std::fs::read(dir.path().join(RECORD)).unwrap();
    let secrets = Secrets::read(dir.path()).unwrap().unwrap();
    // cut after edge.key had both seeds, before edge.json named the new one
    Secrets { seed: [9; 32], older: Some(secrets.seed), hash: secrets.hash }.write(dir.path()).unwrap();
    let (back, minted) = start(dir.path(), &machine("m", &["a"]));
    assert_eq!((minted, back.id, &back.key_id), (Minted::No, edge.id, &edge.key_id));
    assert_eq!(std::fs::read(dir.path().join(RECORD)).unwrap(), old_record);
    assert_eq!(std::fs::read_to_string(dir.path().join(KEY)).unwrap().lines().count(), 2);
    // cut after edge.json named it, before the old seed was removed
    let (other, _) = start(dir.path(), &machine("n", &["b"]));
    let now = Secrets::read(dir.path()).unwrap().unwrap();
    Secrets { older: Some(secrets.seed), ..now }.write(dir.path()).unwrap();
    let (again, minted) = start(dir.path(), &machine("n", &["b"]));
    assert_eq!((minted, again.id, &again.key_id), (Minted::No, other.id, &other.key_id));
    assert_eq!(std::fs::read_to_string(dir.path().join(KEY)).unwrap().lines().count(), 2);
}

#[test]
fn a_first_start_that_was_cut_off_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (edge, _) = start(dir.path(), &machine("m", &["a"]));
    std::fs::remove_file(dir.path().join(RECORD)).unwrap();
    let (again, minted) = start(dir.path(), &machine("m", &["a"]));
    assert_eq!((minted, &again.key_id), (Minted::First, &edge.key_id));
}

#[test]
fn one_file_alone_or_a_damaged_one_is_refused_with_a_remedy() {
    let here = machine("m", &["a"]);
    let refused = |spoil: &dyn Fn(&Path)| {
        let dir = tempfile::tempdir().unwrap();
        start(dir.path(), &here);
        std::fs::write(open::database_path(dir.path()), b"rows").unwrap();
        spoil(dir.path());
        let error = Edge::load_or_mint(dir.path(), &here, false, Millis(0)).unwrap_err();
        assert_eq!(error.kind, Kind::Config, "{error}");
        assert!(error.remedy.contains("edge.json"), "{error}");
        error.what
    };
    assert!(refused(&|d| std::fs::remove_file(d.join(RECORD)).unwrap()).contains("edge.json is missing"));
    assert!(refused(&|d| std::fs::remove_file(d.join(KEY)).unwrap()).contains("edge.key is missing"));
    assert!(refused(&|d| std::fs::write(d.join(RECORD), b"{\"epochs\":[]").unwrap()).contains("edge.json is damaged"));
    assert!(refused(&|d| std::fs::write(d.join(KEY), b"00\n").unwrap()).contains("edge.key is damaged"));
    let stranger = format!("{}\n{}\n", hex(&[1; 32]), hex(&[2; 32]));
    assert!(refused(&|d| std::fs::write(d.join(KEY), &stranger).unwrap()).contains("does not belong"));
}

#[test]
fn a_database_without_edge_files_begins_as_a_restore() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(open::database_path(dir.path()), b"rows").unwrap();
    let (edge, minted) = start(dir.path(), &machine("m", &["a"]));
    assert_eq!((minted, edge.reason), (Minted::First, Reason::Restore));
}
