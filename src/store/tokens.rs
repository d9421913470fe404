//! The `tokens` table: who may ask from the network, and for what. Only a digest of each token is kept, and its first six
//! characters to know it by. Invariant: a row is revoked, never deleted, so that what a token did stays explained.

use rusqlite::OptionalExtension;

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::id::EdgeId;
use crate::base::time::Millis;
use crate::domain::token::Scopes;
use crate::store::{ReadTx, WriteTx, open};

/// A token without its secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TokenRow {
    /// UUIDv7; the client id of OAuth.
    pub id: [u8; 16],
    /// What the operator calls it.
    pub name: String,
    /// What it opens.
    pub scopes: Scopes,
    /// SHA-256 of the token.
    pub digest: Hash,
    /// Its first six characters.
    pub prefix: String,
    /// When it was made.
    pub created: Millis,
    /// From when on it no longer holds.
    pub expires: Option<Millis>,
    /// When it was revoked.
    pub revoked: Option<Millis>,
    /// When it was last used, to the hour.
    pub last_used: Option<Millis>,
    /// The edge whose batches it may send.
    pub edge: Option<EdgeId>,
}

impl TokenRow {
    /// Does it hold at this time?
    pub fn holds(&self, now: Millis) -> bool {
        self.revoked.is_none() && self.expires.is_none_or(|until| now < until)
    }
}

const COLUMNS: &str =
    "SELECT token_id, name, scopes, digest, prefix, created_at, expires_at, revoked_at, last_used_at, edge FROM tokens";

fn row(r: &rusqlite::Row<'_>) -> rusqlite::Result<TokenRow> {
    let edge: Option<String> = r.get(9)?;
    Ok(TokenRow {
        id: r.get(0)?,
        name: r.get(1)?,
        scopes: Scopes(r.get(2)?),
        digest: r.get(3)?,
        prefix: r.get(4)?,
        created: r.get(5)?,
        expires: r.get(6)?,
        revoked: r.get(7)?,
        last_used: r.get(8)?,
        edge: edge.as_deref().and_then(|text| EdgeId::parse(text).ok()),
    })
}

/// Keeps a new token.
pub fn insert(tx: &WriteTx<'_>, token: &TokenRow) -> Result<()> {
    tx.execute(
        "INSERT INTO tokens (token_id, name, scopes, digest, prefix, created_at, expires_at, edge) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (
            token.id,
            &token.name,
            token.scopes.0,
            token.digest,
            &token.prefix,
            token.created,
            token.expires,
            token.edge.map(|edge| edge.to_string()),
        ),
    )
    .map(|_| ())
}

/// Every token, oldest first.
pub fn list(tx: &ReadTx<'_>) -> Result<Vec<TokenRow>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} ORDER BY created_at, token_id"))
        .and_then(|mut s| s.query_map([], row)?.collect())
        .map_err(|e| open::error("reading tokens", e))
}

/// The token of this id.
pub fn get(tx: &ReadTx<'_>, id: &[u8; 16]) -> Result<Option<TokenRow>> {
    tx.conn()
        .prepare_cached(&format!("{COLUMNS} WHERE token_id = ?1"))
        .and_then(|mut s| s.query_row([id], row).optional())
        .map_err(|e| open::error("reading a token", e))
}

/// Revokes a token; false where there is none that was not revoked before.
pub fn revoke(tx: &WriteTx<'_>, id: &[u8; 16]) -> Result<bool> {
    tx.execute("UPDATE tokens SET revoked_at = ?2 WHERE token_id = ?1 AND revoked_at IS NULL", (id, tx.now()))
        .map(|n| n > 0)
}

/// Notes that a token was used.
pub fn used(tx: &WriteTx<'_>, id: &[u8; 16], at: Millis) -> Result<()> {
    tx.execute("UPDATE tokens SET last_used_at = ?2 WHERE token_id = ?1", (id, at)).map(|_| ())
}

/// Revokes every token of an edge; returns how many held.
pub fn revoke_of_edge(tx: &WriteTx<'_>, edge: EdgeId) -> Result<usize> {
    tx.execute("UPDATE tokens SET revoked_at = ?2 WHERE edge = ?1 AND revoked_at IS NULL", (edge.to_string(), tx.now()))
}
