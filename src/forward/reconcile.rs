//! Reconciling: what was sealed here against what a receiver has, by number, digest and time, with every line accounted for.
//! Must never send a batch nor change anything. Invariant: sealed = whole lines there + holes there + still to come, or the
//! row says that it is not so.

use serde::Serialize;

use crate::base::error::{Error, Kind, Result};
use crate::base::text::hex;
use crate::domain::delivery::Watermark;
use crate::domain::event::Lane;
use crate::forward::target::Target;
use crate::store::epochs::EpochRow;
use crate::store::lines::Stretch;
use crate::store::{ReadTx, Reading, attempts, batches, cursors, epochs, holes, lines, refused, tallies};

/// How a lane compares.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The receiver has all that was sealed.
    Same,
    /// It still lacks some.
    Behind,
    /// It has less than it acknowledged.
    Lost,
    /// It has more than was ever sealed here.
    Ahead,
    /// It has another batch under a number of ours.
    Fork,
}

/// One lane of one epoch.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Row {
    /// Edge the batches are of.
    pub edge: String,
    /// Their epoch.
    pub epoch: String,
    /// Their lane.
    pub lane: &'static str,
    /// How they compare.
    pub state: State,
    /// Newest batch sealed here.
    pub sealed_no: i64,
    /// Newest batch the receiver has acknowledged.
    pub acked_no: i64,
    /// Highest batch the receiver says it has, without a gap before it.
    pub there_no: i64,
    /// Lines sealed.
    pub sealed_lines: i64,
    /// Of those, lines in batches that are there.
    pub there_lines: i64,
    /// Of those, lines that went as holes when they were put.
    pub there_holes: i64,
    /// Lines sealed that are not there yet.
    pub coming_lines: i64,
    /// When the first and the last line of what is coming were received, RFC 3339.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub coming_received: Option<(String, String)>,
    /// Batches of ours up to there that are kept no more; their lines are in no sum.
    pub forgotten_batches: i64,
    /// Lines the receiver will never take, by why, in what was sealed: each is a hole for it alone.
    pub refused: Vec<(String, i64)>,
    /// Lines that are holes by now, by reason, in what is there.
    pub holes_now: Vec<(String, i64)>,
}

/// What a target has, compared with what was sealed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Reconciled {
    /// The target.
    pub target: String,
    /// Lane by lane, the oldest epoch first.
    pub rows: Vec<Row>,
    /// Rows that are not sealed yet, by lane.
    pub unsealed: Vec<(&'static str, i64)>,
    /// Rows that were removed before they were delivered, by reason and lane (`lost.<reason>.<lane>`).
    pub dropped: Vec<(String, i64)>,
}

impl Reconciled {
    /// Is everything that was sealed there, and nothing else?
    pub fn is_whole(&self) -> bool {
        self.rows.iter().all(|row| row.state == State::Same) && self.unsealed.iter().all(|(_, n)| *n == 0)
    }

    /// Does anything not fit that waiting does not mend?
    pub fn is_wrong(&self) -> bool {
        self.rows.iter().any(|row| matches!(row.state, State::Lost | State::Ahead | State::Fork))
    }
}

/// Compares with what a target says it has. Errors: those of the target; `Upstream` with code `no_watermarks` where it cannot
/// say; `Busy`, `Storage`.
pub fn with(reading: &Reading, target: &dyn Target) -> Result<Reconciled> {
    let known = reading.read(epochs::all)?;
    let mut edges: Vec<_> = known.iter().map(|epoch| epoch.edge).collect();
    edges.dedup();
    let mut theirs = Vec::new();
    for edge in edges {
        let told = target.watermarks(edge)?.ok_or_else(|| {
            Error::new(Kind::Upstream, "no_watermarks", format!("{} does not tell what it has", target.name()))
                .remedy("its receiver must answer GET /v1/watermarks/<edge>")
        })?;
        theirs.extend(told.into_iter().map(|mark| (edge.to_string(), mark)));
    }
    reading.read(|tx| {
        let mut rows = Vec::new();
        for epoch in &known {
            for lane in Lane::ALL {
                let mark = theirs.iter().find(|(edge, mark)| {
                    *edge == epoch.edge.to_string() && mark.epoch == epoch.epoch.to_string() && mark.lane == lane.word()
                });
                rows.extend(row(tx, target.name(), epoch, lane, mark.map(|(_, mark)| mark))?);
            }
        }
        let mut unsealed = Vec::new();
        for lane in Lane::ALL {
            let open = Stretch { lane, after: batches::sealed_upto(tx, lane)?, upto: lines::newest_seq(tx)? };
            unsealed.push((lane.word(), lines::waiting(tx, open, i64::MAX)?.0));
        }
        let dropped = tallies::all(tx)?.into_iter().filter(|(name, _)| name.starts_with("lost.")).collect();
        Ok(Reconciled { target: target.name().to_owned(), rows, unsealed, dropped })
    })
}

fn row(tx: &ReadTx<'_>, target: &str, epoch: &EpochRow, lane: Lane, theirs: Option<&Watermark>) -> Result<Option<Row>> {
    let newest = batches::newest(tx, epoch.id, lane)?;
    let sealed_no = newest.as_ref().map_or(0, |batch| batch.batch_no);
    let there_no = theirs.map_or(0, |mark| mark.batch_no);
    if sealed_no == 0 && there_no == 0 {
        return Ok(None);
    }
    let acked_no = cursors::get(tx, target, epoch.id, lane)?.acked_no;
    let common = there_no.min(sealed_no);
    let (there_lines, _) = batches::sum(tx, epoch.id, lane, 0, common)?;
    let coming = batches::between_nos(tx, epoch.id, lane, common, sealed_no)?;
    let (kept, ends) = batches::kept(tx, epoch.id, lane, common)?;
    let ours = batches::get(tx, epoch.id, lane, there_no)?;
    let is_other = ours.as_ref().is_some_and(|batch| theirs.is_some_and(|mark| mark.digest != hex(&batch.digest)));
    let state = match () {
        () if is_other => State::Fork,
        () if there_no > sealed_no => State::Ahead,
        () if there_no < acked_no => State::Lost,
        () if there_no < sealed_no => State::Behind,
        () => State::Same,
    };
    Ok(Some(Row {
        edge: epoch.edge.to_string(),
        epoch: epoch.epoch.to_string(),
        lane: lane.word(),
        state,
        sealed_no,
        acked_no,
        there_no,
        sealed_lines: there_lines + coming.map_or(0, |(lines, ..)| lines),
        there_lines,
        there_holes: attempts::holes_put(tx, target, epoch.id, lane, common)?,
        coming_lines: coming.map_or(0, |(lines, ..)| lines),
        coming_received: coming.map(|(_, from, to)| (from.rfc3339(), to.rfc3339())),
        forgotten_batches: common - kept,
        refused: match batches::kept(tx, epoch.id, lane, sealed_no)?.1 {
            Some(ends) => refused::by_reason(tx, target, lane, ends)?,
            None => Vec::new(),
        },
        holes_now: match ends {
            Some((first, last)) => holes::by_reason(tx, lane, first, last)?,
            None => Vec::new(),
        },
    }))
}
