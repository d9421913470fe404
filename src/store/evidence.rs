//! The `evidence` table: what shows how a decision came about. The ledger holds a commitment to it and nothing of it.
//! Must never be joined into a line that leaves. Invariant: without its row nobody can tell what was committed to.

use rusqlite::OptionalExtension;

use crate::base::digest::Hash;
use crate::base::error::{Error, Result};
use crate::base::id::{Seq, VisitorRef, random_bytes};
use crate::domain::evidence::Evidence;
use crate::store::{ReadTx, WriteTx, open};

/// What a commitment opens to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Opening {
    /// The random bytes before it.
    pub nonce: [u8; 16],
    /// The evidence as the exact JSON that was committed to.
    pub json: String,
}

/// Evidence on its way into the table.
#[derive(Clone, Debug)]
pub struct Sealed {
    /// For the ledger.
    pub commitment: Hash,
    opening: Opening,
}

/// Commits to evidence; `None` where there is none.
pub fn commit(evidence: &Evidence) -> Option<Sealed> {
    if evidence.is_none() {
        return None;
    }
    let json = serde_json::to_string(evidence).expect("invariant: evidence has string keys");
    let nonce = random_bytes();
    Some(Sealed { commitment: Evidence::commitment(&nonce, &json), opening: Opening { nonce, json } })
}

/// Keeps evidence beside the decision it belongs to.
pub fn insert(tx: &WriteTx<'_>, decision: Seq, subject: VisitorRef, sealed: &Sealed) -> Result<()> {
    tx.execute(
        "INSERT INTO evidence (seq, subject_ref, nonce, body) VALUES (?1, ?2, ?3, ?4)",
        (decision, subject, sealed.opening.nonce, &sealed.opening.json),
    )
    .map(|_| ())
}

/// The evidence of a decision, if it is still kept.
pub fn get(tx: &ReadTx<'_>, decision: Seq) -> Result<Option<Opening>> {
    tx.conn()
        .prepare_cached("SELECT nonce, body FROM evidence WHERE seq = ?1")
        .and_then(|mut s| s.query_row([decision], |r| Ok(Opening { nonce: r.get(0)?, json: r.get(1)? })).optional())
        .map_err(|e| open::error("reading evidence", e))
}

/// What an opening says. Errors: `Storage` with code `damaged`.
pub fn read(opening: &Opening) -> Result<Evidence> {
    serde_json::from_str(&opening.json)
        .map_err(|e| Error::storage("evidence of a decision cannot be read").code("damaged").source(e))
}

/// Removes the evidence of one decision.
pub fn delete(tx: &WriteTx<'_>, decision: Seq) -> Result<()> {
    tx.execute("DELETE FROM evidence WHERE seq = ?1", [decision]).map(|_| ())
}

/// Removes the evidence of a person's decisions, at most `limit` rows; returns how many.
pub fn delete_of_subject(tx: &WriteTx<'_>, subject: VisitorRef, limit: i64) -> Result<usize> {
    tx.execute(
        "DELETE FROM evidence WHERE seq IN (SELECT seq FROM evidence WHERE subject_ref = ?1 LIMIT ?2)",
        (subject, limit),
    )
}
