//! Tokens as a rule: scopes, and the short-lived pass that stands for a token (OAuth client credentials).
//! Must never hold a token's secret. Invariant: a pass says whose it is and until when, and proves it by a keyed hash.

use crate::base::digest::{HashKey, same_secret};
use crate::base::id::{EdgeId, uuid_bytes, uuid_text};
use crate::base::text::hex;
use crate::base::time::Millis;

/// What a token opens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scope {
    /// Send events with decisions, as a sender.
    Ingest,
    /// Read what was recorded, and the state.
    Read,
    /// Requests of data subjects, their data, the register.
    Subject,
    /// Take batches and acknowledge them.
    Sync,
    /// Upkeep and whatever else changes the collector.
    Admin,
    /// Send the batches of one edge: what an edge gets when it joins.
    Push,
}

/// Every scope, in the order of their bits.
pub const SCOPES: [Scope; 6] = [Scope::Ingest, Scope::Read, Scope::Subject, Scope::Sync, Scope::Admin, Scope::Push];

impl Scope {
    /// Its word.
    pub fn word(self) -> &'static str {
        match self {
            Scope::Ingest => "ingest",
            Scope::Read => "read",
            Scope::Subject => "subject",
            Scope::Sync => "sync",
            Scope::Admin => "admin",
            Scope::Push => "push",
        }
    }

    /// The scope of a word.
    pub fn parse(word: &str) -> Option<Scope> {
        SCOPES.into_iter().find(|scope| scope.word() == word)
    }

    fn bit(self) -> i64 {
        match self {
            Scope::Ingest => 1,
            Scope::Read => 2,
            Scope::Subject => 4,
            Scope::Sync => 8,
            Scope::Admin => 16,
            Scope::Push => 32,
        }
    }
}

/// A set of scopes; its bits are stored. No scope contains another.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Scopes(pub i64);

impl Scopes {
    /// These scopes.
    pub fn of(scopes: &[Scope]) -> Self {
        Scopes(scopes.iter().fold(0, |bits, scope| bits | scope.bit()))
    }

    /// Is this one in it?
    pub fn has(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// The words, in the order of the bits.
    pub fn words(self) -> Vec<&'static str> {
        SCOPES.into_iter().filter(|scope| self.has(*scope)).map(Scope::word).collect()
    }
}

/// Who asks, as the audit names them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Caller {
    /// Anyone; has shown nothing.
    Public,
    /// Whoever may open the control socket.
    Operator,
    /// The holder of a token.
    Token {
        /// What the operator called it.
        name: String,
        /// What it opens.
        scopes: Scopes,
        /// The edge it is bound to: with the scope `push`, and only then.
        edge: Option<EdgeId>,
    },
}

impl Caller {
    /// Their name in the audit.
    pub fn who(&self) -> String {
        match self {
            Caller::Public => "public".to_owned(),
            Caller::Operator => "operator".to_owned(),
            Caller::Token { name, .. } => format!("token {name}"),
        }
    }

    /// May they do what this scope opens? The operator may do everything.
    pub fn may(&self, scope: Scope) -> bool {
        match self {
            Caller::Public => false,
            Caller::Operator => true,
            Caller::Token { scopes, .. } => scopes.has(scope),
        }
    }
}

/// How long a pass holds, ms.
pub const PASS_MS: i64 = crate::base::time::HOUR_MS;

/// A pass for the token of this id: `id.until.HMAC`. It needs no storage, and ends with its token.
pub fn pass(key: &HashKey, token_id: &[u8; 16], until: Millis) -> String {
    let body = format!("{}.{}", uuid_text(token_id), until.0);
    format!("{body}.{}", hex(&key.hmac(&[b"token-pass", body.as_bytes()])))
}

/// Whose pass this is, where it was made with this key and still holds. Constant time but for the shape.
pub fn pass_holder(key: &HashKey, given: &str, now: Millis) -> Option<[u8; 16]> {
    let mut parts = given.splitn(3, '.');
    let (id, until) = (uuid_bytes(parts.next()?)?, Millis(parts.next()?.parse().ok()?));
    let genuine = same_secret(pass(key, &id, until).as_bytes(), given.as_bytes());
    (genuine && now < until).then_some(id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::id::mint_uuid;

    #[test]
    fn scopes_are_words_and_bits_of_their_own() {
        for (at, scope) in SCOPES.into_iter().enumerate() {
            assert_eq!(Scope::parse(scope.word()), Some(scope));
            assert_eq!(Scopes::of(&[scope]).0, 1 << at, "stored: must never change");
            for other in SCOPES {
                assert_eq!(Scopes::of(&[scope]).has(other), scope == other, "no scope contains another");
            }
        }
        assert_eq!(Scopes::of(&[Scope::Sync, Scope::Read]).words(), ["read", "sync"]);
        assert_eq!(Scope::parse("Read"), None);
    }

    #[test]
    fn a_pass_holds_for_its_token_and_its_time_only() {
        let (key, other) = (HashKey::new(&[1; 32]), HashKey::new(&[2; 32]));
        let (id, until) = (mint_uuid(Millis(5)), Millis(1_000));
        let given = pass(&key, &id, until);
        assert_eq!(pass_holder(&key, &given, Millis(999)), Some(id));
        assert_eq!(pass_holder(&key, &given, until), None);
        assert_eq!(pass_holder(&other, &given, Millis(0)), None);
        assert_eq!(pass_holder(&key, &given.replace(".1000.", ".9000."), Millis(0)), None);
        assert_eq!(pass_holder(&key, &given.replace(".1000.", ".01000."), Millis(0)), None);
        assert_eq!(pass_holder(&key, "", Millis(0)), None);
    }
}
