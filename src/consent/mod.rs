//! Floor 3: decisions. Give, refuse and withdraw, each one O(1) transaction; what a visitor's decisions amount to.
//! Owns who may decide for whom (tokens); must never hold the rules (`domain/consent.rs`) or touch rows of visits.
//! Invariant: a no is in `rights.log` and committed before it is answered.

use std::sync::Arc;

pub mod prove;
pub mod verify;

use crate::base::error::{Error, Result};
use crate::base::id::{ClientId, Seq, VisitorRef};
use crate::base::time::Millis;
use crate::domain::clock;
use crate::domain::consent::{self, Change, Decision, Denial, Purposes, Standing};
use crate::domain::site::Seat;
use crate::domain::visitor::{self, Rights, Visitor};
pub use crate::store::decisions::{Actor, Recorded};
use crate::store::decisions::{Asked, Circumstances, DecisionRow};
use crate::store::{ReadTx, Store, WriteTx, decisions, denials, refusals, visitors, visits};

/// A decision to record.
#[derive(Clone, Debug)]
pub struct Request {
    /// The site, with its rows.
    pub seat: Seat,
    /// Who decided.
    pub visitor: ClientId,
    /// What.
    pub decision: Decision,
    /// Through the public door, by a sender, or by the operator.
    pub actor: Actor,
    /// The visitor's token.
    pub token: Option<String>,
    /// Signals of the request.
    pub signals: consent::Signals,
    /// When it was received.
    pub received: Millis,
}

/// Where decisions are taken.
pub struct Consent {
    store: Arc<Store>,
}

impl Consent {
    /// Decisions of this store.
    pub fn new(store: Arc<Store>) -> Self {
        Consent { store }
    }

    /// Records a decision; `done` is called after the commit. Errors: `Busy` at once; `Invalid`, `Denied` (token) and
    /// `Storage` to `done`.
    pub fn record_later(&self, request: Request, done: impl FnOnce(Result<Recorded>) + Send + 'static) -> Result<()> {
        let request = Arc::new(request);
        self.store.pen().submit(
            1,
            move |tx| {
                let asked = Asked {
                    actor: request.actor,
                    token: request.token.as_deref(),
                    signals: request.signals,
                    received: request.received,
                };
                record(tx, &request.seat, &request.visitor, &request.decision, &asked)
            },
            done,
        )
    }

    /// The decisions of a visitor. Errors: `NotFound`.
    pub fn history(&self, site_id: i64, visitor: &ClientId) -> Result<History> {
        self.store.read(|tx| history(tx, site_id, visitor))
    }
}

/// Records one decision within a transaction: the row, the standing, the floors, the rights log.
pub fn record(
    tx: &WriteTx<'_>,
    seat: &Seat,
    key: &ClientId,
    decision: &Decision,
    asked: &Asked<'_>,
) -> Result<Recorded> {
    let hash_key = &tx.identity().hash_key;
    let (at, _) = clock::correct(decision.client_at, decision.sent_at, asked.received);
    let id_hash = seat.id_hash(hash_key, key);
    let known = visitors::take(tx, seat.id, key)?;
    let refusal = refusals::get(tx, &id_hash)?;
    let repeated = match &decision.id {
        Some(id) => decisions::find(tx, seat.id, id)?,
        None => None,
    };
    if let Some(row) = repeated {
        return repeat(tx, seat, key, decision, row, (known.as_ref(), refusal.map(|r| r.decision)));
    }
    let seen = known.is_some() || refusal.is_some();
    if seen && asked.actor == Actor::Subject {
        check_token(tx, seat, key, asked.token)?;
    }
    let denials = match (&known, &refusal) {
        (Some(v), _) if !v.floors.is_none() => denials::of_visitor(tx, v.id)?,
        (None, Some(r)) => vec![Denial { purposes: r.purposes, from: r.decided_at, until: None }],
        _ => Vec::new(),
    };
    let standing = match (&known, &refusal) {
        (Some(v), _) => v.standing.clone(),
        (None, Some(r)) => Standing { denied: r.purposes, ..Standing::default() },
        (None, None) => Standing::default(),
    };
    let change = consent::decide(decision, at, &standing, &denials, &seat.site.gate.bases)?;
    let circumstances = Circumstances {
        site_id: seat.id,
        site: seat.site.id().to_owned(),
        id_hash,
        at,
        received: asked.received,
        actor: asked.actor,
        signals: asked.signals,
        basis_id: seat.basis_id,
        notice_digest: None,
        expires: None,
        evidence: None,
    };
    let mut visitor = match known {
        Some(v) => Some(v),
        None if grants(decision, &change) => Some(welcome(tx, seat, key, asked.received, &denials)?),
        None => None,
    };
    let row = decisions::append(tx, decision, &change, visitor.as_mut(), &circumstances)?;
    let token = (!seen).then(|| visitor::token(hash_key, seat.site.id(), key));
    Ok(Recorded { row, repeated: false, stands: change.stands, token })
}

/// Only a grant that became current makes a visitor: a no is kept without keeping the id.
fn grants(decision: &Decision, change: &Change) -> bool {
    decision.action == consent::Action::Give && change.current
}

/// A visitor first seen by its decision. What it refused before becomes history that the grant ends.
fn welcome(tx: &WriteTx<'_>, seat: &Seat, key: &ClientId, received: Millis, before: &[Denial]) -> Result<Visitor> {
    let seq = tx.next_seq();
    let denied = before.iter().fold(Purposes::NONE, |set, d| set.with(d.purposes));
    let visitor = Visitor {
        id: seq.0,
        site_id: seat.id,
        key: key.clone(),
        visitor_ref: VisitorRef::mint(),
        first_seq: seq,
        first_seen: received,
        last_seen: received,
        visit_count: 0,
        page_count: 0,
        event_count: 0,
        standing: Standing { denied, ..Standing::default() },
        measure_floor: Seq(0),
        floors: denied,
        disclosed: false,
        rights: Rights { flags: Purposes::NONE, basis_id: seat.basis_id, ..Rights::default() },
    };
    visitors::keep(tx, visitor.clone());
    visits::none_yet(tx, visitor.id);
    tx.settle()?;
    for denial in before {
        denials::take_over(tx, visitor.id, denial)?;
    }
    Ok(visitor)
}

fn check_token(tx: &WriteTx<'_>, seat: &Seat, key: &ClientId, token: Option<&str>) -> Result<()> {
    let holds = token.is_some_and(|t| visitor::token_holds(&tx.identity().hash_key, seat.site.id(), key, t));
    if holds {
        return Ok(());
    }
    Err(Error::denied("this visitor is known, and the decision does not carry its token")
        .code("visitor_token")
        .remedy("send the visitorToken that came with this visitor's first answer, or use an ingest token"))
}

/// The same decision again: the same answer, the token too if it was the visitor's first.
/// Errors: `Conflict` where the id was somebody else's or another decision's, so that no answer hides a no.
fn repeat(
    tx: &WriteTx<'_>,
    seat: &Seat,
    key: &ClientId,
    decision: &Decision,
    row: DecisionRow,
    (known, refused): (Option<&Visitor>, Option<Seq>),
) -> Result<Recorded> {
    // a refusal of somebody never seen is kept under no id: it is the same if it is the one the keyed hash remembers
    let own = known.map_or(refused == Some(row.seq), |v| v.visitor_ref == row.subject_ref);
    if !own || row.action != decision.action.word() || row.purposes != decision.purposes {
        return Err(Error::conflict("this decisionId was used for another decision")
            .code("decision_id")
            .remedy("mint a fresh decisionId"));
    }
    // who was first seen by an event has its token from there: `first_seq` is that event's, not the row's own number
    let first = known.is_none_or(|v| v.first_seq.0 == v.id && row.seq.0 == v.id + 1);
    let token = first.then(|| visitor::token(&tx.identity().hash_key, seat.site.id(), key));
    Ok(Recorded { row, repeated: true, stands: Purposes::NONE, token })
}

/// What a visitor's decisions amount to, and each of them.
#[derive(Clone, Debug)]
pub struct History {
    /// Granted and not taken back.
    pub granted: Purposes,
    /// Refused, withdrawn or objected to.
    pub denied: Purposes,
    /// Oldest first.
    pub decisions: Vec<DecisionRow>,
}

/// The decisions of a visitor. Errors: `NotFound`.
pub fn history(tx: &ReadTx<'_>, site_id: i64, key: &ClientId) -> Result<History> {
    let visitor = visitors::find(tx, site_id, key)?.ok_or_else(|| {
        Error::not_found("no decision is kept under this visitor id")
            .remedy("a refusal of somebody never seen before is kept without the id")
    })?;
    let decisions = decisions::of_subject(tx, visitor.visitor_ref, 1_000)?;
    Ok(History { granted: visitor.standing.granted, denied: visitor.standing.denied, decisions })
}
