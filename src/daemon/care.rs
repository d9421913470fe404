//! Everything that runs beside the door: the spool, forwarding, upkeep; and what the operator asks of them.
//! Owns their threads. Must never decide what is due: the folders ask the database.

use std::sync::Arc;
use std::thread::JoinHandle;

use serde_json::json;

use crate::base::error::{Error, Result, io};
use crate::base::time::Clock;
use crate::config::Config;
use crate::consent::proofs::take_away;
use crate::consent::{lapse, verify};
use crate::domain::alarm::{self, Alarm};
use crate::domain::event::Lane;
use crate::domain::site::Seat;
use crate::domain::withdrawal::Withdrawal;
use crate::erasure::Erasure;
use crate::forward::options::TargetKind;
use crate::forward::pull::Pull;
use crate::forward::pull::source::Source;
use crate::forward::relay::Relay;
use crate::forward::relay::source::RelaySource;
use crate::forward::relay::traces::RelayTraces;
use crate::forward::status::LaneStatus;
use crate::forward::traces::OutboxTraces;
use crate::forward::{Forwarder, Report};
use crate::http::app::Operations;
use crate::ingest::Ingest;
use crate::ingest::traces::SpoolTraces;
use crate::store::traces::{Answers, Copies, Traces};
use crate::store::{Store, WriteTx, alarms, audit};
use crate::upkeep::{Hooks, Plan, Stop, Upkeep};

/// Longest a page of the ledger may take to be read before old entries go, ms.
const LEDGER_READ_MS_MAX: u64 = 30_000;

/// Forwarding, upkeep and the spool.
pub struct Care {
    store: Arc<Store>,
    ingest: Arc<Ingest>,
    forwarder: Arc<Forwarder>,
    pull: Arc<Pull>,
    erasure: Arc<Erasure>,
    relay: Arc<Relay>,
    upkeep: Upkeep,
    clock: Arc<dyn Clock>,
    spool_ms: Option<i64>,
    stop: Stop,
}

/// The threads that were started.
pub struct Threads(Vec<JoinHandle<()>>);

/// What upkeep goes by.
fn plan(config: &Config, seats: &[Seat]) -> Plan {
    let names = |required: bool| {
        let of = config.targets.iter().filter(move |target| target.required || !required);
        of.map(|target| target.name.clone()).collect::<Vec<String>>()
    };
    Plan {
        visits: config.visits.clone(),
        retention: config.retention.clone(),
        quota: config.quota.clone(),
        upkeep: config.upkeep.clone(),
        targets: names(false),
        required: names(true),
        withdrawals: seats.iter().map(|seat| (seat.id, Withdrawal::of(&seat.site.options))).collect(),
    }
}

/// Everybody who owns files that can hold a person (`store::traces::PLACES`).
fn owners(store: &Store, ingest: &Arc<Ingest>, forwarder: &Arc<Forwarder>, relay: &Arc<Relay>) -> Vec<Arc<dyn Traces>> {
    vec![
        Arc::new(SpoolTraces(Arc::clone(ingest))),
        Arc::new(OutboxTraces(Arc::clone(forwarder))),
        Arc::new(RelayTraces(Arc::clone(relay))),
        Arc::new(Copies::of(store.data_dir())),
        Arc::new(Answers::of(store.data_dir())),
    ]
}

impl Care {
    /// Composes it.
    pub fn new(config: &Config, store: Arc<Store>, ingest: Arc<Ingest>, clock: Arc<dyn Clock>) -> Self {
        let spool = &config.ingest.spool;
        let jobs = config.targets.iter().filter(|target| target.kind == TargetKind::Pull && target.required);
        let jobs = jobs.map(|target| target.name.clone()).collect();
        let relay = Arc::new(Relay::new(Arc::clone(&store), &config.relay).keeping_for(jobs));
        let forwarder = Arc::new(
            Forwarder::new(
                Arc::clone(&store),
                Arc::clone(&clock),
                &config.forward,
                &config.targets,
                &config.edge.label,
            )
            .with_relay(Arc::clone(&relay)),
        );
        let woken = Arc::downgrade(&forwarder);
        relay.tell(Box::new(move |_| {
            if let Some(forwarder) = woken.upgrade() {
                forwarder.kick();
            }
        }));
        let seats = ingest.seats().to_vec();
        let kicked = Arc::clone(&forwarder);
        let (ageing, releasing) = (Arc::clone(&forwarder), Arc::clone(&relay));
        let (owners, targets) = (owners(&store, &ingest, &forwarder, &relay), forwarder.target_names());
        let erase = config.erase.clone();
        let decisions = Arc::new(move |tx: &WriteTx<'_>, subject, limit| take_away(tx, subject, &erase, limit));
        let erasure = Arc::new(Erasure::new(Arc::clone(&store), owners, targets, decisions));
        let erasing = Arc::clone(&erasure);
        let ledger_dir = store.data_dir().to_owned();
        let plan = plan(config, &seats);
        let hooks = Hooks {
            erase: Arc::new(move || {
                let report = erasing.tend()?;
                Ok((u64::try_from(report.rows).unwrap_or(0), report.waiting.join("; ")))
            }),
            kick_forward: Arc::new(move || kicked.kick()),
            expire_files: Arc::new(move |now| {
                releasing.release(now)?;
                ageing.sweep_directives(now)?;
                ageing.expire_by_age(now)
            }),
            ledger_fault: Arc::new(move || {
                let found = verify::beside(&ledger_dir, LEDGER_READ_MS_MAX, None, &mut |_, _| ())?;
                Ok(found.faults.first().map(|fault| format!("entry {}: {}", fault.ledger_no, fault.what)))
            }),
            write_lapses: Arc::new(move |tx, limit| {
                lapse::write_due(tx, &seats, limit).map(|looked| (looked.written, looked.more))
            }),
            ..Hooks::default()
        };
        let others: Vec<Arc<dyn Source>> = match relay.on() {
            Ok(()) => vec![Arc::new(RelaySource(Arc::clone(&relay)))],
            Err(_) => Vec::new(),
        };
        Care {
            upkeep: Upkeep::new(Arc::clone(&store), plan, hooks),
            pull: Arc::new(Pull::new(Arc::clone(&forwarder), &config.targets, others)),
            store,
            ingest,
            forwarder,
            erasure,
            relay,
            clock,
            spool_ms: spool.enabled.then(|| i64::from(spool.poll_seconds) * 1_000),
            stop: Stop::new(),
        }
    }

    /// Forwarding, for those who come and take.
    pub fn forwarder(&self) -> &Arc<Forwarder> {
        &self.forwarder
    }

    /// Erasure, for the door and for requests.
    pub fn erasure(&self) -> &Arc<Erasure> {
        &self.erasure
    }

    /// Batches for those who pull, for the door.
    pub fn pull(&self) -> &Arc<Pull> {
        &self.pull
    }

    /// Batches of other edges, for the door.
    pub fn relay(&self) -> &Arc<Relay> {
        &self.relay
    }

    /// Starts the threads. Errors: `Storage`.
    pub fn start(self: &Arc<Self>) -> Result<Threads> {
        let mut threads = Vec::new();
        if let Some(every_ms) = self.spool_ms {
            let care = Arc::clone(self);
            threads.push(spawn("spool", move || care.watch_spool(every_ms))?);
        }
        let care = Arc::clone(self);
        threads.push(spawn("upkeep", move || care.upkeep.live(&care.stop))?);
        if self.pull.is_used() {
            let care = Arc::clone(self);
            threads.push(spawn("pull", move || care.pull.live())?);
        }
        if self.relay.on().is_ok() {
            let care = Arc::clone(self);
            threads.push(spawn("relay", move || care.relay.live())?);
        }
        let care = Arc::clone(self);
        threads.push(spawn("forward", move || {
            if let Err(error) = care.forwarder.live() {
                log::error!("forwarding ended: {error}");
            }
        })?);
        Ok(Threads(threads))
    }

    /// Tells the threads to end and waits for them.
    pub fn stop(&self, threads: Threads) {
        self.stop.set();
        self.forwarder.stop();
        self.relay.stop();
        for thread in threads.0 {
            if thread.join().is_err() {
                log::error!("a thread had panicked");
            }
        }
    }

    fn watch_spool(&self, every_ms: i64) {
        while !self.stop.is_set() {
            if let Err(error) = self.ingest.take_spool(self.clock.now()) {
                log::warn!("the spool cannot be read now: {error}");
            }
            self.stop.wait(every_ms);
        }
    }
}

fn spawn(name: &str, work: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>> {
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(work)
        .map_err(|e| io(format_args!("starting the thread {name}"), e))
}

fn told(report: &Report) -> serde_json::Value {
    let failed: Vec<_> = report
        .failed
        .iter()
        .map(|f| json!({"target": f.target, "batch": f.key.to_string(), "code": f.code, "what": f.what}))
        .collect();
    json!({
        "sealed": report.sealed.len(),
        "sent": report.sent.len(),
        "holes": report.sent.iter().map(|sent| sent.holes).sum::<i64>(),
        "acknowledged": report.acknowledged,
        "expired": report.expired,
        "renewed": report.renewed,
        "failed": failed,
    })
}

fn target_row(lane: &LaneStatus) -> serde_json::Value {
    json!({
        "target": lane.target,
        "lane": lane.lane.word(),
        "sealed": lane.sealed_no,
        "put": lane.put_no,
        "acked": lane.acked_no,
        "backlog_rows": lane.backlog_rows,
        "oldest_unsent_at": lane.oldest_unsent.map(|at| at.rfc3339()),
        "failures": lane.failures,
        "last_error": lane.last_error,
    })
}

fn alarm_row(a: &Alarm) -> serde_json::Value {
    json!({
        "code": a.code,
        "about": a.about,
        "what": a.what,
        "first_at": a.first.rfc3339(),
        "last_at": a.last.rfc3339(),
        "times": a.times,
    })
}

impl Operations for Care {
    fn status(&self) -> Result<serde_json::Value> {
        let (pen, upkeep, lanes) = (self.store.pen().status(), self.upkeep.status()?, self.forwarder.status()?);
        let mut attention = Vec::new();
        let mut say = |what: String, remedy: &str| attention.push(json!({"what": what, "remedy": remedy}));
        if pen.broken {
            say("the writer has ended after an error".to_owned(), "look into the log, then restart wayside");
        }
        if upkeep.pressure_percent >= 85 {
            say(
                format!("{} % of the disk budget is used", upkeep.pressure_percent),
                "acknowledge batches, or raise [quota] disk_budget_bytes",
            );
        }
        if upkeep.unsent_warning {
            say(
                "unsent rows are near the end of their retention".to_owned(),
                "acknowledge what was taken: wayside batches ack",
            );
        }
        for lane in lanes.iter().filter(|lane| lane.failures > 0) {
            let why = lane.last_error.as_deref().unwrap_or("unknown");
            say(
                format!("target {} fails in lane {}: {why}", lane.target, lane.lane.word()),
                "mend the target; it is tried again by itself",
            );
        }
        let raised = self.store.read(alarms::list)?;
        for one in &raised {
            say(one.told(), alarm::remedy(&one.code));
        }
        for late in self.forwarder.late_edges()? {
            say(late, "ask whoever runs that edge; wayside directive reports shows all");
        }
        for care in &upkeep.cares {
            if let Some(error) = &care.error {
                say(format!("upkeep, {}: {error}", care.what), "it is tried again by itself");
            }
        }
        Ok(json!({
            "attention": attention,
            "writer": {"waiting": pen.waiting, "most_waiting": pen.most_waiting, "groups": pen.groups},
            "targets": lanes.iter().map(target_row).collect::<Vec<_>>(),
            "alarms": raised.iter().map(alarm_row).collect::<Vec<_>>(),
            "upkeep": upkeep,
        }))
    }

    fn note(&self, who: &str, what: &str, about: Option<&str>, note: Option<&str>) -> Result<()> {
        let own = |text: &str| text.to_owned();
        let (who, what, about, note) = (own(who), own(what), about.map(own), note.map(own));
        self.store.pen().call(move |tx| audit::insert(tx, &who, &what, about.as_deref(), note.as_deref()))
    }

    fn forward(&self, force: bool) -> Result<serde_json::Value> {
        self.forwarder.run_once(force).map(|report| told(&report))
    }

    fn renew(&self, target: Option<&str>) -> Result<serde_json::Value> {
        let voided = self.forwarder.give_way(target)?;
        let batches: Vec<String> = voided.batches.iter().map(ToString::to_string).collect();
        Ok(json!({"epoch": voided.epoch.to_string(), "voided": batches}))
    }

    fn acknowledge(&self, target: &str, lane: &str, upto: i64) -> Result<serde_json::Value> {
        let lane = Lane::parse(lane)
            .ok_or_else(|| Error::invalid(format!("no lane {lane:?}")).remedy("use consent, visits, pages or fine"))?;
        let acked = self.forwarder.ack(target, lane, upto)?;
        Ok(json!({"target": target, "lane": lane.word(), "acked": acked}))
    }

    fn upkeep(&self, confirm: bool) -> Result<serde_json::Value> {
        if confirm {
            self.upkeep.confirm()?;
        }
        self.erasure.wake();
        self.upkeep.run_once(true)?;
        let status = self.upkeep.status()?;
        let mut told = serde_json::Map::new();
        told.insert("clock_guard".to_owned(), status.clock_guard.into());
        for care in &status.cares {
            let word = care.error.clone().unwrap_or_else(|| match care.note.as_str() {
                "" => format!("{} rows", care.rows),
                note => format!("{} rows; {note}", care.rows),
            });
            told.insert(care.what.to_owned(), word.into());
        }
        Ok(serde_json::Value::Object(told))
    }

    fn end_visits(&self) -> Result<serde_json::Value> {
        let ended = self.upkeep.end_all_due_now()?;
        Ok(json!({"visits_ended": ended.ended}))
    }
}
