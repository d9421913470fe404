//! A relay behind a relay: the one that is nearer to the edges vouches for them, by a signed statement for each, so that the
//! one behind it knows the key each signs with. Must never put one key in the place of another, nor take a relay's word over
//! this wayside's own. Invariant: a relay sends for an edge only what that edge signed, and only once it has vouched for it.

use crate::base::digest::{Hash, sha256};
use crate::base::error::{Error, Result};
use crate::base::id::EdgeId;
use crate::base::text::{hex, unhex};
use crate::domain::relay::{EdgeState, VOUCH, Vouch};
use crate::domain::signed::{FORMAT, Signed};
use crate::forward::relay::enrol::{self, label_of, site_of};
use crate::forward::relay::options::Approve;
use crate::forward::relay::{Relay, barred, unknown_sender};
use crate::store::known_edges::KnownEdge;
use crate::store::vouches::{self, Vouched};
use crate::store::{WriteTx, audit, known_edges};

/// A statement that passed.
#[derive(Clone)]
struct Word {
    edge: EdgeId,
    by: EdgeId,
    public_key: [u8; 32],
    label: String,
    state: EdgeState,
    successor: Option<EdgeId>,
    site: Option<String>,
}

impl Relay {
    /// Takes a relay's word for an edge below it; returns whether its batches are taken from now on. Errors: `NotFound` (relay
    /// off), `Denied` with code `unknown_edge`, `not_approved`, `revoked`, `no_relay`; `Conflict` with code `edge_known` (another
    /// key) or `edge_count`; `Invalid`, `Busy`, `Storage`.
    pub fn vouch(&self, edge: EdgeId, by: Option<EdgeId>, signed: &Signed) -> Result<EdgeState> {
        self.on()?;
        let by = by.ok_or_else(|| {
            Error::denied("a relay vouches for edges, by its own token")
                .code("no_relay")
                .remedy("let the edge join: wayside edge code here, wayside join there")
        })?;
        let sender = self.store.read(|tx| known_edges::get(tx, by))?.ok_or_else(|| unknown_sender(by))?;
        barred(&sender)?;
        if !sender.relay {
            return Err(Error::denied(format!("edge {by} may not speak for other edges"))
                .code("no_relay")
                .remedy(format!("at the receiver: wayside edge approve {by} --relay")));
        }
        let word = opened(signed, edge, &sender)?;
        if edge == self.store.identity().edge.id {
            return Ok(EdgeState::Approved); // two that send to each other: nobody need vouch for this one here
        }
        let (approve, edges_max) = (self.options.approve, i64::from(self.options.edges_max));
        let kept = self.store.pen().call(move |tx| keep(tx, &word, (approve, edges_max)));
        kept.inspect_err(|error| {
            if error.code == "edge_known" {
                self.alarm("wrong_key", edge, error.what.clone());
            }
        })
    }

    /// What this wayside says of an edge to whoever it sends to, and a digest of it; `None` of one that was never let in here.
    pub(in crate::forward::relay) fn word_for(&self, known: &KnownEdge) -> Option<(Vouch, Hash)> {
        if known.state == EdgeState::Waiting {
            return None;
        }
        let said = Vouch {
            format: FORMAT,
            kind: VOUCH.to_owned(),
            by: self.store.identity().edge.id.to_string(),
            edge: known.edge.to_string(),
            public_key: hex(&known.public_key),
            label: known.label.clone(),
            state: known.state.word().to_owned(),
            successor: known.successor.map(|edge| edge.to_string()),
            site: known.site.clone(),
        };
        let text = serde_json::to_vec(&said).expect("invariant: a statement has string keys");
        Some((said, sha256(&text)))
    }
}

/// The statement, if it is the sender's own and about this edge.
fn opened(signed: &Signed, edge: EdgeId, sender: &KnownEdge) -> Result<Word> {
    let said: Vouch = signed.open(VOUCH, Some(&sender.public_key))?;
    let bad = |what: &str| Error::invalid(what.to_owned()).code("bad_statement").remedy("send one's own, of this edge");
    if said.by != sender.edge.to_string() || said.edge != edge.to_string() || edge == sender.edge {
        return Err(bad("the statement is by another relay, or about another edge than the address names"));
    }
    Ok(Word {
        edge,
        by: sender.edge,
        public_key: unhex::<32>(&said.public_key)?,
        label: label_of(&said.label)?,
        state: EdgeState::parse(&said.state).ok_or_else(|| bad("it names no state of an edge"))?,
        successor: said.successor.as_deref().map(EdgeId::parse).transpose()?,
        site: said.site.as_deref().map(site_of).transpose()?,
    })
}

/// Keeps the word, and what follows from it where this wayside has no word of its own.
fn keep(tx: &WriteTx<'_>, word: &Word, (approve, edges_max): (Approve, i64)) -> Result<EdgeState> {
    let (edge, by) = (word.edge, word.by);
    let before = vouches::get(tx, edge, by)?;
    let known = match known_edges::get(tx, edge)? {
        Some(known) if known.public_key != word.public_key => {
            return Err(Error::conflict(format!(
                "relay {by} vouches for edge {edge} with another key than it is known by here: two installations share one id"
            ))
            .code("edge_known")
            .remedy("start the one that was copied with a fresh data directory (wayside prepare-image)"));
        }
        Some(known) => known,
        None => {
            // who wants to say yes to each edge says so to these too
            let ruled = approve == Approve::Manual;
            let state = if ruled { EdgeState::Waiting } else { word.state };
            let known = KnownEdge { state, direct: false, ruled, ..enrol::fresh(tx, edge, word.public_key) };
            enrol::insert(tx, &known, edges_max)?;
            known
        }
    };
    vouches::put(tx, &Vouched { edge, relay: by, state: word.state, label: word.label.clone(), told: tx.now() })?;
    if before.as_ref().is_none_or(|before| before.label != word.label) && !word.label.is_empty() && !known.direct {
        known_edges::set_label(tx, edge, &word.label)?;
    }
    if let Some(successor) = word.successor
        && !known.direct // who follows an edge that joined here is for this wayside to say
        && known_edges::get(tx, successor)?.is_some()
    {
        known_edges::set_successor(tx, edge, successor)?;
    }
    let mut state = known.state;
    if !known.is_ours() {
        let taken = vouches::of_edge(tx, edge)?.iter().any(|one| one.state == EdgeState::Approved);
        state = if taken { EdgeState::Approved } else { word.state };
        if state != known.state {
            known_edges::set_state(tx, edge, state)?;
        }
    }
    if !known.direct {
        known_edges::set_rights(tx, &KnownEdge { site: word.site.clone(), ..known })?;
    }
    if before.is_none_or(|before| before.state != word.state) {
        audit::insert(tx, &format!("edge {by}"), "edge_vouched", Some(&edge.to_string()), Some(word.state.word()))?;
    }
    Ok(state)
}
