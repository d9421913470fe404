//! What edge and receiver say to each other about batches, beside the batches: how far a receiver is, its signed
//! acknowledgement, its refusals. Pure; must never send anything. Invariant: an acknowledgement is signed as exact bytes,
//! and says nothing without its signature.

use serde::{Deserialize, Serialize};

use crate::base::digest::{SigningKey, verify};
use crate::base::error::{Error, Result};
use crate::base::text::{hex, unhex};

/// Header that carries a batch's manifest, as one line of JSON, beside its lines: on `PUT` and on `GET`.
pub const MANIFEST_HEADER: &str = "wayside-manifest";

/// Header of `GET /v1/watermarks/<edge>` by which an edge that has nothing to send says until when its lanes are complete:
/// `{"pages": "<time>", ...}`.
pub const COMPLETE_HEADER: &str = "wayside-complete";

/// How far a receiver is in one lane and epoch of an edge: the highest batch it holds without a gap before it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermark {
    /// Epoch, 16 hex digits.
    pub epoch: String,
    /// Lane.
    pub lane: String,
    /// Highest batch without a gap before it.
    pub batch_no: i64,
    /// Its last line's number.
    pub last_seq: i64,
    /// Its digest, 64 hex digits.
    pub digest: String,
    /// The first batch it holds, where it tells: from there on nothing is missing up to `batch_no`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub first_no: Option<i64>,
}

/// The answer to `GET /v1/watermarks/<edge>`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Watermarks {
    /// The edge that was asked about, 32 hex digits.
    pub edge: String,
    /// One for each epoch and lane of which anything was received.
    pub watermarks: Vec<Watermark>,
}

/// The answer to `GET /v1/digests/<key>`: what lies under a batch's key.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Lies {
    /// The key that was asked about: `<edge>/<epoch>/<lane>/<batch_no, 12 digits>`.
    pub key: String,
    /// The digest of the batch, 64 hex digits.
    pub digest: String,
}

/// What a receiver signs when a batch is on its disk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Ack {
    /// Version of this shape: 1.
    pub format: u32,
    /// `ack`, so that nothing else signed by this key can be taken for one.
    pub kind: String,
    /// The receiver: its own edge id, 32 hex digits.
    pub by: String,
    /// Edge of the batch, 32 hex digits.
    pub edge: String,
    /// Epoch of the batch, 16 hex digits.
    pub epoch: String,
    /// Lane of the batch.
    pub lane: String,
    /// Number of the batch.
    pub batch_no: i64,
    /// Digest of the batch, 64 hex digits.
    pub digest: String,
    /// When it was on the receiver's disk.
    pub received_at: String,
}

/// An acknowledgement with its signature: the body of a 2xx to a `PUT`, and what a stick carries back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedAck {
    /// The signed bytes, as a string.
    pub ack: String,
    /// Ed25519 signature over them, 128 hex digits.
    pub signature: String,
    /// The receiver's public key, 64 hex digits.
    pub public_key: String,
}

impl Ack {
    /// Signs it.
    pub fn sign(&self, key: &SigningKey) -> SignedAck {
        let ack = serde_json::to_string(self).expect("invariant: an acknowledgement has string keys");
        let signature = hex(&key.sign(ack.as_bytes()));
        SignedAck { ack, signature, public_key: hex(&key.public()) }
    }
}

impl SignedAck {
    /// The acknowledgement, if its signature holds under its own key and, where given, under `expected`.
    /// Errors: `Invalid` with code `bad_signature` or `bad_ack`.
    pub fn open(&self, expected: Option<&[u8; 32]>) -> Result<Ack> {
        let bad = |what: &str| Error::invalid(what.to_owned()).code("bad_signature");
        let public = unhex::<32>(&self.public_key)?;
        if expected.is_some_and(|key| *key != public) {
            return Err(bad("the acknowledgement is signed by another key"));
        }
        if !verify(&public, self.ack.as_bytes(), &unhex::<64>(&self.signature)?) {
            return Err(bad("the signature of the acknowledgement does not hold"));
        }
        let ack: Ack = serde_json::from_str(&self.ack)
            .map_err(|e| Error::invalid(format!("the acknowledgement does not parse: {e}")).code("bad_ack"))?;
        if ack.kind != "ack" || ack.format != 1 {
            return Err(Error::invalid("this is no acknowledgement of a version known here").code("bad_ack"));
        }
        Ok(ack)
    }
}

/// What a refusal says beside `error`, `what` and `remedy`, each only where it applies.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Refused {
    /// Stable word: `fork`, `too_large`, `bad_rows`, `unknown_edge`, `revoked`, `unknown_schema` ...
    pub error: String,
    /// With `fork`: the digest of the batch that lies under this key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
    /// With `too_large`: the most bytes of a compressed body.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub max_bytes: Option<u64>,
    /// With `bad_rows`: the numbers of the lines that are refused for good.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seqs: Option<Vec<i64>>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_changed_or_foreign_acknowledgement_says_nothing() {
        let key = SigningKey::from_seed([3; 32]);
        let ack = Ack {
            format: 1,
            kind: "ack".to_owned(),
            by: "00".repeat(16),
            edge: "01".repeat(16),
            epoch: "02".repeat(8),
            lane: "pages".to_owned(),
            batch_no: 4,
            digest: "03".repeat(32),
            received_at: "2026-01-01T00:00:00.000Z".to_owned(),
        };
        let good = ack.sign(&key);
        assert_eq!(good.open(Some(&key.public())).unwrap(), ack);
        let changed = SignedAck { ack: good.ack.replace("\"batch_no\":4", "\"batch_no\":5"), ..good.clone() };
        assert_eq!(changed.open(None).unwrap_err().code, "bad_signature");
        assert_eq!(good.open(Some(&[0; 32])).unwrap_err().code, "bad_signature");
        let other = Ack { kind: "batch".to_owned(), ..ack }.sign(&key);
        assert_eq!(other.open(None).unwrap_err().code, "bad_ack", "nothing else that was signed passes for one");
    }

    #[test]
    fn a_refusal_of_any_receiver_is_read() {
        let read: Refused =
            serde_json::from_str(r#"{"error":"too_large","what":"x","max_bytes":1000,"more":[1]}"#).unwrap();
        assert_eq!((read.error.as_str(), read.max_bytes, read.seqs), ("too_large", Some(1000), None));
        assert_eq!(serde_json::from_str::<Refused>("{}").unwrap(), Refused::default());
    }
}
