//! Contract 1: what becomes of an event, and what its sender is told.
//! Must never look at rights beyond yes and no. Invariant: one outcome per event, in order.

use serde_json::json;

use super::support::*;
use crate::base::error::Kind;
use crate::domain::consent::{Purposes, Refusal};
use crate::domain::event::Fate;
use crate::domain::site::KeepIp;
use crate::ingest::accept::Format;
use crate::ingest::options::PersonalStore;
use crate::ingest::shape::Authority;

fn fates(outcomes: &[crate::ingest::record::Outcome]) -> Vec<Fate> {
    outcomes.iter().map(|o| o.fate).collect()
}

#[test]
fn each_event_of_a_request_has_its_own_fate_in_order() {
    let world = World::new();
    world.give("a", Purposes::MEASURE);
    let outcomes = world.post(json!([
        id(page("a", "/"), "1"),
        id(page("nobody", "/"), "2"),
        {"visitor": "a"},
        id(page("a", "/"), "1"),
        id(page("a", "/else"), "1"),
        page("a", "/"),
    ]));
    use Fate::{Accepted, Conflict, Counted, Duplicate, Invalid};
    assert_eq!(fates(&outcomes), [Accepted, Counted, Invalid, Duplicate, Conflict, Accepted]);
    assert_eq!(outcomes[0].seq, outcomes[3].seq, "a duplicate names the first");
    assert_eq!(world.totals(), (2, 1));
    assert!(outcomes[5].event_id.is_some(), "an id is minted where none was sent");
    // and again, once it is on disk
    let again = world.post(json!([id(page("a", "/"), "1"), id(page("a", "/else"), "1")]));
    assert_eq!(fates(&again), [Duplicate, Conflict]);
    assert_eq!(world.totals(), (2, 1));
}

#[test]
fn an_id_that_comes_again_in_a_commit_group_costs_nobody_else_there_anything() {
    let mut world = World::measuring();
    use Fate::{Accepted, Conflict, Duplicate};
    let first = world.post(json!([id(page("a", "/"), "1"), id(page("b", "/"), "2")]));
    assert_eq!(fates(&first), [Accepted, Accepted]);
    world.reopen();
    // while the pen is held, requests queue up behind it: they are one group then
    let (go, gone) = std::sync::mpsc::channel::<()>();
    let wait = move |_: &crate::store::WriteTx<'_>| {
        gone.recv().unwrap_err(); // the sender is dropped
        Ok(())
    };
    world.store().pen().submit(1, wait, |out| out.unwrap()).unwrap();
    let (tell, told) = std::sync::mpsc::channel();
    let bodies = [
        json!([page("c", "/"), id(page("c", "/next"), "3")]),
        json!([id(page("a", "/"), "1"), id(page("d", "/"), "4"), id(page("b", "/else"), "2")]),
        json!([id(page("c", "/next"), "3"), page("a", "/more")]),
    ];
    for (n, body) in bodies.iter().enumerate() {
        let tell = tell.clone();
        let done = move |answer: crate::base::error::Result<_>| tell.send((n, answer.unwrap())).unwrap();
        world
            .ingest()
            .accept(body.to_string().as_bytes(), Format::Json, &world.arrived(Authority::Public), done)
            .unwrap();
    }
    drop(go);
    let mut answers: Vec<(usize, crate::ingest::accept::Answer)> = told.iter().take(3).collect();
    answers.sort_by_key(|(n, _)| *n);
    let all: Vec<Vec<Fate>> = answers.iter().map(|(_, answer)| fates(&answer.outcomes)).collect();
    assert_eq!(all, [vec![Accepted, Accepted], vec![Duplicate, Accepted, Conflict], vec![Duplicate, Accepted]]);
    assert_eq!(answers[1].1.outcomes[0].seq, first[0].seq);
    assert_eq!(world.totals(), (6, 0));
    assert_eq!(world.visitor("c").unwrap().page_count, 2, "what ran twice counts once");
}

#[test]
fn the_same_content_is_name_time_page_and_attributes() {
    let world = World::measuring();
    let first = at(id(with(page("a", "/"), json!({"attributes": {"n": 1}})), "1"), minute(0));
    assert_eq!(world.send(first.clone()).fate, Fate::Accepted);
    for (change, fate) in [
        (json!({}), Fate::Duplicate),
        (json!({"referrer": "https://elsewhere.example/"}), Fate::Duplicate),
        (json!({"name": "screen_seen"}), Fate::Conflict),
        (json!({"time": minute(1).rfc3339()}), Fate::Conflict),
        (json!({"title": "T"}), Fate::Conflict),
        (json!({"attributes": {"n": 2}}), Fate::Conflict),
        (json!({"attributes": {"n": "1"}}), Fate::Conflict),
    ] {
        assert_eq!(world.send(with(first.clone(), change.clone())).fate, fate, "{change}");
    }
    assert_eq!(world.totals(), (1, 0));
}

#[test]
fn an_id_is_one_sites_own() {
    let world = World::with(|config| {
        let other = crate::domain::site::SiteOptions { id: "other".to_owned(), ..config.sites[0].clone() };
        config.sites.push(other);
        for site in &mut config.sites {
            site.purposes = vec![purpose("measure", "contract")];
        }
    });
    for site in ["default", "other"] {
        let body = json!({"site": site, "events": [id(page("a", "/"), "1")]});
        assert_eq!(world.post(body)[0].fate, Fate::Accepted, "{site}");
    }
    let unnamed = world.ask(&page("a", "/").to_string(), Format::Json, &world.arrived(Authority::Public));
    assert_eq!(unnamed.unwrap_err().code, "unknown_site");
}

#[test]
fn a_first_visitor_comes_once_however_many_of_its_events_come_together() {
    let mut world = World::measuring();
    let outcomes = world.post(json!([id(page("a", "/"), "1"), id(page("a", "/b"), "2"), id(page("b", "/"), "3")]));
    let told: Vec<_> = outcomes.iter().map(|o| (o.new_visitor, o.new_visit, o.token.is_some())).collect();
    assert_eq!(told, [(true, true, true), (false, false, false), (true, true, true)]);
    assert_eq!(world.visit("a").page_count, 2);
    // the token comes again for a repeat of the first event only, however often and whenever
    for _ in 0..2 {
        let again = world.post(json!([id(page("a", "/"), "1"), id(page("a", "/b"), "2"), page("a", "/c")]));
        assert_eq!(again[0].token, outcomes[0].token);
        assert_eq!((&again[1].token, &again[2].token), (&None, &None));
        world.reopen();
    }
}

#[test]
fn what_is_counted_is_counted_once_per_id_and_tells_nothing() {
    let mut world = World::new();
    let body = json!([id(page("a", "/"), "1"), id(page("b", "/"), "2"), id(page("a", "/"), "1")]);
    for _ in 0..3 {
        let outcomes = world.post(body.clone());
        assert!(outcomes.iter().all(|o| o.fate == Fate::Counted && o.refusal == Some(Refusal::NoDecision)));
        assert!(outcomes.iter().all(|o| o.token.is_none() && o.visit.is_none() && o.seq.is_none()));
    }
    assert_eq!(world.totals(), (0, 2));
    assert!(world.visitor("a").is_none(), "no row names who was only counted");
    world.send(page("a", "/"));
    world.send(page("a", "/"));
    assert_eq!(world.totals(), (0, 4), "without an id each is one more");
    world.reopen();
    assert_eq!(world.totals(), (0, 4));
}

#[test]
fn an_event_without_a_visitor_is_counted_and_in_drop_mode_nothing_is_kept() {
    let world = World::measuring();
    let outcome = world.send(json!({"name": "page_viewed", "url": "https://shop.example/"}));
    assert_eq!((outcome.fate, outcome.refusal), (Fate::Counted, Some(Refusal::NoVisitor)));
    assert_eq!(world.totals(), (0, 1));
    let world = World::with(|config| config.sites[0].without_consent = crate::domain::consent::WithoutConsent::Drop);
    assert_eq!(world.send(page("a", "/")).fate, Fate::Counted, "the same word");
    assert_eq!(world.totals(), (0, 0));
}

#[test]
fn only_callers_who_may_know_are_told_why() {
    for (debug, authority, explain) in [
        (false, Authority::Public, false),
        (true, Authority::Public, true),
        (false, Authority::Sender, true),
        (false, Authority::Operator, true),
    ] {
        let world = World::with(|config| config.sites[0].debug = debug);
        let answer = world.ask(&page("a", "/").to_string(), Format::Json, &world.arrived(authority)).unwrap();
        assert_eq!(answer.explain, explain, "{authority:?}, debug {debug}");
    }
}

#[test]
fn a_filtered_address_leaves_nothing_behind() {
    let world = World::with(|config| {
        measure_by_interest(config);
        config.sites[0].ip_filters = vec!["192.0.2.0/24".to_owned()];
    });
    let from = |ip: &str| {
        let arrived =
            crate::ingest::accept::Arrived { ip: Some(ip.parse().unwrap()), ..world.arrived(Authority::Public) };
        world.ask(&page("a", "/").to_string(), Format::Json, &arrived).unwrap().outcomes.remove(0)
    };
    let outcome = from("192.0.2.7");
    assert_eq!((outcome.fate, outcome.filtered), (Fate::Counted, true));
    assert_eq!(world.totals(), (0, 0));
    assert_eq!(from("198.51.100.7").fate, Fate::Accepted);
}

#[test]
fn personal_fields_need_the_right_and_the_setting() {
    let personal = Purposes::MEASURE.with(Purposes::PERSONAL);
    let event = |visitor: &str| {
        let more = json!({"name": "UserInfo", "identity": "u1", "externalId": "x1", "traits": {"mail": "m@example"}});
        with(json!({"visitor": visitor}), more)
    };
    for (store, purposes, kept) in [
        (PersonalStore::Off, personal, false),
        (PersonalStore::Sealed, Purposes::MEASURE, false),
        (PersonalStore::Sealed, personal, true),
    ] {
        let world = World::with(|config| {
            config.personal.store = store;
            config.sites[0].keep_ip = KeepIp::Full;
        });
        world.give("a", purposes);
        let arrived = crate::ingest::accept::Arrived {
            ip: Some("192.0.2.7".parse().unwrap()),
            ..world.arrived(Authority::Public)
        };
        let outcome = world.ask(&event("a").to_string(), Format::Json, &arrived).unwrap().outcomes.remove(0);
        let row = world.event(outcome.seq);
        let visitor = world.visitor("a").unwrap().id;
        let fields =
            world.store().read(|tx| crate::store::personal::of_visitor(tx, visitor, crate::base::id::Seq(0))).unwrap();
        let names: Vec<&str> = fields.iter().map(|field| field.name.as_str()).collect();
        if kept {
            assert_eq!((outcome.withheld.len(), row.withheld), (0, None));
            assert_eq!(names, ["external_id", "ip", "trait.mail"]);
        } else {
            assert_eq!(outcome.withheld, ["traits", "identity", "external_id", "ip"]);
            assert_eq!(row.withheld.as_deref(), Some("traits,identity,external_id,ip"));
            assert_eq!(fields, []);
            let tied = world.store().read(|tx| crate::store::identities::of_visit(tx, row.visit_id)).unwrap();
            assert_eq!(tied, []);
        }
        assert_eq!(world.visit("a").ip.as_deref(), Some("192.0.2.0"), "the visit keeps the truncated one");
    }
}

#[test]
fn a_full_budget_refuses_the_fine_lane_first_and_decisions_never() {
    let world = World::measuring();
    let fine = json!({"visitor": "a", "name": "scroll"});
    let tried = |pressure: u8, body: serde_json::Value| {
        world.store().set_pressure(pressure);
        world.ask(&body.to_string(), Format::Json, &world.arrived(Authority::Operator)).map(|a| a.outcomes[0].fate)
    };
    assert_eq!(tried(89, fine.clone()).unwrap(), Fate::Accepted);
    assert_eq!(tried(90, fine.clone()).unwrap_err().code, "budget_full");
    assert_eq!(tried(94, page("a", "/")).unwrap(), Fate::Accepted);
    assert_eq!(tried(95, page("a", "/")).unwrap_err().kind, Kind::Busy);
    let decision = json!({"visitor": "a", "action": "withdraw"});
    assert_eq!(tried(99, decision).unwrap(), Fate::Accepted);
}

#[test]
fn a_foreign_origin_and_two_sites_are_refused_before_anything_is_stored() {
    let world = World::measuring();
    let arrived =
        crate::ingest::accept::Arrived { origin: Some("https://evil.example"), ..world.arrived(Authority::Public) };
    let error = world.ask(&page("a", "/").to_string(), Format::Json, &arrived).unwrap_err();
    assert_eq!((error.kind, error.code), (Kind::Denied, "origin_not_allowed"));
    let arrived = crate::ingest::accept::Arrived { site: Some("default"), ..world.arrived(Authority::Public) };
    let body = json!({"site": "other", "events": [page("a", "/")]}).to_string();
    assert_eq!(world.ask(&body, Format::Json, &arrived).unwrap_err().code, "site");
    assert_eq!(world.totals(), (0, 0));
}
