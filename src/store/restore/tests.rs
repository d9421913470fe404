//! Restores, with every kind of right exercised after the backup, and with the logs that may be there or not.
//! Invariant of these tests: whatever was taken away after the backup is away after the restore.

use std::sync::Arc;

use super::*;
use crate::base::id::{ClientId, Seq, VisitorRef};
use crate::base::time::{DAY_MS, ManualClock};
use crate::domain::consent::{self, Action, BasisTable, Decision, Evidence, Method, Purposes, Signals};
use crate::domain::visitor::{Visitor, id_hash};
use crate::store::decisions::{Actor, Circumstances};
use crate::store::rights_log::ERASE_PART;
use crate::store::{
    Note, ReadTx, Store, StoreOptions, WriteTx, decisions, denials, erasures, refusals, sites, suppressed, visitors,
};

const NOW: Millis = Millis(1_700_000_000_000);
const BOTH: Purposes = Purposes(1 | 16);

fn open_at(dir: &Path, at: Millis) -> Store {
    let options = StoreOptions { pin: true, ..StoreOptions::at(dir) };
    Store::open(&options, Arc::new(ManualClock::at(at))).unwrap()
}

/// A data directory with visitors a, b and c, all agreed; its backup; both below one folder.
struct Place {
    root: tempfile::TempDir,
    site_id: i64,
}

fn visitor(site_id: i64, seq: Seq, key: &str) -> Visitor {
    let standing = crate::domain::consent::Standing { granted: BOTH, consent_seq: seq, ..Default::default() };
    Visitor { standing, ..Visitor::new(site_id, ClientId::new(key), seq, NOW) }
}

impl Place {
    fn new() -> Place {
        let root = tempfile::tempdir().unwrap();
        let store = open_at(&root.path().join("data"), NOW);
        let site_id = store
            .pen()
            .call(|tx| {
                let site_id = sites::intern(tx, "shop")?;
                for key in ["visitor-a", "visitor-b", "visitor-c"] {
                    visitors::keep(tx, visitor(site_id, tx.next_seq(), key));
                }
                meta::set_newest_at(tx, NOW)?;
                Ok(site_id)
            })
            .unwrap();
        let place = Place { root, site_id };
        let none = &mut |_: u64, _: u64| {};
        backup::run(&place.data(), &place.backup(), backup::BackupOptions::default(), none).unwrap();
        store.close().unwrap();
        place
    }

    fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    fn backup(&self) -> PathBuf {
        self.root.path().join("backup.db")
    }

    fn options(&self) -> RestoreOptions {
        RestoreOptions { backup: self.backup(), data_dir: self.data(), logs: vec![], without_log: false }
    }

    /// Something is written into the log of the data directory a day after the backup.
    fn exercised(&self, key: &str, action: &str, purposes: Purposes) {
        let edge = Edge::load(&self.data()).unwrap().unwrap();
        let entry = Entry {
            at: NOW.plus(DAY_MS),
            site: "shop".to_owned(),
            visitor_ref: VisitorRef::mint(),
            id_hash: id_hash(&edge.hash_key, "shop", &ClientId::new(key)),
            action: action.to_owned(),
            purposes,
            customer: None,
            signed_in: false,
        };
        rights_log::tests::write(&self.data(), &[entry]);
    }

    fn lose_the_database(&self) {
        files::remove_database(&open::database_path(&self.data())).unwrap();
    }

    fn restore(&self, options: &RestoreOptions) -> Result<Restored> {
        run(options, NOW.plus(2 * DAY_MS))
    }

    fn find(&self, store: &Store, key: &str) -> Option<Visitor> {
        store.read(|tx| visitors::find(tx, self.site_id, &ClientId::new(key))).unwrap()
    }
}

/// A decision of visitor a, as it would be recorded.
fn decide(store: &Store, site_id: i64, action: Action, at: Millis) {
    let decision = Decision {
        id: None,
        action,
        purposes: BOTH,
        method: Method::Api,
        notice: "none".to_owned(),
        language: None,
        signal_shown: false,
        client_at: None,
        sent_at: None,
        evidence: Evidence::default(),
        notice_digest: None,
    };
    let work = move |tx: &WriteTx<'_>| {
        let mut visitor = visitors::take(tx, site_id, &ClientId::new("visitor-a"))?.unwrap();
        let denials = denials::of_visitor(tx, visitor.id)?;
        let change = consent::decide(&decision, at, &visitor.standing, &denials, &BasisTable::default())?;
        let hash = id_hash(&tx.identity().hash_key, "shop", &visitor.key);
        let c = Circumstances {
            site_id: visitor.site_id,
            site: "shop".to_owned(),
            id_hash: hash,
            at,
            received: at,
            actor: Actor::Subject,
            signals: Signals::default(),
            basis_id: 0,
            notice_digest: None,
            expires: None,
            evidence: None,
        };
        decisions::append(tx, &decision, &change, Some(&mut visitor), &c).map(|_| ())
    };
    store.pen().call(work).unwrap();
}

#[test]
fn what_was_taken_away_after_the_backup_is_away_after_the_restore() {
    let place = Place::new();
    place.exercised("visitor-a", "withdraw", BOTH);
    place.exercised("visitor-b", "erase", Purposes::ALL);
    place.exercised("never-seen", "refuse", BOTH);
    let before = Edge::load(&place.data()).unwrap().unwrap();
    place.lose_the_database();
    let done = place.restore(&place.options()).unwrap();
    assert_eq!((done.rights, done.erased, done.floored, done.log_found), (3, 1, 0, true), "{done:?}");
    let store = open_at(&place.data(), NOW.plus(2 * DAY_MS));
    assert_eq!(store.notes(), [] as [Note; 0]);
    let edge = &store.identity().edge;
    assert_eq!((edge.id, edge.reason, edge.epoch.to_string()), (before.id, Reason::Restore, done.epoch));
    assert_ne!(edge.epoch, before.epoch);
    let a = place.find(&store, "visitor-a").unwrap();
    assert_eq!((a.standing.granted, a.standing.denied), (Purposes::NONE, BOTH));
    assert!(a.measure_floor >= a.first_seq, "a floor over all restored rows");
    assert_eq!(store.read(|tx| Ok(denials::of_visitor(tx, a.id)?.len())).unwrap(), 1);
    assert!(place.find(&store, "visitor-b").is_none(), "cut off from the id before anything is served");
    let open = store.read(erasures::unfinished).unwrap();
    assert_eq!(open.len(), 1);
    assert!(!erasures::marks(&place.data(), &open[0]).unwrap().is_empty(), "and it knows what to look for");
    let c = place.find(&store, "visitor-c").unwrap();
    assert_eq!((c.standing.granted, c.measure_floor), (BOTH, Seq(0)), "others keep theirs");
    let hash = id_hash(&store.identity().hash_key, "shop", &ClientId::new("never-seen"));
    assert_eq!(store.read(|tx| refusals::get(tx, &hash)).unwrap().unwrap().purposes, BOTH);
    let loss = |tx: &ReadTx<'_>| frozen::oldest(tx, 10);
    assert!(store.read(loss).unwrap().iter().any(|(_, kind, _)| *kind == LineKind::Loss));
    store.close().unwrap();
}

#[test]
fn a_no_from_before_the_backup_does_not_undo_a_later_yes() {
    let place = Place::new();
    let store = open_at(&place.data(), NOW);
    decide(&store, place.site_id, Action::Withdraw, NOW.plus(5));
    decide(&store, place.site_id, Action::Give, NOW.plus(9));
    let none = &mut |_: u64, _: u64| {};
    let later = place.root.path().join("later.db");
    backup::run(&place.data(), &later, backup::BackupOptions::default(), none).unwrap();
    store.close().unwrap();
    assert_eq!(rights_log::read(&place.data()).unwrap().len(), 1, "it stands in both logs, and in the backup");
    place.lose_the_database();
    let done = place.restore(&RestoreOptions { backup: later, ..place.options() }).unwrap();
    assert_eq!(done.rights, 0);
    let store = open_at(&place.data(), NOW.plus(2 * DAY_MS));
    assert_eq!(place.find(&store, "visitor-a").unwrap().standing.granted, BOTH);
}

#[test]
fn without_a_log_from_after_the_backup_consent_gets_a_floor_unless_told_otherwise() {
    for without_log in [false, true] {
        let place = Place::new();
        place.lose_the_database();
        let log = rights_log::path(&place.data());
        if log.exists() {
            std::fs::remove_file(log).unwrap();
        }
        let done = place.restore(&RestoreOptions { without_log, ..place.options() }).unwrap();
        assert!(!done.log_found, "the log beside the backup tells nothing of what came later");
        assert_eq!(done.floored, if without_log { 0 } else { 3 });
        let store = open_at(&place.data(), NOW.plus(2 * DAY_MS));
        let granted = place.find(&store, "visitor-a").unwrap().standing.granted;
        assert_eq!(granted, if without_log { BOTH } else { Purposes::NONE });
        let told = "SELECT detail FROM ledger WHERE kind = 'restore'";
        let detail: String = store.read(|tx| Ok(tx.conn().query_row(told, [], |r| r.get(0)).unwrap())).unwrap();
        assert_eq!(detail.contains("told to go without"), without_log, "{detail}");
    }
}

#[test]
fn a_log_elsewhere_is_taken_over_too_and_all_lie_in_one_afterwards() {
    let place = Place::new();
    place.exercised("visitor-a", "withdraw", BOTH);
    let elsewhere = place.root.path().join("saved.log");
    std::fs::rename(rights_log::path(&place.data()), &elsewhere).unwrap();
    place.lose_the_database();
    let gone = RestoreOptions { logs: vec![place.root.path().join("none.log")], ..place.options() };
    assert_eq!(place.restore(&gone).unwrap_err().code, "no_log");
    let options = RestoreOptions { logs: vec![elsewhere], ..place.options() };
    assert_eq!(place.restore(&options).unwrap().rights, 1);
    assert_eq!(rights_log::read(&place.data()).unwrap().len(), 1);
}

#[test]
fn nothing_is_overwritten_and_a_bad_backup_leaves_nothing() {
    let place = Place::new();
    assert_eq!(place.restore(&place.options()).unwrap_err().code, "exists");
    let store = open_at(&place.data(), NOW);
    assert_eq!(place.restore(&place.options()).unwrap_err().code, "locked");
    store.close().unwrap();
    place.lose_the_database();
    let missing = RestoreOptions { backup: place.root.path().join("none.db"), ..place.options() };
    assert_eq!(place.restore(&missing).unwrap_err().code, "no_backup");
    let bad = place.root.path().join("bad.db");
    std::fs::write(&bad, vec![7u8; 8192]).unwrap();
    assert!(place.restore(&RestoreOptions { backup: bad, ..place.options() }).is_err());
    let left: Vec<String> = std::fs::read_dir(place.data())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with("wayside.db"))
        .collect();
    assert_eq!(left, [] as [String; 0]);
    assert!(place.restore(&place.options()).is_ok());
}

#[test]
fn a_fresh_database_after_damage_knows_who_was_erased() {
    let place = Place::new();
    place.exercised("visitor-b", "erase", Purposes::ALL);
    std::fs::write(open::database_path(&place.data()), b"nothing of a database").unwrap();
    let store = open_at(&place.data(), NOW.plus(DAY_MS));
    assert!(matches!(store.notes(), [Note::Damaged { .. }]), "{:?}", store.notes());
    let hash = id_hash(&store.identity().hash_key, "shop", &ClientId::new("visitor-b"));
    assert_eq!(store.read(|tx| suppressed::get(tx, &hash)).unwrap(), Some(NOW.plus(DAY_MS)));
    assert_eq!(store.read(|tx| refusals::get(tx, &hash)).unwrap().unwrap().purposes, Purposes::ALL);
}

#[test]
fn a_restriction_and_its_end_are_taken_over_like_a_no() {
    let place = Place::new();
    for (key, action) in
        [("visitor-a", "restrict"), ("visitor-b", "restrict"), ("visitor-b", "release"), ("never-seen", "restrict")]
    {
        place.exercised(key, action, Purposes::NONE);
    }
    place.lose_the_database();
    assert_eq!(place.restore(&place.options()).unwrap().rights, 4);
    let store = open_at(&place.data(), NOW.plus(2 * DAY_MS));
    let restricted = |key: &str| place.find(&store, key).unwrap().standing.restricted;
    assert_eq!(["visitor-a", "visitor-b", "visitor-c"].map(restricted), [true, false, false]);
    let hash = id_hash(&store.identity().hash_key, "shop", &ClientId::new("never-seen"));
    assert!(store.read(|tx| refusals::get(tx, &hash)).unwrap().unwrap().restricted);
    assert_eq!(place.find(&store, "visitor-a").unwrap().standing.granted, BOTH, "and nothing else changed");
}

#[test]
fn a_visitor_of_whom_a_part_was_erased_stays() {
    let place = Place::new();
    place.exercised("visitor-a", ERASE_PART, Purposes::NONE);
    place.lose_the_database();
    let done = place.restore(&place.options()).unwrap();
    assert_eq!((done.rights, done.erased), (0, 0), "the backup holds no such visit");
    let store = open_at(&place.data(), NOW.plus(2 * DAY_MS));
    assert_eq!(place.find(&store, "visitor-a").unwrap().standing.granted, BOTH);
    let hash = id_hash(&store.identity().hash_key, "shop", &ClientId::new("visitor-a"));
    assert_eq!(store.read(|tx| suppressed::get(tx, &hash)).unwrap(), Some(NOW.plus(DAY_MS)));
}
