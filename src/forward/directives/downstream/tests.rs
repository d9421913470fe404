//! Edges and a relay in one process: what a relay keeps reaches the edge that is meant, does there what the centre asked, and comes
//! back. Must never go around the targets: each edge speaks to its relay as over the network. Invariant: what was asked is counted.

use std::sync::Mutex;

use super::*;
use crate::base::age::Identity;
use crate::base::digest::SigningKey;
use crate::base::text::hex;
use crate::base::time::Clock;
use crate::domain::delivery::Watermark;
use crate::domain::relay::{VOUCH, Vouch};
use crate::domain::signed::FORMAT;
use crate::domain::token::Caller;
use crate::forward::Forwarder;
use crate::forward::directives::ask::Talk;
use crate::forward::directives::tests::{Told, directive, done};
use crate::forward::directives::{Acted, Directives, centre::opened};
use crate::forward::options::{ForwardOptions, Recipient};
use crate::forward::relay::enrol::Codes;
use crate::forward::relay::enrol::Joining;
use crate::forward::relay::options::RelayOptions;
use crate::forward::target::{Landed, Parcel, Put, Setback};
use crate::forward::tests::support::World;

fn centre_key() -> SigningKey {
    SigningKey::from_seed([1; 32])
}

/// A relay, and what it keeps for edges.
struct Hub {
    world: World,
    relay: Arc<Relay>,
    kept: Arc<Downstream>,
}

impl Hub {
    fn new() -> Hub {
        let world = World::new();
        let options = RelayOptions { enabled: true, ..RelayOptions::default() };
        let relay = Arc::new(Relay::new(Arc::clone(&world.store), &options));
        let centre = Some(centre_key().public());
        let kept = Arc::new(Downstream::new(Arc::clone(&world.store), Arc::clone(&relay), centre));
        Hub { world, relay, kept }
    }

    fn admit(&self, edge: &World) -> EdgeId {
        admit(&self.relay, edge, false)
    }

    /// The state of each edge of the only directive.
    fn states(&self) -> Vec<(EdgeId, Option<Progress>)> {
        let [entry] = &self.kept.register().unwrap()[..] else { panic!("one directive") };
        entry.edges.iter().map(|one| (one.edge, one.state)).collect()
    }

    fn state_of(&self, edge: EdgeId) -> Option<Progress> {
        self.states().into_iter().find(|(one, _)| *one == edge).unwrap().1
    }
}

/// Lets an edge in; its id.
fn admit(relay: &Relay, edge: &World, is_relay: bool) -> EdgeId {
    let own = &edge.store.identity().edge;
    let wanted = Codes { count: 1, days: 30, relay: is_relay, ..Codes::default() };
    let code = relay.codes(&wanted, &Caller::Operator).unwrap().pop().unwrap();
    let joining = Joining { code: &code, edge: own.id, public_key: own.signing.public(), label: "Branch" };
    relay.join(&joining).unwrap();
    own.id
}

/// The way from an edge to its relay.
struct Way {
    to: Arc<Downstream>,
    from: EdgeId,
    /// Answers are lost on the way back, while this says so.
    lossy: Arc<Mutex<bool>>,
}

impl Target for Way {
    fn name(&self) -> &str {
        "upstream"
    }

    fn recipient(&self) -> Recipient {
        Recipient::Own
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn put(&self, _: &Parcel<'_>) -> std::result::Result<Put, Setback> {
        Ok(Put { landed: Landed::New, acknowledged: true })
    }

    fn watermarks(&self, _: EdgeId) -> Result<Option<Vec<Watermark>>> {
        Ok(None)
    }

    fn directives(&self, edge: EdgeId, after: i64) -> Result<Option<Handed>> {
        let handed = self.to.hand(edge, Some(self.from), after)?;
        self.lost()?;
        Ok(Some(handed))
    }

    fn report(&self, edge: EdgeId, report: &Signed) -> Result<()> {
        self.lost()?;
        let heard = self.to.hear(Some(edge), std::slice::from_ref(report))?;
        match heard.taken {
            1 => Ok(()),
            _ => Err(Error::invalid(heard.refused.join("; ")).code("report_refused")),
        }
    }
}

impl Way {
    fn lost(&self) -> Result<()> {
        if *self.lossy.lock().unwrap() {
            return Err(Error::new(Kind::Upstream, "timeout", "the answer was lost"));
        }
        Ok(())
    }
}

/// An edge below a relay.
struct Branch {
    id: EdgeId,
    world: World,
    told: Told,
    forwarder: Forwarder,
    lossy: Arc<Mutex<bool>>,
    relay: Arc<Relay>,
    below: Arc<Downstream>,
}

impl Branch {
    fn below(hub: &Hub, centre: Option<[u8; 32]>) -> Branch {
        let world = World::new();
        let id = hub.admit(&world);
        Branch::of(world, id, &hub.kept, centre, RelayOptions::default())
    }

    fn of(world: World, id: EdgeId, up: &Arc<Downstream>, centre: Option<[u8; 32]>, relay: RelayOptions) -> Branch {
        let (told, lossy) = (Told::default(), Arc::new(Mutex::new(false)));
        let way = Way { to: Arc::clone(up), from: id, lossy: Arc::clone(&lossy) };
        let clock: Arc<dyn Clock> = Arc::new(world.clock.clone());
        let options = ForwardOptions::default();
        let forwarder = Forwarder::to(Arc::clone(&world.store), clock, &options, vec![Box::new(way)], "Branch");
        let relay = Arc::new(Relay::new(Arc::clone(&world.store), &relay));
        let directives = Arc::new(Directives::new(Arc::clone(&world.store), centre, Box::new(told.clone())));
        let below = Arc::new(Downstream::new(Arc::clone(&world.store), Arc::clone(&relay), centre));
        forwarder.talk(Talk::new(directives, Arc::clone(&below), 900));
        Branch { id, world, told, forwarder, lossy, relay, below }
    }

    fn turn(&self) {
        self.forwarder.run_once(true).unwrap();
    }

    fn asked(&self) -> usize {
        self.told.asked.lock().unwrap().len()
    }
}

fn signed(action: Action, edge: &str) -> Signed {
    Signed::of(&directive(action, edge), &centre_key())
}

#[test]
fn a_directive_reaches_the_edge_that_is_meant_once_and_its_report_comes_back() {
    let hub = Hub::new();
    let (one, two) = (Branch::below(&hub, hub.kept.centre), Branch::below(&hub, hub.kept.centre));
    assert!(hub.kept.keep(&signed(Action::Erase, &one.id.to_string()), None, None).unwrap());
    assert_eq!((hub.kept.fresh(one.id).unwrap(), hub.kept.fresh(two.id).unwrap()), (1, 0));
    for _ in 0..3 {
        one.turn();
        two.turn();
    }
    assert_eq!((one.asked(), two.asked()), (1, 0));
    assert_eq!(hub.states(), [(one.id, Some(Progress::Done))]);
    let rows = hub.world.store.read(|tx| audit::list(tx, None, 10)).unwrap();
    let told: Vec<_> = rows.iter().filter(|row| row.what == "directive_kept").map(|row| row.note.as_deref()).collect();
    assert_eq!(told, [Some("erase")], "the audit tells of it, and names nobody");
    assert_eq!(hub.kept.fresh(one.id).unwrap(), 0);
}

#[test]
fn what_is_for_all_reaches_those_who_join_later_too_and_who_is_silent_is_named() {
    let hub = Hub::new();
    let early = Branch::below(&hub, hub.kept.centre);
    hub.kept.keep(&signed(Action::Withdraw, ALL), None, None).unwrap();
    early.turn();
    let late = Branch::below(&hub, hub.kept.centre);
    assert_eq!((hub.state_of(early.id), hub.state_of(late.id)), (Some(Progress::Done), None));
    let entry = hub.kept.register().unwrap().remove(0);
    let waits = entry.edges.iter().find(|one| one.edge == late.id).unwrap();
    assert!(waits.is_open() && waits.late, "its due day is today: {waits:?}");
    assert!(waits.what.contains("not fetched"), "{waits:?}");
    assert_eq!(hub.kept.late().unwrap().len(), 1);
    late.turn();
    assert_eq!(hub.kept.late().unwrap(), Vec::<String>::new());
    assert_eq!(hub.state_of(late.id), Some(Progress::Done));
}

#[test]
fn what_was_lost_on_the_way_is_handed_again_and_carried_out_once() {
    let hub = Hub::new();
    let branch = Branch::below(&hub, hub.kept.centre);
    hub.kept.keep(&signed(Action::Erase, ALL), None, None).unwrap();
    *branch.lossy.lock().unwrap() = true;
    branch.turn();
    assert_eq!((branch.asked(), hub.kept.fresh(branch.id).unwrap()), (0, 0), "it was handed down, and lost");
    *branch.lossy.lock().unwrap() = false;
    // fetched and carried out; its report is lost
    let page = hub.kept.hand(branch.id, Some(branch.id), 0).unwrap();
    branch.forwarder.talk.get().unwrap().directives.take_one(&page.directives[0]).unwrap();
    assert_eq!((branch.asked(), hub.state_of(branch.id)), (1, None));
    branch.turn();
    assert_eq!((branch.asked(), hub.state_of(branch.id)), (1, Some(Progress::Done)));
}

#[test]
fn the_end_of_what_takes_longer_is_told_when_it_has_come() {
    let hub = Hub::new();
    let branch = Branch::below(&hub, hub.kept.centre);
    hub.kept.keep(&signed(Action::Erase, ALL), None, None).unwrap();
    let begun = Acted { state: Progress::Waiting, request_id: Some([7; 16]), ..done() };
    branch.told.answers.lock().unwrap().push(Ok(begun));
    branch.turn();
    branch.turn();
    assert_eq!(hub.state_of(branch.id), Some(Progress::Waiting));
    *branch.told.looked.lock().unwrap() = Some((Progress::Done, "erased".to_owned()));
    branch.turn();
    assert_eq!((hub.state_of(branch.id), branch.asked()), (Some(Progress::Done), 1));
}

#[test]
fn what_the_centre_did_not_sign_is_not_kept_and_not_believed_and_that_is_said() {
    let hub = Hub::new();
    let stranger = SigningKey::from_seed([9; 32]);
    let foreign = Signed::of(&directive(Action::Erase, ALL), &stranger);
    assert_eq!(hub.kept.keep(&foreign, None, None).unwrap_err().code, "bad_signature");
    let unsigned = Signed { signature: String::new(), ..signed(Action::Erase, ALL) };
    assert_eq!(hub.kept.keep(&unsigned, None, None).unwrap_err().code, "bad_signature");
    let far = signed(Action::Erase, &"ab".repeat(16));
    assert_eq!(hub.kept.keep(&far, None, None).unwrap_err().code, "unknown_edge");
    let nobody = Downstream::new(Arc::clone(&hub.world.store), Arc::clone(&hub.relay), None);
    assert_eq!(nobody.keep(&signed(Action::Erase, ALL), None, None).unwrap_err().code, "no_centre");
    assert!(hub.kept.register().unwrap().is_empty());
    // an edge that goes by another centre, and one that has none
    let (other, none) = (Branch::below(&hub, Some(stranger.public())), Branch::below(&hub, None));
    hub.kept.keep(&signed(Action::Erase, ALL), None, None).unwrap();
    other.turn();
    none.turn();
    assert_eq!((other.asked(), none.asked()), (0, 0));
    let entry = hub.kept.register().unwrap().remove(0);
    for (id, why) in [(other.id, "another key"), (none.id, "no centre is enrolled")] {
        let one = entry.edges.iter().find(|one| one.edge == id).unwrap();
        assert!(one.state == Some(Progress::Refused) && one.what.contains(why), "{one:?}");
    }
}

#[test]
fn a_report_counts_under_the_key_of_its_edge_alone_and_no_edge_speaks_for_another() {
    let hub = Hub::new();
    let (one, two) = (Branch::below(&hub, hub.kept.centre), Branch::below(&hub, hub.kept.centre));
    let asked = directive(Action::Erase, ALL);
    hub.kept.keep(&Signed::of(&asked, &centre_key()), None, None).unwrap();
    let report = |edge: EdgeId, id: &str, by: &World| {
        let (format, kind) = Report::heads();
        let at = by.store.now().rfc3339();
        let (directive, taken_at) = (id.to_owned(), at.clone());
        let said = Report {
            format,
            kind,
            directive,
            edge: edge.to_string(),
            state: Progress::Done,
            what: String::new(),
            taken_at,
            at,
            copy: None,
        };
        Signed::of(&said, &by.store.identity().edge.signing)
    };
    let posing = report(one.id, &asked.id, &two.world);
    let stranger = report(one.id, &uuid_text(&[3; 16]), &one.world);
    let heard = hub.kept.hear(Some(one.id), &[posing.clone(), stranger]).unwrap();
    assert_eq!((heard.taken, heard.refused.len()), (0, 2), "{heard:?}");
    assert!(heard.refused[0].contains("another key"), "{heard:?}");
    let good = report(one.id, &asked.id, &one.world);
    let heard = hub.kept.hear(Some(two.id), std::slice::from_ref(&good)).unwrap();
    assert_eq!(heard.taken, 0, "what another edge brings");
    assert_eq!(hub.state_of(one.id), None);
    assert_eq!(hub.kept.hear(None, &[good]).unwrap().taken, 1, "what the operator brings, for example from a stick");
    assert_eq!(hub.state_of(one.id), Some(Progress::Done));
    assert_eq!(hub.kept.hand(one.id, Some(two.id), 0).unwrap_err().code, "unknown_edge");
}

#[test]
fn whom_a_directive_names_lies_sealed_and_goes_once_all_have_answered() {
    let hub = Hub::new();
    let branch = Branch::below(&hub, hub.kept.centre);
    let asked = Directive { identity: Some("c-4711-quentin".to_owned()), ..directive(Action::Erase, ALL) };
    hub.kept.keep(&Signed::of(&asked, &centre_key()), None, None).unwrap();
    for name in ["wayside.db", "wayside.db-wal"] {
        let bytes = std::fs::read(hub.world.dir.path().join(name)).unwrap_or_default();
        assert!(!bytes.windows(14).any(|some| some == b"c-4711-quentin"), "{name}");
    }
    let due = Millis::parse(&asked.due_at).unwrap();
    let is_kept = || hub.kept.register().unwrap()[0].kept.statement.is_some();
    hub.kept.sweep(due.plus(DAY_MS)).unwrap();
    assert!(is_kept(), "an edge has not answered");
    branch.turn();
    assert_eq!(branch.told.asked.lock().unwrap()[0].identity.as_deref(), Some("c-4711-quentin"));
    hub.kept.sweep(due.plus(-1)).unwrap();
    assert!(is_kept(), "who joins before its due day gets it too");
    hub.kept.sweep(due.plus(1)).unwrap();
    assert!(!is_kept());
    assert_eq!(hub.states(), [(branch.id, Some(Progress::Done))], "who answered what stays");
    let silent = signed(Action::Erase, ALL);
    hub.kept.keep(&silent, None, None).unwrap();
    hub.kept.sweep(due.plus(KEPT_MS + 1)).unwrap();
    assert!(hub.kept.register().unwrap().iter().all(|entry| entry.kept.statement.is_none()), "at the latest");
}

#[test]
fn a_directive_that_cannot_be_opened_any_more_holds_up_no_other() {
    let hub = Hub::new();
    let branch = Branch::below(&hub, hub.kept.centre);
    let other = Downstream {
        at_rest: Key::new([9; 32]),
        ..Downstream::new(Arc::clone(&hub.world.store), Arc::clone(&hub.relay), hub.kept.centre)
    };
    other.keep(&signed(Action::Erase, ALL), None, None).unwrap();
    hub.kept.keep(&signed(Action::Object, ALL), None, None).unwrap();
    branch.turn();
    let asked: Vec<Action> = branch.told.asked.lock().unwrap().iter().map(|one| one.action).collect();
    assert_eq!(asked, [Action::Object]);
}

#[test]
fn a_copy_comes_back_encrypted_and_no_later_report_takes_its_place() {
    let hub = Hub::new();
    let branch = Branch::below(&hub, hub.kept.centre);
    let reader = Identity::mint();
    let asked = Directive { reply_to: Some(reader.recipient().to_string()), ..directive(Action::Access, ALL) };
    hub.kept.keep(&Signed::of(&asked, &centre_key()), None, None).unwrap();
    let copy = Some(b"{\"visits\":[1]}".to_vec());
    branch.told.answers.lock().unwrap().push(Ok(Acted { copy, ..done() }));
    branch.turn();
    let there = || hub.kept.register().unwrap()[0].edges[0].report.clone().unwrap();
    let report: Report = there().open(REPORT, None).unwrap();
    assert_eq!(opened(&report.copy.unwrap(), &reader).unwrap(), serde_json::json!({"visits": [1]}));
    let before = there();
    let again = branch.forwarder.talk.get().unwrap().directives.take(&[]).unwrap();
    assert_eq!(hub.kept.hear(Some(branch.id), &again.reports).unwrap().taken, 1);
    assert_eq!(there(), before);
}

#[test]
fn a_relay_in_the_middle_does_its_own_part_and_answers_for_those_below_it() {
    let top = Hub::new();
    let world = World::new();
    let id = admit(&top.relay, &world, true);
    let options = RelayOptions { enabled: true, ..RelayOptions::default() };
    let middle = Branch::of(world, id, &top.kept, top.kept.centre, options);
    let world = World::new();
    let low = admit(&middle.relay, &world, false);
    let low = Branch::of(world, low, &middle.below, top.kept.centre, RelayOptions::default());
    let all = directive(Action::Withdraw, ALL);
    top.kept.keep(&Signed::of(&all, &centre_key()), None, None).unwrap();
    middle.turn();
    low.turn();
    middle.turn();
    assert_eq!((middle.asked(), low.asked()), (1, 1), "each does its part");
    assert_eq!(top.states(), [(id, Some(Progress::Done))], "of the other one nobody has heard there");
    // now somebody vouches for it: its report is believed, and what is for it alone finds its way
    let vouch = Vouch {
        format: FORMAT,
        kind: VOUCH.to_owned(),
        by: id.to_string(),
        edge: low.id.to_string(),
        public_key: hex(&low.world.store.identity().edge.signing.public()),
        label: "Low".to_owned(),
        state: "approved".to_owned(),
        successor: None,
        site: None,
    };
    let word = Signed::of(&vouch, &middle.world.store.identity().edge.signing);
    top.relay.vouch(low.id, Some(id), &word).unwrap();
    middle.turn();
    assert_eq!(top.state_of(low.id), Some(Progress::Done));
    let own = signed(Action::Object, &low.id.to_string());
    top.kept.keep(&own, None, None).unwrap();
    assert_eq!(top.kept.fresh(id).unwrap(), 1, "the relay is told that something waits");
    middle.turn();
    low.turn();
    middle.turn();
    assert_eq!((middle.asked(), low.asked()), (1, 2), "what is for another edge is not the relay's to do");
    let entry = top.kept.register().unwrap().into_iter().find(|entry| entry.kept.action == Action::Object).unwrap();
    let states: Vec<_> = entry.edges.iter().map(|one| (one.edge, one.state)).collect();
    assert_eq!((states, top.kept.fresh(id).unwrap()), (vec![(low.id, Some(Progress::Done))], 0));
    let kept = &middle.below.register().unwrap()[0].kept;
    assert_eq!(kept.came_from.as_deref(), Some("upstream"));
}
