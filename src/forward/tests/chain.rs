//! Chains: what was sealed stays provable, and what was changed is found.
//! Every finding is one of a real change on disk; none of these tests may pass on untouched files.

use std::fs;

use super::support::{MEASURE, World};
use crate::base::error::Kind;
use crate::base::gzip;
use crate::domain::event::Lane;
use crate::domain::line::LineKind;
use crate::forward::options::{ForwardOptions, TargetOptions};
use crate::forward::verify::{Looking, Only};
use crate::forward::{verify, verify_beside};
use crate::store::edge::{Edge, KnownKey};
use crate::store::epochs::Reason;
use crate::store::{Reading, Store, StoreOptions, batches, cursors, frozen, lines};

fn everything() -> Looking<'static> {
    Looking { only: Only::default(), progress: &|_| () }
}

fn three_batches(world: &World) -> crate::forward::Forwarder {
    let forwarder = world.forwarder();
    let a = world.visitor("a", MEASURE);
    for _ in 0..3 {
        world.page(a);
        world.page(a);
        world.round(&forwarder);
    }
    forwarder
}

fn problems(world: &World) -> Vec<String> {
    let found = verify::folder(&world.outbox(), None, everything()).unwrap();
    found.problems.into_iter().map(|p| p.what).collect()
}

#[test]
fn a_chain_of_batches_holds_in_the_database_and_as_files() {
    let world = World::new();
    let forwarder = three_batches(&world);
    let found = forwarder.verify(&|_| ()).unwrap();
    assert_eq!((found.batches, found.files, found.lines, found.problems.len()), (3, 3, 12, 0));
    let public = world.store.identity().edge.signing.public();
    assert_eq!(verify::folder(&world.outbox(), Some(&public), everything()).unwrap().problems, Vec::new());
    let other = verify::folder(&world.outbox(), Some(&[9; 32]), everything()).unwrap();
    assert_eq!(other.problems.len(), 3, "a stranger's key is not ours");
}

#[test]
fn a_reader_beside_the_daemon_finds_foreign_signatures_and_files_that_are_gone() {
    let world = World::new();
    three_batches(&world);
    let reading = Reading::open(world.store.data_dir(), 5_000).unwrap();
    let keys = &world.store.identity().edge.keys;
    let found = |keys: &[KnownKey]| {
        verify_beside(&reading, keys, &[TargetOptions::default()], everything()).unwrap().problems.len()
    };
    assert_eq!(found(keys), 0);
    let stranger = KnownKey { public: [9; 32], ..keys[0].clone() };
    assert!(found(&[stranger]) >= 3, "a file signed by anybody else is no batch of ours");
    for end in ["ndjson.gz", "manifest.json"] {
        fs::remove_file(world.lane(Lane::Pages).join(format!("000000000003.{end}"))).unwrap();
    }
    assert_eq!(found(keys), 1, "the last file is gone and was not acknowledged");
}

#[test]
fn a_tampered_file_is_found() {
    let world = World::new();
    let forwarder = three_batches(&world);
    let path = world.lane(Lane::Pages).join("000000000002.ndjson.gz");
    let good = fs::read(&path).unwrap();
    let text = gzip::decompress(&good, 1 << 20).unwrap();
    let changed = String::from_utf8(text).unwrap().replacen("A page", "A lie!", 1);
    fs::write(&path, gzip::compress(changed.as_bytes(), 6)).unwrap();
    let found = problems(&world);
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].contains("digest"), "{found:?}");
    assert_eq!(forwarder.verify(&|_| ()).unwrap().problems.len(), 1, "the stored batch still holds");
    fs::write(&path, &good[..good.len() - 9]).unwrap();
    assert!(problems(&world)[0].contains("gzip"));
}

#[test]
fn a_tampered_manifest_is_found() {
    let world = World::new();
    three_batches(&world);
    let path = world.lane(Lane::Pages).join("000000000003.manifest.json");
    let good = fs::read_to_string(&path).unwrap();
    fs::write(&path, good.replace("\\\"count\\\":2", "\\\"count\\\":1")).unwrap();
    assert!(problems(&world)[0].contains("signature"), "{:?}", problems(&world));
    fs::write(&path, good.replace("\"holes\":0", "\"holes\":1")).unwrap();
    assert!(problems(&world)[0].contains("holes"));
    fs::write(&path, "{}").unwrap();
    assert!(problems(&world)[0].contains("manifest"));
    fs::remove_file(&path).unwrap();
    assert!(problems(&world)[0].contains(".manifest.json"));
}

#[test]
fn a_removed_or_swapped_batch_is_found() {
    let world = World::new();
    let forwarder = three_batches(&world);
    let lane = world.lane(Lane::Pages);
    for kind in ["ndjson.gz", "manifest.json"] {
        fs::remove_file(lane.join(format!("000000000002.{kind}"))).unwrap();
    }
    let found = problems(&world);
    assert_eq!(found, ["batches 2 to 2 are missing before it"]);
    let with_database = forwarder.verify(&|_| ()).unwrap().problems;
    assert!(with_database.iter().any(|p| p.what == "the batch is gone"), "{with_database:?}");
    for kind in ["ndjson.gz", "manifest.json"] {
        fs::copy(lane.join(format!("000000000001.{kind}")), lane.join(format!("000000000002.{kind}"))).unwrap();
    }
    assert!(problems(&world)[0].contains("it is batch"), "{:?}", problems(&world));
}

#[test]
fn a_batch_removed_from_the_database_is_found() {
    let world = World::new();
    let forwarder = three_batches(&world);
    world.clock.advance(10);
    let sealed = world.pen(|tx| {
        let second = batches::get(tx, 1, Lane::Pages, 2)?.unwrap();
        for batch_no in [1, 2] {
            batches::delete(tx, 1, Lane::Pages, batch_no)?;
        }
        batches::insert(
            tx,
            &batches::get(tx, 1, Lane::Pages, 3)?.map(|b| batches_of(b, second.batch_no - 1)).unwrap(),
        )?;
        Ok(second)
    });
    assert_eq!(sealed.batch_no, 2);
    let found = forwarder.verify(&|_| ()).unwrap().problems;
    assert!(found.iter().any(|p| p.what.contains("missing: 3 comes after 1")), "{found:?}");
    assert!(found.iter().any(|p| p.what.contains("columns and its signed part differ")), "{found:?}");
}

fn batches_of(batch: crate::domain::batch::Batch, batch_no: i64) -> crate::domain::batch::Batch {
    crate::domain::batch::Batch { batch_no, ..batch }
}

#[test]
fn the_first_batch_of_an_epoch_names_the_last_of_the_one_before() {
    let world = World::new();
    three_batches(&world);
    let World { dir, clock, store } = world;
    let before = store.identity().edge.epoch;
    std::sync::Arc::into_inner(store).unwrap().close().unwrap();
    Edge::new_epoch(dir.path(), Reason::Restore, super::support::START).unwrap();
    let options = StoreOptions::at(dir.path());
    let store = std::sync::Arc::new(Store::open(&options, std::sync::Arc::new(clock.clone())).unwrap());
    assert_ne!(store.identity().edge.epoch, before);
    let world = World { dir, clock, store };
    let forwarder = world.forwarder();
    let b = world.visitor("b", MEASURE);
    world.page(b);
    world.round(&forwarder);
    let now = world.store.identity().epoch_id;
    let (first, last) = world
        .store
        .read(|tx| Ok((batches::get(tx, now, Lane::Pages, 1)?.unwrap(), batches::get(tx, 1, Lane::Pages, 3)?.unwrap())))
        .unwrap();
    let part: crate::domain::batch::SealedPart = serde_json::from_slice(&first.sealed_part).unwrap();
    assert_eq!(part.previous_digest, Some(crate::base::text::hex(&last.digest)));
    assert_eq!(part.previous_epoch, Some(before.to_string()));
    assert_eq!(forwarder.verify(&|_| ()).unwrap().problems, Vec::new());
    assert_eq!(problems(&world), Vec::<String>::new());
    let old = world.outbox().join(format!("{}/{before}/pages", world.store.identity().edge.id));
    for kind in ["ndjson.gz", "manifest.json"] {
        fs::remove_file(old.join(format!("000000000003.{kind}"))).unwrap();
    }
    assert!(problems(&world)[0].contains("the epoch before"), "{:?}", problems(&world));
}

#[test]
fn batches_keep_to_their_rows_and_bytes() {
    let world = World::new();
    let options = ForwardOptions { seal_rows_max: 3, ..ForwardOptions::default() };
    let forwarder = world.forwarder_with(&options, &[]);
    let a = world.visitor("a", MEASURE);
    for _ in 0..7 {
        world.page(a);
    }
    let counts = |report: crate::forward::Report| report.sealed.iter().map(|s| s.count).collect::<Vec<_>>();
    assert_eq!(counts(forwarder.run_once(false).unwrap()), [3, 3], "full batches wait for no clock");
    assert_eq!(counts(forwarder.run_once(false).unwrap()), [0; 0]);
    assert_eq!(counts(forwarder.run_once(true).unwrap()), [1]);
    let line = world.store.read(|tx| {
        let seq = lines::newest_seq(tx)?;
        Ok(lines::one(tx, Lane::Pages, seq)?.unwrap().line.render("Kiosk 7").len())
    });
    let two = u64::try_from(line.unwrap() * 2 + 10).unwrap();
    let options = ForwardOptions { seal_bytes_max: two, ..ForwardOptions::default() };
    let forwarder = world.forwarder_with(&options, &[]);
    for _ in 0..5 {
        world.page(a);
    }
    assert_eq!(counts(forwarder.run_once(true).unwrap()), [2, 2, 1]);
    let tiny = ForwardOptions { seal_bytes_max: 1, ..ForwardOptions::default() };
    world.page(a);
    world.page(a);
    assert_eq!(
        counts(world.forwarder_with(&tiny, &[]).run_once(true).unwrap()),
        [1, 1],
        "a long line is a batch of its own"
    );
}

#[test]
fn a_foreign_batch_under_the_same_key_is_a_fork() {
    let world = World::new();
    let forwarder = three_batches(&world);
    let lane = world.lane(Lane::Pages);
    for kind in ["ndjson.gz", "manifest.json"] {
        fs::copy(lane.join(format!("000000000003.{kind}")), lane.join(format!("000000000004.{kind}"))).unwrap();
    }
    let b = world.visitor("b", MEASURE);
    world.page(b);
    world.event(b, "scroll", Lane::Fine);
    let report = forwarder.run_once(true).unwrap();
    assert_eq!(report.failed.iter().map(|f| f.code).collect::<Vec<_>>(), ["fork"]);
    assert_eq!(report.sent.len(), 0, "rows of all lanes are numbered together: no other goes on either");
    assert_eq!(forwarder.ack("outbox", Lane::Pages, 4).unwrap_err().kind, Kind::Conflict);
}

#[test]
fn a_target_that_comes_after_old_batches_went_begins_at_what_is_left_and_is_told() {
    let world = World::new();
    three_batches(&world);
    world.pen(|tx| {
        for batch_no in [1, 2] {
            batches::delete(tx, 1, Lane::Pages, batch_no)?;
        }
        Ok(())
    });
    let late = TargetOptions { name: "late".to_owned(), path: "late".into(), ..TargetOptions::default() };
    let forwarder = world.forwarder_to(&[late]);
    world.round(&forwarder);
    let position = world.store.read(|tx| cursors::get(tx, "late", 1, Lane::Pages)).unwrap();
    assert_eq!((position.put_no, position.acked_no), (3, 2));
    let losses = world.store.read(|tx| frozen::oldest(tx, 100)).unwrap();
    let seq = losses.iter().find(|(_, kind, _)| *kind == LineKind::Loss).unwrap().0;
    let line = world.store.read(|tx| lines::one(tx, Lane::Consent, seq)).unwrap().unwrap().line;
    let told: serde_json::Value = serde_json::from_slice(&line.render("")).unwrap();
    let of = |key: &str| told[key].clone();
    assert_eq!(
        (of("target"), of("lane"), of("first_no"), of("last_no")),
        ("late".into(), "pages".into(), 1.into(), 2.into())
    );
    assert_eq!(forwarder.verify(&|_| ()).unwrap().problems, Vec::new(), "the chain begins at what is left");
    assert!(world.round(&forwarder).sent.iter().all(|sent| sent.key.lane == Lane::Consent), "told once");
}

#[test]
fn only_what_was_asked_for_is_looked_at() {
    let world = World::new();
    let forwarder = three_batches(&world);
    world.event(world.visitor("b", MEASURE), "scroll", Lane::Fine);
    world.round(&forwarder);
    fs::remove_file(world.lane(Lane::Pages).join("000000000001.ndjson.gz")).unwrap();
    let epoch = world.store.identity().edge.epoch;
    let beside = |only: Only| {
        let reading = Reading::open(world.dir.path(), 5_000).unwrap();
        let how = Looking { only, progress: &|_| () };
        let found =
            verify_beside(&reading, &world.store.identity().edge.keys, &[TargetOptions::default()], how).unwrap();
        let files = verify::folder(&world.outbox(), None, how).unwrap();
        assert_eq!((files.files, files.problems.len()), (found.files, found.problems.len()));
        (found.batches, found.files, found.problems.len())
    };
    let (all, pages) = (beside(Only::default()), beside(Only { lane: Some(Lane::Pages), epoch: None }));
    assert!(all.0 > pages.0 && all.1 > pages.1, "{all:?} {pages:?}");
    assert_eq!(pages, (3, 3, 1));
    assert_eq!(beside(Only { lane: Some(Lane::Fine), epoch: Some(epoch) }), (1, 1, 0));
    assert_eq!(beside(Only { lane: None, epoch: Some(epoch) }), all);
    assert_eq!(beside(Only { lane: None, epoch: Some(crate::base::id::Epoch([7; 8])) }), (0, 0, 0));
}
