//! The `leases` table: which job may acknowledge for a cursor, and the number that fences off the one before it.
//! Must never forget a number: a fence given once is never given again. Invariant: the newest fence of a cursor is the only one
//! that acknowledges, also after its time.

use rusqlite::OptionalExtension;

use crate::base::error::Result;
use crate::base::time::Millis;
use crate::store::{ReadTx, WriteTx, open};

/// Who holds a cursor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lease {
    /// Rises with every change of hands.
    pub fence: i64,
    /// What the holder calls itself.
    pub holder: String,
    /// Nobody else gets it before.
    pub expires: Millis,
}

/// The newest lease of a cursor, expired or not.
pub fn get(tx: &ReadTx<'_>, cursor: &str) -> Result<Option<Lease>> {
    tx.conn()
        .prepare_cached("SELECT fence, holder, expires_at FROM leases WHERE cursor = ?1")
        .and_then(|mut s| {
            s.query_row([cursor], |r| Ok(Lease { fence: r.get(0)?, holder: r.get(1)?, expires: r.get(2)? })).optional()
        })
        .map_err(|e| open::error("reading a lease", e))
}

/// Keeps a cursor's newest lease.
pub fn put(tx: &WriteTx<'_>, cursor: &str, lease: &Lease) -> Result<()> {
    tx.execute(
        "INSERT INTO leases (cursor, fence, holder, expires_at) VALUES (?1, ?2, ?3, ?4) \
         ON CONFLICT DO UPDATE SET fence = excluded.fence, holder = excluded.holder, expires_at = excluded.expires_at",
        (cursor, lease.fence, &lease.holder, lease.expires),
    )
    .map(|_| ())
}
