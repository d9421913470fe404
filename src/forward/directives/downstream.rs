//! Directives for the edges below a relay: kept, handed down to whoever asks for an edge, answered, passed up to where they came from.
//! Must never carry one out, nor read a copy. Invariants: nothing is kept that the centre's key did not sign; a report counts only
//! under the key of the edge it tells of.

use std::sync::Arc;

use crate::base::cell::{self, Key, Place};
use crate::base::error::{Error, Kind, Result};
use crate::base::id::{EdgeId, uuid_bytes, uuid_text};
use crate::base::time::{DAY_MS, Millis};
use crate::domain::directive::{ALL, Action, DIRECTIVE, Directive, Handed, Progress, REPORT, Report};
use crate::domain::relay::EdgeState;
use crate::domain::signed::Signed;
use crate::forward::relay::Relay;
use crate::forward::target::Target;
use crate::store::edge_answers::EdgeAnswer;
use crate::store::kept_directives::Kept;
use crate::store::{ReadTx, Store, WriteTx, audit, edge_answers, kept_directives, known_edges, vouches};

/// Directives of one answer at the most.
const PAGE: usize = 100;
/// Kept directives looked at together.
const STEP: i64 = 500;
/// Directives of the register that are shown.
const SHOWN_MAX: i64 = 1_000;
/// Late answers that are told at one time.
pub const LATE_MAX: usize = 20;
/// Reports passed on in one turn.
const PASSED_MAX: i64 = 1_000;
/// How long statements and reports are kept past the due day, ms.
const KEPT_MS: i64 = 90 * DAY_MS;

/// What became of reports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Heard {
    /// Taken in.
    pub taken: usize,
    /// Not believed, and why.
    pub refused: Vec<String>,
}

/// One edge in the register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// The edge.
    pub edge: EdgeId,
    /// Its name for people.
    pub label: String,
    /// What it said; `None` = nothing yet.
    pub state: Option<Progress>,
    /// In its words; before it said anything, whether it fetched the directive.
    pub what: String,
    /// When it said so; before, since when is waited for it.
    pub since: Millis,
    /// It will miss the due day, or has.
    pub late: bool,
    /// Its signed report, while that is kept.
    pub report: Option<Signed>,
}

impl Standing {
    /// Is there anything to wait for?
    pub fn is_open(&self) -> bool {
        self.state.is_none_or(|state| state == Progress::Waiting)
    }
}

/// A directive of the register.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The directive, without whom it names.
    pub kept: Kept,
    /// Every edge it is for.
    pub edges: Vec<Standing>,
}

/// What is kept for edges below. One per process.
pub struct Downstream {
    store: Arc<Store>,
    relay: Arc<Relay>,
    centre: Option<[u8; 32]>,
    at_rest: Key,
}

impl Downstream {
    /// Keeps what `centre` signed, for the edges that joined at this relay.
    pub fn new(store: Arc<Store>, relay: Arc<Relay>, centre: Option<[u8; 32]>) -> Self {
        // a search of all files for a person must not find whom a directive names: that it is kept is what the person wants
        let at_rest = Key::new(store.identity().hash_key.hmac(&[b"wayside-kept-directive"]));
        Downstream { store, relay, centre, at_rest }
    }

    /// What time it is here.
    pub fn now(&self) -> Millis {
        self.store.now()
    }

    /// Are directives kept here for others?
    pub fn is_on(&self) -> bool {
        self.relay.on().is_ok()
    }

    /// Keeps a directive, once; says whether it is for edges below. One that is for this edge alone is not kept.
    /// Errors: `Denied` with code `no_centre`, `Invalid` where the centre did not sign it, `NotFound` where its edge has not
    /// joined here; `Busy`, `Storage`.
    pub fn keep(&self, signed: &Signed, came_from: Option<&str>, request_id: Option<[u8; 16]>) -> Result<bool> {
        self.relay.on()?;
        let centre = self.centre.as_ref().ok_or_else(super::no_centre)?;
        let directive: Directive = signed.open(DIRECTIVE, Some(centre))?;
        let id = uuid_bytes(&directive.id).ok_or_else(|| Error::invalid("its id is no UUID"))?;
        let edge = match directive.edge.as_str() {
            ALL => None,
            text => Some(EdgeId::parse(text)?),
        };
        if edge == Some(self.store.identity().edge.id) {
            return Ok(false);
        }
        let due = Millis::parse(&directive.due_at).ok_or_else(|| Error::invalid("its due day is no time"))?;
        let text = serde_json::to_vec(signed).expect("invariant: a statement has string keys");
        let (at_rest, action, from) = (self.at_rest.clone(), directive.action, came_from.map(str::to_owned));
        self.store.pen().call(move |tx| {
            if let Some(edge) = edge
                && known_edges::get(tx, edge)?.is_none()
            {
                return Err(Error::not_found(format!("edge {edge} has not joined here"))
                    .code("unknown_edge")
                    .remedy("wayside edge list shows those that have"));
            }
            if kept_directives::get(tx, &id)?.is_some() {
                return Ok(true);
            }
            let no = kept_directives::next_no(tx)?;
            let statement = Some(cell::seal(&at_rest, place(no), &text));
            let (came_from, kept) = (from.clone(), tx.now());
            let row = Kept { no, id, action, edge, statement, came_from, request_id, kept, due };
            kept_directives::insert(tx, &row)?;
            let who = from.as_deref().map_or_else(|| "centre".to_owned(), |target| format!("upstream {target}"));
            audit::insert(tx, &who, "directive_kept", Some(&uuid_text(&id)), Some(action.word()))?;
            Ok(true)
        })
    }

    /// How many directives wait for an edge that it has not fetched.
    pub fn fresh(&self, edge: EdgeId) -> Result<i64> {
        if !self.is_on() {
            return Ok(0);
        }
        self.store.read(|tx| kept_directives::fresh(tx, edge))
    }

    /// What waits for an edge behind a number, and what it has begun; for a relay what waits for the edges it vouches for too, which it
    /// keeps for them. Errors: `Denied`, `NotFound` with code `relay_off`, `Busy`, `Storage`.
    pub fn hand(&self, edge: EdgeId, by: Option<EdgeId>, after: i64) -> Result<Handed> {
        let known = self.relay.admitted(edge, by)?;
        let mut out = Handed { edge: edge.to_string(), next: after, ..Handed::default() };
        let mut handed = Vec::new();
        let (below, step) = self.store.read(|tx| {
            let below = if known.relay { vouches::of_relay(tx, edge)? } else { Vec::new() };
            Ok((below, kept_directives::open_after(tx, after, STEP)?))
        })?;
        out.more = step.len() == usize::try_from(STEP).unwrap_or(usize::MAX);
        for kept in step {
            if out.directives.len() == PAGE {
                out.more = true;
                break;
            }
            out.next = kept.no;
            // what is for all goes once to a relay, which sees to its own edges
            let meant = kept.edge.unwrap_or(edge);
            if meant != edge && !below.contains(&meant) {
                continue;
            }
            let said = self.store.read(|tx| edge_answers::get(tx, kept.no, meant))?.and_then(|answer| answer.state);
            if is_wanted(kept.action, said) {
                match self.opened(&kept) {
                    Ok(signed) => {
                        out.directives.push(signed);
                        handed.push((kept.no, meant));
                    }
                    // sealed under another secret: the database came from another machine; the others go out
                    Err(error) => log::error!("directive {} is not handed down: {error}", uuid_text(&kept.id)),
                }
            }
        }
        let begun = self.store.read(|tx| edge_answers::begun(tx, edge, SHOWN_MAX))?;
        out.waiting = begun.iter().map(uuid_text).collect();
        if !handed.is_empty() {
            let note =
                move |tx: &WriteTx<'_>| handed.iter().try_for_each(|(no, edge)| edge_answers::handed(tx, *no, *edge));
            self.store.pen().call(note)?;
        }
        Ok(out)
    }

    fn opened(&self, kept: &Kept) -> Result<Signed> {
        let text = cell::open(&self.at_rest, place(kept.no), kept.statement.as_deref().unwrap_or_default())
            .map_err(|e| e.context("a directive that is kept for edges"))?;
        serde_json::from_slice(&text).map_err(|e| Error::storage("a kept directive does not parse").source(e))
    }

    /// Takes in what edges report, brought by one of them (`by`; `None` = the operator). Errors: `NotFound` with code `relay_off`;
    /// `Busy`, `Storage`: what was taken before stands.
    pub fn hear(&self, by: Option<EdgeId>, reports: &[Signed]) -> Result<Heard> {
        self.relay.on()?;
        let mut heard = Heard::default();
        for (n, signed) in reports.iter().enumerate() {
            match self.one(by, signed) {
                Ok(()) => heard.taken += 1,
                Err(error) if matches!(error.kind, Kind::Busy | Kind::Storage) => return Err(error),
                Err(error) => heard.refused.push(format!("report {}: {}", n + 1, error.what)),
            }
        }
        Ok(heard)
    }

    fn one(&self, by: Option<EdgeId>, signed: &Signed) -> Result<()> {
        let unread: Report = signed.open(REPORT, None)?;
        let edge = EdgeId::parse(&unread.edge)?;
        let known = self.relay.admitted(edge, by)?;
        let report: Report = signed.open(REPORT, Some(&known.public_key))?;
        let id = uuid_bytes(&report.directive).ok_or_else(|| Error::invalid("it names no directive"))?;
        let said = Millis::parse(&report.at).ok_or_else(|| Error::invalid("it names no time"))?;
        let text = serde_json::to_string(signed).expect("invariant: a statement has string keys");
        let (state, copy) = (report.state, report.copy.is_some());
        let what = crate::base::text::cut(&report.what, super::WHAT_BYTES_MAX).to_owned();
        self.store.pen().call(move |tx| {
            let kept = kept_directives::get(tx, &id)?.filter(|kept| is_for(kept, edge));
            let kept = kept.ok_or_else(|| Error::not_found("nothing of that id was given to this edge here"))?;
            let before = edge_answers::get(tx, kept.no, edge)?;
            if before.as_ref().is_some_and(|before| !replaces(before, (state, said, copy))) {
                return Ok(());
            }
            let handed = before.and_then(|before| before.handed);
            let row = EdgeAnswer {
                kept_no: kept.no,
                edge,
                handed,
                state: Some(state),
                what: what.clone(),
                said: Some(said),
                report: Some(text.clone()),
                passed: kept.came_from.is_none(),
            };
            edge_answers::put(tx, &row)
        })
    }

    /// Passes what edges below said on to where the directives came from. Errors: those of the target; `Busy`, `Storage`.
    pub fn pass_up(&self, target: &dyn Target) -> Result<usize> {
        let own = self.store.identity().edge.id;
        let answers = self.store.read(|tx| edge_answers::unpassed(tx, target.name(), PASSED_MAX))?;
        let mut count = 0;
        for answer in answers {
            let Some(signed) = answer.report.as_deref().and_then(|text| serde_json::from_str(text).ok()) else {
                continue;
            };
            match target.report(own, &signed) {
                // not believed there, perhaps not yet: nobody vouched for that edge so far
                Err(error) if error.code == "report_refused" => log::info!("passing a report on: {error}"),
                passed => {
                    passed?;
                    self.store.pen().call(move |tx| edge_answers::passed(tx, &answer))?;
                    count += 1;
                }
            }
        }
        Ok(count)
    }

    /// The newest directives with how far each edge is.
    pub fn register(&self) -> Result<Vec<Entry>> {
        let now = self.store.now();
        self.store
            .read(|tx| kept_directives::newest(tx, SHOWN_MAX)?.into_iter().map(|kept| entry(tx, kept, now)).collect())
    }

    /// In words: which edges will miss the due day of which directive, or have; at most [`LATE_MAX`].
    pub fn late(&self) -> Result<Vec<String>> {
        let mut out = Vec::new();
        for entry in if self.is_on() { self.register()? } else { Vec::new() } {
            let (id, due) = (uuid_text(&entry.kept.id), entry.kept.due.rfc3339());
            for one in entry.edges.iter().filter(|one| one.late) {
                let name = if one.label.is_empty() { one.edge.to_string() } else { one.label.clone() };
                out.push(format!(
                    "edge {name} has not answered directive {id} ({}), due {due}",
                    entry.kept.action.word()
                ));
            }
        }
        out.truncate(LATE_MAX);
        Ok(out)
    }

    /// The directives of a request of this register.
    pub fn of_request(&self, request_id: &[u8; 16]) -> Result<Vec<Entry>> {
        let now = self.store.now();
        self.store.read(|tx| {
            kept_directives::of_request(tx, request_id)?.into_iter().map(|kept| entry(tx, kept, now)).collect()
        })
    }

    /// One directive. Errors: `NotFound` with code `unknown_directive`.
    pub fn entry(&self, id: &[u8; 16]) -> Result<Entry> {
        let now = self.store.now();
        let found = self.store.read(|tx| kept_directives::get(tx, id)?.map(|kept| entry(tx, kept, now)).transpose())?;
        found.ok_or_else(|| {
            Error::not_found("no directive of that id is kept here")
                .code("unknown_directive")
                .remedy("wayside directive reports shows them")
        })
    }

    /// Drops whom directives name once every edge has answered for good, and all that is left of them long after their due day.
    /// Errors: `Busy`, `Storage`.
    pub fn sweep(&self, now: Millis) -> Result<()> {
        let open = self.store.read(|tx| {
            let mut out = Vec::new();
            for kept in every_open(tx)? {
                let old = kept.due.plus(KEPT_MS) < now;
                let edges = entry(tx, kept.clone(), now)?.edges;
                // one edge at least: those of a relay that nobody has joined yet wait for them
                if old || (!edges.is_empty() && edges.iter().all(|one| !one.is_open()) && kept.due < now) {
                    out.push((kept.no, old));
                }
            }
            Ok(out)
        })?;
        if open.is_empty() {
            return Ok(());
        }
        self.store.pen().call(move |tx| {
            for (no, old) in &open {
                kept_directives::forget(tx, *no)?;
                if *old {
                    edge_answers::forget_reports(tx, *no)?;
                }
            }
            Ok(())
        })
    }
}

fn place(no: i64) -> Place<'static> {
    Place { table: "kept_directives", column: "statement", row: no }
}

fn every_open(tx: &ReadTx<'_>) -> Result<Vec<Kept>> {
    let mut out: Vec<Kept> = Vec::new();
    loop {
        let step = kept_directives::open_after(tx, out.last().map_or(0, |kept| kept.no), STEP)?;
        if step.is_empty() {
            return Ok(out);
        }
        out.extend(step);
    }
}

fn is_for(kept: &Kept, edge: EdgeId) -> bool {
    kept.edge.is_none_or(|only| only == edge)
}

/// Is a directive still to be handed to an edge that said this of it? Of two databases of one edge only one is meant to renew:
/// what the other says settles nothing.
fn is_wanted(action: Action, said: Option<Progress>) -> bool {
    said.is_none() || (action == Action::Renew && said != Some(Progress::Done))
}

/// Does a report stand in the place of what was said before? A copy never gives way to a report without one, nor an end to a
/// beginning.
fn replaces(before: &EdgeAnswer, (state, said, copy): (Progress, Millis, bool)) -> bool {
    let had_copy = || {
        let signed: Option<Signed> = before.report.as_deref().and_then(|text| serde_json::from_str(text).ok());
        signed.and_then(|signed| signed.open::<Report>(REPORT, None).ok()).is_some_and(|report| report.copy.is_some())
    };
    match before.state {
        None => true,
        Some(Progress::Done) if state != Progress::Done => false,
        Some(was) if was != Progress::Waiting && state == Progress::Waiting => false,
        Some(_) => copy || (before.said.is_none_or(|at| at <= said) && !had_copy()),
    }
}

/// How near the due day an edge that was not heard of counts as late, ms.
const NEAR_MS: i64 = 3 * DAY_MS;
/// How long an edge may be away before it counts as late for what it has not fetched, ms.
const AWAY_MS: i64 = 7 * DAY_MS;

fn entry(tx: &ReadTx<'_>, kept: Kept, now: Millis) -> Result<Entry> {
    let answers = edge_answers::of(tx, kept.no)?;
    let mut edges = Vec::new();
    for known in known_edges::list(tx)? {
        let said = answers.iter().find(|answer| answer.edge == known.edge);
        let meant = is_for(&kept, known.edge) && (said.is_some() || known.state == EdgeState::Approved);
        if !meant {
            continue;
        }
        let (state, handed) = (said.and_then(|said| said.state), said.and_then(|said| said.handed));
        let open = state.is_none_or(|state| state == Progress::Waiting);
        let away = handed.is_none() && now.since(known.last_seen.unwrap_or(known.joined).max(kept.kept)) > AWAY_MS;
        let what = match (said.filter(|said| said.state.is_some()), handed) {
            (Some(said), _) => said.what.clone(),
            (None, Some(_)) => "it was handed down, nothing came back yet".to_owned(),
            (None, None) => "it was not fetched yet".to_owned(),
        };
        edges.push(Standing {
            edge: known.edge,
            label: known.label,
            state,
            what,
            since: said.and_then(|said| said.said).unwrap_or(kept.kept),
            late: open && (away || kept.due.since(now) < NEAR_MS),
            report: said.and_then(|said| said.report.as_deref()).and_then(|text| serde_json::from_str(text).ok()),
        });
    }
    Ok(Entry { kept, edges })
}

#[cfg(test)]
mod tests;
