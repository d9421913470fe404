//! Decisions that come with events, and decisions sent twice: who may send them, how often they count, what is answered.
//! Must never test what a decision changes. Invariant: a repeat changes nothing.

use serde_json::{Value, json};

use super::support::*;
use crate::base::error::Kind;
use crate::base::id::ClientId;
use crate::config::Config;
use crate::consent::{self, Actor};
use crate::domain::consent::{Action, Purposes, Refusal};
use crate::domain::event::Fate;
use crate::domain::site::ConsentSource;
use crate::ingest::accept::{Arrived, Format};
use crate::ingest::record::Outcome;
use crate::ingest::shape::Authority;
use crate::store::decisions;

const MEASURE: Purposes = Purposes::MEASURE;

fn from_senders(config: &mut Config) {
    config.sites[0].consent_source = ConsentSource::Sender;
}

fn yes() -> Value {
    json!({"action": "give", "purposes": ["measure"], "method": "banner_accept", "notice": "none"})
}

fn deciding(event: Value, decision: Value) -> Value {
    with(event, json!({"decision": decision}))
}

fn ledger(world: &World) -> i64 {
    world.store().read(decisions::count).unwrap()
}

fn fates(outcomes: &[Outcome]) -> Vec<Fate> {
    outcomes.iter().map(|o| o.fate).collect()
}

#[test]
fn who_may_attach_a_decision() {
    use Authority::{Operator, Public, Sender};
    for (source, authority, taken) in [
        (ConsentSource::Server, Public, false),
        (ConsentSource::Server, Sender, false),
        (ConsentSource::Server, Operator, true),
        (ConsentSource::Sender, Public, false),
        (ConsentSource::Sender, Sender, true),
        (ConsentSource::Sender, Operator, true),
    ] {
        let world = World::with(|config| config.sites[0].consent_source = source);
        let outcomes = world.post_as(authority, deciding(page("a", "/"), yes()));
        let expected = if taken { Fate::Accepted } else { Fate::Invalid };
        assert_eq!(fates(&outcomes), [expected], "{source:?} {authority:?}");
        assert_eq!(ledger(&world), i64::from(taken));
        // a line of its own is the same
        let line = with(yes(), json!({"visitor": "b"}));
        assert_eq!(fates(&world.post_as(authority, line)), [expected]);
    }
}

#[test]
fn the_decision_is_written_first_in_the_same_transaction() {
    let world = World::with(from_senders);
    let outcome = &world.post_as(Authority::Sender, deciding(page("a", "/"), yes()))[0];
    assert_eq!(outcome.fate, Fate::Accepted);
    let row = world.event(outcome.seq);
    let history = world.store().read(|tx| consent::history(tx, world.seat().id, &ClientId::new("a"))).unwrap();
    let decision = &history.decisions[0];
    assert_eq!((row.rights.consent_seq, row.rights.flags), (decision.seq, MEASURE));
    assert!(decision.seq < row.seq);
    assert_eq!((decision.actor.as_str(), decision.notice.as_str()), ("sender", "none"));
    // a no that comes with an event covers that event
    let no = deciding(page("a", "/b"), json!({"action": "withdraw"}));
    assert_eq!(world.post_as(Authority::Sender, no)[0].refusal, Some(Refusal::Denied));
    assert!(row.seq <= world.visitor("a").unwrap().measure_floor);
}

#[test]
fn a_decision_nobody_can_be_given_makes_its_event_invalid() {
    let world = World::with(from_senders);
    let only_share = json!({"action": "give", "purposes": ["share"]});
    let outcomes = world.post_as(
        Authority::Sender,
        json!([
            deciding(page("a", "/"), only_share),
            deciding(page("b", "/"), yes()),
            deciding(json!({"name": "x"}), yes())
        ]),
    );
    assert_eq!(fates(&outcomes), [Fate::Invalid, Fate::Accepted, Fate::Invalid], "its neighbours are kept");
    assert_eq!((world.totals(), ledger(&world)), ((1, 0), 1));
}

#[test]
fn the_decision_of_an_envelope_is_one_of_each_visitor() {
    let world = World::with(from_senders);
    let body = json!({"decision": yes(), "events": [
        id(page("a", "/1"), "1"), id(page("a", "/2"), "2"), id(page("b", "/1"), "3"), id(page("b", "/2"), "4"),
        page("a", "/3"), {"name": "seen"},
    ]});
    let outcomes = world.post_as(Authority::Sender, body.clone());
    use Fate::{Accepted, Counted, Duplicate};
    assert_eq!(fates(&outcomes), [Accepted, Accepted, Accepted, Accepted, Accepted, Counted]);
    assert_eq!(ledger(&world), 2, "one of a, one of b; of nobody none");
    let again = world.post_as(Authority::Sender, body);
    assert_eq!(fates(&again)[..4], [Duplicate; 4]);
    assert_eq!(ledger(&world), 2, "a repeat decides nothing");
}

#[test]
fn an_envelope_with_one_decision_id_serves_several_visitors() {
    let world = World::with(from_senders);
    let decision = with(yes(), json!({"decisionId": "d1"}));
    let body = json!({"decision": decision, "events": [id(page("a", "/"), "1"), id(page("b", "/"), "2")]});
    for expected in [Fate::Accepted, Fate::Duplicate] {
        assert_eq!(fates(&world.post_as(Authority::Sender, body.clone())), [expected; 2]);
        assert_eq!(ledger(&world), 2);
    }
}

#[test]
fn an_events_own_decision_goes_before_that_of_the_header() {
    let world = World::with(from_senders);
    let header = r#"{"action":"give","purposes":["measure","profile"]}"#;
    let arrived = Arrived { consent_header: Some(header), ..world.arrived(Authority::Sender) };
    let body = json!([deciding(page("a", "/"), yes()), page("b", "/")]).to_string();
    let outcomes = world.ask(&body, Format::Json, &arrived).unwrap().outcomes;
    assert_eq!(world.event(outcomes[0].seq).rights.flags, MEASURE);
    assert_eq!(world.event(outcomes[1].seq).rights.flags, MEASURE.with(Purposes::PROFILE));
    let bad = Arrived { consent_header: Some("yes please"), ..arrived };
    assert!(world.ask(&body, Format::Json, &bad).is_err());
}

#[test]
fn a_repeated_request_never_brings_back_what_was_withdrawn_meanwhile() {
    let world = World::with(from_senders);
    let timed = |n: &str| at(id(page("a", "/"), n), START);
    let enveloped = json!({"decision": yes(), "events": [timed("1")]});
    let attached = deciding(timed("2"), yes());
    for body in [&enveloped, &attached] {
        assert_eq!(fates(&world.post_as(Authority::Sender, body.clone())), [Fate::Accepted]);
    }
    world.clock.set(minute(5));
    world.withdraw("a", MEASURE);
    world.clock.set(minute(6));
    // nor does another event of that time, whose decision is older than the no
    for body in [enveloped, attached, json!({"decision": yes(), "events": [timed("3")]})] {
        assert_eq!(fates(&world.post_as(Authority::Sender, body.clone())), [Fate::Counted], "{body}");
        assert!(world.visitor("a").unwrap().standing.denied.has(MEASURE));
    }
}

#[test]
fn the_same_decision_twice_is_one_and_answers_alike() {
    let world = World::new();
    let mut request = world.request("a", Action::Give, MEASURE);
    (request.actor, request.decision.id) = (Actor::Subject, Some(ClientId::new("d1")));
    let first = world.decide(request.clone()).unwrap();
    assert!(!first.repeated && first.token.is_some());
    let again = world.decide(request.clone()).unwrap();
    assert!(again.repeated);
    assert_eq!((again.row, again.token), (first.row, first.token));
    assert_eq!(ledger(&world), 1);
    request.visitor = ClientId::new("b");
    assert_eq!(world.decide(request).unwrap_err().kind, Kind::Conflict, "another visitor's id");
}

#[test]
fn the_same_no_of_somebody_unknown_twice_is_one() {
    let world = World::new();
    let mut request = world.request("a", Action::Refuse, Purposes::NONE);
    (request.actor, request.decision.id) = (Actor::Subject, Some(ClientId::new("d1")));
    let first = world.decide(request.clone()).unwrap();
    let again = world.decide(request).unwrap();
    assert!(again.repeated && first.token.is_some());
    assert_eq!(again.token, first.token);
    assert_eq!(ledger(&world), 1);
}

#[test]
fn a_decision_id_tells_nobody_else_what_was_decided() {
    let world = World::new();
    let mut request = world.request("a", Action::Give, MEASURE);
    request.decision.id = Some(ClientId::new("d1"));
    world.decide(request.clone()).unwrap();
    // an id never seen, sent by somebody who learnt the decision's id
    (request.visitor, request.actor) = (ClientId::new("stranger"), Actor::Subject);
    assert_eq!(world.decide(request).unwrap_err().kind, Kind::Conflict);
    assert_eq!(ledger(&world), 1);
}

#[test]
fn only_a_first_decision_hands_out_the_token_again() {
    let world = World::measuring();
    let first = world.send(page("a", "/"));
    assert!(first.token.is_some());
    let mut request = world.request("a", Action::Give, MEASURE);
    request.decision.id = Some(ClientId::new("d1"));
    let given = world.decide(request.clone()).unwrap();
    assert_eq!(given.row.seq.0, first.seq.unwrap().0 + 1, "the numbers lie side by side, as after a first decision");
    request.actor = Actor::Subject;
    let again = world.decide(request).unwrap();
    assert!(again.repeated && again.token.is_none());
}
