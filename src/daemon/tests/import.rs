//! Imported batches: a batch and how far its source is taken commit together.
//! Must never read a log (`ingest/import`). Invariant: a step is taken once, from where the last one ended.

use std::sync::mpsc::sync_channel;

use super::support::*;
use crate::base::digest::sha256;
use crate::base::error::{Kind, Result};
use crate::base::id::ClientId;
use crate::base::time::{Clock, DAY_MS, MINUTE_MS};
use crate::domain::clock::ClockState;
use crate::domain::consent::{LawfulBasis, Purposes};
use crate::domain::event::Event;
use crate::ingest::sink::{ImportBatch, ImportFate, Mark};
use crate::store::tallies;

const HEAD: &[u8] = b"the first bytes of a log";

fn mark(bytes: i64, lines: i64) -> Mark {
    Mark { source: sha256(HEAD), head_bytes: HEAD.len() as i64, bytes, lines }
}

fn views(visitor: &str, minutes: impl IntoIterator<Item = i64>) -> Vec<Event> {
    let view = |n: i64| Event {
        visitor: Some(ClientId::new(visitor)),
        imported_at: Some(START.plus(n * MINUTE_MS - 400 * DAY_MS)),
        ..Event::named("page_viewed")
    };
    minutes.into_iter().map(view).collect()
}

fn batch(was: Option<Mark>, now: Mark, events: Vec<Event>) -> ImportBatch {
    ImportBatch {
        site: None,
        basis: Some(LawfulBasis::LegitimateInterest),
        purposes: Purposes::MEASURE.0,
        was,
        now,
        events,
    }
}

fn take(world: &World, batch: ImportBatch) -> Result<Vec<ImportFate>> {
    let (send, receive) = sync_channel(1);
    world.ingest().import_take(batch, world.clock.now(), move |fates| send.send(fates).unwrap())?;
    receive.recv().unwrap()
}

#[test]
fn a_source_is_taken_step_by_step_and_known_again() {
    let mut world = World::new();
    assert_eq!(world.ingest().import_known(HEAD).unwrap(), None);
    let first = take(&world, batch(None, mark(100, 2), views("a", [0, 5]))).unwrap();
    assert!(first.iter().all(|f| f.accepted));
    assert_eq!((first[0].new_visitor, first[0].new_visit, first[1].new_visit), (true, true, false));
    world.reopen();
    assert_eq!(world.ingest().import_known(b"the first bytes of a log, and more").unwrap(), Some(mark(100, 2)));
    let second = take(&world, batch(Some(mark(100, 2)), mark(250, 4), views("a", [10, 30]))).unwrap();
    assert_eq!((second[0].new_visit, second[1].new_visit), (false, true));
    assert_eq!(world.ingest().import_known(HEAD).unwrap(), Some(mark(250, 4)));
    let visits = world.visits("a");
    assert_eq!(visits.iter().map(|v| v.event_count).collect::<Vec<_>>(), [3, 1]);
    let row = world.events(&visits[0]).remove(0);
    assert_eq!((row.clock_state, row.received), (ClockState::Imported, START), "the log's own time, however old");
    assert!(row.rights.basis_id > 0 && row.rights.flags == Purposes::MEASURE);
}

#[test]
fn a_step_that_was_taken_is_never_taken_again() {
    let world = World::new();
    take(&world, batch(None, mark(100, 2), views("a", [0, 5]))).unwrap();
    // its answer was lost, and another import has gone on: neither the first nor a middle step fits any more
    let again = take(&world, batch(None, mark(100, 2), views("a", [0, 5]))).unwrap_err();
    assert_eq!(again.kind, Kind::Conflict);
    take(&world, batch(Some(mark(100, 2)), mark(200, 3), views("a", [6]))).unwrap();
    let stale = take(&world, batch(Some(mark(100, 2)), mark(200, 3), views("a", [6]))).unwrap_err();
    assert_eq!(stale.kind, Kind::Conflict);
    assert_eq!(world.totals(), (3, 0));
    assert_eq!(world.ingest().import_known(HEAD).unwrap(), Some(mark(200, 3)));
}

#[test]
fn a_source_known_while_it_was_short_is_renamed_as_it_grows() {
    let world = World::new();
    take(&world, batch(None, mark(100, 1), views("a", [0]))).unwrap();
    let grown = b"the first bytes of a log, and what came later";
    let now = Mark { source: sha256(grown), head_bytes: grown.len() as i64, bytes: 300, lines: 2 };
    take(&world, batch(Some(mark(100, 1)), now, views("a", [1]))).unwrap();
    assert_eq!(world.ingest().import_known(grown).unwrap(), Some(now));
    assert_eq!(world.ingest().import_known(HEAD).unwrap(), None);
}

#[test]
fn without_a_basis_imported_events_are_counted_in_the_hour_of_the_log() {
    let world = World::new();
    let bare = ImportBatch { basis: None, ..batch(None, mark(100, 2), views("a", [0, 5])) };
    let fates = take(&world, bare).unwrap();
    assert!(fates.iter().all(|f| f.counted && !f.accepted));
    assert_eq!(world.totals(), (0, 2));
    let hour = START.plus(-400 * DAY_MS).hour();
    let changed = world.store().read(|tx| crate::store::counts::changed_hours(tx, START, 10)).unwrap();
    assert_eq!(changed, [(world.seat().id, hour)]);
}

#[test]
fn a_visitor_who_refused_is_not_imported_under_any_basis_that_can_be_objected_to() {
    let world = World::new();
    world.withdraw("a", Purposes::NONE);
    let fates = take(&world, batch(None, mark(100, 1), views("a", [0]))).unwrap();
    assert!(fates[0].counted);
}

#[test]
fn what_is_left_out_of_imported_events_is_counted_and_named() {
    let world = World::new();
    let mut events = views("a", [0, 5]);
    events[0].page.title = Some("Clinic for diabetes".to_owned());
    assert!(take(&world, batch(None, mark(100, 2), events)).unwrap().iter().all(|fate| fate.accepted));
    let withheld: Vec<Option<String>> =
        world.events(&world.visit("a")).into_iter().map(|event| event.withheld).collect();
    assert_eq!(withheld, [Some("title".to_owned()), None]);
    let told = world.store().read(tallies::all).unwrap();
    assert!(told.contains(&("denied.fields".to_owned(), 1)), "{told:?}");
}
