//! How a request is shown: its row, how many people it is about, and how far each target is.
//! Must never show who asks. Invariant: a target counts as told only once it has acknowledged the batch with the line.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::error::Result;
use crate::base::id::uuid_text;
use crate::base::text::hex;
use crate::base::time::{DAY_MS, Millis};
use crate::domain::event::Lane;
use crate::domain::request::{Kind, Level, State};
use crate::store::requests::{self, Person, RequestRow};
use crate::store::{ReadTx, batches, cursors, erasures};
use crate::subject::circumstances::Circumstances;

/// A request.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct RequestView {
    /// Its number.
    pub id: String,
    /// access, rectify, erase, restrict, object or portability.
    pub kind: &'static str,
    /// received, verified, running, answered, refused or unidentifiable.
    pub state: &'static str,
    /// How who asks was known: device, assertion or operator.
    pub level: Option<&'static str>,
    /// The way it came: operator, api or page.
    pub channel: &'static str,
    /// Who wrote it down.
    pub opened_by: String,
    /// When it came.
    pub received_at: String,
    /// Until when it is due.
    pub due_at: String,
    /// Whole days left; negative once overdue, nothing once closed.
    pub days_left: Option<i64>,
    /// Why it was extended.
    pub extension: Option<String>,
    /// How it was verified.
    pub verification: Option<String>,
    /// When it was closed.
    pub closed_at: Option<String>,
    /// What was answered.
    pub answer: Option<String>,
    /// SHA-256 of the result.
    pub result_sha256: Option<String>,
    /// When the files of the result go.
    pub result_expires_at: Option<String>,
    /// Visitors it is about.
    pub visitors: usize,
    /// Identities it is about.
    pub identities: usize,
    /// How far each target is; empty where none must be told.
    pub targets: Vec<TargetView>,
    /// What was begun to carry out an erasure; empty for other kinds.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub erasures: Vec<ErasureView>,
}

impl RequestView {
    /// Is it an erasure that was begun and goes on?
    pub fn is_erasing(&self) -> bool {
        self.kind == Kind::Erase.word() && self.state == State::Running.word()
    }
}

/// How far an erasure of a request is on this machine.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ErasureView {
    /// Its number, as in `wayside erasures`.
    pub erasure_id: String,
    /// What is done next; `done` at the end.
    pub step: &'static str,
    /// What it waits for, or the copies that could not be looked into.
    pub waiting: Option<String>,
}

/// How far a target is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct TargetView {
    /// The target.
    pub target: String,
    /// `open` until it has acknowledged the batch with the line, then `acknowledged`.
    pub state: &'static str,
}

/// A request as it is shown.
pub fn of(tx: &ReadTx<'_>, row: &RequestRow, about: &Circumstances, now: Millis) -> Result<RequestView> {
    let people = requests::people(tx, &row.id)?;
    let visitors = people.iter().filter(|person| matches!(person, Person::Visitor(_))).count();
    Ok(RequestView {
        id: uuid_text(&row.id),
        kind: row.kind.word(),
        state: row.state.word(),
        level: row.level.map(Level::word),
        channel: row.channel.word(),
        opened_by: row.opened_by.clone(),
        received_at: row.received.rfc3339(),
        due_at: row.due.rfc3339(),
        days_left: row.closed.is_none().then(|| row.due.since(now).div_euclid(DAY_MS)),
        extension: row.extension.clone(),
        verification: row.verification.clone(),
        closed_at: row.closed.map(Millis::rfc3339),
        answer: row.answer.clone(),
        result_sha256: row.result_digest.map(|digest| hex(&digest)),
        result_expires_at: row.result_expires.map(Millis::rfc3339),
        visitors,
        identities: people.len() - visitors,
        targets: match row.kind {
            Kind::Erase => erased_at(tx, row)?,
            _ => targets(tx, row, about)?,
        },
        erasures: erasures(tx, row)?,
    })
}

fn erasures(tx: &ReadTx<'_>, row: &RequestRow) -> Result<Vec<ErasureView>> {
    let view = |e: erasures::ErasureRow| ErasureView {
        erasure_id: uuid_text(&e.id),
        step: e.step.word(),
        waiting: e.waiting.or(e.unreachable),
    };
    Ok(erasures::of_request(tx, &row.id)?.into_iter().map(view).collect())
}

/// Targets of an erasure close by their batches or by evidence; one is done once every erasure of the request is.
fn erased_at(tx: &ReadTx<'_>, row: &RequestRow) -> Result<Vec<TargetView>> {
    let mut all: BTreeMap<String, bool> = BTreeMap::new();
    for erasure in erasures::of_request(tx, &row.id)? {
        for target in erasures::targets(tx, &erasure.id)? {
            let done = all.entry(target.target).or_insert(true);
            *done &= target.acked.is_some();
        }
    }
    let view = |(target, done)| TargetView { target, state: if done { "acknowledged" } else { "open" } };
    Ok(all.into_iter().map(view).collect())
}

fn targets(tx: &ReadTx<'_>, row: &RequestRow, about: &Circumstances) -> Result<Vec<TargetView>> {
    let Some(seq) = row.told_seq else { return Ok(Vec::new()) };
    let batch = batches::holding(tx, Lane::Consent, seq)?;
    let mut out = Vec::new();
    for upstream in &about.upstreams {
        let told = match &batch {
            Some(b) => cursors::get(tx, &upstream.target, b.epoch_id, Lane::Consent)?.acked_no >= b.batch_no,
            None => false,
        };
        out.push(TargetView { target: upstream.target.clone(), state: if told { "acknowledged" } else { "open" } });
    }
    Ok(out)
}
