//! The `checkpoints` table: signed statements of how far the ledger went, each also a line of the consent lane.
//! Must never change one. Invariant: a checkpoint and the line that tells of it are in one transaction.

use rusqlite::{OptionalExtension, Row};

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::text::hex;
use crate::base::time::Millis;
use crate::domain::body::CheckpointBody;
use crate::domain::checkpoint::{self, Checkpoint, FORMAT, Signed};
use crate::domain::line::LineKind;
use crate::store::{ReadTx, WriteTx, frozen, ledger, open};

/// A checkpoint as it lies in the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointRow {
    /// Its number.
    pub no: i64,
    /// The entry it names.
    pub ledger_no: i64,
    /// It stands for every entry up to its own.
    pub anchor: bool,
    /// When it was made.
    pub at: Millis,
    /// What was signed.
    pub signed: Signed,
}

const COLUMNS: &str = "checkpoint_no, ledger_no, anchor, at, signed, signature";

fn from_row(r: &Row<'_>) -> rusqlite::Result<CheckpointRow> {
    Ok(CheckpointRow {
        no: r.get(0)?,
        ledger_no: r.get(1)?,
        anchor: r.get(2)?,
        at: r.get(3)?,
        signed: Signed { text: r.get(4)?, signature: r.get(5)? },
    })
}

/// The newest one.
pub fn newest(tx: &ReadTx<'_>) -> Result<Option<CheckpointRow>> {
    one(tx, &format!("SELECT {COLUMNS} FROM checkpoints ORDER BY checkpoint_no DESC LIMIT 1"))
}

/// The newest one that is no anchor: how far the ledger is signed.
fn newest_plain(tx: &ReadTx<'_>) -> Result<Option<CheckpointRow>> {
    one(tx, &format!("SELECT {COLUMNS} FROM checkpoints WHERE anchor = 0 ORDER BY checkpoint_no DESC LIMIT 1"))
}

/// The newest row that calls itself an anchor. Whether its signature holds is another question: [`anchor`].
pub fn newest_anchor(tx: &ReadTx<'_>) -> Result<Option<CheckpointRow>> {
    one(tx, &format!("SELECT {COLUMNS} FROM checkpoints WHERE anchor = 1 ORDER BY checkpoint_no DESC LIMIT 1"))
}

/// The newest anchor that `holds`: entries up to its own may be gone.
pub fn anchor(tx: &ReadTx<'_>, holds: impl Fn(&CheckpointRow) -> bool) -> Result<Option<CheckpointRow>> {
    let failed = |e| open::error("reading the anchors", e);
    let sql = format!("SELECT {COLUMNS} FROM checkpoints WHERE anchor = 1 ORDER BY checkpoint_no DESC");
    let mut statement = tx.conn().prepare_cached(&sql).map_err(failed)?;
    for row in statement.query_map([], from_row).map_err(failed)? {
        let row = row.map_err(failed)?;
        if holds(&row) {
            return Ok(Some(row));
        }
    }
    Ok(None)
}

/// Entries up to this number are folded into the newest anchor; 0 where there is none.
pub fn anchored(tx: &ReadTx<'_>) -> Result<i64> {
    Ok(newest_anchor(tx)?.map_or(0, |row| row.ledger_no))
}

fn one(tx: &ReadTx<'_>, sql: &str) -> Result<Option<CheckpointRow>> {
    tx.conn()
        .prepare_cached(sql)
        .and_then(|mut s| s.query_row([], from_row).optional())
        .map_err(|e| open::error("reading a checkpoint", e))
}

/// Checkpoints behind a number, in order, at most `limit`.
pub fn after(tx: &ReadTx<'_>, no: i64, limit: i64) -> Result<Vec<CheckpointRow>> {
    tx.conn()
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM checkpoints WHERE checkpoint_no > ?1 ORDER BY checkpoint_no LIMIT ?2"
        ))
        .and_then(|mut s| s.query_map((no, limit), from_row)?.collect())
        .map_err(|e| open::error("reading the checkpoints", e))
}

/// The number of the first checkpoint that covers an entry.
pub fn covering(tx: &ReadTx<'_>, ledger_no: i64) -> Result<Option<i64>> {
    tx.conn()
        .query_row(
            "SELECT min(checkpoint_no) FROM checkpoints WHERE ledger_no >= ?1 AND anchor = 0",
            [ledger_no],
            |r| r.get(0),
        )
        .map_err(|e| open::error("looking for a checkpoint", e))
}

/// Is one due?
pub fn is_due(tx: &ReadTx<'_>, now: Millis) -> Result<bool> {
    let last = newest_plain(tx)?.map(|row| (row.ledger_no, row.at));
    Ok(checkpoint::due(last, ledger::head(tx)?.no, now))
}

/// Makes a checkpoint where one is due; with `at_once` wherever anything was appended since the last. Returns it.
pub fn take(tx: &WriteTx<'_>, at_once: bool) -> Result<Option<CheckpointRow>> {
    let head = ledger::head(tx)?;
    let seen = newest_plain(tx)?.map(|row| (row.ledger_no, row.at));
    let new = seen.map_or(head.no > 0, |(no, _)| head.no > no);
    if !(at_once && new || checkpoint::due(seen, head.no, tx.now())) {
        return Ok(None);
    }
    let since = seen.map_or(anchored(tx)?, |(no, _)| no);
    insert(tx, head.no, since, None).map(Some)
}

/// What an anchor says of the removals it cuts through: [`crate::domain::ledger::Left`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// The digest over them; `None` where there are none.
    pub left: Option<Hash>,
}

/// Signs that every entry up to `no` may go; the next verification begins behind it. What follows is signed first, where
/// it is not: so a checkpoint that is no anchor always stays.
pub fn anchor_at(tx: &WriteTx<'_>, no: i64, cut: Cut) -> Result<CheckpointRow> {
    take(tx, true)?;
    insert(tx, no, anchored(tx)?, Some(cut))
}

/// `since` = the entry counted from; `cut` = it is an anchor.
fn insert(tx: &WriteTx<'_>, ledger_no: i64, since: i64, cut: Option<Cut>) -> Result<CheckpointRow> {
    let last = newest(tx)?;
    let anchor = cut.is_some();
    let edge = &tx.identity().edge;
    let (seq, hash) = ledger::place(tx, ledger_no)?;
    let made = Checkpoint {
        format: FORMAT.to_owned(),
        edge: edge.id.to_string(),
        epoch: edge.epoch.to_string(),
        checkpoint_no: last.as_ref().map_or(0, |row| row.no) + 1,
        ledger_no,
        hash: hex(&hash),
        seq,
        count: (ledger_no - since).max(0),
        anchor,
        left: cut.and_then(|cut| cut.left).map(|digest| hex(&digest)),
        at: tx.now().rfc3339(),
        key_id: edge.key_id.clone(),
        previous: last.map(|row| row.signed.digest()),
    };
    let signed = made.sign(&edge.signing);
    let row = CheckpointRow { no: made.checkpoint_no, ledger_no, anchor, at: tx.now(), signed };
    tx.execute(
        "INSERT INTO checkpoints (checkpoint_no, ledger_no, anchor, at, signed, signature) VALUES (?1, ?2, ?3, ?4, ?5, ?6)",
        (row.no, row.ledger_no, row.anchor, row.at, &row.signed.text, row.signed.signature),
    )?;
    let body = CheckpointBody {
        ledger_no,
        signed: &row.signed.text,
        signature: hex(&row.signed.signature),
        public_key: hex(&edge.signing.public()),
    };
    frozen::note(tx, LineKind::Checkpoint, &body)?;
    Ok(row)
}

/// Removes checkpoints that say nothing the newest anchor does not, oldest first, at most `limit`; returns how many. One that
/// signs what follows the anchor's entry stays, and whatever follows it: each names the one before.
pub fn delete_before_anchor(tx: &WriteTx<'_>, limit: i64) -> Result<i64> {
    let Some(anchor) = newest_anchor(tx)? else { return Ok(0) };
    let gone = tx.window(|tx| {
        tx.conn()
            .prepare(
                "DELETE FROM checkpoints WHERE checkpoint_no IN (SELECT checkpoint_no FROM checkpoints WHERE checkpoint_no < \
                 coalesce((SELECT min(checkpoint_no) FROM checkpoints WHERE anchor = 0 AND ledger_no > ?1), ?2) \
                 AND checkpoint_no < ?2 ORDER BY checkpoint_no LIMIT ?3)",
            )
            .and_then(|mut s| s.execute((anchor.ledger_no, anchor.no, limit)))
            .map_err(|e| open::error("removing checkpoints", e))
    })?;
    Ok(i64::try_from(gone).unwrap_or(i64::MAX))
}
