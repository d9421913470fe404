//! Restriction and objection as a whole: what comes meanwhile, what readers see, what stays, and who may ask for it.
//! Must never test the rules themselves (`domain/consent`).

use super::support::*;
use crate::base::error::Kind;
use crate::base::time::DAY_MS;
use crate::consent::Actor;
use crate::domain::consent::{Action, Purposes, Refusal};
use crate::domain::event::Fate;
use crate::history::{Filter, History};
use crate::store::rights_log;

const MEASURE: Purposes = Purposes::MEASURE;

fn decide(world: &World, visitor: &str, action: Action) -> bool {
    world.decide(world.request(visitor, action, Purposes::NONE)).unwrap().row.current
}

fn read(world: &World) -> (usize, usize, i64) {
    let history = History::of(std::sync::Arc::clone(&world.house().store));
    let filter = Filter::default();
    let totals = history.totals(crate::base::time::Clock::now(&world.clock)).unwrap();
    (history.events(&filter).unwrap().items.len(), history.visits(&filter).unwrap().items.len(), totals.events)
}

#[test]
fn under_restriction_nothing_is_taken_read_or_removed_until_the_release() {
    let world = World::new();
    world.give("a", MEASURE);
    let first = id(page("a", "/"), "1");
    assert_eq!(world.send_at(1, first.clone()).fate, Fate::Accepted);
    assert_eq!(read(&world), (1, 1, 1));
    assert!(decide(&world, "a", Action::Restrict));
    assert!(!decide(&world, "a", Action::Restrict), "the same twice changes nothing");
    assert_eq!(read(&world), (0, 0, 0));
    for event in [first, page("a", "/b")] {
        let counted = world.send_at(2, event);
        assert_eq!((counted.fate, counted.refusal), (Fate::Counted, Some(Refusal::Restricted)), "no oracle");
    }
    world.clock.advance(2_000 * DAY_MS);
    let upkeep = |world: &World| drop(world.house().app.operations.upkeep(true).unwrap());
    upkeep(&world);
    upkeep(&world);
    assert_eq!(world.totals().0, 1, "no age removes it");
    assert!(decide(&world, "a", Action::Release));
    assert_eq!(read(&world).0, 1);
    upkeep(&world);
    upkeep(&world);
    assert_eq!(world.totals().0, 0, "and then it goes by its age");
    let logged = rights_log::read(world.store().data_dir()).unwrap();
    assert_eq!(logged.iter().map(|e| e.action.as_str()).collect::<Vec<_>>(), ["restrict", "restrict", "release"]);
}

#[test]
fn only_the_operator_restricts_and_only_the_visitor_needs_a_token_to_object() {
    let world = World::new();
    let token = world.give("a", MEASURE.with(Purposes::MARKETING)).token;
    for actor in [Actor::Subject, Actor::Sender] {
        let mut request = world.request("a", Action::Restrict, Purposes::NONE);
        (request.actor, request.token) = (actor, token.clone());
        let refused = world.decide(request).unwrap_err();
        assert_eq!((refused.kind, refused.code), (Kind::Denied, "operator_only"));
    }
    let mut request = world.request("a", Action::Object, Purposes::NONE);
    request.actor = Actor::Subject;
    assert_eq!(world.decide(request.clone()).unwrap_err().code, "visitor_token");
    request.token = token;
    assert_eq!(world.decide(request).unwrap().row.after, MEASURE, "consent to measuring stands, marketing is gone");
}

#[test]
fn a_restriction_said_before_there_is_a_visitor_holds() {
    let world = World::measuring();
    assert!(decide(&world, "x", Action::Restrict));
    assert_eq!(world.send(page("x", "/")).fate, Fate::Counted);
    world.give("x", MEASURE);
    assert_eq!(world.send(page("x", "/")).fate, Fate::Counted, "a yes does not lift it");
    assert!(decide(&world, "x", Action::Release));
    assert_eq!(world.send(page("x", "/")).fate, Fate::Accepted);
}
