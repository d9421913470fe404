//! The `denials` table: stretches in which a visitor had said no, by corrected time.
//! Must never decide what a stretch means (`domain/consent.rs`).

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::consent::{Denial, Purposes};
use crate::store::{ReadTx, WriteTx, floors, open};

/// Every denial of a visitor.
pub fn of_visitor(tx: &ReadTx<'_>, visitor_id: i64) -> Result<Vec<Denial>> {
    tx.conn()
        .prepare_cached("SELECT purposes, from_at, until_at FROM denials WHERE visitor_id = ?1 ORDER BY denial_id")
        .and_then(|mut s| {
            s.query_map([visitor_id], |r| Ok(Denial { purposes: r.get(0)?, from: r.get(1)?, until: r.get(2)? }))?
                .collect()
        })
        .map_err(|e| open::error("reading denials", e))
}

/// Begins a denial.
pub fn insert(tx: &WriteTx<'_>, visitor_id: i64, denial: &Denial) -> Result<()> {
    tx.execute(
        "INSERT INTO denials (visitor_id, purposes, from_at, until_at) VALUES (?1, ?2, ?3, ?4)",
        (visitor_id, denial.purposes, denial.from, denial.until),
    )
    .map(|_| ())
}

/// A no said before the visitor had a row: it runs on, and its floors cover nothing that is stored.
pub fn take_over(tx: &WriteTx<'_>, visitor_id: i64, denial: &Denial) -> Result<()> {
    insert(tx, visitor_id, denial)?;
    floors::raise(tx, visitor_id, denial.purposes, Seq(0))
}

/// Ends the running denials of `lifted` at `until`; what of them is not lifted runs on.
pub fn lift(tx: &WriteTx<'_>, visitor_id: i64, lifted: Purposes, until: Millis) -> Result<()> {
    for denial in of_visitor(tx, visitor_id)? {
        let rest = denial.purposes.without(lifted);
        if denial.until.is_some() || rest == denial.purposes {
            continue;
        }
        tx.execute(
            "UPDATE denials SET until_at = max(from_at, ?4), purposes = ?3 \
             WHERE visitor_id = ?1 AND purposes = ?2 AND until_at IS NULL AND from_at = ?5",
            (visitor_id, denial.purposes, denial.purposes.and(lifted), until, denial.from),
        )?;
        if !rest.is_none() {
            insert(tx, visitor_id, &Denial { purposes: rest, ..denial })?;
        }
    }
    Ok(())
}

/// Deletes denials of a visitor whose rows are gone, at most `limit`; returns how many.
pub fn delete_of_visitor(tx: &WriteTx<'_>, visitor_id: i64, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM denials WHERE denial_id IN (SELECT denial_id FROM denials WHERE visitor_id = ?1 LIMIT ?2)",
        (visitor_id, limit),
    )
}
