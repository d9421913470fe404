//! Checkpoints of the ledger: what is signed of it and when, as exact bytes. Pure; must never read a row or a clock.
//! Invariant: a checkpoint names the one before by digest, so that none can be left out unseen.

use serde::{Deserialize, Serialize};

use crate::base::digest::{Hash, SigningKey, sha256, verify};
use crate::base::error::{Error, Result};
use crate::base::text::{hex, unhex};
use crate::base::time::{MINUTE_MS, Millis};

/// What the signed text begins with: nothing else that the edge's key signs can be taken for a checkpoint.
pub const FORMAT: &str = "wayside-checkpoint-1";
/// Entries after which a checkpoint is due.
pub const ENTRIES_MAX: i64 = 1_000;
/// Milliseconds after which one is due if anything was appended.
pub const AGE_MS_MAX: i64 = 5 * MINUTE_MS;

/// How far the ledger went. Its JSON text is signed and stored as exact bytes, and never made anew.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Checkpoint {
    /// [`FORMAT`].
    pub format: String,
    /// Edge, 32 hex digits.
    pub edge: String,
    /// Epoch it was made in, 16 hex digits.
    pub epoch: String,
    /// Its number: 1, 2, 3 ... without gaps.
    pub checkpoint_no: i64,
    /// The ledger's newest entry; of an anchor the last one that may be gone.
    pub ledger_no: i64,
    /// Hash of that entry.
    pub hash: String,
    /// The entry's number of the one counter.
    pub seq: i64,
    /// Entries since the checkpoint before; of an anchor those since the anchor before.
    pub count: i64,
    /// It stands for every entry up to its own: they may be gone.
    pub anchor: bool,
    /// Of an anchor: digest over the removals it cuts through, some of whose entries lie behind it, as 64 hex digits
    /// ([`crate::domain::ledger::Left`]); missing where there are none.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub left: Option<String>,
    /// When it was made, RFC 3339.
    pub at: String,
    /// Which key signed.
    pub key_id: String,
    /// SHA-256 of the signed text of the checkpoint before; null for the first.
    pub previous: Option<String>,
}

/// A checkpoint as it is stored and sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Signed {
    /// The signed text.
    pub text: String,
    /// Ed25519 signature over it.
    pub signature: [u8; 64],
}

impl Checkpoint {
    /// Signs it.
    pub fn sign(&self, key: &SigningKey) -> Signed {
        let text = serde_json::to_string(self).expect("invariant: a checkpoint has string keys");
        let signature = key.sign(text.as_bytes());
        Signed { text, signature }
    }

    /// Its hash as bytes. Errors: `Invalid`.
    pub fn hash(&self) -> Result<Hash> {
        unhex(&self.hash)
    }
}

impl Signed {
    /// What it says; whether the signature holds is another question. Errors: `Invalid` with code `bad_checkpoint`.
    pub fn read(&self) -> Result<Checkpoint> {
        let read: Checkpoint = serde_json::from_str(&self.text).map_err(|e| bad("it does not parse").source(e))?;
        if read.format == FORMAT { Ok(read) } else { Err(bad("its format is not known here")) }
    }

    /// Does the signature hold under this key?
    pub fn holds(&self, public: &[u8; 32]) -> bool {
        verify(public, self.text.as_bytes(), &self.signature)
    }

    /// What the next one names it by.
    pub fn digest(&self) -> String {
        hex(&sha256(self.text.as_bytes()))
    }
}

/// A checkpoint that cannot be read.
pub fn bad(what: &str) -> Error {
    Error::invalid(format!("this is no checkpoint: {what}"))
        .code("bad_checkpoint")
        .remedy("give a checkpoint line as a target received it, or the output of `wayside consent checkpoint --json`")
}

/// Is one due? `last` = entry and time of the newest checkpoint, `newest` = the newest entry.
pub fn due(last: Option<(i64, Millis)>, newest: i64, now: Millis) -> bool {
    match last {
        None => newest > 0,
        // a clock that went back must not put it off
        Some((no, at)) => newest >= no + ENTRIES_MAX || newest > no && now.since(at).abs() >= AGE_MS_MAX,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn checkpoint() -> Checkpoint {
        Checkpoint {
            format: FORMAT.to_owned(),
            edge: "0".repeat(32),
            epoch: "1".repeat(16),
            checkpoint_no: 1,
            ledger_no: 7,
            hash: hex(&[5; 32]),
            seq: 9,
            count: 7,
            anchor: false,
            left: None,
            at: Millis(0).rfc3339(),
            key_id: "2".repeat(16),
            previous: None,
        }
    }

    #[test]
    fn a_signature_covers_every_byte() {
        let key = SigningKey::from_seed([7; 32]);
        let signed = checkpoint().sign(&key);
        assert_eq!(signed.read().unwrap(), checkpoint());
        assert!(signed.holds(&key.public()) && !signed.holds(&SigningKey::from_seed([8; 32]).public()));
        let changed = Signed { text: signed.text.replace("\"ledger_no\":7", "\"ledger_no\":8"), ..signed.clone() };
        assert!(!changed.holds(&key.public()));
        assert_ne!(changed.digest(), signed.digest());
    }

    #[test]
    fn nothing_else_is_taken_for_a_checkpoint() {
        let key = SigningKey::from_seed([7; 32]);
        for text in [
            "{}".to_owned(),
            checkpoint().sign(&key).text.replace(FORMAT, "wayside-checkpoint-2"),
            checkpoint().sign(&key).text.replace("\"seq\":9", "\"seq\":9,\"more\":1"),
        ] {
            let error = Signed { text, signature: [0; 64] }.read().unwrap_err();
            assert_eq!(error.code, "bad_checkpoint");
        }
    }

    #[test]
    fn one_is_due_after_a_thousand_entries_or_five_minutes() {
        let now = Millis(1_800_000_000_000);
        assert!(!due(None, 0, now) && due(None, 1, now));
        let last = Some((10, now));
        assert!(!due(last, 10, now.plus(AGE_MS_MAX)), "nothing was appended");
        assert!(!due(last, 11, now.plus(AGE_MS_MAX - 1)) && due(last, 11, now.plus(AGE_MS_MAX)));
        assert!(!due(last, 9 + ENTRIES_MAX, now) && due(last, 10 + ENTRIES_MAX, now));
        assert!(due(last, 11, now.plus(-AGE_MS_MAX)), "a clock that was set back puts nothing off");
    }
}
