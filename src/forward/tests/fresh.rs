//! Lines kept from the seal for the put that follows: the same bytes where nothing changed, and never those of somebody
//! who lost a right, was restricted or is being erased since.

use super::support::{MEASURE, World, kinds, shared};
use crate::domain::consent::{Action, Purposes};
use crate::domain::erasure::Marks;
use crate::domain::event::Lane;
use crate::forward::options::{Recipient, TargetOptions};
use crate::forward::{Forwarder, seal};
use crate::store::erasures::{self, ErasureRow, Whose};
use crate::store::{holes, visitors};

/// Two visitors' page views, sealed and kept; whatever `then` does comes before the put. What was put, and whether the
/// kept lines were still there when their turn came.
fn put_after(then: impl FnOnce(&World, i64)) -> Vec<String> {
    let world = World::new();
    let (a, b) = (world.visitor("a", shared()), world.visitor("b", shared()));
    world.page(a);
    world.page(b);
    let forwarder = world.forwarder();
    keep(&world, &forwarder);
    then(&world, a);
    world.round(&forwarder);
    let lines = world.lines(Lane::Pages, 1);
    assert_eq!(forwarder.verify(&|_| ()).unwrap().problems, Vec::new());
    kinds(&lines).into_iter().map(str::to_owned).collect()
}

fn keep(world: &World, forwarder: &Forwarder) {
    let (now, rules) = (forwarder.clock.now(), forwarder.rules().unwrap());
    let sealed = seal::keeping(&world.store, Lane::Pages, &rules, (now, true), &forwarder.fresh).unwrap();
    assert_eq!(sealed.unwrap().len(), 1);
}

fn cut_off(world: &World, visitor_id: i64) {
    let data_dir = world.dir.path().to_owned();
    world.pen(move |tx| {
        let visitor = visitors::get(tx, visitor_id)?.unwrap();
        let whose = (visitor.visitor_ref, Whose::Visitor(visitor_id));
        let by = (tx.now(), tx.now(), "test");
        visitors::cut_off(tx, visitor_id)?;
        erasures::insert(tx, &ErasureRow::new(&data_dir, visitor.site_id, whose, &Marks::default(), by)?)
    });
}

#[test]
fn what_did_not_change_since_the_seal_is_put_from_the_kept_lines() {
    assert_eq!(put_after(|_, _| ()), ["event", "event"]);
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    world.page(a);
    let forwarder = world.forwarder();
    keep(&world, &forwarder);
    // nothing that rendering from the rows could have found any more: these bytes were kept
    let batch = world.store.read(|tx| Ok(crate::store::batches::get(tx, 1, Lane::Pages, 1)?.unwrap())).unwrap();
    world.delete(Lane::Pages, batch.first_seq, None);
    world.round(&forwarder);
    assert_eq!(kinds(&world.lines(Lane::Pages, 1)), ["event"]);
}

#[test]
fn whoever_lost_a_right_between_seal_and_put_is_a_hole_although_the_lines_were_kept() {
    let acts: [(Action, Purposes); 3] =
        [(Action::Withdraw, Purposes::NONE), (Action::Restrict, Purposes::NONE), (Action::Refuse, Purposes::MEASURE)];
    for (action, purposes) in acts {
        let kinds = put_after(|world, _| {
            world.decide("a", action, purposes);
        });
        assert_eq!(kinds, ["hole", "event"], "{action:?}");
    }
}

#[test]
fn whoever_is_being_erased_since_the_seal_is_a_hole_although_no_row_is_gone_yet() {
    let kinds = put_after(|world, a| {
        cut_off(world, a);
        let (first, last) = (crate::base::id::Seq(0), crate::base::id::Seq(1_000));
        assert!(world.store.read(|tx| holes::between(tx, Lane::Pages, first, last)).unwrap().is_empty());
    });
    assert_eq!(kinds, ["hole", "event"]);
}

#[test]
fn a_third_party_never_gets_lines_that_were_kept() {
    let world = World::new();
    let (a, b) = (world.visitor("a", MEASURE), world.visitor("b", shared()));
    world.page(a);
    world.page(b);
    let theirs = TargetOptions { recipient: Recipient::ThirdParty, ..TargetOptions::default() };
    let forwarder = world.forwarder_to(&[theirs]);
    keep(&world, &forwarder);
    world.round(&forwarder);
    assert_eq!(kinds(&world.lines(Lane::Pages, 1)), ["hole", "event"]);
}
