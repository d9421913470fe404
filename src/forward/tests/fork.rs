//! Two databases of one edge, a database put back, a receiver that loses something: who is how far, and each row once.
//! The far side is shared by all of them and refuses a second batch under a key, as a receiver must.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};

use tempfile::TempDir;

use super::support::{MEASURE, World, lines_of};
use crate::base::error::{Error, Kind, Result};
use crate::base::id::{EdgeId, Seq};
use crate::base::time::Clock;
use crate::domain::delivery::Watermark;
use crate::domain::event::Lane;
use crate::domain::line::HoleReason;
use crate::forward::dir::Dir;
use crate::forward::options::{ForwardOptions, Recipient, TargetOptions};
use crate::forward::target::{Key, Landed, Parcel, Put, Setback, Target};
use crate::forward::{Forwarder, Report};
use crate::store::epochs::Reason;
use crate::store::{Store, StoreOptions, alarms, batches, cursors, epochs, lines};

/// A batch as the far side keeps it.
struct Kept {
    digest: String,
    last_seq: i64,
    lines: Vec<serde_json::Value>,
}

#[derive(Default)]
struct Hub {
    batches: BTreeMap<String, Kept>,
    puts: usize,
    lose_next_answer: bool,
    tells_digests: bool,
    tells_nothing: bool,
}

#[derive(Clone, Default)]
struct Centre(Arc<Mutex<Hub>>);

impl Centre {
    fn hub<T>(&self, work: impl FnOnce(&mut Hub) -> T) -> T {
        work(&mut self.0.lock().unwrap())
    }

    /// Every event line, by where it was first and its id: how often it is there.
    fn rows(&self) -> HashMap<(String, String), usize> {
        let mut out = HashMap::new();
        self.hub(|hub| {
            for line in hub.batches.values().flat_map(|kept| &kept.lines).filter(|line| line["kind"] == "event") {
                let at = if line["was"].is_object() { &line["was"] } else { line };
                let origin = format!("{}/{}/{}", at["edge"], at["epoch"], at["seq"]);
                *out.entry((origin, line["event_id"].to_string())).or_insert(0) += 1;
            }
        });
        out
    }

    fn ids(&self) -> Vec<String> {
        let mut ids: Vec<String> = self.rows().into_keys().map(|(_, id)| id).collect();
        ids.sort();
        ids
    }

    /// Origins as they stand in the lines: no two different events may share one.
    fn origins_are_unique(&self) {
        let mut seen: HashMap<String, String> = HashMap::new();
        self.hub(|hub| {
            for line in hub.batches.values().flat_map(|kept| &kept.lines).filter(|line| line["kind"] == "event") {
                let origin = format!("{}/{}/{}", line["edge"], line["epoch"], line["seq"]);
                let id = line["event_id"].to_string();
                assert_eq!(seen.entry(origin).or_insert_with(|| id.clone()), &id, "one origin, one event");
            }
        });
    }
}

impl Target for Centre {
    fn name(&self) -> &'static str {
        "centre"
    }

    fn recipient(&self) -> Recipient {
        Recipient::Own
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn put(&self, parcel: &Parcel<'_>) -> Result<Put, Setback> {
        self.hub(|hub| {
            hub.puts += 1;
            let part = parcel.rendered.manifest.open(None)?;
            let text = String::from_utf8(parcel.rendered.ndjson.clone()).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
            let key = parcel.key.to_string();
            let landed = match hub.batches.get(&key) {
                Some(kept) if kept.digest != part.digest => {
                    return Err(Error::conflict("another batch lies here").code("fork").into());
                }
                Some(_) => Landed::Same,
                None => Landed::New,
            };
            hub.batches.insert(key, Kept { digest: part.digest, last_seq: part.last_seq, lines });
            if std::mem::take(&mut hub.lose_next_answer) {
                return Err(Error::new(Kind::Upstream, "timeout", "no answer came").into());
            }
            Ok(Put { landed, acknowledged: true })
        })
    }

    fn watermarks(&self, edge: EdgeId) -> Result<Option<Vec<Watermark>>> {
        self.hub(|hub| {
            if hub.tells_nothing {
                return Ok(None);
            }
            let mut out: BTreeMap<(String, String), Watermark> = BTreeMap::new();
            for (key, kept) in &hub.batches {
                let parts: Vec<&str> = key.split('/').collect();
                let batch_no: i64 = parts[3].parse().unwrap();
                let place = (parts[1].to_owned(), parts[2].to_owned());
                let before = out.get(&place).map_or(0, |mark| mark.batch_no);
                if parts[0] == edge.to_string() && batch_no == before + 1 {
                    let (epoch, lane) = place.clone();
                    let (last_seq, digest) = (kept.last_seq, kept.digest.clone());
                    out.insert(place, Watermark { epoch, lane, batch_no, last_seq, digest, first_no: None });
                }
            }
            Ok(Some(out.into_values().collect()))
        })
    }

    fn digest_of(&self, key: Key) -> Result<Option<String>> {
        Ok(self.hub(|hub| {
            let kept = hub.batches.get(&key.to_string()).filter(|_| hub.tells_digests);
            kept.map(|kept| kept.digest.clone())
        }))
    }
}

const EACH: ForwardOptions = ForwardOptions {
    enabled: true,
    seal_after_seconds: 300,
    seal_rows_max: 2,
    seal_bytes_max: 4_194_304,
    gzip_level: 1,
};

/// A forwarder to the centre, and with `outbox` to a folder too.
fn forwarder(world: &World, centre: &Centre, outbox: bool) -> Forwarder {
    let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
    let mut targets: Vec<Box<dyn Target>> = vec![Box::new(centre.clone())];
    if outbox {
        targets.push(Box::new(Dir::new(world.dir.path(), &TargetOptions::default())));
    }
    let uptime = world.clock.clone();
    Forwarder::to(Arc::clone(&world.store), clock, &EACH, targets, "Kiosk 7").with_uptime(move || uptime.now().0)
}

/// Opens a copy of the world's files as they are now, as restoring a disk image does. The world itself is opened again.
fn copied(world: World) -> (World, World) {
    let World { dir, clock, store } = world;
    Arc::into_inner(store).expect("nobody holds it").close().unwrap();
    let other = tempfile::tempdir().unwrap();
    copy_all(dir.path(), other.path());
    (opened(dir, &clock), opened(other, &clock))
}

fn copy_all(from: &std::path::Path, to: &std::path::Path) {
    for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            std::fs::create_dir(&target).unwrap();
            copy_all(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn opened(dir: TempDir, clock: &crate::base::time::ManualClock) -> World {
    let options = StoreOptions::at(dir.path());
    let store = Arc::new(Store::open(&options, Arc::new(clock.clone())).unwrap());
    World { dir, clock: clock.clone(), store }
}

fn pages(world: &World, visitor: i64, n: usize) {
    for _ in 0..n {
        world.page(visitor);
    }
}

fn codes(report: &Report) -> Vec<&str> {
    report.failed.iter().map(|failed| failed.code).collect()
}

/// The ids of all events of a world.
fn events_of(world: &World) -> Vec<String> {
    let mut ids: Vec<String> = world
        .store
        .read(|tx| {
            let newest = lines::newest_seq(tx)?;
            Ok(lines::scan(tx, Lane::Pages, Seq(0), newest, 10_000)?
                .into_iter()
                .map(|found| format!("{:?}", found.line.event_id.unwrap()))
                .collect())
        })
        .unwrap();
    ids.sort();
    ids
}

fn verifies(forwarder: &Forwarder) {
    assert_eq!(forwarder.verify(&|_| ()).unwrap().problems, Vec::new());
}

#[test]
fn an_acknowledgement_that_was_lost_is_learned_without_sending_again() {
    let (world, centre) = (World::new(), Centre::default());
    let a = world.visitor("a", MEASURE);
    let forwarder = forwarder(&world, &centre, false);
    pages(&world, a, 2);
    centre.hub(|hub| hub.lose_next_answer = true);
    assert_eq!(codes(&forwarder.run_once(true).unwrap()), ["timeout"]);
    let report = forwarder.run_once(true).unwrap();
    assert_eq!((report.failed.len(), report.sent.len(), centre.hub(|hub| hub.puts)), (0, 0, 1));
    let status = forwarder.status().unwrap();
    let pages = status.iter().find(|s| s.lane == Lane::Pages).unwrap();
    assert_eq!((pages.put_no, pages.acked_no), (1, 1));
}

#[test]
fn what_a_receiver_lost_is_sent_again_and_what_is_gone_here_too_is_told() {
    let (world, centre) = (World::new(), Centre::default());
    let a = world.visitor("a", MEASURE);
    let first = forwarder(&world, &centre, false);
    pages(&world, a, 8);
    world.round(&first);
    let all = centre.ids();
    assert_eq!(all.len(), 8);
    // rows of batch 2 went by age after everybody had them; then the receiver loses all but its first batch
    let second = world.store.read(|tx| Ok(batches::get(tx, 1, Lane::Pages, 2)?.unwrap())).unwrap();
    world.delete(Lane::Pages, second.first_seq, None);
    centre.hub(|hub| hub.batches.retain(|key, _| key.ends_with("/000000000001")));
    let again = forwarder(&world, &centre, false);
    world.round(&again);
    assert_eq!(centre.ids().len(), 6, "but for the batch whose rows are gone");
    let kinds = centre.hub(|hub| {
        let consent = hub.batches.iter().filter(|(key, _)| key.contains("/consent/"));
        consent.flat_map(|(_, kept)| kept.lines.iter().map(|line| line["kind"].to_string())).collect::<Vec<_>>()
    });
    world.round(&again);
    assert!(kinds.iter().chain(&consent_kinds(&centre)).any(|kind| kind.contains("loss")), "{kinds:?}");
    verifies(&again);
}

fn consent_kinds(centre: &Centre) -> Vec<String> {
    centre.hub(|hub| {
        let consent = hub.batches.iter().filter(|(key, _)| key.contains("/consent/"));
        consent.flat_map(|(_, kept)| kept.lines.iter().map(|line| line["kind"].to_string())).collect()
    })
}

#[test]
fn a_database_put_back_goes_on_in_a_new_epoch_and_no_origin_means_two_events() {
    for tells_digests in [false, true] {
        let (world, centre) = (World::new(), Centre::default());
        centre.hub(|hub| hub.tells_digests = tells_digests);
        let a = world.visitor("a", MEASURE);
        let before = forwarder(&world, &centre, false);
        pages(&world, a, 5);
        world.round(&before);
        pages(&world, a, 1);
        drop(before);
        let (world, back) = copied(world);
        let later = forwarder(&world, &centre, false);
        pages(&world, a, 6);
        world.round(&later);
        let lost = events_of(&world);
        // now the older copy goes on in its place, and gives the same numbers to other events
        pages(&back, a, 3);
        let epoch = back.store.identity().edge.epoch;
        let after = forwarder(&back, &centre, false);
        let report = after.run_once(true).unwrap();
        assert_eq!(codes(&report), Vec::<&str>::new(), "no fork: this database is simply older");
        world.clock.advance(1_000);
        back.round(&after);
        let identity = back.store.identity();
        assert_ne!(identity.edge.epoch, epoch);
        assert_eq!(identity.edge.reason, Reason::Restore);
        let mut all = lost;
        all.extend(events_of(&back));
        all.sort();
        all.dedup();
        assert_eq!(centre.ids(), all, "everything of both is there");
        assert!(centre.rows().len() == all.len(), "and each row once, by where it was and its id");
        centre.origins_are_unique();
        assert!(consent_kinds(&centre).iter().any(|kind| kind.contains("loss")), "the gap is told");
        verifies(&after);
    }
}

#[test]
fn of_two_databases_of_one_edge_the_later_is_fenced_and_gives_way_without_losing_a_row() {
    for tells_nothing in [false, true] {
        let (world, centre) = (World::new(), Centre::default());
        centre.hub(|hub| hub.tells_nothing = tells_nothing);
        let a = world.visitor("a", MEASURE);
        let before = forwarder(&world, &centre, true);
        pages(&world, a, 5);
        world.round(&before);
        pages(&world, a, 1); // waits in both when the disk is copied
        drop(before);
        let (one, other) = copied(world);
        pages(&one, a, 3);
        pages(&other, a, 7);
        let first = forwarder(&one, &centre, false);
        one.round(&first);
        let taken = centre.hub(|hub| hub.batches.len());
        let second = forwarder(&other, &centre, true);
        let report = second.run_once(true).unwrap();
        assert_eq!(codes(&report), ["fork"]);
        assert_eq!(centre.hub(|hub| hub.batches.len()), taken, "nothing of the other one is taken over");
        let outbox = other.outbox();
        let edge = other.store.identity().edge.id;
        let old = outbox.join(format!("{edge}/{}/pages", other.store.identity().edge.epoch));
        let files = || std::fs::read_dir(&old).map_or(0, |entries| entries.count() / 2);
        let put_before = files();
        other.clock.advance(60_000);
        assert_eq!(second.run_once(false).unwrap().sent.len(), 0, "it stays fenced");

        let voided = second.give_way(None).unwrap();
        assert!(!voided.batches.is_empty());
        assert_eq!(other.store.identity().edge.reason, Reason::Fork);
        assert!(files() < put_before, "files of voided batches that nobody took are gone");
        assert_eq!(other.store.read(alarms::list).unwrap(), Vec::new());
        other.round(&second);
        pages(&other, a, 2);
        other.round(&second);
        let mut all = events_of(&one);
        all.extend(events_of(&other));
        all.sort();
        all.dedup();
        assert_eq!(centre.ids(), all);
        assert_eq!(centre.rows().len(), all.len(), "each row once, by where it was and its id");
        centre.origins_are_unique();
        verifies(&second);
        verifies(&first);
        let new = outbox.join(format!("{edge}/{}/pages/000000000001.ndjson.gz", voided.epoch));
        let lines = lines_of(&new);
        assert!(lines.iter().all(|line| line["was"]["epoch"] != line["epoch"] && line["was"]["seq"] == line["seq"]));
        pages(&one, a, 2);
        one.round(&first);
        assert_eq!(second.give_way(None).unwrap_err().code, "no_fork");
    }
}

#[test]
fn while_two_databases_write_as_one_edge_no_lane_goes_on() {
    for tells_nothing in [false, true] {
        let (world, centre) = (World::new(), Centre::default());
        centre.hub(|hub| hub.tells_nothing = tells_nothing);
        let a = world.visitor("a", MEASURE);
        let before = forwarder(&world, &centre, false);
        pages(&world, a, 2);
        world.round(&before);
        drop(before);
        let (one, other) = copied(world);
        pages(&one, a, 2);
        pages(&other, a, 4);
        let first = forwarder(&one, &centre, false);
        one.round(&first);
        // rows of another lane, under numbers that the first database gave to others
        other.event(a, "scroll", Lane::Fine);
        let second = forwarder(&other, &centre, false);
        let taken = centre.hub(|hub| hub.batches.len());
        for minutes in [0, 1, 16, 120] {
            other.clock.advance(minutes * crate::base::time::MINUTE_MS);
            assert_eq!(second.run_once(minutes == 0).unwrap().sent, Vec::new(), "{minutes}");
        }
        // somebody withdraws in the meantime: that waits with the rest, for it would go under a number of the other's too
        other.decide("a", crate::domain::consent::Action::Withdraw, crate::domain::consent::Purposes::NONE);
        assert_eq!(second.run_once(false).unwrap().sent, Vec::new());
        // nor does it go because the program was started again, and has met nobody yet
        let second = forwarder(&other, &centre, false);
        assert_eq!(second.run_once(false).unwrap().sent, Vec::new());
        assert_eq!(centre.hub(|hub| hub.batches.len()), taken);
        centre.origins_are_unique();
        second.give_way(None).unwrap();
        other.round(&second);
        centre.origins_are_unique();
        assert!(consent_kinds(&centre).iter().any(|kind| kind.contains("withdrawal")));
        verifies(&second);
    }
}

#[test]
fn voiding_that_was_cut_off_goes_on_at_the_next_start() {
    let (world, centre) = (World::new(), Centre::default());
    let a = world.visitor("a", MEASURE);
    let forwarder_ = forwarder(&world, &centre, false);
    pages(&world, a, 6);
    world.round(&forwarder_);
    let epoch = world.store.identity().edge.epoch;
    drop(forwarder_);
    // what `void` writes down first, and nothing after it
    world.pen(|tx| {
        for lane in Lane::ALL {
            crate::store::meta::set_fact(tx, &format!("fork.cut.{}", lane.word()), 1)?;
        }
        crate::store::meta::set_fact(tx, "fork.restore", 0)?;
        crate::store::meta::set_fact(tx, "fork.epoch", 1)
    });
    let World { dir, clock, store } = world;
    Arc::into_inner(store).unwrap().close().unwrap();
    let world = opened(dir, &clock);
    let again = forwarder(&world, &centre, false);
    world.round(&again);
    assert_ne!(world.store.identity().edge.epoch, epoch);
    assert_eq!(world.store.read(epochs::all).unwrap().len(), 2);
    let newest = world.store.read(|tx| Ok(batches::newest(tx, 1, Lane::Pages)?.unwrap().batch_no)).unwrap();
    assert_eq!(newest, 1);
    assert_eq!(centre.rows().len(), 6);
    assert!(centre.rows().values().all(|n| *n <= 2) && centre.ids().len() == 6);
    verifies(&again);
    world.round(&again);
    assert_eq!(world.store.read(epochs::all).unwrap().len(), 2, "once");
}

#[test]
fn holes_and_rows_left_out_of_voided_batches_stay_out() {
    let (world, centre) = (World::new(), Centre::default());
    let a = world.visitor("a", MEASURE);
    let forwarder = forwarder(&world, &centre, false);
    pages(&world, a, 6);
    world.round(&forwarder);
    let gone = world.store.read(|tx| Ok(batches::get(tx, 1, Lane::Pages, 2)?.unwrap().first_seq)).unwrap();
    world.delete(Lane::Pages, gone, Some(HoleReason::Withdrawn));
    let cursor = |tx: &crate::store::ReadTx<'_>| cursors::get(tx, "centre", 1, Lane::Pages);
    assert_eq!(world.store.read(cursor).unwrap().acked_no, 3);
    world.pen(|tx| {
        for lane in Lane::ALL {
            cursors::set_back(tx, "centre", 1, lane, 0)?;
        }
        Ok(())
    });
    let voided = forwarder.give_way(Some("centre")).unwrap();
    assert_eq!(voided.batches.iter().filter(|key| key.lane == Lane::Pages).count(), 3);
    world.round(&forwarder);
    let lines = centre.hub(|hub| {
        let of_new = hub.batches.iter().filter(|(key, _)| key.contains(&voided.epoch.to_string()));
        of_new.flat_map(|(_, kept)| kept.lines.clone()).filter(|line| line["kind"] == "event").collect::<Vec<_>>()
    });
    assert_eq!(lines.len(), 5);
    assert!(lines.iter().all(|line| line["seq"] != gone.0));
    verifies(&forwarder);
    assert_eq!(forwarder.give_way(Some("nobody")).unwrap_err().code, "unknown_target");
}
