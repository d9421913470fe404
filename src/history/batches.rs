//! Sealed batches, for people and their tools: what was sealed, how far each target is, who was told when.
//! Must never render a line or judge a batch (verifying belongs to forwarding). Invariant: a key names one batch for ever.

use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::base::text::{cut, hex};
use crate::domain::batch::{Batch, SealedPart, key};
use crate::domain::event::Lane;
use crate::history::History;
use crate::store::epochs::EpochRow;
use crate::store::sums::{self, Position};
use crate::store::{ReadTx, attempts, batches, epochs, holes};

/// Batches of one lane in one answer at the most.
pub const LIMIT_MAX: u32 = 1_000;

/// Which batches are looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchFilter {
    /// One lane.
    pub lane: Option<Lane>,
    /// One epoch, as hex.
    pub epoch: Option<String>,
    /// Batches behind this number; without it the newest ones.
    pub after: Option<i64>,
    /// Batches of each lane and epoch at the most, 1 to [`LIMIT_MAX`].
    pub limit: u32,
}

impl Default for BatchFilter {
    fn default() -> Self {
        BatchFilter { lane: None, epoch: None, after: None, limit: 10 }
    }
}

/// A sealed batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct BatchView {
    /// `<edge>/<epoch>/<lane>/<batch_no>`.
    pub key: String,
    /// Its epoch.
    pub epoch: String,
    /// Its lane.
    pub lane: &'static str,
    /// Its number.
    pub batch_no: i64,
    /// Lowest number of a line.
    pub first_seq: i64,
    /// Highest number of a line.
    pub last_seq: i64,
    /// How many lines.
    pub line_count: i64,
    /// Digest of the lines.
    pub digest: String,
    /// Earliest receiving time.
    pub min_received_at: String,
    /// Latest receiving time.
    pub max_received_at: String,
    /// When it was sealed.
    pub sealed_at: String,
    /// The edge's human name at that time.
    pub edge_label: String,
    /// Version of the lines.
    pub schema: String,
    /// Each target: waiting, put or acked.
    pub targets: Vec<DeliveryView>,
}

/// Where a batch stands at a target.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct DeliveryView {
    /// The target.
    pub target: String,
    /// waiting, put or acked.
    pub state: &'static str,
}

/// A sealed batch with what was signed and what became of it.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct BatchDetail {
    /// The batch.
    #[serde(flatten)]
    pub batch: BatchView,
    /// What was signed; `None` where the stored bytes do not parse.
    pub sealed: Option<SealedPart>,
    /// The signature, in hex.
    pub signature: String,
    /// Lines that may no longer leave.
    pub holes: Vec<HoleView>,
    /// Attempts to send it, oldest first.
    pub attempts: Vec<AttemptView>,
}

/// A line that may no longer leave.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct HoleView {
    /// Its number.
    pub seq: i64,
    /// Why.
    pub reason: &'static str,
}

/// An attempt to send a batch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AttemptView {
    /// To whom.
    pub target: String,
    /// The decision it was checked against.
    pub ledger_seq: i64,
    /// When it began.
    pub began_at: String,
    /// What came of it; `None` while it lasts, or where it was cut off.
    pub outcome: Option<String>,
}

fn view(b: &Batch, epoch: &EpochRow, positions: &[Position]) -> BatchView {
    let here = positions.iter().filter(|p| p.epoch_id == b.epoch_id && p.lane == b.lane);
    let state = |p: &Position| match b.batch_no {
        no if no <= p.acked_no => "acked",
        no if no <= p.put_no => "put",
        _ => "waiting",
    };
    BatchView {
        key: key(epoch.edge, epoch.epoch, b.lane, b.batch_no),
        epoch: epoch.epoch.to_string(),
        lane: b.lane.word(),
        batch_no: b.batch_no,
        first_seq: b.first_seq.0,
        last_seq: b.last_seq.0,
        line_count: b.count,
        digest: hex(&b.digest),
        min_received_at: b.received.0.rfc3339(),
        max_received_at: b.received.1.rfc3339(),
        sealed_at: b.sealed_at.rfc3339(),
        edge_label: b.edge_label.clone(),
        schema: b.schema.clone(),
        targets: here.map(|p| DeliveryView { target: p.target.clone(), state: state(p) }).collect(),
    }
}

/// Takes `LANE/NO` (of the newest epoch) or a whole key apart.
fn find(tx: &ReadTx<'_>, which: &str) -> Result<Option<(Batch, EpochRow)>> {
    let all = epochs::all(tx)?;
    let parts: Vec<&str> = which.split('/').collect();
    let (epoch, lane, no) = match parts[..] {
        [lane, no] => (all.into_iter().next_back(), lane, no),
        [edge, epoch, lane, no] => {
            let same = |row: &EpochRow| row.epoch.to_string() == epoch && row.edge.to_string() == edge;
            (all.into_iter().find(same), lane, no)
        }
        _ => (None, "", ""),
    };
    let (Some(epoch), Some(lane), Ok(no)) = (epoch, Lane::parse(lane), no.parse()) else { return Ok(None) };
    Ok(batches::get(tx, epoch.id, lane, no)?.map(|batch| (batch, epoch)))
}

impl History {
    /// Sealed batches by epoch, lane and number. Errors: `Invalid` for a limit out of bounds.
    pub fn batches(&self, filter: &BatchFilter) -> Result<Vec<BatchView>> {
        if !(1..=LIMIT_MAX).contains(&filter.limit) {
            return Err(Error::invalid(format!("limit must be a number from 1 to {LIMIT_MAX}")).code("filter"));
        }
        let limit = i64::from(filter.limit);
        self.read(|tx| {
            let positions = sums::positions(tx)?;
            let mut out = Vec::new();
            let wanted =
                |epoch: &EpochRow| filter.epoch.as_ref().is_none_or(|wanted| *wanted == epoch.epoch.to_string());
            for epoch in epochs::all(tx)?.into_iter().filter(wanted) {
                for lane in Lane::ALL.into_iter().filter(|lane| filter.lane.is_none_or(|wanted| wanted == *lane)) {
                    let after = match filter.after {
                        Some(after) => after,
                        None => batches::newest(tx, epoch.id, lane)?.map_or(0, |b| b.batch_no - limit),
                    };
                    let found = batches::list(tx, epoch.id, lane, after, limit)?;
                    out.extend(found.iter().map(|b| view(b, &epoch, &positions)));
                }
            }
            Ok(out)
        })
    }

    /// One batch by `LANE/NO` or by its key. Errors: `NotFound`.
    pub fn batch(&self, which: &str) -> Result<BatchDetail> {
        self.read(|tx| {
            let Some((b, epoch)) = find(tx, which)? else {
                return Err(Error::not_found(format!("no batch {:?}", cut(which, 120)))
                    .remedy("name it as LANE/NO, for example pages/12, or by its key from `wayside batches list`"));
            };
            let holes = holes::between(tx, b.lane, b.first_seq, b.last_seq)?;
            Ok(BatchDetail {
                batch: view(&b, &epoch, &sums::positions(tx)?),
                sealed: serde_json::from_slice(&b.sealed_part).ok(),
                signature: hex(&b.signature),
                holes: holes
                    .iter()
                    .filter(|h| h.line.is_some())
                    .map(|h| HoleView { seq: h.seq.0, reason: h.reason.word() })
                    .collect(),
                attempts: attempts::of_batch(tx, epoch.id, b.lane, b.batch_no)?
                    .into_iter()
                    .map(|(target, ledger, began, outcome)| AttemptView {
                        target,
                        ledger_seq: ledger.0,
                        began_at: began.rfc3339(),
                        outcome,
                    })
                    .collect(),
            })
        })
    }
}
