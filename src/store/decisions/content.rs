//! What a decision says, as the ledger hashes it: at the append, at every verification, and in a sealed proof. Must never
//! change a row. Invariant: one list of columns serves all three.

use rusqlite::{Connection, OptionalExtension, Row};

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::id::VisitorRef;
use crate::base::text::hex;
use crate::base::time::Millis;
use crate::domain::ledger::{EntryKind, Leaf};
use crate::store::{ReadTx, open, row};

/// What every reading of a decision's content goes by: the same columns hashed at the append and at every verification.
/// Numbers of other tables are resolved to what they stand for.
pub(in crate::store) const CONTENT: &str = "d.decision_id, s.name AS site, e.epoch, d.subject_ref, d.action, d.purposes, \
    d.before, d.after, d.current, d.method, d.actor, d.notice, d.notice_digest, d.language, d.gpc, d.dnt, d.signal_shown, \
    d.client_at, d.received_at, d.corrected_at, d.expires_at, b.bases AS basis, d.salt, d.evidence";

/// The tables [`CONTENT`] is resolved by.
pub(in crate::store) const RESOLVED: &str = "LEFT JOIN sites s ON s.site_id = d.site_id \
    LEFT JOIN epochs e ON e.epoch_id = d.epoch_id LEFT JOIN bases b ON b.basis_id = d.basis_id";

/// Names of the columns of a decision's content, in the order they are hashed.
pub const FIELDS: [&str; 24] = [
    "decision_id",
    "site",
    "epoch",
    "subject_ref",
    "action",
    "purposes",
    "before",
    "after",
    "current",
    "method",
    "actor",
    "notice",
    "notice_digest",
    "language",
    "gpc",
    "dnt",
    "signal_shown",
    "client_at",
    "received_at",
    "corrected_at",
    "expires_at",
    "basis",
    "salt",
    "evidence",
];

/// The digest of a content whose columns begin at this one.
pub(in crate::store) fn leaf_of_row(r: &Row<'_>, first: usize) -> rusqlite::Result<Hash> {
    let mut leaf = Leaf::of(EntryKind::Decision);
    for (at, name) in FIELDS.iter().enumerate() {
        leaf.add(name, row::plain(r.get_ref(first + at)?)?);
    }
    Ok(leaf.finish())
}

/// The digest of a decision's content as it lies in the file now; `None` where it is gone.
pub(in crate::store) fn leaf(conn: &Connection, seq: i64) -> Result<Option<Hash>> {
    conn.prepare_cached(&format!("SELECT {CONTENT} FROM decisions d {RESOLVED} WHERE d.seq = ?1"))
        .and_then(|mut s| s.query_row([seq], |r| leaf_of_row(r, 0)).optional())
        .map_err(|e| open::error("reading the content of a ledger entry", e))
}

/// What a person's oldest decisions say, as the ledger hashed it: place and digests of the entry, and each named value;
/// bytes as `{"hex": ..}`.
pub fn contents(tx: &ReadTx<'_>, subject: VisitorRef, limit: i64) -> Result<Vec<serde_json::Value>> {
    let sql = format!(
        "SELECT l.ledger_no, l.seq, l.at, l.prev, l.leaf, l.hash, {CONTENT} FROM decisions d \
         JOIN ledger l ON l.ledger_no = d.ledger_no {RESOLVED} WHERE d.subject_ref = ?1 ORDER BY d.seq LIMIT ?2"
    );
    let content = |r: &Row<'_>| -> rusqlite::Result<serde_json::Value> {
        let mut said = serde_json::Map::new();
        for (at, name) in FIELDS.iter().enumerate() {
            said.insert((*name).to_owned(), row::json(r.get_ref(6 + at)?)?);
        }
        let digest = |at: usize| -> rusqlite::Result<String> { Ok(hex(&r.get::<_, Hash>(at)?)) };
        Ok(serde_json::json!({
            "ledger_no": r.get::<_, i64>(0)?, "seq": r.get::<_, i64>(1)?, "at": r.get::<_, Millis>(2)?.rfc3339(),
            "prev": digest(3)?, "leaf": digest(4)?, "hash": digest(5)?, "content": said,
        }))
    };
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_map((subject, limit), content)?.collect())
        .map_err(|e| open::error("reading what a person decided", e))
}

/// The lowest number in the ledger that a decision claims without having an entry there.
pub fn unchained(tx: &ReadTx<'_>) -> Result<Option<i64>> {
    tx.conn()
        .query_row(
            "SELECT min(d.ledger_no) FROM decisions d LEFT JOIN ledger l ON l.ledger_no = d.ledger_no AND l.seq = d.seq \
             AND l.kind = 'decision' WHERE l.ledger_no IS NULL",
            [],
            |r| r.get(0),
        )
        .map_err(|e| open::error("looking for decisions outside the ledger", e))
}

/// The number in the ledger of the oldest decision whose content is kept; `None` where none is.
pub fn first_no(tx: &ReadTx<'_>) -> Result<Option<i64>> {
    // numbers of the ledger rise with those of the one counter: a trigger sees to it
    tx.conn()
        .prepare_cached("SELECT ledger_no FROM decisions ORDER BY seq LIMIT 1")
        .and_then(|mut s| s.query_row([], |r| r.get(0)).optional())
        .map_err(|e| open::error("reading the oldest decision", e))
}
