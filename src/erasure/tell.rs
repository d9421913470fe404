//! What is told upstream of an erasure: `erasure` lines in the consent lane, and what each target has of them.
//! Must never name anybody but by the reference under which rows left. Invariant: an erasure is open at every configured
//! target from its first line on, until that target has acknowledged its last.

use crate::base::error::Result;
use crate::domain::body::{ErasedRange, ErasureBody};
use crate::domain::event::Lane;
use crate::domain::line::LineKind;
use crate::store::erasures::{self, ErasureRow, Range};
use crate::store::{WriteTx, cursors, epochs, frozen};

/// Ranges of numbers in one line at the most.
pub(in crate::erasure) const RANGES_MAX: i64 = 400;

fn line(tx: &WriteTx<'_>, e: &ErasureRow, ranges: &[Range], targets: &[String]) -> Result<()> {
    let origins = epochs::all(tx)?;
    let rows = ranges.iter().filter_map(|range| {
        let epoch = origins.iter().find(|row| row.id == range.epoch_id)?;
        let (first_seq, last_seq) = (range.first.0, range.last.0);
        Some(ErasedRange { edge: epoch.edge.to_string(), epoch: epoch.epoch.to_string(), first_seq, last_seq })
    });
    let visitor_ref = matches!(e.whose, erasures::Whose::Visitor(_)).then(|| e.subject_ref.to_string());
    let body = ErasureBody { erasure_id: crate::base::id::uuid_text(&e.id), visitor_ref, rows: rows.collect() };
    let seq = frozen::note(tx, LineKind::Erasure, &body)?;
    for target in targets {
        erasures::await_target(tx, &e.id, target)?;
    }
    let now = erasures::get(tx, &e.id)?.unwrap_or_else(|| e.clone());
    erasures::update(tx, &ErasureRow { told_seq: Some(seq), ..now })
}

/// Tells as many numbers as a line takes; false where none are left.
pub(in crate::erasure) fn some(tx: &WriteTx<'_>, e: &ErasureRow, targets: &[String]) -> Result<bool> {
    let ranges = erasures::ranges(tx, &e.id, false, RANGES_MAX)?;
    if ranges.is_empty() {
        return Ok(false);
    }
    line(tx, e, &ranges, targets)?;
    erasures::told(tx, &e.id, &ranges)?;
    Ok(true)
}

/// The visitor was named upstream before: so is the erasure, even where none of its rows is left to name.
pub(in crate::erasure) fn at_least_one(tx: &WriteTx<'_>, e: &ErasureRow, targets: &[String]) -> Result<()> {
    match erasures::get(tx, &e.id)? {
        Some(now) if now.told_seq.is_none() => line(tx, e, &[], targets),
        _ => Ok(()),
    }
}

/// Closes what targets have acknowledged by their batches; returns how many.
pub(in crate::erasure) fn follow(tx: &WriteTx<'_>, targets: &[String]) -> Result<usize> {
    let mut closed = 0;
    for target in targets {
        let upto = cursors::delivered_upto(tx, std::slice::from_ref(target), Lane::Consent)?;
        for id in erasures::delivered(tx, target, upto)? {
            closed += usize::from(erasures::acknowledge(tx, &id, target, None)?);
        }
    }
    Ok(closed)
}
