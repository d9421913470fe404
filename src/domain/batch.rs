//! A sealed batch: its numbers, its chain, and the part that is signed, as exact bytes (contract 5).
//! To seal is to number and to freeze. Pure; must never render lines or send anything.

use serde::{Deserialize, Serialize};

use crate::base::digest::{Hash, SigningKey, verify};
use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, Epoch, Seq};
use crate::base::text::{hex, unhex};
use crate::base::time::Millis;
use crate::domain::event::Lane;

/// Version of the sealed part.
pub const FORMAT: u32 = 1;

/// What is signed. Its JSON text is stored as exact bytes and never made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SealedPart {
    /// [`FORMAT`].
    pub format: u32,
    /// Edge, 32 hex digits.
    pub edge: String,
    /// Epoch it was sealed in, 16 hex digits.
    pub epoch: String,
    /// Lane.
    pub lane: String,
    /// Number within edge, epoch and lane, from 1.
    pub batch_no: i64,
    /// Lowest number of a line.
    pub first_seq: i64,
    /// Highest number of a line.
    pub last_seq: i64,
    /// How many lines, holes included.
    pub count: i64,
    /// Digest of the lines, 64 hex digits.
    pub digest: String,
    /// Digest of the batch before in this lane; of the previous epoch's last one for batch 1; null for the very first.
    pub previous_digest: Option<String>,
    /// For batch 1: the epoch `previous_digest` belongs to.
    pub previous_epoch: Option<String>,
    /// Earliest receiving time of a line.
    pub min_received_at: String,
    /// Latest receiving time of a line.
    pub max_received_at: String,
    /// When it was sealed.
    pub sealed_at: String,
    /// Version of the lines.
    pub schema: String,
    /// Which key signed: the first 16 hex digits of its SHA-256.
    pub key_id: String,
}

/// A sealed batch as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Batch {
    /// Row of the epoch it was sealed in.
    pub epoch_id: i64,
    /// Its lane.
    pub lane: Lane,
    /// Its number.
    pub batch_no: i64,
    /// Lowest number of a line.
    pub first_seq: Seq,
    /// Highest number of a line.
    pub last_seq: Seq,
    /// How many lines.
    pub count: i64,
    /// Digest of the lines.
    pub digest: Hash,
    /// Earliest and latest receiving time.
    pub received: (Millis, Millis),
    /// When it was sealed.
    pub sealed_at: Millis,
    /// The edge's human name at that time.
    pub edge_label: String,
    /// Version of the lines.
    pub schema: String,
    /// The signed bytes.
    pub sealed_part: Vec<u8>,
    /// Ed25519 signature over them.
    pub signature: [u8; 64],
}

/// `<edge>/<epoch>/<lane>/<batch_no, 12 digits>`: a batch's key everywhere.
pub fn key(edge: EdgeId, epoch: Epoch, lane: Lane, batch_no: i64) -> String {
    format!("{edge}/{epoch}/{}/{batch_no:012}", lane.word())
}

/// What goes beside a batch's lines: the sealed part, its signature, and what is true of this put only.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// The signed bytes, as a string.
    pub sealed: String,
    /// Signature over them, 128 hex digits.
    pub signature: String,
    /// The public key that signed, 64 hex digits.
    pub public_key: String,
    /// Lines that are holes for this target.
    pub holes: i64,
    /// No row of this lane received before this time is unsent.
    pub complete_until: String,
    /// Rows of this lane not yet put to this target.
    pub backlog_rows: i64,
}

impl SealedPart {
    /// Signs the part: exact bytes and signature.
    pub fn sign(&self, key: &SigningKey) -> (Vec<u8>, [u8; 64]) {
        let bytes = serde_json::to_vec(self).expect("invariant: a sealed part has string keys");
        let signature = key.sign(&bytes);
        (bytes, signature)
    }
}

impl Manifest {
    /// The sealed part, if the signature holds under the manifest's own key and, where given, under `expected`.
    /// Errors: `Invalid` with code `bad_signature` or `bad_manifest`.
    pub fn open(&self, expected: Option<&[u8; 32]>) -> Result<SealedPart> {
        let bad = |what: &str| Error::invalid(what.to_owned()).code("bad_signature");
        let public = unhex::<32>(&self.public_key)?;
        if expected.is_some_and(|key| *key != public) {
            return Err(bad("the manifest is signed by another key"));
        }
        if !verify(&public, self.sealed.as_bytes(), &unhex::<64>(&self.signature)?) {
            return Err(bad("the signature does not hold"));
        }
        serde_json::from_str(&self.sealed)
            .map_err(|e| Error::invalid(format!("the sealed part does not parse: {e}")).code("bad_manifest"))
    }
}

/// The id of a public key.
pub fn key_id(public: &[u8; 32]) -> String {
    hex(&crate::base::digest::sha256(public))[..16].to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn part() -> SealedPart {
        SealedPart {
            format: FORMAT,
            edge: "00".repeat(16),
            epoch: "00".repeat(8),
            lane: "pages".to_owned(),
            batch_no: 1,
            first_seq: 1,
            last_seq: 3,
            count: 3,
            digest: "00".repeat(32),
            previous_digest: None,
            previous_epoch: None,
            min_received_at: Millis(0).rfc3339(),
            max_received_at: Millis(0).rfc3339(),
            sealed_at: Millis(0).rfc3339(),
            schema: crate::domain::line::SCHEMA.to_owned(),
            key_id: String::new(),
        }
    }

    fn manifest(key: &SigningKey) -> Manifest {
        let (sealed, signature) = part().sign(key);
        Manifest {
            sealed: String::from_utf8(sealed).unwrap(),
            signature: hex(&signature),
            public_key: hex(&key.public()),
            holes: 0,
            complete_until: Millis(0).rfc3339(),
            backlog_rows: 0,
        }
    }

    #[test]
    fn a_changed_sealed_part_is_refused() {
        let key = SigningKey::from_seed([9; 32]);
        let good = manifest(&key);
        assert_eq!(good.open(Some(&key.public())).unwrap(), part());
        let changed = Manifest { sealed: good.sealed.replace("\"count\":3", "\"count\":2"), ..good.clone() };
        assert_eq!(changed.open(None).unwrap_err().code, "bad_signature");
        assert_eq!(good.open(Some(&[0; 32])).unwrap_err().code, "bad_signature");
    }

    #[test]
    fn keys_sort_by_number() {
        let key = |no| super::key(EdgeId([0; 16]), Epoch([0; 8]), Lane::Consent, no);
        assert!(key(9) < key(10));
        assert!(key(1).ends_with("/consent/000000000001"));
    }
}
