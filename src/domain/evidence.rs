//! What shows how a decision came about, besides the decision itself. It is kept apart from the ledger, which holds only a
//! commitment to it, so that it can be removed and the ledger stays whole. Must never hold a name or an id of a person.
//! Invariant: the same evidence and nonce give the same commitment for ever.

use serde::{Deserialize, Serialize};

use crate::base::digest::{Hash, Hasher};

/// What shows how a decision came about, besides the decision: kept apart, so that it can be removed.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Evidence {
    /// The page it was taken on: an address without query and fragment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub page: Option<String>,
    /// SHA-256 of the banner as it was shown, as hex.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub banner: Option<String>,
    /// What another consent tool recorded, as it is: an IAB TC string, for example.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub record: Option<String>,
    /// The machine, at a kiosk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device: Option<String>,
}

impl Evidence {
    /// Is there none?
    pub fn is_none(&self) -> bool {
        *self == Evidence::default()
    }

    /// What the ledger holds in its place: SHA-256 over the text `wayside-evidence-v1`, the nonce and the JSON, each behind
    /// its length (u32, big endian). Without the nonce nobody can guess what was committed to.
    pub fn commitment(nonce: &[u8], json: &str) -> Hash {
        let mut hasher = Hasher::new();
        hasher.field(b"wayside-evidence-v1").field(nonce).field(json.as_bytes());
        hasher.finish()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_commitment_is_what_it_always_was() {
        let mut bytes = Vec::new();
        for field in [&b"wayside-evidence-v1"[..], &[7, 8], b"{}"] {
            bytes.extend(u32::try_from(field.len()).unwrap().to_be_bytes());
            bytes.extend(field);
        }
        assert_eq!(Evidence::commitment(&[7, 8], "{}"), crate::base::digest::sha256(&bytes));
        assert_ne!(Evidence::commitment(&[7], "8{}"), Evidence::commitment(&[7, 8], "{}"));
    }
}
