//! What a database that can no longer serve still tells of itself: how far it was acknowledged, and its last number.
//! Owns the `loss` line of damage (contract 8). Must never change the file, nor keep a start waiting for long.
//! Invariant: what cannot be read is told as unknown, never guessed.

use std::path::Path;

use rusqlite::Connection;

use crate::base::error::Result;
use crate::base::id::{Epoch, Seq};
use crate::base::time::Millis;
use crate::domain::body::EpochLossBody;
use crate::domain::event::Lane;
use crate::domain::line::LineKind;
use crate::store::damage::{bounded, look};
use crate::store::lines::{Stretch, first_received};
use crate::store::{ReadTx, cursors, files, frozen, meta};

/// Longest the last words may take, ms.
const WORDS_MS_MAX: i64 = 2_000;

/// The last words of a database.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::store) struct LastWords {
    /// All that was received before is acknowledged by every target it knew.
    pub safe_until: Option<Millis>,
    /// The newest number it gave out.
    pub last_seq: Option<Seq>,
}

/// Reads them from the file as it lies there; nothing where there is none.
pub(in crate::store) fn words(path: &Path) -> LastWords {
    let read = || -> Result<LastWords> {
        let mut conn = look(path)?;
        bounded(&mut conn, WORDS_MS_MAX)?;
        let last_seq = meta::last_seq(&conn).ok().filter(|last| *last > 0).map(Seq);
        Ok(LastWords { safe_until: safe_until(&ReadTx::new(&conn)).ok().flatten(), last_seq })
    };
    // beside an empty file SQLite would delete the log
    if files::length(path).map_or(true, |bytes| bytes == 0) {
        return LastWords::default();
    }
    read().unwrap_or_else(|error| {
        log::debug!("the damaged database tells nothing: {error}");
        LastWords::default()
    })
}

/// When the first row was received that a target has not acknowledged; without one, the newest time it knew.
fn safe_until(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    let targets = cursors::targets(tx)?;
    let mut first = None;
    for lane in Lane::ALL {
        let after = cursors::delivered_upto(tx, &targets, lane)?;
        let at = first_received(tx, Stretch { lane, after, upto: Seq(i64::MAX) })?;
        first = first.into_iter().chain(at).min();
    }
    Ok(match first {
        Some(at) => Some(at),
        None => Some(meta::newest_at(tx)?).filter(|at| at.0 > 0),
    })
}

/// Writes the first line of the fresh database: what may be missing upstream.
pub(in crate::store) fn tell(
    conn: &Connection,
    epoch_id: i64,
    lost: Option<Epoch>,
    known: LastWords,
    now: Millis,
) -> Result<()> {
    let Some(lost) = lost else { return Ok(()) };
    let body = EpochLossBody {
        reason: "damage",
        lost_epoch: lost.to_string(),
        // a stretch that would end before it begins was read from garbage, or under a wrong clock
        from: known.safe_until.filter(|from| *from <= now).map(Millis::rfc3339),
        to: now.rfc3339(),
        last_seq: known.last_seq.map(|seq| seq.0),
    };
    frozen::first(conn, epoch_id, now, LineKind::Loss, &body)
}
