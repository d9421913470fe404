//! Folding old entries of the ledger away: which may go, what an anchor must say of them, and their removal. Must never touch
//! an entry that no signed anchor stands for (triggers forbid it), nor the newest, which the next one follows.
//! Invariant: what is folded has no content left, so that nothing a person decided is lost by it.

use std::collections::BTreeMap;

use rusqlite::OptionalExtension;

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::time::Millis;
use crate::domain::ledger::{Cleared, Left};
use crate::store::ledger::{self, ClearedDetail};
use crate::store::{ReadTx, WriteTx, checkpoints, decisions, open};

/// Entries that one anchor folds away at the most.
const PER_ANCHOR: i64 = 50_000;

/// The entries behind the anchor whose contents are gone: numbers above the first to the second. The newest is none of them.
fn bare(tx: &ReadTx<'_>) -> Result<(i64, i64)> {
    let anchored = checkpoints::anchored(tx)?;
    let newest = ledger::head(tx)?.no;
    let kept = decisions::first_no(tx)?.unwrap_or(newest);
    Ok((anchored, (newest.min(kept) - 1).min(anchored + PER_ANCHOR)))
}

/// When the oldest entry was written that could go if it were old enough.
pub fn oldest(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    let (anchored, last) = bare(tx)?;
    tx.conn()
        .prepare_cached("SELECT at FROM ledger WHERE ledger_no > ?1 AND ledger_no <= ?2 ORDER BY ledger_no LIMIT 1")
        .and_then(|mut s| s.query_row((anchored, last), |r| r.get(0)).optional())
        .map_err(|e| open::error("reading the oldest entry of the ledger", e))
}

/// The last of the entries that may go: no content of theirs is left, and each was written before `cut`; and how many they
/// are. `None` where none may.
pub fn upto(tx: &ReadTx<'_>, cut: Millis) -> Result<Option<(i64, i64)>> {
    let (anchored, last) = bare(tx)?;
    let young: Option<i64> = tx
        .conn()
        .prepare_cached(
            "SELECT ledger_no FROM ledger WHERE ledger_no > ?1 AND ledger_no <= ?2 AND at >= ?3 ORDER BY ledger_no LIMIT 1",
        )
        .and_then(|mut s| s.query_row((anchored, last, cut), |r| r.get(0)).optional())
        .map_err(|e| open::error("reading old entries of the ledger", e))?;
    let upto = young.map_or(last, |young| young - 1);
    Ok((upto > anchored).then_some((upto, upto - anchored)))
}

/// The digest over the removals that an anchor at `upto` cuts through: [`Left`].
pub fn left(tx: &ReadTx<'_>, upto: i64) -> Result<Option<Hash>> {
    let failed = |e| open::error("reading what was removed of the ledger", e);
    let mut cut: BTreeMap<i64, Cleared> = BTreeMap::new();
    let mut reasons = tx
        .conn()
        .prepare_cached(
            "SELECT l.ledger_no, l.detail FROM ledger l \
             WHERE l.ledger_no IN (SELECT DISTINCT c.by_no FROM cleared c WHERE c.ledger_no > ?1)",
        )
        .map_err(failed)?;
    let rows = reasons.query_map([upto], |r| Ok((r.get(0)?, r.get::<_, String>(1)?))).map_err(failed)?;
    for row in rows {
        let (no, detail) = row.map_err(failed)?;
        if serde_json::from_str::<ClearedDetail>(&detail).is_ok_and(|told| told.first_no <= upto) {
            cut.insert(no, Cleared::default());
        }
    }
    let mut removed = tx
        .conn()
        .prepare_cached(
            "SELECT c.by_no, c.ledger_no, l.leaf FROM cleared c JOIN ledger l ON l.ledger_no = c.ledger_no \
             WHERE c.ledger_no > ?1 ORDER BY c.ledger_no",
        )
        .map_err(failed)?;
    let rows = removed.query_map([upto], |r| Ok((r.get(0)?, r.get(1)?, r.get::<_, Hash>(2)?))).map_err(failed)?;
    for row in rows {
        let (by_no, no, leaf): (i64, i64, Hash) = row.map_err(failed)?;
        if let Some(sum) = cut.get_mut(&by_no) {
            sum.add(no, &leaf);
        }
    }
    let mut left = Left::default();
    cut.into_iter().for_each(|(by_no, sum)| left.add(by_no, sum));
    Ok(left.finish())
}

/// Is there an entry that an anchor stands for?
pub fn any(tx: &ReadTx<'_>) -> Result<bool> {
    let anchored = checkpoints::anchored(tx)?;
    let first = |table: &str| -> Result<Option<i64>> {
        tx.conn()
            .query_row(&format!("SELECT min(ledger_no) FROM {table}"), [], |r| r.get(0))
            .map_err(|e| open::error("reading the oldest entry of the ledger", e))
    };
    Ok([first("ledger")?, first("cleared")?].into_iter().flatten().any(|no| no <= anchored))
}

/// Removes entries that an anchor stands for, oldest first, and the notes on their contents; at most `limit` rows. Returns
/// how many.
pub fn delete(tx: &WriteTx<'_>, limit: i64) -> Result<i64> {
    let anchored = checkpoints::anchored(tx)?;
    tx.window(|tx| {
        let remove = |sql: &str, limit: i64| -> Result<i64> {
            let gone = tx
                .conn()
                .prepare(sql) // prepared while the window is open, and forgotten when it closes
                .and_then(|mut s| s.execute((anchored, limit)))
                .map_err(|e| open::error("removing old entries of the ledger", e))?;
            Ok(i64::try_from(gone).unwrap_or(i64::MAX))
        };
        let notes = remove(
            "DELETE FROM cleared WHERE ledger_no IN \
             (SELECT c.ledger_no FROM cleared c WHERE c.ledger_no <= ?1 ORDER BY c.ledger_no LIMIT ?2)",
            limit,
        )?;
        let entries = remove(
            "DELETE FROM ledger WHERE ledger_no IN \
             (SELECT l.ledger_no FROM ledger l WHERE l.ledger_no <= ?1 ORDER BY l.ledger_no LIMIT ?2)",
            limit - notes,
        )?;
        Ok(notes + entries)
    })
}
