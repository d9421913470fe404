//! Who is who: SignIn, SignOut, UserInfo and the rows they make (spec/web-engagement C and H).
//! Must never keep an identity without its right. Invariant: an anonymous visit names nobody.

use serde_json::{Value, json};

use super::support::*;
use crate::domain::consent::Purposes;
use crate::domain::stored::SessionRow;
use crate::domain::visit::Visit;
use crate::ingest::options::PersonalStore;
use crate::ingest::record::Outcome;
use crate::store::{identities, sessions};

/// A collector that keeps identities, and visitor `a` who agreed.
fn world() -> World {
    let world = World::with(|config| config.personal.store = PersonalStore::Sealed);
    for key in ["a", "b"] {
        world.give(key, Purposes::MEASURE.with(Purposes::PERSONAL));
    }
    world
}

fn sys(name: &str, user: Option<&str>) -> Value {
    let event = json!({"visitor": "a", "name": name});
    user.map_or(event.clone(), |user| with(event, json!({"data": {"userId": user}})))
}

fn sessions_of(world: &World, visit: &Visit) -> Vec<SessionRow> {
    world.store().read(|tx| sessions::of_visit(tx, visit.id)).unwrap()
}

fn tied(world: &World, visit: &Visit) -> Vec<(String, String)> {
    let all = world.store().read(|tx| identities::of_visit(tx, visit.id)).unwrap();
    let mut all: Vec<_> = all.into_iter().map(|(key, how)| (key.unwrap(), how)).collect();
    all.sort();
    all
}

fn pairs(of: &[(&str, &str)]) -> Vec<(String, String)> {
    of.iter().map(|(key, how)| ((*key).to_owned(), (*how).to_owned())).collect()
}

/// What the identity's own row says.
fn state(world: &World, key: &str) -> Option<String> {
    let (site, key) = (world.seat().id, key.to_owned());
    world.store().read(|tx| identities::state(tx, site, &key)).unwrap()
}

#[test]
fn a_visit_started_twice_is_one_visit() {
    let world = world();
    let event = id(with(sys("VisitStarted", None), json!({"visitId": "v1"})), "1");
    world.send_at(0, event.clone());
    world.send_at(1, event);
    world.send_at(2, id(with(sys("VisitStarted", None), json!({"visitId": "v1"})), "2"));
    let visit = world.visit("a");
    assert_eq!((visit.event_count, visit.page_count), (2, 0));
}

#[test]
fn an_anonymous_visit_has_no_identity() {
    let world = world();
    world.send_at(0, page("a", "/"));
    let visit = world.visit("a");
    assert!(tied(&world, &visit).is_empty() && sessions_of(&world, &visit).is_empty());
    assert!(!visit.authenticated && visit.session_id.is_none());
}

#[test]
fn signing_in_and_out_makes_one_session_of_the_visit() {
    let mut world = world();
    world.send_at(0, page("a", "/"));
    let signed_in = world.send_at(1, sys("SignIn", Some("u1")));
    world.reopen();
    let within = world.send_at(2, page("a", "/account"));
    let visit = world.visit("a");
    let session = sessions_of(&world, &visit).remove(0);
    assert_eq!((visit.session_id, visit.authenticated), (Some(session.id), true));
    assert_eq!((session.started, session.ended), (minute(1), None));
    let of = |outcome: &Outcome| world.event(outcome.seq).session_id;
    assert_eq!((of(&signed_in), of(&within)), (Some(session.id), Some(session.id)));
    assert_eq!(tied(&world, &visit), pairs(&[("u1", "authenticated")]));
    assert_eq!(state(&world, "u1").as_deref(), Some("authenticated"));

    let signed_out = world.send_at(3, sys("SignOut", None));
    let after = world.send_at(4, page("a", "/bye"));
    assert_eq!((of(&signed_out), of(&after)), (Some(session.id), None), "later pages belong to the visit only");
    let visit = world.visit("a");
    assert_eq!((visit.session_id, visit.authenticated), (None, false));
    assert_eq!(sessions_of(&world, &visit)[0].ended, Some(minute(3)));
    assert_eq!(state(&world, "u1").as_deref(), Some("recognized"));
    assert_eq!(world.send_at(5, sys("SignOut", None)).seq.map(|seq| world.event(Some(seq)).session_id), Some(None));
}

#[test]
fn a_second_sign_in_closes_the_first_session_and_ties_two_identities() {
    let world = world();
    world.send_at(0, sys("SignIn", Some("u1")));
    world.send_at(5, sys("SignIn", Some("u2")));
    let visit = world.visit("a");
    let all = sessions_of(&world, &visit);
    assert_eq!(
        all.iter().map(|s| (s.started, s.ended)).collect::<Vec<_>>(),
        [(minute(0), Some(minute(5))), (minute(5), None)]
    );
    assert_eq!(visit.session_id, Some(all[1].id));
    assert_eq!(tied(&world, &visit), pairs(&[("u1", "authenticated"), ("u2", "authenticated")]));
    assert_eq!(state(&world, "u1").as_deref(), Some("recognized"));
}

#[test]
fn one_device_may_be_tied_to_two_people_in_two_visits() {
    let world = world();
    world.send_at(0, sys("SignIn", Some("u1")));
    let next = world.send_at(60, page("a", "/"));
    assert_eq!(world.event(next.seq).session_id, None, "a session is its visit's own");
    world.send_at(61, sys("SignIn", Some("u2")));
    let visits = world.visits("a");
    assert_eq!(tied(&world, &visits[0]), pairs(&[("u1", "authenticated")]));
    assert_eq!(tied(&world, &visits[1]), pairs(&[("u2", "authenticated")]));
}

#[test]
fn user_info_recognises_and_takes_nothing_from_who_is_signed_in() {
    let world = world();
    world.send_at(0, sys("UserInfo", Some("u1")));
    let visit = world.visit("a");
    assert_eq!(tied(&world, &visit), pairs(&[("u1", "recognized")]));
    assert!(sessions_of(&world, &visit).is_empty());
    assert_eq!(state(&world, "u1").as_deref(), Some("recognized"));
    world.send_at(1, sys("SignIn", Some("u1")));
    world.send_at(2, sys("UserInfo", Some("u1")));
    assert_eq!(state(&world, "u1").as_deref(), Some("authenticated"), "signed in stays signed in");
    world.send_at(3, sys("UserInfo", Some("u3")));
    assert_eq!(state(&world, "u3").as_deref(), Some("recognized"));
    let expected = pairs(&[("u1", "authenticated"), ("u1", "recognized"), ("u3", "recognized")]);
    assert_eq!(tied(&world, &visit), expected);
}

#[test]
fn without_the_right_a_session_has_no_name() {
    let world = World::with(|config| config.personal.store = PersonalStore::Sealed);
    world.give("a", Purposes::MEASURE);
    let outcome = world.send_at(0, sys("SignIn", Some("u1")));
    assert_eq!(outcome.withheld, ["identity"]);
    let visit = world.visit("a");
    let session = sessions_of(&world, &visit).remove(0);
    assert_eq!((session.identity_id, visit.authenticated), (None, true));
    assert!(tied(&world, &visit).is_empty() && state(&world, "u1").is_none());
}

#[test]
fn the_number_of_a_forgotten_person_never_comes_back_for_another() {
    let world = world();
    world.send_at(0, sys("SignIn", Some("u1")));
    let (visit, before) = (world.visit("a"), sessions_of(&world, &world.visit("a"))[0].identity_id);
    world.write(move |tx| identities::untie(tx, visit.id, 10));
    assert!(state(&world, "u1").is_none());
    world.send_at(1, with(sys("SignIn", Some("u2")), json!({"visitor": "b"})));
    let after = sessions_of(&world, &world.visit("b"))[0].identity_id;
    assert!(before.is_some() && after.is_some() && before != after, "{before:?}");
}

#[test]
fn a_sign_in_and_its_visit_in_one_request_are_kept_together() {
    let world = world();
    let outcomes = world.post(json!([
        sys("VisitStarted", None),
        page("a", "/"),
        sys("SignIn", Some("u1")),
        page("a", "/account"),
        sys("SignOut", None),
        sys("SignIn", Some("u1")),
    ]));
    assert!(outcomes.iter().all(|o| o.seq.is_some()));
    let visit = world.visit("a");
    assert_eq!((visit.event_count, visit.page_count, sessions_of(&world, &visit).len()), (6, 2, 2));
    assert_eq!(tied(&world, &visit), pairs(&[("u1", "authenticated")]));
}

#[test]
fn an_identity_that_is_not_kept_is_named() {
    let world = world();
    let other = world.send_at(0, json!({"visitor": "a", "name": "bought", "identity": "u1"}));
    assert_eq!(other.withheld, ["identity"], "only SignIn and UserInfo keep one");
    assert_eq!(world.event(other.seq).withheld.as_deref(), Some("identity"));
    assert_eq!(state(&world, "u1"), None);
    for (minutes, name) in [(1, "UserInfo"), (2, "SignIn")] {
        assert!(world.send_at(minutes, sys(name, Some("u1"))).withheld.is_empty(), "{name}");
    }
}
