//! The `departed` table: persons of whom no visitor is kept any more (or never was), and when their last event came: their
//! decisions, the proof, age by it. Must never hold anything else of them.

use crate::base::error::Result;
use crate::base::id::VisitorRef;
use crate::base::time::Millis;
use crate::domain::ledger::EntryKind;
use crate::store::{ReadTx, WriteTx, decisions, open};

/// A person of whom no visitor is kept any more: the decisions, the proof, age from the last event on.
pub fn note(tx: &WriteTx<'_>, subject: VisitorRef, last_seen: Millis) -> Result<()> {
    tx.execute(
        "INSERT INTO departed (subject_ref, last_seen_at) VALUES (?1, ?2) \
         ON CONFLICT DO UPDATE SET last_seen_at = max(last_seen_at, excluded.last_seen_at)",
        (subject, last_seen),
    )
    .map(|_| ())
}

/// Persons of whom no visitor is kept, whose last event came before `before`, longest gone first, at most `limit`.
pub fn before(tx: &ReadTx<'_>, before: Millis, limit: i64) -> Result<Vec<VisitorRef>> {
    tx.conn()
        .prepare_cached("SELECT subject_ref FROM departed WHERE last_seen_at < ?1 ORDER BY last_seen_at LIMIT ?2")
        .and_then(|mut s| s.query_map((before, limit), |r| r.get(0))?.collect())
        .map_err(|e| open::error("listing decisions to remove", e))
}

/// Removes what decisions say of persons of whom no visitor is kept, at most `limit` rows changed in all, one entry of the
/// ledger saying so for all of them; with the last decision of a person goes the note that they are gone. Returns how many
/// rows were changed.
pub fn delete(tx: &WriteTx<'_>, subjects: &[VisitorRef], limit: i64) -> Result<usize> {
    let mut going: Vec<(i64, i64)> = Vec::new();
    let mut whole = Vec::new();
    // each decision is three rows changed (the row, its evidence, and why it went), each person one, the entry itself one more
    let mut room = limit - 1;
    for subject in subjects {
        let found = decisions::places(tx, *subject, room / 3 + 1)?;
        let most = usize::try_from((room - 1).max(0) / 3).unwrap_or(0);
        let part = found.len() > most;
        going.extend(&found[..found.len().min(most)]);
        room -= 1 + 3 * i64::try_from(found.len().min(most)).unwrap_or(i64::MAX);
        if part {
            break;
        }
        whole.push(*subject);
        if room < 4 {
            break;
        }
    }
    let entry = usize::from(decisions::clear(tx, EntryKind::Prune, &going)?.is_some());
    for subject in &whole {
        tx.execute("DELETE FROM departed WHERE subject_ref = ?1", [subject])?;
    }
    Ok(entry + 2 * going.len() + whole.len())
}
