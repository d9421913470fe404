//! A visitor: one browser or device, at a kiosk one person's turn; and what its decisions amount to.
//! Owns the shape only; rules of consent live in `consent.rs`. Must never hold a personal field.

use crate::base::id::{ClientId, Seq, VisitorRef};
use crate::base::text::push_hex;
use crate::base::time::Millis;
use crate::domain::consent::{Purposes, Standing};

/// The flags every row carries: what it may be used for, why, and by which decision.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rights {
    /// Purposes the row was accepted with.
    pub flags: Purposes,
    /// The immutable purpose -> basis row in force; 0 where consent alone carries the row.
    pub basis_id: i64,
    /// The decision in force; 0 where none.
    pub consent_seq: Seq,
    /// Kept under the operator's exemption: the row never leaves this machine.
    pub exempt: bool,
}

/// Above every number there will be: nothing of a visitor under restriction leaves or is read.
pub const RESTRICTED: Seq = Seq((1 << 53) - 1);

/// A visitor as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visitor {
    /// Row id: the seq minted at first sight.
    pub id: i64,
    /// The site's row.
    pub site_id: i64,
    /// The client's id of it.
    pub key: ClientId,
    /// Its only name outside this machine.
    pub visitor_ref: VisitorRef,
    /// Seq of the event or decision it was first seen by.
    pub first_seq: Seq,
    /// First sight, corrected time.
    pub first_seen: Millis,
    /// Last activity, received time.
    pub last_seen: Millis,
    /// Visits so far.
    pub visit_count: i64,
    /// Pages and screens so far.
    pub page_count: i64,
    /// Events so far.
    pub event_count: i64,
    /// What its decisions amount to.
    pub standing: Standing,
    /// Rows at or below are withdrawn whole; 0 = none.
    pub measure_floor: Seq,
    /// Lines numbered at or below may not leave: [`RESTRICTED`] while processing is restricted, after the release where the
    /// counter stood then; 0 = never restricted.
    pub restricted_upto: Seq,
    /// Purposes that have a floor row.
    pub floors: Purposes,
    /// Its decisions lie in the consent lane.
    pub disclosed: bool,
    /// Rights of its newest event.
    pub rights: Rights,
}

impl Visitor {
    /// A visitor at first sight, by what has the number `seq`: nothing counted, nothing decided, no rights yet.
    pub fn new(site_id: i64, key: ClientId, seq: Seq, at: Millis) -> Visitor {
        Visitor {
            id: seq.0,
            site_id,
            key,
            visitor_ref: VisitorRef::mint(),
            first_seq: seq,
            first_seen: at,
            last_seen: at,
            visit_count: 0,
            page_count: 0,
            event_count: 0,
            standing: Standing::default(),
            measure_floor: Seq(0),
            restricted_upto: Seq(0),
            floors: Purposes::NONE,
            disclosed: false,
            rights: Rights::default(),
        }
    }
}

/// A sealed token that proves a client was handed this visitor id: `id.HMAC` (contract 2).
/// The HMAC is over site and id, so it needs no storage.
pub fn token(key: &crate::base::digest::HashKey, site: &str, visitor: &ClientId) -> String {
    let mut out = String::with_capacity(36 + 1 + 32);
    visitor.push_to(&mut out);
    let mac = key.hmac(&[b"visitor-token", site.as_bytes(), out.as_bytes()]);
    out.push('.');
    push_hex(&mut out, &mac[..16]);
    out
}

/// What a visitor's no is kept under when the id itself may not be kept.
pub fn id_hash(key: &crate::base::digest::HashKey, site: &str, visitor: &ClientId) -> crate::base::digest::Hash {
    key.hmac(&[b"visitor-id", site.as_bytes(), visitor.to_string().as_bytes()])
}

/// What an erased customer's name is remembered under.
pub fn identity_hash(key: &crate::base::digest::HashKey, site: &str, name: &str) -> crate::base::digest::Hash {
    key.hmac(&[b"identity", site.as_bytes(), name.as_bytes()])
}

/// Does `token` prove this visitor of this site? Constant time.
pub fn token_holds(key: &crate::base::digest::HashKey, site: &str, visitor: &ClientId, given: &str) -> bool {
    crate::base::digest::same_secret(token(key, site, visitor).as_bytes(), given.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::HashKey;

    #[test]
    fn a_token_proves_one_id_of_one_site() {
        let key = HashKey::new(&[3; 32]);
        let (a, b) = (ClientId::new("a"), ClientId::new("b"));
        let given = token(&key, "shop", &a);
        assert!(given.starts_with("a."));
        assert!(token_holds(&key, "shop", &a, &given));
        assert!(!token_holds(&key, "blog", &a, &given));
        assert!(!token_holds(&key, "shop", &b, &given));
        assert!(!token_holds(&HashKey::new(&[4; 32]), "shop", &a, &given));
    }
}
