//! The `proofs` table: decisions of erased persons, sealed to the controller's public key. Must never hold what tells whose a
//! row is, nor keep a proof in the clear. Invariant: who holds the file and not the secret key learns how many there are and
//! until when they stay, and nothing else.

use crate::base::cell::{Recipient, seal_to};
use crate::base::error::{Error, Result};
use crate::base::id::VisitorRef;
use crate::base::text::hex;
use crate::base::time::Millis;
use crate::store::{ReadTx, WriteTx, decisions, open};

/// What a box is bound to: nothing else that is sealed to the same key opens as a proof.
pub const CONTEXT: &[u8] = b"wayside-proof-1";

/// A sealed proof.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ProofRow {
    /// Its number.
    pub id: i64,
    /// When it was kept.
    pub at: Millis,
    /// Until when it stays.
    pub expires: Millis,
    /// The public key it is sealed to.
    pub recipient: String,
    /// The box.
    pub sealed: Vec<u8>,
}

/// Seals a person's oldest decisions, at most `limit`, as the ledger hashed them, to `to`, before they are removed; they stay
/// until `expires`.
/// Returns how many decisions it holds; without any nothing is kept.
pub fn keep(tx: &WriteTx<'_>, subject: VisitorRef, to: &Recipient, limit: i64, expires: Millis) -> Result<usize> {
    let contents = decisions::contents(tx, subject, limit)?;
    if contents.is_empty() {
        return Ok(0);
    }
    let text = serde_json::to_vec(&contents).map_err(|e| Error::storage("writing a proof").source(e))?;
    let sealed = seal_to(to, CONTEXT, &text)?;
    tx.execute(
        "INSERT INTO proofs (at, expires_at, recipient, sealed) VALUES (?1, ?2, ?3, ?4)",
        (tx.now(), expires, hex(to.bytes()), sealed),
    )?;
    Ok(contents.len())
}

/// Proofs behind a number, in order, at most `limit`.
pub fn list(tx: &ReadTx<'_>, after: i64, limit: i64) -> Result<Vec<ProofRow>> {
    tx.conn()
        .prepare_cached(
            "SELECT proof_id, at, expires_at, recipient, sealed FROM proofs WHERE proof_id > ?1 ORDER BY proof_id LIMIT ?2",
        )
        .and_then(|mut s| {
            s.query_map((after, limit), |r| {
                Ok(ProofRow { id: r.get(0)?, at: r.get(1)?, expires: r.get(2)?, recipient: r.get(3)?, sealed: r.get(4)? })
            })?
            .collect()
        })
        .map_err(|e| open::error("reading the proofs", e))
}

/// Removes proofs whose time is over, at most `limit`; returns how many.
pub fn delete_expired(tx: &WriteTx<'_>, now: Millis, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM proofs WHERE proof_id IN (SELECT proof_id FROM proofs WHERE expires_at <= ?1 ORDER BY expires_at LIMIT ?2)",
        (now, limit),
    )
}

/// Is a proof's time over?
pub fn any_expired(tx: &ReadTx<'_>, now: Millis) -> Result<bool> {
    tx.conn()
        .query_row("SELECT EXISTS (SELECT 1 FROM proofs WHERE expires_at <= ?1)", [now], |r| r.get(0))
        .map_err(|e| open::error("looking for proofs whose time is over", e))
}
