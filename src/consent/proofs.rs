//! What stays of an erased person's decisions: nothing, or a proof sealed to the controller's public key; and opening one,
//! which is on record before it is answered. Must never hold a secret key. Invariant: a content of the ledger that goes by
//! erasure has its entry there, and a proof is kept only as `[erase]` says.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::cell::{Recipient, RecipientKey, open_sealed};
use crate::base::digest::sha256;
use crate::base::error::{Error, Result};
use crate::base::id::VisitorRef;
use crate::base::text::{hex, unhex_any};
use crate::domain::ledger::{EntryKind, Leaf, Value};
use crate::store::{Reading, Store, WriteTx, audit, checkpoints, decisions, ledger, proofs};

/// Proofs answered at once.
const PROOFS_MAX: i64 = 10_000;
/// Longest reason, bytes.
const REASON_BYTES_MAX: usize = 1_000;

/// What is kept as proof after an erasure.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum KeepProof {
    /// Nothing.
    None,
    /// The person's decisions, sealed to the controller's key.
    #[default]
    Restricted,
}

/// What stays after an erasure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct EraseOptions {
    /// What is kept as proof.
    pub keep_proof: KeepProof,
    /// Months that a proof stays.
    pub proof_months: u32,
    /// The controller's public key, 64 hex digits; without one no proof can be kept.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub proof_key: Option<String>,
}

impl Default for EraseOptions {
    fn default() -> Self {
        EraseOptions { keep_proof: KeepProof::Restricted, proof_months: 36, proof_key: None }
    }
}

impl EraseOptions {
    /// The key proofs are sealed to; `None` where none are kept. Errors: `Invalid` for a key that is none.
    pub fn recipient(&self) -> Result<Option<Recipient>> {
        match (&self.keep_proof, &self.proof_key) {
            (KeepProof::Restricted, Some(key)) => Recipient::parse(key).map(Some),
            _ => Ok(None),
        }
    }
}

/// Takes away what a person's oldest decisions say, at most `limit` of them: sealed as a proof first, where that is to be kept.
/// The entries stay in the ledger, with the one that says why. Returns how many went; fewer than `limit` were the last.
/// Errors: `Invalid` for a key that is none, `Storage`.
pub fn take_away(tx: &WriteTx<'_>, subject: VisitorRef, options: &EraseOptions, limit: i64) -> Result<i64> {
    if let Some(to) = options.recipient()? {
        proofs::keep(tx, subject, &to, limit, tx.now().months_later(options.proof_months))?;
    }
    let going = decisions::places(tx, subject, limit)?;
    decisions::clear(tx, EntryKind::Erasure, &going)?;
    Ok(i64::try_from(going.len()).unwrap_or(i64::MAX))
}

/// A sealed proof, for whoever has the key.
#[derive(Clone, Debug, Serialize)]
pub struct SealedProof {
    /// Its number.
    pub proof_id: i64,
    /// When it was kept.
    pub at: String,
    /// Until when it stays.
    pub expires_at: String,
    /// The public key it is sealed to.
    pub recipient: String,
    /// The box, in hex.
    pub sealed: String,
}

/// Content of a `proof` entry: the reason itself stands in the audit, which ages.
#[derive(Serialize)]
struct Asked {
    proofs: usize,
    reason_sha256: String,
}

/// Hands out the sealed proofs, after the asking is on record in the audit and the ledger.
/// Errors: `Invalid` without a reason, `Busy`, `Storage`.
pub fn ask(store: &Store, who: &str, reason: &str) -> Result<Vec<SealedProof>> {
    let reason = reason.trim().to_owned();
    if reason.is_empty() || reason.len() > REASON_BYTES_MAX {
        return Err(Error::invalid("opening sealed proofs takes a reason of 1 to 1000 bytes")
            .code("reason")
            .remedy("say why with --reason; it is kept in the audit"));
    }
    let who = who.to_owned();
    let rows = store.pen().call(move |tx| {
        let rows = proofs::list(tx, 0, PROOFS_MAX)?;
        audit::insert(tx, &who, "proofs_opened", None, Some(&reason))?;
        ledger::note(
            tx,
            EntryKind::Proof,
            &Asked { proofs: rows.len(), reason_sha256: hex(&sha256(reason.as_bytes())) },
        )?;
        Ok(rows)
    })?;
    let sealed = rows.into_iter().map(|row| SealedProof {
        proof_id: row.id,
        at: row.at.rfc3339(),
        expires_at: row.expires.rfc3339(),
        recipient: row.recipient,
        sealed: hex(&row.sealed),
    });
    Ok(sealed.collect())
}

/// A decision of an opened proof.
#[derive(Clone, Debug, Serialize)]
pub struct Opened {
    /// The proof it lay in.
    pub proof_id: i64,
    /// Is it what its entry in the ledger hashed, by the digest that lay in the proof?
    pub holds: bool,
    /// What the ledger has at its place now; told by [`against`].
    pub ledger: Option<Live>,
    /// Place in the ledger, digests, and what it says.
    pub decision: serde_json::Value,
}

/// What the ledger has where an opened decision had its entry.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Live {
    /// The very entry.
    There,
    /// The entry is old: a signed anchor stands for it.
    Folded,
    /// Another entry, or none: the proof is of another ledger, or the ledger was changed.
    Other,
}

/// Looks up each opened decision in the ledger of a data directory: number, digests and hash must be the ones it has there.
/// Errors: `NotFound` without a database, `Busy`, `Storage`.
pub fn against(data_dir: &Path, read_ms_max: u64, opened: &mut [Opened]) -> Result<()> {
    let source = Reading::open(data_dir, read_ms_max)?;
    let folded = source.read(checkpoints::anchored)?;
    for one in opened {
        let place = &one.decision;
        let no = place["ledger_no"].as_i64().unwrap_or_default();
        let there = source.read(|tx| ledger::page(tx, no - 1, 1))?;
        let same = there.first().is_some_and(|found| {
            found.entry.no == no
                && place["hash"] == hex(&found.hash).as_str()
                && place["leaf"] == hex(&found.entry.leaf).as_str()
                && place["prev"] == hex(&found.entry.prev).as_str()
        });
        let gone = there.first().is_none_or(|found| found.entry.no != no);
        one.ledger = Some(match (same, gone && no <= folded) {
            (true, _) => Live::There,
            (false, true) => Live::Folded,
            (false, false) => Live::Other,
        });
    }
    Ok(())
}

/// Opens sealed proofs; those sealed to another key are passed over. Each decision is hashed anew and compared with its leaf,
/// which the ledger still has. Errors: `Invalid` for a key that is none.
pub fn open(key: &str, sealed: &[serde_json::Value]) -> Result<Vec<Opened>> {
    let key = RecipientKey::parse(key)?;
    let own = hex(key.recipient().bytes());
    let mut out = Vec::new();
    for proof in sealed.iter().filter(|proof| proof["recipient"] == own.as_str()) {
        let bytes = unhex_any(proof["sealed"].as_str().unwrap_or_default())?;
        let text = open_sealed(&key, proofs::CONTEXT, &bytes)?;
        let list: Vec<serde_json::Value> =
            serde_json::from_slice(&text).map_err(|e| Error::storage("a proof does not parse").source(e))?;
        let proof_id = proof["proof_id"].as_i64().unwrap_or_default();
        out.extend(list.into_iter().map(|decision| Opened {
            proof_id,
            holds: holds(&decision),
            ledger: None,
            decision,
        }));
    }
    Ok(out)
}

fn holds(decision: &serde_json::Value) -> bool {
    leaf(&decision["content"]).is_some_and(|leaf| decision["leaf"] == hex(&leaf).as_str())
}

fn leaf(content: &serde_json::Value) -> Option<crate::base::digest::Hash> {
    let mut leaf = Leaf::of(EntryKind::Decision);
    for name in decisions::FIELDS {
        match content.get(name)? {
            serde_json::Value::Null => leaf.add(name, Value::Null),
            serde_json::Value::Number(n) => leaf.add(name, Value::Integer(n.as_i64()?)),
            serde_json::Value::String(text) => leaf.add(name, Value::Text(text)),
            other => leaf.add(name, Value::Bytes(&unhex_any(other["hex"].as_str()?).ok()?)),
        };
    }
    Some(leaf.finish())
}
