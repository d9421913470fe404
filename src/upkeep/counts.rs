//! The `count` line: one per site and hour, after the hour has ended, with all its cells; whole again if they changed.
//! Owns the line's fields. Must never show a cell under five (`domain/count.rs` folds them).
//! Invariant: a line tells the cells of one epoch, and names nobody.

use crate::base::error::Result;
use crate::base::id::Salt;
use crate::base::time::Millis;
use crate::domain::body::{CellBody, CountBody};
use crate::domain::count::{Cell, SMALL, fold};
use crate::domain::event::Lane;
use crate::domain::line::LineKind;
use crate::domain::visitor::Rights;
use crate::store::frozen::{self, FrozenRow};
use crate::store::{WriteTx, counts};
use crate::upkeep::{Report, Round};

/// Hours told in one step: one may have thousands of cells.
const HOURS_PER_STEP: i64 = 24;

pub(in crate::upkeep) fn run(round: &Round<'_>) -> Result<Report> {
    let mut lines = 0;
    while round.go_on() {
        let (hours, made) = round.step(step)?;
        lines += made;
        if hours == 0 {
            break;
        }
    }
    Ok(Report { rows: lines, note: String::new() })
}

/// One step: hours seen to, and lines made.
fn step(tx: &WriteTx<'_>, rows: i64) -> Result<(u64, u64)> {
    let hours = counts::changed_hours(tx, tx.now().hour(), HOURS_PER_STEP.min(rows / 2).max(1))?;
    let mut made = 0;
    for (site_id, hour) in &hours {
        for epoch_id in counts::epochs_of(tx, *site_id, *hour)? {
            line(tx, *site_id, *hour, epoch_id)?;
            made += 1;
        }
        counts::line_made(tx, *site_id, *hour)?;
    }
    Ok((hours.len() as u64, made))
}

fn line(tx: &WriteTx<'_>, site_id: i64, hour: Millis, epoch_id: i64) -> Result<()> {
    let cells = fold(counts::cells(tx, site_id, hour, epoch_id)?).into_iter().map(shown).collect();
    let body = CountBody { hour_at: hour.rfc3339(), cells };
    let seq = tx.next_seq();
    frozen::insert(
        tx,
        &FrozenRow {
            seq,
            lane: Lane::Visits,
            kind: LineKind::Count,
            epoch_id,
            site_id: Some(site_id),
            visitor_id: None,
            first_seq: seq,
            received: tx.now(),
            corrected: hour,
            rights: Rights::default(),
            salt: Salt::mint(),
            body: serde_json::to_string(&body).expect("invariant: a body has string keys"),
        },
    )
}

fn shown((cell, n): (Cell, Option<i64>)) -> CellBody {
    let n = n.map_or_else(|| format!("<{SMALL}").into(), serde_json::Value::from);
    CellBody { path: cell.path, device: cell.device, medium: cell.medium, robot: cell.robot, n }
}
