//! What jobs that pull are offered, given and believed; on a real database with a clock of the tests.

use std::sync::Arc;
use std::sync::mpsc::channel;
use std::time::Duration;

use serde_json::Value;

use super::*;
use crate::base::gzip;
use crate::domain::consent::Action;
use crate::domain::purpose::Purposes;
use crate::forward::tests::support::{MEASURE, World};
use crate::store::{attempts, batches, cursors, epochs};

/// Longest wait for another thread.
const PATIENCE: Duration = Duration::from_secs(20);

fn cursor(name: &str, recipient: Recipient) -> TargetOptions {
    TargetOptions { name: name.to_owned(), kind: TargetKind::Pull, recipient, ..TargetOptions::default() }
}

fn pull(world: &World) -> Arc<Pull> {
    let targets = [cursor("warehouse", Recipient::Own), cursor("agency", Recipient::ThirdParty)];
    let forwarder = Arc::new(world.forwarder_to(&targets));
    Arc::new(Pull::new(forwarder, &targets, Vec::new()))
}

fn seal(pull: &Pull) {
    assert_eq!(pull.forwarder.run_once(true).unwrap().failed, Vec::new());
}

fn ask() -> Ask {
    Ask { cursor: Some("warehouse".to_owned()), ..Ask::default() }
}

fn keys(page: &Page) -> Vec<String> {
    page.batches.iter().map(|b| format!("{}/{}", b.key.lane.word(), b.key.batch_no)).collect()
}

/// Takes a batch for a cursor; its lines.
fn take(pull: &Pull, name: &str, key: Key) -> Vec<Value> {
    let (gz, manifest) = pull.give(Some(name), key).unwrap().goes().unwrap();
    let part = crate::forward::inspect::batch(manifest.as_bytes(), &gz, None).unwrap().part;
    assert_eq!((part.lane.as_str(), part.batch_no), (key.lane.word(), key.batch_no));
    let text = String::from_utf8(gzip::decompress(&gz, 1 << 26).unwrap()).unwrap();
    text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn digest(listed: &Listed) -> String {
    let part: Value = serde_json::from_str(&listed.sealed).unwrap();
    part["digest"].as_str().unwrap().to_owned()
}

fn acked(listed: &Listed, fence: Option<i64>) -> Acked {
    Acked { cursor: Some("warehouse".to_owned()), fence, upto: listed.key, digest: digest(listed) }
}

/// Takes all that is listed until nothing more comes, as a job does; the batches in order.
fn take_all(pull: &Pull) -> Vec<Listed> {
    let mut out = Vec::new();
    loop {
        let page = pull.list(&ask()).unwrap();
        if page.batches.is_empty() {
            assert!(!page.more);
            return out;
        }
        for listed in page.batches {
            take(pull, "warehouse", listed.key);
            pull.ack(&acked(&listed, None)).unwrap();
            out.push(listed);
        }
    }
}

#[test]
fn a_job_takes_everything_in_order_and_once() {
    let world = World::new();
    let pull = pull(&world);
    let visitor = world.visitor("a", MEASURE);
    for _ in 0..3 {
        world.page(visitor);
        world.event(visitor, "scroll", Lane::Fine);
        seal(&pull);
    }
    let page = pull.list(&Ask { limit: 2, ..ask() }).unwrap();
    assert_eq!((keys(&page), page.more), (vec!["pages/1".to_owned(), "pages/2".to_owned()], true));
    let rest = pull.list(&Ask { after: Some(page.next), ..ask() }).unwrap();
    assert_eq!((keys(&rest).len(), rest.more), (4, false), "{:?}", keys(&rest));
    let none = pull.list(&Ask { after: Some(rest.next.clone()), ..ask() }).unwrap();
    assert_eq!((none.batches.len(), &none.next), (0, &rest.next));
    assert_eq!(take_all(&pull).len(), 6, "what is not acknowledged is listed again from the beginning");
    assert_eq!(pull.list(&ask()).unwrap().batches, []);
    let fine = pull.list(&Ask { cursor: Some("agency".to_owned()), lane: Some(Lane::Fine), ..Ask::default() }).unwrap();
    assert_eq!(fine.batches.len(), 3, "another cursor has a position of its own");
}

#[test]
fn consent_batches_are_offered_and_given_before_anything_else() {
    let world = World::new();
    let pull = pull(&world);
    let visitor = world.visitor("a", MEASURE);
    world.page(visitor);
    world.decide("a", Action::Give, MEASURE);
    seal(&pull);
    let first = pull.list(&ask()).unwrap();
    assert_eq!((keys(&first), first.more), (vec!["consent/1".to_owned()], true), "only consent while it waits");
    let pages = Key { lane: Lane::Pages, ..first.batches[0].key };
    assert_eq!(pull.give(Some("warehouse"), pages).err().unwrap().code, "consent_first");
    take(&pull, "warehouse", first.batches[0].key);
    assert_eq!(
        keys(&pull.list(&ask()).unwrap()),
        ["consent/1", "pages/1"],
        "given, not acknowledged: the rest may come"
    );
    assert_eq!(take(&pull, "warehouse", pages)[0]["kind"], "event");
    world.decide("a", Action::Withdraw, Purposes::NONE);
    assert_eq!(pull.give(Some("warehouse"), pages).err().unwrap().code, "consent_first", "not even sealed yet");
    let then = pull.list(&ask()).unwrap();
    assert_eq!(keys(&then), ["consent/1", "consent/2"], "sealed by being asked for");
    assert_eq!(keys(&pull.list(&Ask { lane: Some(Lane::Pages), ..ask() }).unwrap()), ["consent/1", "consent/2"]);
    take(&pull, "warehouse", then.batches[1].key);
    let lines = take(&pull, "warehouse", pages);
    assert_eq!(
        (&lines[0]["kind"], &lines[0]["reason"]),
        (&"hole".into(), &"withdrawn".into()),
        "rendered anew each time"
    );
}

#[test]
fn what_is_given_out_is_noted_once_for_each_cursor_and_batch() {
    let world = World::new();
    let pull = pull(&world);
    let visitor = world.visitor("a", MEASURE);
    world.page(visitor);
    seal(&pull);
    let key = pull.list(&ask()).unwrap().batches[0].key;
    for _ in 0..3 {
        take(&pull, "warehouse", key);
    }
    let lines = take(&pull, "agency", key);
    assert_eq!(lines[0]["reason"], "no_right", "a third party needs the purpose share");
    drop(pull.give(Some("warehouse"), key).unwrap().looked_at());
    world.pen(|_| Ok(()));
    let tries = world.store.read(|tx| attempts::of_batch(tx, epochs::all(tx)?[0].id, Lane::Pages, 1)).unwrap();
    let mut told: Vec<_> = tries.iter().map(|(target, .., outcome)| (target.as_str(), outcome.as_deref())).collect();
    told.sort_unstable();
    assert_eq!(told, [("agency", Some("pulled")), ("warehouse", Some("pulled"))]);
}

#[test]
fn an_acknowledgement_needs_the_digest_and_everything_before_it() {
    let world = World::new();
    let pull = pull(&world);
    let visitor = world.visitor("a", MEASURE);
    for _ in 0..3 {
        world.page(visitor);
        seal(&pull);
    }
    let page = pull.list(&ask()).unwrap();
    let code = |acked: &Acked| pull.ack(acked).unwrap_err().code;
    assert_eq!(code(&acked(&page.batches[0], None)), "not_taken");
    take(&pull, "warehouse", page.batches[2].key);
    take(&pull, "warehouse", page.batches[0].key);
    assert_eq!(code(&acked(&page.batches[2], None)), "not_taken", "the second was never given out");
    take(&pull, "warehouse", page.batches[1].key);
    let wrong = Acked { digest: digest(&page.batches[1]), ..acked(&page.batches[2], None) };
    assert_eq!(code(&wrong), "fork");
    let nowhere = Key { epoch: Epoch([9; 8]), ..page.batches[2].key };
    assert_eq!(code(&Acked { upto: nowhere, ..acked(&page.batches[2], None) }), "gone");
    assert_eq!(code(&Acked { cursor: Some("invented".to_owned()), ..acked(&page.batches[2], None) }), "unknown_cursor");
    assert_eq!(pull.ack(&acked(&page.batches[2], None)).unwrap(), 3);
    assert_eq!(pull.ack(&acked(&page.batches[1], None)).unwrap(), 0, "an older one is nothing new");
    let upto = world.store.read(|tx| cursors::delivered_upto(tx, &["warehouse".to_owned()], Lane::Pages));
    let last = world.store.read(|tx| batches::get(tx, epochs::all(tx)?[0].id, Lane::Pages, 3)).unwrap().unwrap();
    assert_eq!(upto.unwrap(), last.last_seq, "so its rows count as delivered");
    assert_eq!(pull.successor(nowhere.edge).unwrap(), Some(pull.own_epoch()));
}

#[test]
fn a_cursor_nobody_configured_keeps_nothing() {
    let world = World::new();
    let pull = pull(&world);
    world.page(world.visitor("a", MEASURE));
    seal(&pull);
    let key = pull.list(&ask()).unwrap().batches[0].key;
    let invented = Ask { cursor: Some("invented".to_owned()), ..Ask::default() };
    assert_eq!(pull.list(&invented).unwrap_err().code, "unknown_cursor");
    assert_eq!(pull.give(Some("invented"), key).err().unwrap().code, "unknown_cursor");
    assert_eq!(pull.lease(Some("invented"), "me", 60).unwrap_err().code, "unknown_cursor");
    assert_eq!(pull.list(&Ask::default()).unwrap_err().code, "unknown_cursor", "with two, one must be named");
    let kept = world.store.read(|tx| Ok((cursors::targets(tx)?, crate::store::leases::get(tx, "invented")?))).unwrap();
    assert_eq!(kept, (Vec::new(), None));
}

#[test]
fn the_newest_lease_alone_acknowledges() {
    let world = World::new();
    let pull = pull(&world);
    world.page(world.visitor("a", MEASURE));
    seal(&pull);
    let listed = pull.list(&ask()).unwrap().batches.remove(0);
    take(&pull, "warehouse", listed.key);
    let lease = |holder: &str, ttl| pull.lease(Some("warehouse"), holder, ttl);
    let first = lease("one", 60).unwrap();
    assert_eq!(lease("two", 60).unwrap_err().code, "leased");
    assert_eq!(pull.ack(&acked(&listed, None)).unwrap_err().code, "stale_fence", "who has no lease waits for its end");
    world.clock.advance(30_000);
    assert_eq!(lease("one", 60).unwrap().fence, first.fence, "renewed");
    world.clock.advance(60_000);
    let second = lease("two", 60).unwrap();
    assert!(second.fence > first.fence);
    assert_eq!(pull.ack(&acked(&listed, Some(first.fence))).unwrap_err().code, "stale_fence");
    assert_eq!(lease("one", 60).unwrap_err().code, "leased");
    world.clock.advance(61_000);
    assert_eq!(pull.ack(&acked(&listed, Some(second.fence))).unwrap(), 1, "late, and nobody has taken over");
    lease("two", 0).unwrap();
    let third = lease("one", 3_600).unwrap();
    assert!(third.fence > second.fence, "given back");
    world.clock.advance(-86_400_000);
    assert!(lease("two", 60).unwrap().fence > third.fence, "a lease from a time that was set back holds nobody up");
    for wrong in [-1, TTL_SECONDS_MAX + 1] {
        assert_eq!(lease("two", wrong).unwrap_err().kind, crate::base::error::Kind::Invalid);
    }
    assert!(lease("", 60).is_err() && lease("a\nb", 60).is_err());
}

#[test]
fn who_waits_is_answered_when_something_is_sealed_or_time_is_up_or_all_stops() {
    let world = World::new();
    let pull = pull(&world);
    let (out, told) = channel();
    let wait = |wait_s| {
        let out = out.clone();
        pull.list_later(ask(), wait_s, Box::new(move |made| out.send(made.unwrap().batches.len()).unwrap()));
    };
    wait(60);
    assert_eq!(told.try_recv(), Ok(0), "nobody looks after those who wait: nobody waits");
    std::thread::scope(|scope| {
        scope.spawn(|| pull.live());
        while !pull.waiting.is_open() {
            std::thread::yield_now();
        }
        wait(60);
        wait(0);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(0), "the one that will not wait");
        assert!(told.try_recv().is_err());
        world.page(world.visitor("a", MEASURE));
        seal(&pull);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(1), "the other");
        take_all(&pull);
        wait(1);
        assert_eq!(told.recv_timeout(PATIENCE), Ok(0), "its second is over");
        wait(60);
        pull.stop();
        assert_eq!(told.recv_timeout(PATIENCE), Ok(0), "closing");
        pull.forwarder.stop();
    });
}

#[test]
fn a_cursor_that_comes_late_begins_at_what_is_left_and_is_told_the_rest() {
    let world = World::new();
    let pull = pull(&world);
    let visitor = world.visitor("a", MEASURE);
    let rows: Vec<_> = (0..3)
        .map(|_| {
            let seq = world.page(visitor);
            seal(&pull);
            seq
        })
        .collect();
    take_all(&pull);
    world.pen(|tx| batches::delete(tx, epochs::all(tx)?[0].id, Lane::Pages, 1));
    world.delete(Lane::Pages, rows[1], None); // delivered to the only one who was there: no hole
    let late = Ask { cursor: Some("agency".to_owned()), ..Ask::default() };
    let page = pull.list(&late).unwrap();
    assert_eq!(keys(&page), ["consent/1"], "a loss line tells of the first");
    let loss = take(&pull, "agency", page.batches[0].key);
    assert_eq!((&loss[0]["kind"], &loss[0]["target"]), (&"loss".into(), &"agency".into()), "{loss:?}");
    let page = pull.list(&late).unwrap();
    assert_eq!(keys(&page), ["consent/1", "pages/2", "pages/3"]);
    assert_eq!(pull.give(Some("agency"), page.batches[1].key).err().unwrap().code, "rows_removed");
    let page = pull.list(&late).unwrap();
    assert_eq!(keys(&page), ["consent/1", "consent/2"], "and another of the second");
    take(&pull, "agency", page.batches[1].key);
    assert_eq!(keys(&pull.list(&late).unwrap()).last().unwrap(), "pages/3");
}
