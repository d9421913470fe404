//! Requests of data subjects carried through: erased, restricted, objected to, by whoever may reach what; cut off and gone on with.
//! Invariant of these tests: what belongs to somebody else on the same device is there afterwards.

use serde_json::{Value, json};

use super::support::*;
use crate::base::cell::RecipientKey;
use crate::base::error::Result;
use crate::base::id::{Seq, random_bytes, uuid_bytes};
use crate::base::text::hex;
use crate::consent::proofs::{self, KeepProof};
use crate::consent::verify;
use crate::domain::consent::Purposes;
use crate::domain::erasure::Marks;
use crate::domain::event::{Fate, Lane};
use crate::domain::ledger::EntryKind;
use crate::domain::line::LineKind;
use crate::domain::request::{Channel, Kind, Level, State};
use crate::domain::token::Caller;
use crate::erasure::check::search;
use crate::store::keys::{self, Copied};
use crate::store::requests::{self, Person, RequestRow};
use crate::store::{audit, decisions, erasures, events, identities, ledger, lines, personal, restrictions};
use crate::subject::people::Named;
use crate::subject::rectify::Term;
use crate::subject::results::Form;
use crate::subject::view::RequestView;
use crate::subject::{Asked, RequestsWanted};

const BOTH: Purposes = Purposes(1 | 2);

fn named(world: &World, visitor: Option<&str>, identity: Option<&str>) -> Vec<Person> {
    let text = |word: Option<&str>| word.map(str::to_owned);
    let named = Named { visitor: text(visitor), identity: text(identity), ..Named::default() };
    world.app().subject.find(&named).unwrap()
}

fn open(world: &World, kind: Kind, level: Level, people: Vec<Person>) -> [u8; 16] {
    let known = Some((level, "by this test".to_owned()));
    let asked = Asked { kind, channel: Channel::Operator, known, people };
    uuid_bytes(&world.app().subject.register(&asked, &Caller::Operator).unwrap().id).unwrap()
}

fn run(world: &World, id: &[u8; 16]) -> Result<RequestView> {
    world.app().subject.run(id, None, &[], &Caller::Operator)
}

fn show(world: &World, id: &[u8; 16]) -> RequestView {
    world.app().subject.show(id).unwrap()
}

/// Opened, begun and worked off.
fn erase(world: &World, level: Level, people: Vec<Person>) -> RequestView {
    let id = open(world, Kind::Erase, level, people);
    run(world, &id).unwrap();
    world.app().erasure.work().unwrap();
    show(world, &id)
}

fn sign_in(visitor: &str, who: &str) -> Value {
    json!({"visitor": visitor, "name": "SignIn", "data": {"userId": who}})
}

/// A device: a visit of nobody known, one of anna's, one of ben's, and one of somebody whose name was not kept.
fn family() -> World {
    let world = World::new();
    world.give("shared-device", BOTH);
    world.send_at(0, page("shared-device", "/nobody"));
    for (start, who) in [(60, "customer-anna"), (120, "customer-ben")] {
        world.send_at(start, sign_in("shared-device", who));
        world.send_at(start + 1, page("shared-device", &format!("/{who}")));
        world.send_at(start + 2, json!({"visitor": "shared-device", "name": "SignOut"}));
    }
    world.send_at(180, json!({"visitor": "shared-device", "name": "SignIn"}));
    world.send_at(181, page("shared-device", "/somebody"));
    world.clock.set(minute(300));
    assert_eq!(world.visits("shared-device").len(), 4);
    world
}

/// Paths of pages that are left of the device.
fn left(world: &World) -> Vec<String> {
    let visits = world.visits("shared-device");
    let urls = visits.iter().flat_map(|visit| world.pages(visit)).filter_map(|page| page.url);
    urls.map(|url| url.trim_start_matches("https://shop.example").to_owned()).collect()
}

fn forward(world: &World) {
    world.app().operations.forward(true).unwrap();
}

/// What entries of a kind say in the ledger.
fn entries(world: &World, kind: EntryKind) -> Vec<Value> {
    let all = world.store().read(|tx| ledger::page(tx, 0, 10_000)).unwrap();
    let these = all.into_iter().filter(|found| found.entry.kind == kind).filter_map(|found| found.detail);
    these.map(|text| serde_json::from_str(&text).unwrap()).collect()
}

#[test]
fn a_request_to_erase_runs_until_it_is_done_and_is_answered_with_the_digest_of_the_search() {
    let world = World::new();
    world.give("visitor-gone", BOTH);
    world.send(page("visitor-gone", "/"));
    forward(&world);
    let id = open(&world, Kind::Erase, Level::Operator, named(&world, Some("visitor-gone"), None));
    let begun = run(&world, &id).unwrap();
    assert_eq!((begun.state, begun.erasures.len(), begun.closed_at.is_none()), ("running", 1, true));
    assert!(world.visitor("visitor-gone").is_none(), "it is found no more when the answer leaves");
    assert_eq!(run(&world, &id).unwrap(), begun, "running it again begins nothing");
    let refused = world.app().subject.close(&id, State::Refused, "too late", &Caller::Operator);
    assert_eq!(refused.unwrap_err().code, "request_state", "nor is it refused any more");
    assert_eq!(world.app().erasure.work().unwrap().answered, 1);
    let done = show(&world, &id);
    assert_eq!((done.state, done.erasures[0].step), ("answered", "done"));
    let digest = done.result_sha256.clone().unwrap();
    let told = entries(&world, EntryKind::Erase);
    let wanted = json!({"erasure_id": done.erasures[0].erasure_id, "rows": told[0]["rows"], "result_sha256": digest});
    assert_eq!(told, [wanted], "it names nobody");
    assert_eq!(done.targets[0].state, "open");
    forward(&world);
    let status = world.app().operations.status().unwrap();
    let put =
        status["targets"].as_array().unwrap().iter().find(|row| row["lane"] == "consent").unwrap()["put"].as_i64();
    world.app().operations.acknowledge("outbox", "consent", put.unwrap()).unwrap();
    world.app().operations.upkeep(false).unwrap();
    assert_eq!(show(&world, &id).targets[0].state, "acknowledged");
    let verified = verify::beside(&world.config.data_dir, 5_000, None, &mut |_, _| ()).unwrap();
    assert_eq!(verified.exit_code(), 0, "{:?}", verified.faults);
}

#[test]
fn nobody_named_is_answered_at_once() {
    let world = World::new();
    let id = open(&world, Kind::Erase, Level::Operator, Vec::new());
    let done = run(&world, &id).unwrap();
    assert_eq!((done.state, done.answer.as_deref()), ("answered", Some("nothing is kept of whom it names")));
}

#[test]
fn a_device_reaches_only_visits_in_which_nobody_signed_in() {
    let world = family();
    let done = erase(&world, Level::Device, named(&world, Some("shared-device"), Some("customer-anna")));
    assert_eq!(done.state, "answered");
    assert_eq!(left(&world), ["/customer-anna", "/customer-ben", "/somebody"]);
    // the device goes on, but what happened under its id before is not taken in any more
    let late = world.send_at(301, at(page("shared-device", "/late"), minute(200)));
    assert_eq!(late.fate, Fate::Counted);
    assert_eq!(world.send_at(302, page("shared-device", "/new")).fate, Fate::Accepted);
    world.app().erasure.work().unwrap();
    assert!(left(&world).contains(&"/new".to_owned()));
    let again = erase(&world, Level::Device, named(&world, Some("shared-device"), None));
    assert_eq!((again.state, left(&world).len()), ("answered", 3), "what is new goes with a new request only");
}

#[test]
fn a_device_that_one_person_uses_alone_goes_as_a_whole() {
    let world = World::new();
    world.give("visitor-alone", BOTH);
    world.send(page("visitor-alone", "/"));
    erase(&world, Level::Device, named(&world, Some("visitor-alone"), None));
    assert!(world.visitor("visitor-alone").is_none());
    assert_eq!(world.store().read(events::count).unwrap(), 0);
    assert_eq!(world.send_at(5, page("visitor-alone", "/")).fate, Fate::Counted);
}

#[test]
fn an_assertion_reaches_its_identity_and_what_nobody_else_was_known_in() {
    let world = family();
    let people = named(&world, Some("shared-device"), Some("customer-anna"));
    let done = erase(&world, Level::Assertion, people);
    assert_eq!((done.state, done.erasures.len()), ("answered", 2));
    assert_eq!(left(&world), ["/customer-ben"]);
    let site = world.seat().id;
    let find = |name: &'static str| world.store().read(|tx| identities::find_by_key(tx, site, name)).unwrap();
    assert!(find("customer-anna").is_none() && find("customer-ben").is_some());
}

#[test]
fn an_identity_alone_leaves_the_device_its_anonymous_visits() {
    let world = family();
    erase(&world, Level::Operator, named(&world, None, Some("customer-ben")));
    assert_eq!(left(&world), ["/nobody", "/customer-anna", "/somebody"]);
}

#[test]
fn the_numbers_of_a_part_are_told_and_never_the_reference_of_who_stays() {
    let world = family();
    forward(&world);
    erase(&world, Level::Device, named(&world, Some("shared-device"), None));
    let lines = world.store().read(|tx| lines::scan(tx, Lane::Consent, Seq(0), Seq(i64::MAX), 1_000)).unwrap();
    let told: Vec<_> = lines.iter().filter(|found| found.line.kind == LineKind::Erasure).collect();
    assert_eq!(told.len(), 1);
    let body: Value = serde_json::from_str(&format!("{{{}}}", told[0].line.body)).unwrap();
    assert!(body.get("visitor_ref").is_none() && !body["rows"].as_array().unwrap().is_empty(), "{body}");
}

#[test]
fn two_requests_about_one_person_are_both_answered() {
    let world = World::new();
    world.give("visitor-twice", BOTH);
    world.send(page("visitor-twice", "/"));
    let people = named(&world, Some("visitor-twice"), None);
    let ids = [(); 2].map(|()| open(&world, Kind::Erase, Level::Operator, people.clone()));
    ids.iter().for_each(|id| drop(run(&world, id).unwrap()));
    assert_eq!(world.app().erasure.work().unwrap().answered, 2);
    assert!(ids.iter().all(|id| show(&world, id).state == "answered"));
}

#[test]
fn a_begun_erasure_goes_on_after_a_crash_and_answers_its_request() {
    let mut world = family();
    let id = open(&world, Kind::Erase, Level::Device, named(&world, Some("shared-device"), None));
    run(&world, &id).unwrap();
    world.reopen();
    assert_eq!(show(&world, &id).state, "running");
    world.app().operations.upkeep(false).unwrap();
    assert_eq!(show(&world, &id).state, "answered");
    assert_eq!(left(&world).len(), 3);
}

#[test]
fn restriction_and_objection_are_carried_out_and_erasure_goes_before_a_restriction() {
    let world = World::with(|config| {
        config.sites[0].purposes = vec![purpose("measure", "consent"), purpose("profile", "legitimate_interest")];
    });
    world.give("visitor-a", Purposes::MEASURE);
    assert_eq!(world.send(page("visitor-a", "/")).fate, Fate::Accepted);
    let object = open(&world, Kind::Object, Level::Operator, named(&world, Some("visitor-a"), None));
    let done = run(&world, &object).unwrap();
    assert_eq!((done.state, done.answer.as_deref()), ("answered", Some("objected for: 1 visitors")));
    assert!(world.visitor("visitor-a").unwrap().standing.denied.has(Purposes::PROFILE));
    let restrict = open(&world, Kind::Restrict, Level::Operator, named(&world, Some("visitor-a"), None));
    assert_eq!(run(&world, &restrict).unwrap().state, "answered");
    assert!(world.visitor("visitor-a").unwrap().standing.restricted);
    assert_eq!(world.send_at(2, page("visitor-a", "/b")).fate, Fate::Counted);
    let id = world.visitor("visitor-a").unwrap().id;
    let done = erase(&world, Level::Operator, named(&world, Some("visitor-a"), None));
    assert_eq!(done.state, "answered", "{done:?}");
    assert_eq!(world.store().read(|tx| restrictions::get(tx, id)).unwrap(), None);
}

#[test]
fn a_customer_is_restricted_on_every_device_and_a_device_token_reaches_no_customer() {
    let world = family();
    world.give("own-device", BOTH);
    world.send_at(300, sign_in("own-device", "customer-anna"));
    let people = named(&world, None, Some("customer-anna"));
    let device = open(&world, Kind::Restrict, Level::Device, people.clone());
    assert_eq!(run(&world, &device).unwrap().answer.as_deref(), Some("only kept from now on: 0 visitors"));
    let verified = open(&world, Kind::Restrict, Level::Operator, people);
    assert_eq!(run(&world, &verified).unwrap().answer.as_deref(), Some("only kept from now on: 2 visitors"));
    assert!(["own-device", "shared-device"].iter().all(|key| world.visitor(key).unwrap().standing.restricted));
}

#[test]
fn a_proof_stays_of_who_was_erased_only_as_the_configuration_says() {
    let key = RecipientKey::mint();
    for keep in [KeepProof::None, KeepProof::Restricted] {
        let public = key.recipient().to_string();
        let world = World::with(|config| (config.erase.keep_proof, config.erase.proof_key) = (keep, Some(public)));
        world.give("visitor-gone", BOTH);
        world.withdraw("visitor-gone", Purposes::PERSONAL);
        let visitor_ref = world.visitor("visitor-gone").unwrap().visitor_ref;
        erase(&world, Level::Operator, named(&world, Some("visitor-gone"), None));
        assert_eq!(world.store().read(|tx| decisions::of_subject(tx, visitor_ref, 9)).unwrap(), []);
        let sealed = proofs::ask(world.store(), "test", "a complaint").unwrap();
        let sealed: Vec<Value> = sealed.iter().map(|proof| serde_json::to_value(proof).unwrap()).collect();
        let opened = proofs::open(&key.secret_text(), &sealed).unwrap();
        let said: Vec<&str> = opened.iter().map(|o| o.decision["content"]["action"].as_str().unwrap()).collect();
        match keep {
            KeepProof::None => assert_eq!((sealed.len(), said.len()), (0, 0)),
            KeepProof::Restricted => {
                assert_eq!(said, ["give", "withdraw"]);
                assert!(opened.iter().all(|o| o.holds), "each is what the ledger hashed");
                assert_eq!(opened[0].decision["content"]["subject_ref"]["hex"], visitor_ref.to_string());
            }
        }
    }
}

#[test]
fn many_decisions_are_kept_in_several_proofs_and_none_is_lost() {
    let key = RecipientKey::mint();
    let public = key.recipient().to_string();
    let world = World::with(|config| config.erase.proof_key = Some(public));
    for _ in 0..400 {
        world.give("visitor-gone", Purposes::MEASURE);
    }
    erase(&world, Level::Operator, named(&world, Some("visitor-gone"), None));
    let sealed = proofs::ask(world.store(), "test", "a complaint").unwrap();
    let sealed: Vec<Value> = sealed.iter().map(|proof| serde_json::to_value(proof).unwrap()).collect();
    let opened = proofs::open(&key.secret_text(), &sealed).unwrap();
    assert_eq!((opened.len(), opened.iter().all(|o| o.holds)), (400, true));
    assert!(sealed.len() > 1, "a step has its limit");
}

#[test]
fn the_copy_of_the_keys_is_overwritten_before_an_erasure_counts_as_done() {
    let elsewhere = tempfile::tempdir().unwrap();
    let copy = elsewhere.path().join("keys.copy");
    let world = World::with(|config| config.personal.keys_copy = Some(copy.clone()));
    world.give("visitor-gone", BOTH);
    world.send(with(page("visitor-gone", "/"), json!({"traits": {"givenName": "Ann"}})));
    world.app().operations.upkeep(false).unwrap();
    let (dir, to) = (world.config.data_dir.clone(), copy.clone());
    let copied = move || keys::copy_to(&dir, &to).unwrap().unwrap();
    assert_eq!(copied(), Copied { written: false, keys: 1 });
    // the disk of the copy is away: a folder stands in its place
    let away = elsewhere.path().join("away");
    std::fs::rename(&copy, &away).unwrap();
    std::fs::create_dir(&copy).unwrap();
    let waiting = erase(&world, Level::Operator, named(&world, Some("visitor-gone"), None));
    assert_eq!((waiting.state, waiting.erasures[0].waiting.as_deref()), ("running", Some("keys_copy")));
    std::fs::remove_dir(&copy).unwrap();
    std::fs::rename(&away, &copy).unwrap();
    world.app().erasure.work().unwrap();
    assert_eq!(copied(), Copied { written: false, keys: 0 }, "by the erasure itself, not by upkeep");
    assert_eq!(
        world.app().subject.list(&RequestsWanted { limit: 9, ..RequestsWanted::default() }).unwrap()[0].state,
        "answered"
    );
}

/// As a crash leaves it.
fn cut_off(world: &World, id: &[u8; 16]) {
    let id = *id;
    world.write(move |tx| {
        let row = requests::get(tx, &id)?.unwrap();
        requests::update(tx, &RequestRow { state: State::Running, ..row })
    });
}

#[test]
fn a_correction_that_was_cut_off_waits_to_be_run_again_and_goes_on_where_it_was() {
    let mut world = World::new();
    world.give("visitor-a", BOTH);
    let told = json!({"traits": {"email": "old@shop.example"}, "attributes": {"contact": "old@shop.example"}});
    for minutes in 0..2 {
        assert_eq!(world.send_at(minutes, with(page("visitor-a", "/"), told.clone())).fate, Fate::Accepted);
    }
    let id = open(&world, Kind::Rectify, Level::Operator, named(&world, Some("visitor-a"), None));
    cut_off(&world, &id);
    let (visitor, site_id) = (world.visitor("visitor-a").unwrap().id, world.seat().id);
    let first = world.events(&world.visit("visitor-a"))[0].clone();
    world.write(move |tx| {
        let of = personal::Of { seq: first.seq, site_id, visitor_id: visitor, at: first.received };
        personal::overwrite(tx, of, "trait.email", "new@shop.example").map(drop)
    });
    world.reopen();
    assert_eq!(show(&world, &id).state, "verified");
    assert_eq!(world.store().read(|tx| audit::list(tx, None, 1)).unwrap()[0].what, "request_interrupted");
    let term = Term { by: None, field: None, existing: "old@shop.example".into(), updated: "new@shop.example".into() };
    let done = world.app().subject.run(&id, None, &[term], &Caller::Operator).unwrap();
    assert_eq!(done.answer.as_deref(), Some("1 personal fields overwritten, 2 events superseded"));
    let mut marks = Marks::default();
    marks.add(b"old@shop.example");
    world.reopen();
    assert_eq!(search(&world.config.data_dir, &marks).unwrap().hits, 0);
}

#[test]
fn a_copy_that_was_cut_off_is_made_anew_at_the_next_start() {
    let mut world = family();
    let id = open(&world, Kind::Access, Level::Operator, named(&world, None, Some("customer-anna")));
    cut_off(&world, &id);
    world.reopen();
    let done = show(&world, &id);
    assert_eq!(done.state, "answered");
    let text = world.app().subject.result(&id, Form::Json, &Caller::Operator).unwrap();
    assert_eq!(done.result_sha256, Some(hex(&crate::base::digest::sha256(&text))));
    assert!(String::from_utf8(text).unwrap().contains("/customer-anna"));
}

#[test]
fn an_erasure_takes_the_answers_along_that_name_the_person() {
    let world = World::new();
    let key = format!("visitor-{}", hex(&random_bytes::<8>()));
    world.give(&key, BOTH);
    world.send(page(&key, "/"));
    let id = open(&world, Kind::Access, Level::Operator, named(&world, Some(&key), None));
    assert_eq!(run(&world, &id).unwrap().state, "answered");
    erase(&world, Level::Operator, named(&world, Some(&key), None));
    assert_eq!(world.app().subject.result(&id, Form::Json, &Caller::Operator).unwrap_err().code, "no_result");
    let mut marks = Marks::default();
    marks.add(key.as_bytes());
    assert_eq!(search(&world.config.data_dir, &marks).unwrap().hits, 0);
}

#[test]
fn rows_go_at_once_and_files_are_searched_in_a_part_of_the_time_only() {
    let world = World::new();
    for key in ["visitor-one", "visitor-two", "visitor-three"] {
        world.give(key, BOTH);
        world.send(page(key, "/"));
    }
    let begin = |key: &str| {
        let id = open(&world, Kind::Erase, Level::Device, named(&world, Some(key), None));
        run(&world, &id).unwrap();
        id
    };
    let (erasure, one) = (&world.app().erasure, begin("visitor-one"));
    assert!(erasure.delete_rows().unwrap().rows > 0);
    assert_eq!((world.store().read(events::count).unwrap(), show(&world, &one).erasures[0].step), (2, "files"));
    assert_eq!(erasure.tend().unwrap().answered, 1);
    let two = begin("visitor-two");
    erasure.tend().unwrap();
    assert_eq!((world.store().read(events::count).unwrap(), show(&world, &two).erasures[0].step), (1, "files"));
    erasure.wake();
    assert_eq!(erasure.tend().unwrap().answered, 1);
    let three = begin("visitor-three");
    assert_eq!(
        (erasure.work().unwrap().answered, show(&world, &three).state),
        (1, "answered"),
        "who asks does not wait"
    );
}

#[test]
fn a_customer_whom_a_restore_could_not_name_is_looked_for_by_the_name_once_keys_are_there() {
    let world = family();
    let id = open(&world, Kind::Erase, Level::Operator, named(&world, None, Some("customer-anna")));
    run(&world, &id).unwrap();
    let dir = world.config.data_dir.clone();
    world.write(move |tx| {
        let e = erasures::of_request(tx, &id)?.remove(0);
        let nothing = erasures::seal_marks(&dir, &e.id, &Marks::default())?;
        erasures::update(tx, &erasures::ErasureRow { marks: Some(nothing), ..e })
    });
    world.app().erasure.work().unwrap();
    let told = world.app().erasure.of_request(&id).unwrap().remove(0);
    let found: Value = serde_json::from_str(&told.row.result.unwrap()).unwrap();
    assert!(found["marks"].as_u64().unwrap() > 0 && found["hits"] == 0, "{found}");
}

#[test]
fn who_asks_again_goes_on_with_their_own_request_and_with_nobody_elses() {
    let world = family();
    let ask = |level: Level, people: Vec<Person>| {
        let asked =
            Asked { kind: Kind::Erase, channel: Channel::Page, known: Some((level, "shown".to_owned())), people };
        (world.app().subject.register(&asked, &Caller::Public).unwrap(), asked)
    };
    // cut off between being written down and being begun
    let (cut_off, device) = ask(Level::Device, named(&world, Some("shared-device"), None));
    assert_eq!(cut_off.state, State::Verified.word());
    let begun = world.app().subject.ask(&device, &Caller::Public).unwrap();
    assert_eq!((begun.id.as_str(), begun.state), (cut_off.id.as_str(), State::Running.word()));
    let again = world.app().subject.ask(&device, &Caller::Public).unwrap();
    assert_eq!((again.id, again.state), (cut_off.id.clone(), State::Running.word()));
    // meanwhile two people who are signed in on that device ask for what is theirs
    let mut ids = vec![cut_off.id];
    for who in ["customer-anna", "customer-ben"] {
        let mut people = named(&world, None, Some(who));
        people.extend(named(&world, Some("shared-device"), None));
        let known = Some((Level::Assertion, "shown".to_owned()));
        let asked = Asked { kind: Kind::Erase, channel: Channel::Page, known, people };
        let view = world.app().subject.ask(&asked, &Caller::Public).unwrap();
        assert_eq!(view.state, State::Running.word(), "{who}");
        assert!(!ids.contains(&view.id), "{who} was told of somebody else's request");
        ids.push(view.id);
    }
    world.app().erasure.work().unwrap();
    for id in &ids {
        assert_eq!(show(&world, &uuid_bytes(id).unwrap()).state, State::Answered.word());
    }
}
