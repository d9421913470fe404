//! The pen under success, refusal, defect and full disk: who is told what, and what is on disk then.
//! Groups are made by a first job that waits on a channel while others queue up behind it.

use std::sync::mpsc::{Receiver, Sender, channel};

use super::*;
use crate::base::id::{ClientId, Salt, Seq};
use crate::base::time::{ManualClock, Millis};
use crate::domain::clock::ClockState;
use crate::domain::consent::Purposes;
use crate::domain::count::Cell;
use crate::domain::event::{EventType, Lane};
use crate::domain::stored::EventRow;
use crate::domain::visitor::Rights;
use crate::store::{Store, counts, events, tallies};

mod full;

const NOW: Millis = Millis(1_800_000_000_000);

fn store_with(dir: &std::path::Path, change: impl FnOnce(&mut StoreOptions)) -> Store {
    let mut options = StoreOptions::at(dir);
    change(&mut options);
    Store::open(&options, Arc::new(ManualClock::at(NOW))).unwrap()
}

fn store(dir: &std::path::Path) -> Store {
    store_with(dir, |_| {})
}

/// Holds the pen until the sender is dropped or used: whatever is submitted meanwhile becomes one group.
fn hold(store: &Store) -> Sender<()> {
    let (go, gone) = channel::<()>();
    let (began, begun) = channel();
    let work = move |_: &WriteTx<'_>| {
        began.send(()).unwrap();
        let _ = gone.recv();
        Ok(())
    };
    store.pen().submit(1, work, |out| out.unwrap()).unwrap();
    begun.recv().unwrap();
    go
}

/// Submits a job; what it is told comes out of the receiver.
fn send<T: Send + 'static>(
    store: &Store,
    work: impl FnMut(&WriteTx<'_>) -> Result<T> + Send + 'static,
) -> Receiver<Result<T>> {
    let (tell, told) = channel();
    store.pen().submit(1, work, move |out| tell.send(out).unwrap()).unwrap();
    told
}

fn tally(name: &'static str) -> impl FnMut(&WriteTx<'_>) -> Result<Seq> + Send + 'static {
    move |tx| {
        tallies::add(tx, name, 1)?;
        Ok(tx.next_seq())
    }
}

fn tallied(store: &Store) -> Vec<(String, i64)> {
    store.read(tallies::all).unwrap()
}

fn rows(pairs: &[(&str, i64)]) -> Vec<(String, i64)> {
    pairs.iter().map(|(name, n)| ((*name).to_owned(), *n)).collect()
}

fn cell() -> Cell {
    Cell { path: "/".to_owned(), device: "desktop".to_owned(), medium: "none".to_owned(), robot: false }
}

/// An event of a visit that does not exist: the database refuses it when the group is settled.
fn orphan(seq: Seq) -> EventRow {
    EventRow {
        seq,
        event_id: ClientId::mint(NOW),
        site_id: 1,
        epoch_id: 1,
        visit_id: 999_999,
        page_id: None,
        session_id: None,
        name: "page_viewed".to_owned(),
        event_type: EventType::Business,
        lane: Lane::Pages,
        content_hash: 0,
        client_at: None,
        sent_at: None,
        received: NOW,
        corrected: NOW,
        clock_state: ClockState::None,
        url: None,
        title: None,
        referrer: None,
        search_query: None,
        attributes: None,
        attribute_types: None,
        conversation: None,
        withheld: None,
        rights: Rights { flags: Purposes::MEASURE, exempt: true, ..Rights::default() },
        salt: Salt::mint(),
        replaces: None,
    }
}

#[test]
fn an_answer_waits_for_the_commit() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let path = open::database_path(dir.path());
    let (tell, told) = channel();
    let seen = move |out: Result<Seq>| {
        out.unwrap();
        let other = open::reader(&path).unwrap();
        let n: i64 = other.query_row("SELECT n FROM tallies WHERE name = 'a'", [], |r| r.get(0)).unwrap();
        let last: i64 = other.query_row("SELECT last FROM seq", [], |r| r.get(0)).unwrap();
        tell.send((n, last)).unwrap();
    };
    store.pen().submit(1, tally("a"), seen).unwrap();
    assert_eq!(told.recv().unwrap(), (1, 1));
    store.close().unwrap();
}

#[test]
fn what_gathers_while_the_pen_writes_is_one_group() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(dir.path(), |o| o.group_max = 5);
    let go = hold(&store);
    let before = store.pen().status().groups;
    let told: Vec<_> = (0..10).map(|_| send(&store, tally("a"))).collect();
    assert_eq!(store.pen().status().waiting, 10);
    drop(go);
    let seqs: Vec<Seq> = told.iter().map(|told| told.recv().unwrap().unwrap()).collect();
    assert_eq!(seqs, (1..=10).map(Seq).collect::<Vec<_>>());
    let status = store.pen().status();
    assert_eq!((status.groups - before, status.most_waiting, status.broken), (2, 10, false), "five and five");
    assert_eq!(tallied(&store), rows(&[("a", 10)]));
}

#[test]
fn a_job_refused_before_it_wrote_fails_alone_and_nothing_is_replayed() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let go = hold(&store);
    let groups = store.pen().status().groups;
    let left = send(&store, tally("left"));
    let refused = send(&store, |_| Err::<(), _>(Error::conflict("no")));
    let right = send(&store, tally("right"));
    drop(go);
    assert_eq!(refused.recv().unwrap().unwrap_err().kind, Kind::Conflict);
    assert_eq!((left.recv().unwrap().unwrap(), right.recv().unwrap().unwrap()), (Seq(1), Seq(2)));
    assert_eq!(store.pen().status().groups, groups + 1);
    assert_eq!(tallied(&store), rows(&[("left", 1), ("right", 1)]));
}

#[test]
fn a_job_that_fails_after_it_wrote_takes_back_only_its_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let go = hold(&store);
    let left = send(&store, tally("left"));
    let failed = send(&store, |tx| {
        tallies::add(tx, "wrong", 1)?;
        tx.next_seq();
        Err::<(), _>(Error::conflict("too late"))
    });
    let right = send(&store, tally("right"));
    drop(go);
    assert_eq!(failed.recv().unwrap().unwrap_err().kind, Kind::Conflict);
    assert_eq!((left.recv().unwrap().unwrap(), right.recv().unwrap().unwrap()), (Seq(1), Seq(2)));
    assert_eq!(tallied(&store), rows(&[("left", 1), ("right", 1)]));
    assert_eq!(store.pen().call(|tx| Ok(tx.last_seq())).unwrap(), Seq(2), "the counter stands where it was committed");
}

#[test]
fn a_panic_is_one_jobs_own() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    for writes in [false, true] {
        let go = hold(&store);
        let left = send(&store, tally("left"));
        let panicked = send(&store, move |tx| -> Result<()> {
            if writes {
                tallies::add(tx, "wrong", 1)?;
            }
            panic!("a defect");
        });
        let right = send(&store, tally("right"));
        drop(go);
        let error = panicked.recv().unwrap().unwrap_err();
        assert_eq!((error.kind, error.code), (Kind::Storage, "job_panicked"));
        left.recv().unwrap().unwrap();
        right.recv().unwrap().unwrap();
    }
    let alone = store.pen().call(|_| -> Result<()> { panic!("a defect, alone") });
    assert_eq!(alone.unwrap_err().code, "job_panicked");
    assert_eq!(tallied(&store), rows(&[("left", 2), ("right", 2)]));
    assert!(!store.pen().status().broken);
}

#[test]
fn a_panic_while_answering_ends_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let go = hold(&store);
    store.pen().submit(1, tally("a"), |_| panic!("a defect of the door")).unwrap();
    let next = send(&store, tally("a"));
    drop(go);
    next.recv().unwrap().unwrap();
    store.pen().call(tally("a")).unwrap();
    assert_eq!(tallied(&store), rows(&[("a", 3)]), "it was committed all the same");
    store.close().unwrap();
}

#[test]
fn rows_the_database_refuses_fail_their_own_job() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let go = hold(&store);
    let left = send(&store, tally("left"));
    let refused = send(&store, |tx| {
        events::insert(tx, orphan(tx.next_seq()));
        Ok(())
    });
    let right = send(&store, tally("right"));
    drop(go);
    assert_eq!(refused.recv().unwrap().unwrap_err().kind, Kind::Storage);
    left.recv().unwrap().unwrap();
    right.recv().unwrap().unwrap();
    let alone = store.pen().call(|tx| {
        events::insert(tx, orphan(tx.next_seq()));
        Ok(())
    });
    assert_eq!(alone.unwrap_err().code, "row_refused");
    assert_eq!(tallied(&store), rows(&[("left", 1), ("right", 1)]));
    assert!(!store.pen().status().broken, "one bad row must not end the collector");
    store.pen().call(tally("left")).unwrap();
}

#[test]
fn a_count_survives_the_rollback_of_its_group() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let go = hold(&store);
    let count = |tx: &WriteTx<'_>| {
        if !counts::counted_before(tx, 77) {
            counts::raise(tx, 1, NOW, cell())?;
        }
        Ok(())
    };
    let counted = send(&store, count);
    let failed = send(&store, |tx| {
        tx.next_seq();
        Err::<(), _>(Error::conflict("after it wrote"))
    });
    drop(go);
    counted.recv().unwrap().unwrap();
    failed.recv().unwrap().unwrap_err();
    let total = || store.read(|tx| counts::total(tx, None, Millis(0))).unwrap();
    assert_eq!(total(), 1, "the rolled back attempt does not count as counted");
    store.pen().call(count).unwrap();
    assert_eq!(total(), 1, "a retry does");
}

#[test]
fn numbers_go_on_behind_what_is_committed_even_after_reopening() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path());
    assert_eq!(first.pen().call(tally("a")).unwrap(), Seq(1));
    let gap = first.pen().call(|tx| {
        tx.next_seq();
        Ok(tx.next_seq())
    });
    assert_eq!(gap.unwrap(), Seq(3));
    first.close().unwrap();
    let second = store(dir.path());
    assert_eq!(second.pen().call(tally("a")).unwrap(), Seq(4));
}

#[test]
fn a_full_queue_is_busy_and_the_refused_job_is_never_run() {
    let dir = tempfile::tempdir().unwrap();
    let store = store_with(dir.path(), |o| o.queue_max = 2);
    let go = hold(&store);
    let waiting = [send(&store, tally("a")), send(&store, tally("a"))];
    let refused = store.pen().submit(1, tally("never"), |_| panic!("it was refused")).unwrap_err();
    assert_eq!((refused.kind, refused.code), (Kind::Busy, "queue_full"));
    drop(go);
    for told in waiting {
        told.recv().unwrap().unwrap();
    }
    assert_eq!(tallied(&store), rows(&[("a", 2)]));
}

#[test]
fn stopping_finishes_what_waits() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path());
    let go = hold(&first);
    let told: Vec<_> = (0..20).map(|_| send(&first, tally("a"))).collect();
    let stopper = std::thread::spawn(move || first.close());
    drop(go);
    stopper.join().unwrap().unwrap();
    assert!(told.iter().all(|told| told.recv().unwrap().is_ok()));
    let wal = crate::store::files::length(&dir.path().join("wayside.db-wal")).unwrap();
    assert_eq!(wal, 0, "the last checkpoint leaves nothing behind");
    assert_eq!(tallied(&store(dir.path())), rows(&[("a", 20)]));
}

#[test]
fn a_stopped_pen_takes_nothing_more() {
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    store.pen().stop().unwrap();
    assert_eq!(store.pen().submit(1, tally("a"), |_| ()).unwrap_err().kind, Kind::Busy);
    assert_eq!(store.pen().call(tally("a")).unwrap_err().kind, Kind::Busy);
    store.pen().stop().unwrap();
}

#[test]
fn one_directory_has_one_store() {
    let dir = tempfile::tempdir().unwrap();
    let first = store(dir.path());
    let second = Store::open(&StoreOptions::at(dir.path()), Arc::new(ManualClock::at(NOW))).err().unwrap();
    assert_eq!((second.kind, second.code), (Kind::Conflict, "locked"));
    first.close().unwrap();
    store(dir.path()).close().unwrap();
}

#[test]
fn what_was_cached_in_a_rolled_back_group_is_forgotten() {
    use crate::store::{sites, visitors};
    let dir = tempfile::tempdir().unwrap();
    let store = store(dir.path());
    let key = ClientId::new("v");
    let site = store.pen().call(|tx| sites::intern(tx, "shop")).unwrap();
    let (kept, asked) = (visitor(site, &key), key.clone());
    let failed = store.pen().call(move |tx| {
        tx.next_seq();
        visitors::keep(tx, kept.clone());
        assert!(visitors::take(tx, site, &kept.key)?.is_some());
        Err::<(), _>(Error::conflict("rolled back"))
    });
    assert_eq!(failed.unwrap_err().kind, Kind::Conflict);
    assert_eq!(store.pen().call(move |tx| visitors::take(tx, site, &asked)).unwrap(), None);
    assert_eq!(store.read(|tx| visitors::find(tx, site, &key)).unwrap(), None);
}

fn visitor(site_id: i64, key: &ClientId) -> crate::domain::visitor::Visitor {
    crate::domain::visitor::Visitor::new(site_id, key.clone(), Seq(1), NOW)
}
