//! Who may send batches here: codes, joining, the operator's yes and no.
//! Must never keep a code or a token, only their digests. Invariant: a code lets one edge in; an edge's key never changes.

use crate::base::digest::{Hash, sha256};
use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, mint_uuid, random_bytes};
use crate::base::text::{cut, hex};
use crate::base::time::DAY_MS;
use crate::domain::relay::EdgeState;
use crate::domain::token::{Caller, Scope, Scopes};
use crate::forward::relay::Relay;
use crate::forward::relay::options::Approve;
use crate::store::join_codes::{Gives, JoinCode};
use crate::store::known_edges::KnownEdge;
use crate::store::tokens::TokenRow;
use crate::store::{WriteTx, audit, join_codes, known_edges, tokens};

/// Codes made at one time.
const CODES_MAX: u32 = 10_000;
/// Days a code may hold.
const CODE_DAYS_MAX: u32 = 366;
/// How long codes are remembered past their end, ms.
const CODE_REMEMBERED_MS: i64 = 30 * DAY_MS;
/// Letters of a code: none that is taken for another one.
const LETTERS: &[u8; 32] = b"23456789ABCDEFGHJKLMNPQRSTUVWXYZ";
/// Letters of a code: 100 bits.
const CODE_LETTERS: usize = 20;
/// Longest name of an edge, bytes.
const LABEL_BYTES_MAX: usize = 256;
/// Longest name of a site, bytes.
const SITE_BYTES_MAX: usize = 64;

/// Codes that are wanted.
#[derive(Clone, Debug, Default)]
pub struct Codes {
    /// How many.
    pub count: u32,
    /// Days they hold.
    pub days: u32,
    /// Whoever joins with one may speak for edges below it.
    pub relay: bool,
    /// The only site whoever joins with one may send rows of.
    pub site: Option<String>,
}

/// An edge that wants to join.
#[derive(Clone, Debug)]
pub struct Joining<'a> {
    /// The code it was given.
    pub code: &'a str,
    /// Its id.
    pub edge: EdgeId,
    /// What it signs with.
    pub public_key: [u8; 32],
    /// Its name for people.
    pub label: &'a str,
}

/// An edge that joined: the only time its token can be read.
#[derive(Debug)]
pub struct Joined {
    /// The token; it opens nothing while the edge waits.
    pub token: String,
    /// Does it wait for the operator's yes?
    pub waits: bool,
    /// What this receiver signs acknowledgements with.
    pub receiver_key: [u8; 32],
    /// This receiver's own id.
    pub receiver: EdgeId,
}

/// The digest of a code, however it was typed.
fn code_hash(code: &str) -> Hash {
    let letters: String = code.chars().filter(char::is_ascii_alphanumeric).map(|c| c.to_ascii_uppercase()).collect();
    sha256(format!("wayside-join-code\0{letters}").as_bytes())
}

/// A new code: four groups of five letters.
fn mint_code() -> String {
    let letters = random_bytes::<CODE_LETTERS>().map(|byte| char::from(LETTERS[usize::from(byte % 32)]));
    let groups: Vec<String> = letters.chunks(5).map(|group| group.iter().collect()).collect();
    groups.join("-")
}

pub(in crate::forward::relay) fn label_of(label: &str) -> Result<String> {
    let label = label.trim();
    if label.len() > LABEL_BYTES_MAX || label.chars().any(char::is_control) {
        return Err(Error::invalid(format!("the name of an edge is at most {LABEL_BYTES_MAX} bytes, on one line"))
            .code("edge_label")
            .remedy("give a shorter one"));
    }
    Ok(label.to_owned())
}

impl Relay {
    /// Makes codes, each for one edge, that hold so many days. Errors: `NotFound` (relay off), `Invalid`, `Busy`, `Storage`.
    pub fn codes(&self, wanted: &Codes, caller: &Caller) -> Result<Vec<String>> {
        self.on()?;
        let Codes { count, days, relay, ref site } = *wanted;
        if !(1..=CODES_MAX).contains(&count) || !(1..=CODE_DAYS_MAX).contains(&days) {
            return Err(Error::invalid(format!(
                "1 to {CODES_MAX} codes for 1 to {CODE_DAYS_MAX} days can be made at once"
            ))
            .code("edge_codes")
            .remedy("give other numbers"));
        }
        if relay && site.is_some() {
            return Err(Error::invalid("a relay sends rows of many sites, an edge of one site is no relay")
                .code("edge_codes")
                .remedy("ask for either"));
        }
        let gives = Gives { relay, site: site.as_deref().map(site_of).transpose()? };
        let codes: Vec<String> = (0..count).map(|_| mint_code()).collect();
        let hashes: Vec<Hash> = codes.iter().map(|code| code_hash(code)).collect();
        let who = caller.who();
        self.store.pen().call(move |tx| {
            join_codes::delete_before(tx, tx.now().plus(-CODE_REMEMBERED_MS))?;
            let expires = tx.now().plus(i64::from(days) * DAY_MS);
            for hash in &hashes {
                join_codes::insert(tx, hash, expires, &gives)?;
            }
            audit::insert(tx, &who, "edge_codes_made", Some(&count.to_string()), None)
        })?;
        Ok(codes)
    }

    /// Lets an edge in. The same edge may show its code again while it holds; the token it got before then ends.
    /// Errors: `NotFound` (relay off), `Denied` with code `bad_code` or `revoked`, `Conflict` with code `edge_known` or
    /// `edge_count`, `Invalid`, `Busy`, `Storage`.
    pub fn join(&self, joining: &Joining<'_>) -> Result<Joined> {
        self.on()?;
        let (hash, label) = (code_hash(joining.code), label_of(joining.label)?);
        let (edge, public_key) = (joining.edge, joining.public_key);
        let secret = hex(&random_bytes::<32>());
        let (digest, prefix) = (sha256(secret.as_bytes()), secret[..6].to_owned());
        let (approve, edges_max) = (self.options.approve, i64::from(self.options.edges_max));
        let state = self.store.pen().call(move |tx| {
            let gives = check_code(tx, &hash, edge)?.gives;
            let state = enter(tx, (edge, public_key), &label, &gives, (approve, edges_max))?;
            join_codes::take(tx, &hash, edge)?;
            tokens::revoke_of_edge(tx, edge)?;
            let row = TokenRow {
                id: mint_uuid(tx.now()),
                name: format!("edge {edge}"),
                scopes: Scopes::of(&[Scope::Push]),
                digest,
                prefix: prefix.clone(),
                created: tx.now(),
                expires: None,
                revoked: None,
                last_used: None,
                edge: Some(edge),
            };
            tokens::insert(tx, &row)?;
            audit::insert(tx, &format!("edge {edge}"), "edge_joined", Some(&edge.to_string()), Some(state.word()))?;
            Ok(state)
        });
        let state = state.inspect_err(|error| {
            if error.code == "edge_known" {
                self.alarm("wrong_key", edge, error.what.clone());
            }
        })?;
        let own = &self.store.identity().edge;
        let waits = state == EdgeState::Waiting;
        Ok(Joined { token: secret, waits, receiver_key: own.signing.public(), receiver: own.id })
    }

    /// Takes an edge's batches from now on; where `relay`, those of edges it vouches for too. Errors: `NotFound`, `Busy`,
    /// `Storage`.
    pub fn approve(&self, edge: EdgeId, relay: bool, caller: &Caller) -> Result<()> {
        let what = if relay { "relay_approved" } else { "edge_approved" };
        self.change(edge, caller, what, move |tx, known| {
            known_edges::set_state(tx, known.edge, EdgeState::Approved)?;
            known_edges::set_rights(tx, &KnownEdge { relay: known.relay || relay, ruled: false, ..known.clone() })
        })
    }

    /// Takes an edge's batches no longer, nor what it sent of edges below it. What it sent stays. Errors: `NotFound`, `Busy`,
    /// `Storage`.
    pub fn revoke(&self, edge: EdgeId, caller: &Caller) -> Result<()> {
        self.change(edge, caller, "edge_revoked", |tx, known| {
            known_edges::set_state(tx, known.edge, EdgeState::Revoked)?;
            known_edges::set_rights(tx, &KnownEdge { relay: false, ruled: true, ..known.clone() })
        })
    }

    /// An edge is gone for good; what it left behind may come from `successor`. Errors: `NotFound`, `Invalid`, `Busy`,
    /// `Storage`.
    pub fn retire(&self, edge: EdgeId, successor: Option<EdgeId>, caller: &Caller) -> Result<()> {
        if successor == Some(edge) {
            return Err(Error::invalid("an edge does not come after itself")
                .code("edge_successor")
                .remedy("name another edge"));
        }
        self.change(edge, caller, "edge_retired", move |tx, known| {
            known_edges::set_state(tx, known.edge, EdgeState::Retired)?;
            known_edges::set_rights(tx, &KnownEdge { relay: false, ruled: true, ..known.clone() })?;
            let Some(next) = successor else { return Ok(()) };
            if known_edges::get(tx, next)?.is_none() {
                return Err(unknown(next));
            }
            known_edges::set_successor(tx, known.edge, next)
        })
    }

    /// Gives an edge another name. Errors: `NotFound`, `Invalid`, `Busy`, `Storage`.
    pub fn rename(&self, edge: EdgeId, label: &str, caller: &Caller) -> Result<()> {
        let label = label_of(label)?;
        self.change(edge, caller, "edge_renamed", move |tx, known| known_edges::set_label(tx, known.edge, &label))
    }

    fn change(
        &self,
        edge: EdgeId,
        caller: &Caller,
        what: &'static str,
        work: impl Fn(&WriteTx<'_>, &KnownEdge) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let who = caller.who();
        self.store.pen().call(move |tx| {
            let known = known_edges::get(tx, edge)?.ok_or_else(|| unknown(edge))?;
            work(tx, &known)?;
            audit::insert(tx, &who, what, Some(&edge.to_string()), None)
        })
    }
}

pub(in crate::forward::relay) fn unknown(edge: EdgeId) -> Error {
    Error::not_found(format!("edge {edge} has not joined here"))
        .code("unknown_edge")
        .remedy("wayside edge list shows all")
}

/// The name of a site, as lines have it. It need not be a site of this wayside.
pub(in crate::forward::relay) fn site_of(site: &str) -> Result<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    match !site.is_empty() && site.len() <= SITE_BYTES_MAX && site.chars().all(fits) {
        true => Ok(site.to_owned()),
        false => Err(Error::invalid(format!("{site:?} is no site"))
            .code("edge_site")
            .remedy("give the id that the edge's [[site]] has")),
    }
}

fn check_code(tx: &WriteTx<'_>, hash: &Hash, edge: EdgeId) -> Result<JoinCode> {
    let bad = |what: &str| {
        Err(Error::denied(what.to_owned())
            .code("bad_code")
            .remedy("ask the operator of the receiver: wayside edge code"))
    };
    match join_codes::get(tx, hash)? {
        None => bad("this code is unknown"),
        Some(code) if code.expires <= tx.now() => bad("this code is past its time"),
        Some(code) if code.used_by.as_ref().is_some_and(|by| *by != edge.to_string()) => {
            bad("this code was used by another edge")
        }
        Some(code) => Ok(code),
    }
}

/// Keeps a new edge, or finds the one that is known under this id and key.
fn enter(
    tx: &WriteTx<'_>,
    (edge, public_key): (EdgeId, [u8; 32]),
    label: &str,
    gives: &Gives,
    (approve, edges_max): (Approve, i64),
) -> Result<EdgeState> {
    let by_code = if approve == Approve::Code { EdgeState::Approved } else { EdgeState::Waiting };
    if let Some(known) = known_edges::get(tx, edge)? {
        if known.public_key != public_key {
            return Err(Error::conflict("an edge of this id joined with another key: two installations share one id")
                .code("edge_known")
                .remedy("start the one that was copied with a fresh data directory (wayside prepare-image)"));
        }
        // what relays say of it counts no more once it comes by itself
        let state = if known.is_ours() { known.state } else { by_code };
        if matches!(state, EdgeState::Revoked | EdgeState::Retired) {
            return Err(Error::denied(format!("this edge is {} here", known.state.word()))
                .code("revoked")
                .remedy(format!("at the receiver: wayside edge approve {edge}")));
        }
        if !label.is_empty() {
            known_edges::set_label(tx, edge, cut(label, LABEL_BYTES_MAX))?;
        }
        if state != known.state {
            known_edges::set_state(tx, edge, state)?;
        }
        let (relay, site) = (known.relay || gives.relay, gives.site.clone());
        known_edges::set_rights(tx, &KnownEdge { relay, site, direct: true, ruled: false, ..known })?;
        return Ok(state);
    }
    let (relay, site) = (gives.relay, gives.site.clone());
    let known = KnownEdge { label: label.to_owned(), state: by_code, relay, site, ..fresh(tx, edge, public_key) };
    insert(tx, &known, edges_max)?;
    Ok(by_code)
}

/// An edge that comes to be known now, by itself.
pub(in crate::forward::relay) fn fresh(tx: &WriteTx<'_>, edge: EdgeId, public_key: [u8; 32]) -> KnownEdge {
    let (now, label) = (tx.now(), String::new());
    KnownEdge {
        edge,
        public_key,
        label,
        state: EdgeState::Waiting,
        successor: None,
        joined: now,
        changed: now,
        last_seen: None,
        site: None,
        relay: false,
        direct: true,
        ruled: false,
    }
}

/// Keeps an edge that was not known, if there is room for one more.
pub(in crate::forward::relay) fn insert(tx: &WriteTx<'_>, known: &KnownEdge, edges_max: i64) -> Result<()> {
    if known_edges::count(tx)? >= edges_max {
        return Err(Error::conflict(format!("{edges_max} edges are known here already"))
            .code("edge_count")
            .remedy("at the receiver: raise [relay] edges_max"));
    }
    known_edges::insert(tx, known)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_code_is_read_however_it_is_typed() {
        let code = mint_code();
        assert_eq!((code.len(), code.matches('-').count()), (23, 3));
        assert_eq!(code_hash(&code), code_hash(&code.to_lowercase().replace('-', " ")));
        assert_ne!(code_hash(&code), code_hash(&mint_code()));
    }
}
