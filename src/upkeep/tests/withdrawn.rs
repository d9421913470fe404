//! What a withdrawal took back is gone, in steps, and nothing else is.
//! Must never set a floor itself: decisions are recorded as `consent` records them.

use super::world::{LABEL, World, rights};
use crate::base::id::{ClientId, Seq};
use crate::base::time::HOUR_MS;
use crate::domain::consent::{Action, Purposes};
use crate::domain::event::{Attribute, DataType, Lane};
use crate::domain::line::{HoleReason, LineKind, line_hash};
use crate::store::identities::Association;
use crate::store::{decisions, events, holes, identities, pages, personal, refusals, sites, visitors, visits};

fn known(world: &World, key: &str) -> bool {
    world.read(|tx| visitors::find(tx, sites::id(tx, "shop")?.unwrap(), &ClientId::new(key))).is_some()
}

#[test]
fn everything_of_the_visitor_goes_and_nothing_of_another() {
    let world = World::new();
    let (visitor, visit) = world.visit("a", 2_500);
    let (_, other) = world.visit("b", 30);
    world.pass(HOUR_MS);
    let upkeep = world.upkeep();
    upkeep.run_once(true).unwrap();
    assert_eq!(world.lines(Lane::Visits, LineKind::Visit).len(), 2);
    let reference = world.read(|tx| visitors::get(tx, visitor)).unwrap().visitor_ref;
    world.decide("a", Action::Withdraw, Purposes::NONE);
    upkeep.run_once(false).unwrap();
    let after_one = world.events();
    assert!(after_one > 30 && after_one < 2_530, "in steps: {after_one}");
    upkeep.run_once(true).unwrap();
    assert_eq!(world.events(), 30);
    assert!(!known(&world, "a") && known(&world, "b"));
    assert_eq!(world.read(|tx| visits::get(tx, visit)), None);
    assert_eq!(world.read(|tx| pages::read(tx, visit)), None);
    assert_eq!(world.read(|tx| events::of_visit(tx, other, 100)).len(), 30);
    assert_eq!(world.lines(Lane::Visits, LineKind::Visit).len(), 1, "the snapshot too");
    assert!(world.read(|tx| refusals::get(tx, &[9; 32])).is_some(), "the no stays");
    assert_eq!(world.read(|tx| decisions::of_subject(tx, reference, 10)).len(), 1, "and its proof");
    let largest = upkeep.status().unwrap().largest_step_rows;
    assert!((900..=1_000).contains(&largest), "{largest} rows in one step");
    assert_eq!(world.total(&upkeep, "removed.withdrawn.events"), 2_500);
    assert_eq!(world.total(&upkeep, "lost.retention.pages"), 0, "nobody lost it");
}

#[test]
fn lines_in_sealed_batches_leave_their_digest() {
    let world = World::new().with_target();
    let (_, visit) = world.visit("a", 3);
    world.seal(Lane::Pages);
    world.acknowledge(Lane::Pages);
    let before = world.found(Lane::Pages);
    let hashes: Vec<_> = before.iter().map(|f| (f.line.seq, Some(line_hash(&f.line.render(LABEL))))).collect();
    let (_, later) = world.visit("a", 1);
    world.decide("a", Action::Withdraw, Purposes::NONE);
    world.upkeep().run_once(true).unwrap();
    let found = world.read(|tx| holes::between(tx, Lane::Pages, Seq(0), Seq(i64::MAX)));
    assert_eq!(
        found.iter().map(|h| (h.seq, h.line)).collect::<Vec<_>>(),
        hashes,
        "those alone, and acknowledged or not"
    );
    assert!(found.iter().all(|h| h.reason == HoleReason::Withdrawn));
    assert_eq!((world.read(|tx| visits::get(tx, visit)), world.read(|tx| visits::get(tx, later))), (None, None));
}

#[test]
fn who_came_back_keeps_what_is_new() {
    let world = World::new();
    let (_, old) = world.visit("a", 5);
    world.decide("a", Action::Withdraw, Purposes::NONE);
    world.pass(1_000);
    world.decide("a", Action::Give, Purposes::MEASURE);
    world.pass(HOUR_MS);
    let (_, new) = world.visit("a", 4);
    let upkeep = world.upkeep();
    upkeep.run_once(true).unwrap();
    assert_eq!(world.read(|tx| visits::get(tx, old)), None);
    assert!(world.read(|tx| visits::get(tx, new)).is_some() && known(&world, "a"));
    assert_eq!(world.events(), 4);
    world.decide("a", Action::Withdraw, Purposes::NONE);
    upkeep.run_once(true).unwrap();
    assert!(!known(&world, "a"), "a later floor is seen behind the mark of the first");
    assert_eq!(world.events(), 0);
}

#[test]
fn a_granted_visitor_without_rows_stays() {
    let world = World::new();
    world.visit("a", 1);
    world.decide("a", Action::Withdraw, Purposes::NONE);
    world.pass(1_000);
    world.decide("a", Action::Give, Purposes::MEASURE);
    world.upkeep().run_once(true).unwrap();
    assert_eq!(world.events(), 0);
    assert!(known(&world, "a"));
}

#[test]
fn without_the_right_to_personal_data_its_fields_and_ties_go() {
    let world = World::new();
    let (visitor, visit) = world.visit("a", 2);
    let (other, _) = world.visit("b", 1);
    world.write(move |tx| {
        let site_id = sites::intern(tx, "shop")?;
        for (n, who) in [(0, visitor), (0, other), (1, visitor)] {
            let field =
                Attribute { name: format!("email{n}"), value: "a@b.example".to_owned(), data_type: DataType::String };
            let seq = tx.next_seq();
            let of = personal::Of { seq, site_id, visitor_id: who, at: tx.now() };
            personal::insert(tx, of, &[field])?;
        }
        let how = Association::Recognized;
        let id = identities::seen(tx, site_id, "customer-1", how, tx.now(), rights())?;
        identities::tie(tx, id, (visit, visitor), None, how, tx.now())
    });
    world.decide("a", Action::Withdraw, Purposes::PERSONAL);
    world.upkeep().run_once(true).unwrap();
    assert!(world.read(|tx| personal::of_visitor(tx, visitor, Seq(0))).is_empty());
    assert_eq!(world.read(|tx| personal::of_visitor(tx, other, Seq(0))).len(), 1);
    assert!(world.read(|tx| identities::of_visit(tx, visit)).is_empty());
    assert_eq!(world.events(), 3, "what rests on measure stays");
}
