//! The `audit` table: what was done administratively with people's data, by whom and when. Must never hold a personal value:
//! a row names the request or the token it is about, not the person. Invariant: rows are only added, and removed by age.

use crate::base::error::Result;
use crate::base::time::Millis;
use crate::store::{ReadTx, WriteTx, open};

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AuditRow {
    /// Number of the row.
    pub id: i64,
    /// When.
    pub at: Millis,
    /// `operator`, `token NAME`, `subject` or `system`.
    pub who: String,
    /// A stable word, for example `request_opened`.
    pub what: String,
    /// Request, token or batch it was done to.
    pub about: Option<String>,
    /// Words without personal values, for example a reason the operator gave.
    pub note: Option<String>,
}

/// Writes down what is done in this transaction.
pub fn insert(tx: &WriteTx<'_>, who: &str, what: &str, about: Option<&str>, note: Option<&str>) -> Result<()> {
    tx.execute(
        "INSERT INTO audit (at, who, what, about, note) VALUES (?1, ?2, ?3, ?4, ?5)",
        (tx.now(), who, what, about, note),
    )
    .map(|_| ())
}

/// The newest `limit` rows, newest first; with `about` only those about it.
pub fn list(tx: &ReadTx<'_>, about: Option<&str>, limit: i64) -> Result<Vec<AuditRow>> {
    tx.conn()
        .prepare_cached(
            "SELECT audit_id, at, who, what, about, note FROM audit WHERE ?1 IS NULL OR about = ?1 \
             ORDER BY audit_id DESC LIMIT ?2",
        )
        .and_then(|mut s| {
            let row = |r: &rusqlite::Row<'_>| {
                Ok(AuditRow {
                    id: r.get(0)?,
                    at: r.get(1)?,
                    who: r.get(2)?,
                    what: r.get(3)?,
                    about: r.get(4)?,
                    note: r.get(5)?,
                })
            };
            s.query_map((about, limit), row)?.collect()
        })
        .map_err(|e| open::error("reading the audit", e))
}

/// Deletes rows older than `before`, at most `limit`; returns how many.
pub fn delete_before(tx: &WriteTx<'_>, before: Millis, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM audit WHERE audit_id IN (SELECT audit_id FROM audit WHERE at < ?1 ORDER BY audit_id LIMIT ?2)",
        (before, limit),
    )
}
