//! Contract 2 on rows: what a withdrawal covers, what a later yes brings back, what was refused before there was a visitor.
//! Must never test the rules themselves (`domain/consent`). Invariant: a no holds whatever arrives afterwards.

use serde_json::json;

use super::support::*;
use crate::base::id::Seq;
use crate::consent::Actor;
use crate::domain::consent::{Action, Purposes, Refusal, Signals, WithoutConsent};
use crate::domain::event::{Fate, Lane};
use crate::domain::line::LineKind;
use crate::ingest::accept::{Arrived, Format};
use crate::ingest::shape::Authority;
use crate::store::{disclosure, floors, lines, rights_log, visitors};

const MEASURE: Purposes = Purposes::MEASURE;

fn floors_of(world: &World, key: &str) -> Vec<(Purposes, Seq)> {
    let visitor = world.visitor(key).unwrap();
    world.store().read(|tx| floors::of_visitor(tx, visitor.id)).unwrap()
}

fn scanned(world: &World, lane: Lane) -> Vec<(LineKind, Seq)> {
    let all = world.store().read(|tx| lines::scan(tx, lane, Seq(0), Seq(i64::MAX), 1_000)).unwrap();
    all.into_iter().map(|found| (found.line.kind, found.line.seq)).collect()
}

#[test]
fn after_a_withdrawal_events_are_counted_and_the_visit_is_joined_no_more() {
    let world = World::new();
    world.give("a", MEASURE);
    let first = world.send_at(1, id(page("a", "/"), "1"));
    let last = world.store().pen().call(|tx| Ok(tx.last_seq())).unwrap();
    let no = world.withdraw("a", Purposes::NONE);
    let visitor = world.visitor("a").unwrap();
    assert_eq!((visitor.measure_floor, visitor.floors), (last, Purposes::ALL));
    assert!(floors_of(&world, "a").iter().all(|(_, floor)| *floor == last && first.seq.unwrap() <= last));
    assert_eq!(visitor.standing.consent_seq, no.row.seq);
    let refused = world.send_at(2, id(page("a", "/b"), "2"));
    assert_eq!((refused.fate, refused.refusal), (Fate::Counted, Some(Refusal::Denied)));
    assert_eq!(world.totals(), (1, 1));
    // a yes does not lift the floor: a new visit, though the old one was active a minute ago
    world.clock.set(minute(3));
    world.give("a", MEASURE);
    let after = world.send_at(3, id(page("a", "/c"), "3"));
    assert_eq!((after.fate, after.new_visit, after.new_visitor), (Fate::Accepted, true, false));
    let visits = world.visits("a");
    assert_eq!(visits.len(), 2);
    assert_eq!((visits[0].event_count, visits[0].end), (1, None), "a withdrawn visit is not touched again");
    assert_eq!(world.visitor("a").unwrap().measure_floor, last);
}

#[test]
fn what_was_withdrawn_answers_as_if_it_had_never_been_kept() {
    let world = World::new();
    world.give("a", MEASURE);
    let event = at(id(page("a", "/"), "1"), START);
    assert_eq!(world.send_at(1, event.clone()).fate, Fate::Accepted);
    world.withdraw("a", MEASURE);
    let hidden = |outcome: &crate::ingest::record::Outcome| {
        assert_eq!(outcome.fate, Fate::Counted);
        assert!(outcome.visit.is_none() && outcome.seq.is_none() && outcome.token.is_none());
    };
    hidden(&world.send_at(2, event.clone()));
    world.give("a", MEASURE);
    hidden(&world.send_at(3, event));
    assert_eq!(world.totals(), (1, 0), "a repeat of what was stored raises no counter");
}

#[test]
fn in_the_gap_between_no_and_yes_the_right_is_missing_however_late_the_event() {
    let world = World::new();
    world.give("a", MEASURE);
    world.clock.set(minute(10));
    world.withdraw("a", MEASURE);
    world.clock.set(minute(20));
    world.give("a", MEASURE);
    for (minutes, fate) in
        [(9, Fate::Accepted), (10, Fate::Counted), (19, Fate::Counted), (20, Fate::Accepted), (21, Fate::Accepted)]
    {
        let late = world.send_at(60, at(page("a", "/"), minute(minutes)));
        assert_eq!(late.fate, fate, "{minutes}");
        assert_eq!(late.refusal, (fate == Fate::Counted).then_some(Refusal::DeniedThen));
    }
}

#[test]
fn a_no_of_one_purpose_leaves_the_visit_and_masks_the_purpose() {
    let world = World::new();
    let both = MEASURE.with(Purposes::PROFILE);
    world.give("a", both);
    let before = world.send_at(1, page("a", "/"));
    world.withdraw("a", Purposes::PROFILE);
    let after = world.send_at(2, page("a", "/b"));
    assert!(!after.new_visit && after.fate == Fate::Accepted);
    assert_eq!(world.event(before.seq).rights.flags, both, "a row keeps the flags it was accepted with");
    assert_eq!(world.event(after.seq).rights.flags, MEASURE);
    let floors = floors_of(&world, "a");
    assert_eq!(floors.len(), 1);
    assert!(floors::covering(&floors, before.seq.unwrap()).has(Purposes::PROFILE));
    assert!(floors::covering(&floors, after.seq.unwrap()).is_none());
    assert_eq!(world.visit("a").rights.flags, MEASURE, "a visit may be used for what all of its events may");
}

#[test]
fn within_one_request_each_event_is_judged_by_what_stands_before_it() {
    let world = World::new();
    let give = json!({"visitor": "a", "action": "give", "purposes": ["measure"]});
    let no = json!({"visitor": "a", "action": "withdraw"});
    let outcomes = world.post_as(
        Authority::Operator,
        json!([page("a", "/0"), give, page("a", "/1"), page("a", "/2"), no, page("a", "/3"), give, page("a", "/4")]),
    );
    let fates: Vec<Fate> = outcomes.iter().map(|o| o.fate).collect();
    use Fate::{Accepted, Counted};
    assert_eq!(fates, [Counted, Accepted, Accepted, Accepted, Accepted, Counted, Accepted, Accepted]);
    let visits = world.visits("a");
    assert_eq!(visits.iter().map(|v| v.page_count).collect::<Vec<_>>(), [2, 1]);
    let visitor = world.visitor("a").unwrap();
    assert!(visits[0].id <= visitor.measure_floor.0 && visits[1].id > visitor.measure_floor.0);
    assert!(outcomes[3].seq.unwrap() <= visitor.measure_floor, "rows of the same commit lie below the floor");
    assert_eq!((visitor.event_count, visitor.visit_count), (3, 2));
}

#[test]
fn a_no_said_before_there_was_a_visitor_is_kept_without_the_id_and_holds() {
    let mut world = World::with(|config| {
        config.sites[0].purposes = vec![
            purpose("measure", "legitimate_interest"),
            purpose("share", "legitimate_interest"),
            purpose("profile", "legitimate_interest"),
        ];
    });
    world.withdraw("a", Purposes::SHARE);
    assert!(world.visitor("a").is_none(), "a no makes no row under the id");
    let expected = MEASURE.with(Purposes::PROFILE);
    for (minutes, path) in [(1, "/1"), (2, "/2")] {
        let outcome = world.send_at(minutes, page("a", path));
        assert_eq!(world.event(outcome.seq).rights.flags, expected, "{path}");
        world.reopen();
    }
    // its lines can be read, and the yes that follows counts from its own time
    assert_eq!(scanned(&world, Lane::Pages).len(), 2);
    world.clock.set(minute(5));
    world.give("a", Purposes::SHARE);
    let late = world.send_at(6, at(page("a", "/late"), minute(4)));
    assert_eq!(world.event(late.seq).rights.flags, expected);
    let now = world.send_at(6, page("a", "/now"));
    assert_eq!(world.event(now.seq).rights.flags, expected.with(Purposes::SHARE));
    assert_eq!(scanned(&world, Lane::Pages).len(), 4);
}

#[test]
fn who_refused_all_and_gives_later_is_a_visitor_from_then_on() {
    let world = World::new();
    world.clock.set(minute(1));
    world.decide(world.request("a", Action::Refuse, Purposes::NONE)).unwrap();
    assert_eq!(world.send(page("a", "/")).refusal, Some(Refusal::Denied));
    world.clock.set(minute(5));
    let yes = world.give("a", MEASURE);
    assert!(yes.token.is_none(), "the id was known by its no");
    assert_eq!(world.send_at(6, at(page("a", "/"), minute(4))).refusal, Some(Refusal::DeniedThen));
    let stored = world.send_at(6, page("a", "/"));
    assert_eq!(stored.fate, Fate::Accepted);
    assert_eq!(scanned(&world, Lane::Pages), [(LineKind::Event, stored.seq.unwrap())]);
    let visitor = world.visitor("a").unwrap();
    assert_eq!(visitor.standing.denied, Purposes::ALL.without(MEASURE), "what was not given stays refused");
    assert_eq!(visitor.measure_floor, Seq(0));
}

#[test]
fn each_no_is_in_the_rights_log_and_no_yes_is() {
    let world = World::new();
    world.give("a", MEASURE);
    world.withdraw("a", MEASURE);
    world.withdraw("never seen", Purposes::SHARE);
    let entries = rights_log::read(&world.config.data_dir).unwrap();
    let told: Vec<_> = entries.iter().map(|e| (e.action.as_str(), e.purposes)).collect();
    assert_eq!(told, [("withdraw", Purposes::ALL), ("withdraw", Purposes::SHARE)]);
    assert_eq!(entries[0].visitor_ref, world.visitor("a").unwrap().visitor_ref);
    let text = std::fs::read_to_string(rights_log::path(&world.config.data_dir)).unwrap();
    assert!(!text.contains("never seen"));
}

#[test]
fn an_exempt_visitor_may_say_no_and_its_rows_never_leave() {
    let mut world = World::with(|config| config.sites[0].without_consent = WithoutConsent::ConsentExempt);
    let first = world.send_at(1, page("a", "/"));
    let row = world.event(first.seq);
    assert_eq!((row.rights.exempt, row.rights.flags, row.rights.consent_seq), (true, MEASURE, Seq(0)));
    assert!(world.visit("a").rights.exempt);
    // with a yes its further rows may leave, but not the visit that began without one
    world.clock.set(minute(2));
    world.give("a", MEASURE);
    let second = world.send_at(3, page("a", "/b"));
    assert!(!second.new_visit && !world.event(second.seq).rights.exempt);
    world.reopen();
    assert!(world.visit("a").rights.exempt);
    world.send_at(4, page("b", "/"));
    world.withdraw("b", Purposes::NONE);
    let refused = world.send_at(5, page("b", "/"));
    assert_eq!(refused.refusal, Some(Refusal::Denied), "a no goes before the exemption");
    assert!(world.visitor("b").unwrap().measure_floor > Seq(0));
}

#[test]
fn a_visit_that_an_exempt_event_joined_never_leaves_either() {
    let mut world = World::measuring();
    world.send_at(1, page("a", "/"));
    world.config.sites[0].purposes.clear();
    world.config.sites[0].without_consent = WithoutConsent::ConsentExempt;
    world.reopen();
    let joined = world.send_at(2, page("a", "/b"));
    assert!(!joined.new_visit && world.event(joined.seq).rights.exempt);
    world.reopen();
    assert!(world.visit("a").rights.exempt);
}

#[test]
fn an_exempt_id_ends_after_thirteen_months_even_across_restarts() {
    let mut world = World::with(|config| config.sites[0].without_consent = WithoutConsent::ConsentExempt);
    world.send(page("a", "/"));
    world.reopen();
    world.clock.set(START.plus(crate::domain::consent::EXEMPT_LIFE_MS - 1));
    assert_eq!(world.send(page("a", "/")).fate, Fate::Accepted);
    world.clock.advance(1);
    assert_eq!(world.send(page("a", "/")).refusal, Some(Refusal::ExemptExpired));
}

#[test]
fn signals_and_claims_narrow_what_is_stored() {
    let world = World::new();
    world.give("a", MEASURE.with(Purposes::SHARE).with(Purposes::PERSONAL));
    let signals = Signals { gpc: true, dnt: false };
    let arrived = Arrived { signals, ..world.arrived(Authority::Public) };
    let lowered = world.ask(&page("a", "/").to_string(), Format::Json, &arrived).unwrap().outcomes.remove(0);
    assert_eq!(world.event(lowered.seq).rights.flags, MEASURE.with(Purposes::PERSONAL));
    let claimed = world.send(with(page("a", "/"), json!({"consent": ["measure", "profile"]})));
    assert_eq!(world.event(claimed.seq).rights.flags, MEASURE);
    assert_eq!(world.send(with(page("a", "/"), json!({"consent": []}))).refusal, Some(Refusal::Claim));
}

#[test]
fn once_told_upstream_each_further_decision_is_told_at_once() {
    let world = World::new();
    world.give("a", MEASURE);
    world.send_at(1, page("a", "/"));
    assert_eq!(scanned(&world, Lane::Consent), [], "nothing of a visitor of whom nothing leaves");
    let visitor = world.visitor("a").unwrap();
    let of = [(visitor.id, visitor.visitor_ref)];
    world.write(move |tx| disclosure::disclose(tx, &of));
    world.write(move |tx| disclosure::disclose(tx, &of));
    let kinds = |world: &World| scanned(world, Lane::Consent).into_iter().map(|(kind, _)| kind).collect::<Vec<_>>();
    assert_eq!(kinds(&world), [LineKind::Decision], "once");
    world.withdraw("a", MEASURE);
    world.give("a", MEASURE);
    world.send_at(2, page("a", "/"));
    world.withdraw("a", MEASURE);
    use LineKind::{Decision, Withdrawal};
    assert_eq!(kinds(&world), [Decision, Decision, Withdrawal, Decision, Decision, Withdrawal]);
    let visitor = world.visitor("a").unwrap();
    let bodies = world.store().read(|tx| lines::scan(tx, Lane::Consent, Seq(0), Seq(i64::MAX), 100)).unwrap();
    let told = format!("\"floor_seq\":{}", visitor.measure_floor);
    assert!(bodies[5].line.body.contains(&told), "{} in {}", told, bodies[5].line.body);
    assert!(visitor.disclosed);
    // a visitor of whom nothing had left stays unknown upstream
    world.give("b", MEASURE);
    world.withdraw("b", MEASURE);
    assert_eq!(kinds(&world).len(), 6);
}

#[test]
fn a_public_no_of_somebody_unknown_needs_no_token_and_of_a_known_one_does() {
    let world = World::new();
    let mut request = world.request("a", Action::Give, MEASURE);
    request.actor = Actor::Subject;
    let given = world.decide(request.clone()).unwrap();
    let token = given.token.unwrap();
    request.decision.action = Action::Withdraw;
    assert_eq!(world.decide(request.clone()).unwrap_err().code, "visitor_token");
    request.token = Some(format!("{token}0"));
    assert_eq!(world.decide(request.clone()).unwrap_err().code, "visitor_token");
    request.token = Some(token.clone());
    assert!(world.decide(request).unwrap().token.is_none());
    // the same token as the first stored event of another id would hand out
    let by_event = World::measuring();
    let outcome = by_event.send(page("b", "/"));
    let mut request = by_event.request("b", Action::Withdraw, MEASURE);
    (request.actor, request.token) = (Actor::Subject, outcome.token);
    assert!(by_event.decide(request).is_ok());
    assert!(world.store().read(visitors::count).unwrap() == 1);
}
