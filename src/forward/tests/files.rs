//! Files of a `dir` target: written whole, taken, kept within bounds.
//! What a job does to them is done with plain file operations, as a job would.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::support::{MEASURE, World, kinds};
use crate::base::time::{DAY_MS, Millis};
use crate::domain::consent::{Action, Purposes};
use crate::domain::event::Lane;
use crate::forward::options::TargetOptions;
use crate::forward::target::Landed;
use crate::store::cursors::{self, Cursor};

fn acked(world: &World, lane: Lane) -> i64 {
    world.store.read(|tx| cursors::get(tx, "outbox", 1, lane)).unwrap().acked_no
}

/// Puts the cursors back, as if the process had ended between the puts and their notes.
fn forget_puts(world: &World) {
    world.pen(|tx| cursors::forget(tx, "outbox"));
}

#[test]
fn files_are_whole_private_and_data_comes_before_the_manifest() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    world.page(a);
    world.round(&world.forwarder());
    let lane = world.lane(Lane::Pages);
    let names: Vec<String> =
        fs::read_dir(&lane).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    assert_eq!(names.len(), 2, "no part is left: {names:?}");
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&lane.join("000000000001.ndjson.gz")), 0o600);
    assert_eq!(mode(&lane.join("000000000001.manifest.json")), 0o600);
    assert_eq!((mode(&lane), mode(&world.outbox())), (0o700, 0o700));
}

#[test]
fn a_put_that_was_cut_off_before_its_note_is_a_no_op_the_second_time() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    world.page(a);
    let forwarder = world.forwarder();
    world.round(&forwarder);
    let path = world.lane(Lane::Pages).join("000000000001.ndjson.gz");
    let (bytes, at) = (fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap());
    forget_puts(&world);
    let report = world.round(&forwarder);
    assert_eq!(report.sent.iter().map(|s| s.landed).collect::<Vec<_>>(), [Landed::Same]);
    assert_eq!((fs::read(&path).unwrap(), fs::metadata(&path).unwrap().modified().unwrap()), (bytes, at));
    fs::remove_file(world.lane(Lane::Pages).join("000000000001.manifest.json")).unwrap();
    forget_puts(&world);
    assert_eq!(world.round(&forwarder).sent[0].landed, Landed::New, "data without a manifest was no put");
    world.decide("a", Action::Withdraw, Purposes::NONE);
    forget_puts(&world);
    let report = world.round(&forwarder);
    assert_eq!(report.sent.last().unwrap().landed, Landed::Renewed);
    assert_eq!(kinds(&world.lines(Lane::Pages, 1)), ["hole"], "a retry carries what may leave now");
}

#[test]
fn acknowledging_is_contiguous_and_never_passes_what_was_put() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let forwarder = world.forwarder();
    for _ in 0..3 {
        world.page(a);
        world.round(&forwarder);
    }
    assert_eq!(forwarder.ack("outbox", Lane::Pages, 4).unwrap_err().code, "not_put");
    assert_eq!(forwarder.ack("outbox", Lane::Fine, 1).unwrap_err().code, "not_put");
    assert_eq!(forwarder.ack("elsewhere", Lane::Pages, 1).unwrap_err().code, "unknown_target");
    assert_eq!(forwarder.ack("outbox", Lane::Pages, 2).unwrap(), 2);
    assert_eq!(acked(&world, Lane::Pages), 2);
    assert_eq!(forwarder.ack("outbox", Lane::Pages, 1).unwrap(), 0, "it never goes back");
    assert_eq!(acked(&world, Lane::Pages), 2);
    let upto = world.store.read(|tx| cursors::delivered_upto(tx, &["outbox".to_owned()], Lane::Pages)).unwrap();
    let second = forwarder.show(Lane::Pages, 2).unwrap().0;
    assert_eq!(upto, second.batch.last_seq);
    assert_eq!(second.reached, [("outbox".to_owned(), true, true)]);
}

#[test]
fn what_a_job_moves_into_taken_is_acknowledged_however_it_moves_it() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let forwarder = world.forwarder();
    for _ in 0..5 {
        world.page(a);
        world.event(a, "scroll", Lane::Fine);
        world.round(&forwarder);
    }
    let (lane, taken) = (world.lane(Lane::Pages), world.outbox().join("taken"));
    let take = |no: i64, kind: &str, to: &Path| {
        fs::create_dir_all(to).unwrap();
        let name = format!("{no:012}.{kind}");
        fs::rename(lane.join(&name), to.join(&name)).unwrap();
    };
    take(2, "ndjson.gz", &taken);
    assert_eq!(world.round(&forwarder).acknowledged, 0, "the first one still lies there");
    let deep = taken.join("monday").join(lane.strip_prefix(world.outbox()).unwrap());
    take(1, "ndjson.gz", &deep);
    take(1, "manifest.json", &deep);
    assert_eq!(world.round(&forwarder).acknowledged, 2, "below its own folders; flat, the manifest left behind");
    take(3, "ndjson.gz", &taken);
    take(3, "manifest.json", &taken);
    assert_eq!(world.round(&forwarder).acknowledged, 1, "flat, with its manifest");
    fs::remove_file(lane.join("000000000004.ndjson.gz")).unwrap();
    fs::copy(world.lane(Lane::Fine).join("000000000004.ndjson.gz"), taken.join("000000000004.ndjson.gz")).unwrap();
    assert_eq!(
        world.round(&forwarder).acknowledged,
        0,
        "what was deleted is not taken, whatever lies under its number"
    );
    assert_eq!((acked(&world, Lane::Pages), acked(&world, Lane::Fine)), (3, 0));
    let found = forwarder.verify(&|_| ()).unwrap().problems;
    assert_eq!(found.len(), 1, "{found:?}");
    assert!(found[0].place.ends_with("pages/000000000004") && found[0].what.contains(".ndjson.gz"), "{found:?}");
}

#[test]
fn a_batch_taken_before_its_put_was_noted_is_not_put_again() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    world.page(a);
    let forwarder = world.forwarder();
    world.round(&forwarder);
    let taken = world.outbox().join("taken");
    fs::create_dir(&taken).unwrap();
    for kind in ["ndjson.gz", "manifest.json"] {
        let name = format!("000000000001.{kind}");
        fs::rename(world.lane(Lane::Pages).join(&name), taken.join(&name)).unwrap();
    }
    forget_puts(&world);
    let report = world.round(&forwarder);
    assert_eq!((report.sent[0].landed, report.acknowledged), (Landed::Same, 1));
    assert!(!world.lane(Lane::Pages).join("000000000001.ndjson.gz").exists());
}

#[test]
fn what_does_not_fit_expires_oldest_first_and_is_told_as_a_loss() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let roomy = world.forwarder();
    for _ in 0..4 {
        world.page(a);
        world.round(&roomy);
    }
    roomy.ack("outbox", Lane::Pages, 1).unwrap();
    let size = |no: i64| -> u64 {
        let file = |kind: &str| world.lane(Lane::Pages).join(format!("{no:012}.{kind}"));
        ["ndjson.gz", "manifest.json"].map(|kind| fs::metadata(file(kind)).map_or(0, |m| m.len())).iter().sum()
    };
    let room = size(3) + size(4) + size(4) + 100;
    let tight = world.forwarder_to(&[TargetOptions { keep_bytes: room, ..TargetOptions::default() }]);
    world.page(a);
    let report = world.round(&tight);
    assert_eq!(report.expired, 1, "the acknowledged one went first, then the oldest");
    assert_eq!((size(1), size(2)), (0, 0));
    assert!(size(3) > 0 && size(5) > 0);
    assert_eq!(acked(&world, Lane::Pages), 2, "what is gone can be waited for no longer");
    world.round(&roomy);
    let told = world.lines(Lane::Consent, 1);
    assert_eq!(kinds(&told), ["loss"]);
    let of = |name: &str| told[0][name].clone();
    assert_eq!(
        (of("lane"), of("first_no"), of("last_no"), of("count")),
        ("pages".into(), 2.into(), 2.into(), 1.into())
    );
    assert_eq!((of("reason"), of("target")), ("quota".into(), "outbox".into()));
    assert_eq!(roomy.verify(&|_| ()).unwrap().problems, Vec::new());
}

#[test]
fn what_is_too_old_expires_when_asked() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let forwarder = world.forwarder();
    world.page(a);
    world.round(&forwarder);
    let path = world.lane(Lane::Pages).join("000000000001.ndjson.gz");
    let since = fs::metadata(&path).unwrap().modified().unwrap().duration_since(std::time::UNIX_EPOCH).unwrap();
    let put_at = Millis(i64::try_from(since.as_millis()).unwrap());
    assert_eq!(forwarder.expire_by_age(put_at.plus(30 * DAY_MS)).unwrap(), 0);
    assert!(path.exists());
    assert_eq!(forwarder.expire_by_age(put_at.plus(30 * DAY_MS + 1)).unwrap(), 1);
    assert!(!path.exists());
    assert_eq!(forwarder.expire_by_age(put_at.plus(60 * DAY_MS)).unwrap(), 0, "told once");
    world.round(&forwarder);
    assert_eq!(world.lines(Lane::Consent, 1)[0]["reason"], "retention");
    assert_eq!(world.store.read(|tx| cursors::get(tx, "outbox", 1, Lane::Pages)).unwrap().acked_no, 1);
    let none = Cursor::default();
    assert_eq!(world.store.read(|tx| cursors::get(tx, "other", 1, Lane::Pages)).unwrap(), none);
}

#[test]
fn a_target_that_comes_later_is_told_what_was_removed_before_it_came() {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    let first = world.forwarder();
    let old = world.page(a);
    world.round(&first);
    world.page(a);
    world.round(&first);
    first.ack("outbox", Lane::Pages, 1).unwrap();
    world.delete(Lane::Pages, old, None);
    let later = TargetOptions { name: "later".to_owned(), path: "later".into(), ..TargetOptions::default() };
    let both = world.forwarder_to(&[TargetOptions::default(), later]);
    let report = world.round(&both);
    let sent: Vec<_> = report.sent.iter().map(|s| (s.target.as_str(), s.key.lane, s.key.batch_no)).collect();
    assert_eq!(sent, [("later", Lane::Consent, 1), ("later", Lane::Pages, 2)], "the loss is told first");
    assert_eq!(report.expired, 1);
    world.round(&both);
    let told = &world.lines(Lane::Consent, 1)[0];
    assert_eq!((told["target"].as_str(), told["last_no"].as_i64()), (Some("later"), Some(1)));
    let found = both.verify(&|_| ()).unwrap();
    assert_eq!(found.pruned, 1, "{found:?}");
}
