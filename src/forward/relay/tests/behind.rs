//! A relay behind a relay: who is known by whose word, what is sent again and what not, what waits.
//! Must never let the two meet but through the seam of targets. Invariant: what lies at the second was signed by the edge.

use std::collections::BTreeSet;
use std::sync::Mutex;

use super::*;
use crate::base::error::{Error, Kind};
use crate::base::time::{HOUR_MS, MINUTE_MS};
use crate::domain::delivery::Watermark;
use crate::domain::signed::Signed;
use crate::forward::encode::Rendered;
use crate::forward::idle::{Quiet, TOLD_EVERY_MS};
use crate::forward::options::ForwardOptions;
use crate::forward::pace::Limits;
use crate::forward::relay::complete::Idle;
use crate::forward::target::{Judged, Landed, Parcel, Put, Says, Setback, Target};
use crate::forward::{Forwarder, Report};
use crate::store::{audit, vouches};

mod vouching;

/// What the way to the second relay does.
#[derive(Default)]
struct Way {
    down: bool,
    /// Batches whose answer is lost on the way back.
    deaf: bool,
    /// Numbers of lines that are refused for good.
    bad: BTreeSet<i64>,
    /// Every key put, and how many bytes were put.
    puts: Vec<Key>,
    told: usize,
}

/// The second relay as a target of the first.
struct Behind {
    relay: Arc<Mutex<Arc<Relay>>>,
    sender: EdgeId,
    way: Arc<Mutex<Way>>,
}

impl Behind {
    fn relay(&self) -> Result<Arc<Relay>, Error> {
        if self.way.lock().unwrap().down {
            return Err(Error::new(Kind::Upstream, "refused", "nobody there"));
        }
        Ok(Arc::clone(&self.relay.lock().unwrap()))
    }
}

fn parsed(ndjson: &[u8]) -> Vec<serde_json::Value> {
    ndjson.split(|b| *b == b'\n').filter(|l| !l.is_empty()).map(|l| serde_json::from_slice(l).unwrap()).collect()
}

fn setback(refusal: Refusal) -> Setback {
    let says = match refusal.error.code {
        "unknown_edge" => Some(Says::UnknownEdge),
        "fork" => Some(Says::Fork { digest: refusal.more.digest.clone() }),
        "bad_rows" => Some(Says::BadRows { seqs: refusal.more.seqs.clone().unwrap_or_default() }),
        _ => None,
    };
    let error = if refusal.error.kind == Kind::Denied { refusal.error.code("auth") } else { refusal.error };
    Setback { says, ..Setback::from(error) }
}

impl Target for Behind {
    fn name(&self) -> &str {
        "behind"
    }

    fn recipient(&self) -> Recipient {
        Recipient::Own
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn put(&self, parcel: &Parcel<'_>) -> Result<Put, Setback> {
        let relay = self.relay()?;
        let manifest = serde_json::to_string(&parcel.rendered.manifest).unwrap();
        {
            let mut way = self.way.lock().unwrap();
            way.puts.push(parcel.key);
            let lines = parsed(&parcel.rendered.ndjson);
            let seqs: Vec<i64> =
                lines.iter().filter(|l| l["kind"] != "hole").map(|l| l["seq"].as_i64().unwrap()).collect();
            let bad: Vec<i64> = seqs.into_iter().filter(|seq| way.bad.contains(seq)).collect();
            if !bad.is_empty() {
                return Err(Setback::from(Error::invalid("bad").code("bad_rows")).says(Says::BadRows { seqs: bad }));
            }
        }
        let (key, body) = (parcel.key, parcel.body());
        let incoming = Incoming { key, part: None, manifest: &manifest, body, by: Some(self.sender) };
        let taken = relay.put(&incoming).map_err(setback)?;
        if self.way.lock().unwrap().deaf {
            return Err(Error::new(Kind::Upstream, "timeout", "no answer").into());
        }
        let landed = match taken {
            Taken::Stored(_) => Landed::New,
            Taken::Same(_) => Landed::Same,
            Taken::Renewed(_) => Landed::Renewed,
            Taken::Waiting(_) => Landed::Part,
        };
        Ok(Put { landed, acknowledged: true })
    }

    fn judge(&self, _: Key, _: &Rendered, _: &[u8]) -> Result<Judged, Setback> {
        Ok(Judged::Unknown)
    }

    fn introduce(&self, edge: EdgeId, statement: &Signed) -> Result<bool, Setback> {
        let relay = self.relay()?;
        self.way.lock().unwrap().told += 1;
        relay.vouch(edge, Some(self.sender), statement).map(|_| true).map_err(Setback::from)
    }

    fn watermarks(&self, edge: EdgeId) -> crate::base::error::Result<Option<Vec<Watermark>>> {
        Ok(Some(self.relay()?.watermarks(edge, Some(self.sender))?.watermarks))
    }

    fn idle(&self, edge: EdgeId, quiet: &[Quiet]) -> crate::base::error::Result<()> {
        let said = quiet.iter().map(|(lane, until)| Idle { lane: *lane, until: *until }).collect();
        self.relay()?.idle(edge, Some(self.sender), said)
    }

    fn probe(&self) -> crate::base::error::Result<()> {
        self.relay().map(|_| ())
    }
}

/// Two relays; the first has joined the second as an edge.
struct Chain {
    first: Centre,
    second: Centre,
    forwarder: Forwarder,
    way: Arc<Mutex<Way>>,
    there: Arc<Mutex<Arc<Relay>>>,
}

impl Chain {
    /// The second believes the first where `trusted`.
    fn new(trusted: bool) -> Chain {
        Chain::held_to(trusted, Limits::default())
    }

    fn held_to(trusted: bool, limits: Limits) -> Chain {
        let onward = RelayOptions { enabled: true, onward: vec!["behind".to_owned()], ..RelayOptions::default() };
        let (first, second) = (Centre::with(onward.clone()), Centre::new());
        second.join(&first.world);
        let sender = first.id();
        if trusted {
            second.relay.approve(sender, true, &Caller::Operator).unwrap();
        }
        let there = Arc::new(Mutex::new(second.relay_again()));
        let way = Arc::new(Mutex::new(Way::default()));
        let target = Behind { relay: Arc::clone(&there), sender, way: Arc::clone(&way) };
        let (store, clock) = (Arc::clone(&first.world.store), Arc::new(first.world.clock.clone()));
        let (uptime, relay) = (first.world.clock.clone(), Arc::new(Relay::new(Arc::clone(&store), &onward)));
        let forwarder = Forwarder::to(store, clock, &ForwardOptions::default(), vec![Box::new(target)], "First")
            .with_uptime(move || crate::base::time::Clock::now(&uptime).0)
            .limited("behind", limits)
            .with_relay(relay);
        Chain { first, second, forwarder, way, there }
    }

    fn round(&self) -> Report {
        let before = self.way.lock().unwrap().puts.len();
        let report = self.forwarder.run_once(true).unwrap();
        let puts = self.way.lock().unwrap().puts.len();
        assert!(puts - before >= report.sent.len());
        report
    }

    fn sent(&self) -> Vec<Key> {
        self.round().sent.into_iter().map(|sent| sent.key).collect()
    }

    fn alarms(centre: &Centre) -> Vec<(String, String)> {
        let all = centre.world.store.read(alarms::list).unwrap();
        all.into_iter().map(|alarm| (alarm.code, alarm.about)).collect()
    }

    fn known(&self, edge: EdgeId) -> known_edges::KnownEdge {
        self.second.world.store.read(|tx| known_edges::get(tx, edge)).unwrap().unwrap()
    }
}

impl Centre {
    fn id(&self) -> EdgeId {
        self.world.store.identity().edge.id
    }

    fn relay_again(&self) -> Arc<Relay> {
        Arc::new(Relay::new(Arc::clone(&self.world.store), self.relay.options()))
    }
}

fn put_all(centre: &Centre, edge: &World) -> Vec<Key> {
    centre.join(edge);
    let all = batches(edge);
    for batch in &all {
        centre.put(batch).unwrap();
    }
    all.iter().map(|batch| batch.key).collect()
}

#[test]
fn what_a_relay_vouches_for_goes_through_it_and_is_verified_by_the_edges_own_key() {
    let chain = Chain::new(false);
    let (edge, _) = edge_of(2);
    let keys = put_all(&chain.first, &edge);
    assert_eq!(chain.sent(), [], "the second does not let the first speak for others");
    assert_eq!(Chain::alarms(&chain.first), [("auth".to_owned(), "behind/edges".to_owned())]);
    assert_eq!(chain.way.lock().unwrap().told, 1, "once, not for each edge again and again");
    chain.second.relay.approve(chain.first.id(), true, &Caller::Operator).unwrap();
    assert_eq!(chain.sent(), keys);
    assert_eq!(Chain::alarms(&chain.first), []);
    let known = chain.known(keys[0].edge);
    assert_eq!((known.label.as_str(), known.state, known.direct), ("Branch 12", EdgeState::Approved, false));
    let own = edge.store.identity().edge.signing.public();
    assert_eq!(known.public_key, own);
    for key in &keys {
        let (gz, manifest) = chain.second.relay.files().read(*key).unwrap().unwrap();
        let manifest = serde_json::to_vec(&manifest).unwrap();
        crate::forward::inspect::batch(&manifest, &gz, Some(&own)).unwrap();
    }
    let told = chain.second.relay.watermarks(keys[0].edge, Some(chain.first.id())).unwrap().watermarks;
    assert_eq!((told[0].batch_no, told[0].first_no), (2, Some(1)), "the relay is told how far its edge is");
    chain.round();
    assert_eq!(chain.way.lock().unwrap().told, 2, "what did not change is not told again");
    let stranger = EdgeId([9; 16]);
    let code = chain.second.relay.watermarks(stranger, Some(chain.first.id())).unwrap_err().code;
    assert_eq!(code, "unknown_edge", "only of edges it vouched for");
    let batch = batches(&edge).pop().unwrap();
    let other = World::new();
    chain.second.join(&other);
    let by = Some(other.store.identity().edge.id);
    assert_eq!(code_of(chain.second.relay.put(&Incoming { by, ..batch.incoming() })), "unknown_edge");
}

#[test]
fn what_the_other_has_is_not_sent_again_and_what_it_lost_is() {
    let chain = Chain::new(true);
    let (edge, _) = edge_of(3);
    chain.way.lock().unwrap().deaf = true;
    let keys = put_all(&chain.first, &edge);
    assert_eq!(chain.sent(), [], "no answer comes back");
    chain.way.lock().unwrap().deaf = false;
    assert_eq!(chain.sent(), keys[1..], "the first lies there");
    let puts = chain.way.lock().unwrap().puts.len();
    chain.round();
    assert_eq!(chain.way.lock().unwrap().puts.len(), puts);
    // another database takes the place of the second
    let fresh = Centre::new();
    fresh.join(&chain.first.world);
    fresh.relay.approve(chain.first.id(), true, &Caller::Operator).unwrap();
    *chain.there.lock().unwrap() = fresh.relay_again();
    chain.round();
    assert_eq!(chain.way.lock().unwrap().puts.len(), puts, "asked on a new connection only");
    chain.way.lock().unwrap().down = true;
    let (more, _) = edge_of(1);
    let last = put_all(&chain.first, &more);
    chain.round();
    chain.way.lock().unwrap().down = false;
    let sent: BTreeSet<String> = chain.sent().iter().map(Key::to_string).collect();
    let all: BTreeSet<String> = keys.iter().chain(&last).map(Key::to_string).collect();
    assert_eq!(sent, all, "it is told of both edges, and gets everything again");
    assert!(keys.iter().all(|key| fresh.relay.files().read(*key).unwrap().is_some()));
}

#[test]
fn another_batch_there_holds_its_lane_and_no_other() {
    let chain = Chain::new(true);
    let (edge, _) = edge_of(1);
    let (other, _) = edge_of(1);
    let ours = batches(&edge).pop().unwrap();
    let lines = String::from_utf8(gzip::decompress(&ours.gz, 1 << 20).unwrap()).unwrap();
    let theirs = resealed(&edge, &ours, "1.0", lines.replace("A page", "A twin").as_bytes());
    chain.second.join(&edge);
    chain.second.put(&theirs).unwrap();
    put_all(&chain.first, &edge);
    let well = put_all(&chain.first, &other);
    assert_eq!(chain.sent(), well);
    let about = format!("behind/{}/pages", ours.key.edge);
    assert!(Chain::alarms(&chain.first).contains(&("fork".to_owned(), about)));
}

#[test]
fn hours_and_bandwidth_hold_back_everything_but_consent() {
    let (_, before, after) = super::binding::withdrawn(MEASURE, MEASURE);
    let windows = vec![crate::forward::schedule::Window::parse("22:00-22:01").unwrap()];
    let chain = Chain::held_to(true, Limits { bytes_per_second: 0, windows, zone: "UTC".to_owned() });
    let manifest: Manifest = serde_json::from_str(&before[0].manifest).unwrap();
    let public_key = crate::base::text::unhex::<32>(&manifest.public_key).unwrap();
    let edge = before[0].key.edge;
    chain.first.relay.join(&Joining { code: &chain.first.code(), edge, public_key, label: "" }).unwrap();
    for batch in before.iter().chain(&after) {
        chain.first.put(batch).unwrap();
    }
    let lanes = |report: Report| -> BTreeSet<u8> {
        report.sent.iter().map(|sent| u8::try_from(sent.key.lane.code()).unwrap()).collect()
    };
    let sent = lanes(chain.forwarder.run_once(false).unwrap());
    assert_eq!(sent, BTreeSet::from([u8::try_from(Lane::Consent.code()).unwrap()]));
    chain.first.world.clock.set(Millis::parse("2026-11-22T22:00:30Z").unwrap());
    assert!(!lanes(chain.forwarder.run_once(false).unwrap()).is_empty());
}

#[test]
fn a_line_it_refuses_is_a_hole_for_it_and_the_stream_goes_on() {
    let chain = Chain::new(true);
    let (edge, _) = edge_of(2);
    let all = batches(&edge);
    let keys = put_all(&chain.first, &edge);
    let first = parsed(&gzip::decompress(&all[0].gz, 1 << 20).unwrap());
    let bad = first[1]["seq"].as_i64().unwrap();
    chain.way.lock().unwrap().bad.insert(bad);
    assert_eq!(chain.sent(), keys);
    let lines = chain.second.lines(keys[0]);
    assert_eq!(lines.matches("\"reason\":\"refused\"").count(), 1, "{lines}");
    assert_eq!(chain.first.lines(keys[0]).matches("refused").count(), 0, "here it stays");
    let about = format!("behind/{}/pages", keys[0].edge);
    assert_eq!(Chain::alarms(&chain.first), [("refused_rows".to_owned(), about)]);
}

#[test]
fn a_quiet_edge_goes_on_to_be_complete_at_both_relays() {
    let chain = Chain::new(true);
    let (edge, _) = edge_of(1);
    let keys = put_all(&chain.first, &edge);
    let id = keys[0].edge;
    let (way, there) = (Arc::default(), Arc::new(Mutex::new(chain.first.relay_again())));
    let target = Behind { relay: there, sender: id, way };
    let (store, clock, uptime) = (Arc::clone(&edge.store), Arc::new(edge.clock.clone()), edge.clock.clone());
    let forwarder = Forwarder::to(store, clock, &ForwardOptions::default(), vec![Box::new(target)], "Branch")
        .with_uptime(move || crate::base::time::Clock::now(&uptime).0);
    let hours = |n: i64| {
        for world in [&edge, &chain.first.world, &chain.second.world] {
            world.clock.advance(n * HOUR_MS);
        }
        forwarder.run_once(false).unwrap();
        chain.forwarder.run_once(false).unwrap();
    };
    let now = || edge.store.now();
    let until = |centre: &Centre| {
        let seen = centre.relay.edges().unwrap().into_iter().find(|seen| seen.edge.edge == id).unwrap();
        seen.until().unwrap()
    };
    hours(0);
    hours(3);
    for centre in [&chain.first, &chain.second] {
        assert!(now().since(until(centre)) < 2 * MINUTE_MS, "{:?}", until(centre));
    }
    let relay = chain.second.relay.edges().unwrap().into_iter().find(|seen| seen.edge.relay).unwrap();
    assert!(now().since(relay.until().unwrap()) < 2 * MINUTE_MS, "the relay itself too");
    let before = until(&chain.second);
    edge.clock.advance(TOLD_EVERY_MS - 1);
    forwarder.run_once(false).unwrap();
    assert_eq!(until(&chain.first), before, "not before its time");
    chain.first.relay.idle(id, Some(id), vec![Idle { lane: Lane::Pages, until: now().plus(DAY_MS) }]).unwrap();
    let lanes = chain.first.relay.edges().unwrap().into_iter().find(|seen| seen.edge.edge == id).unwrap().lanes;
    assert!(lanes.iter().all(|lane| lane.until <= now()), "nobody tells of what is to come");
}
