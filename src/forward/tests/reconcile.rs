//! What a receiver has against what was sealed, row by row of the table.
//! The far side says what the test tells it to say.

use std::sync::{Arc, Mutex};

use super::support::{MEASURE, World};
use crate::base::error::Result;
use crate::base::id::EdgeId;
use crate::base::text::hex;
use crate::base::time::Clock;
use crate::domain::delivery::Watermark;
use crate::domain::event::Lane;
use crate::domain::line::HoleReason;
use crate::forward::options::{ForwardOptions, Recipient};
use crate::forward::reconcile::{self, Reconciled, Row, State};
use crate::forward::target::{Landed, Parcel, Put, Setback, Target};
use crate::forward::{Forwarder, reconcile_beside};
use crate::store::refused::Why;
use crate::store::{Reading, batches, refused};

/// A receiver that takes everything, and says of the pages lane what it is told to.
#[derive(Clone, Default)]
struct Says(Arc<Mutex<Option<Vec<Watermark>>>>);

impl Target for Says {
    fn name(&self) -> &'static str {
        "centre"
    }

    fn recipient(&self) -> Recipient {
        Recipient::Own
    }

    fn put(&self, _parcel: &Parcel<'_>) -> Result<Put, Setback> {
        Ok(Put { landed: Landed::New, acknowledged: true })
    }

    fn watermarks(&self, _edge: EdgeId) -> Result<Option<Vec<Watermark>>> {
        Ok(self.0.lock().unwrap().clone())
    }
}

fn pages(found: &Reconciled) -> &Row {
    found.rows.iter().find(|row| row.lane == "pages").unwrap()
}

#[test]
fn every_line_that_was_sealed_is_there_a_hole_or_still_to_come() {
    let (world, centre) = (World::new(), Says::default());
    let a = world.visitor("a", MEASURE);
    let rows: Vec<_> = (0..6).map(|_| world.page(a)).collect();
    let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
    let options = ForwardOptions { seal_rows_max: 2, ..ForwardOptions::default() };
    let targets: Vec<Box<dyn Target>> = vec![Box::new(centre.clone())];
    let forwarder = Forwarder::to(Arc::clone(&world.store), clock, &options, targets, "Kiosk 7");
    forwarder.run_once(false).unwrap();
    world.delete(Lane::Pages, rows[1], Some(HoleReason::Withdrawn));
    world.page(a);
    let reading = Reading::open(world.dir.path(), 5_000).unwrap();
    assert_eq!(reconcile::with(&reading, &centre).unwrap_err().code, "no_watermarks");
    let digest = |no| {
        let batch = world.store.read(|tx| batches::get(tx, 1, Lane::Pages, no)).unwrap();
        batch.map_or_else(|| "00".repeat(32), |batch| hex(&batch.digest))
    };
    let at = |batch_no: i64, digest: String| {
        let epoch = world.store.identity().edge.epoch.to_string();
        let mark = Watermark { epoch, lane: "pages".to_owned(), batch_no, last_seq: 1, digest, first_no: None };
        *centre.0.lock().unwrap() = Some(vec![mark]);
        reconcile::with(&reading, &centre).unwrap()
    };
    let whole = at(3, digest(3));
    let row = pages(&whole);
    assert_eq!((row.state, row.sealed_no, row.there_no, row.sealed_lines), (State::Same, 3, 3, 6));
    assert_eq!((row.there_lines, row.coming_lines, row.forgotten_batches), (6, 0, 0));
    assert_eq!(row.holes_now, [("withdrawn".to_owned(), 1)]);
    assert_eq!(row.refused, []);
    let refused = |target: &'static str, seq, why| {
        world.store.pen().call(move |tx| refused::insert(tx, target, Lane::Pages, seq, why)).unwrap();
    };
    refused("centre", rows[2], Why::BadRows);
    refused("centre", rows[3], Why::BadRows);
    refused("centre", rows[5], Why::TooLarge);
    refused("elsewhere", rows[4], Why::TooLarge);
    let told = [("bad_rows".to_owned(), 2), ("too_large".to_owned(), 1)];
    assert_eq!(pages(&at(3, digest(3))).refused, told, "what this receiver will never take, by why");
    assert_eq!(pages(&at(1, digest(1))).refused, told, "also of what is still to come");
    assert!(!whole.is_wrong() && !whole.is_whole(), "a row waits to be sealed");
    assert_eq!(whole.unsealed.iter().find(|(lane, _)| *lane == "pages").unwrap().1, 1);
    let lost = at(1, digest(1));
    let row = pages(&lost);
    assert_eq!((row.state, row.there_lines, row.coming_lines), (State::Lost, 2, 4));
    assert_eq!(row.there_lines + row.coming_lines, row.sealed_lines);
    let start = super::support::START.rfc3339();
    assert_eq!(row.coming_received, Some((start.clone(), start)));
    assert_eq!(pages(&at(2, "11".repeat(32))).state, State::Fork);
    assert_eq!(pages(&at(4, digest(4))).state, State::Ahead);
    assert!(at(4, digest(4)).is_wrong());
    *centre.0.lock().unwrap() = Some(Vec::new());
    assert_eq!(pages(&reconcile::with(&reading, &centre).unwrap()).there_lines, 0);
    assert_eq!(reconcile_beside(&reading, &[], Some("centre")).unwrap_err().code, "unknown_target");
    assert_eq!(reconcile_beside(&reading, &[], None).unwrap_err().code, "unknown_target");
}

#[test]
fn what_has_not_been_sent_yet_is_behind_and_holes_that_were_put_are_counted() {
    let (world, centre) = (World::new(), Says::default());
    let a = world.visitor("a", MEASURE);
    let rows: Vec<_> = (0..4).map(|_| world.page(a)).collect();
    let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
    let options = ForwardOptions { seal_rows_max: 2, ..ForwardOptions::default() };
    // sealed while nobody takes anything, and one row withdrawn before it is put
    let sealing = Forwarder::to(Arc::clone(&world.store), Arc::clone(&clock), &options, Vec::new(), "Kiosk 7");
    sealing.run_once(false).unwrap();
    world.delete(Lane::Pages, rows[0], Some(HoleReason::Withdrawn));
    *centre.0.lock().unwrap() = Some(Vec::new());
    let reading = Reading::open(world.dir.path(), 5_000).unwrap();
    let before = reconcile::with(&reading, &centre).unwrap();
    assert_eq!((pages(&before).state, pages(&before).coming_lines), (State::Behind, 4));
    let targets: Vec<Box<dyn Target>> = vec![Box::new(centre.clone())];
    Forwarder::to(Arc::clone(&world.store), clock, &options, targets, "Kiosk 7").run_once(true).unwrap();
    let batch = world.store.read(|tx| Ok(batches::get(tx, 1, Lane::Pages, 2)?.unwrap())).unwrap();
    let (epoch, digest) = (world.store.identity().edge.epoch.to_string(), hex(&batch.digest));
    let mark = Watermark { epoch, lane: "pages".to_owned(), batch_no: 2, last_seq: 1, digest, first_no: None };
    *centre.0.lock().unwrap() = Some(vec![mark]);
    let after = reconcile::with(&reading, &centre).unwrap();
    let row = pages(&after);
    assert_eq!((row.state, row.there_lines, row.there_holes), (State::Same, 4, 1), "three whole lines and a hole");
}
