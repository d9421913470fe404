//! Floor 3: decisions. Give, refuse and withdraw, each one O(1) transaction; what a visitor's decisions amount to.
//! Owns who may decide for whom (tokens); must never hold the rules (`domain/consent.rs`) or touch rows of visits.
//! Invariant: a no is in `rights.log` and committed before it is answered.

use std::net::IpAddr;
use std::sync::Arc;

pub mod proofs;
pub mod prove;
pub mod verify;

use crate::base::digest::Hash;
use crate::base::error::{Error, Result};
use crate::base::id::{ClientId, Seq};
use crate::base::time::Millis;
use crate::domain::clock;
use crate::domain::code::Code;
use crate::domain::consent::{self, Change, Decision, Denial, Purposes, Standing};
use crate::domain::notice::lint::Facts;
use crate::domain::site::Seat;
use crate::domain::visitor::{self, RESTRICTED, Rights, Visitor};

pub mod guess;
pub mod lapse;
pub mod notice;
pub mod page;
pub mod receipt;
pub mod state;

use self::guess::{CODE_UNKNOWN, Guesses};
pub use crate::store::decisions::{Actor, Recorded};
use crate::store::decisions::{Asked, Circumstances, DecisionRow};
pub use crate::store::notices::{Body as NoticeBody, NoticeRow, in_language};
use crate::store::{
    ReadTx, Store, WriteTx, audit, codes, decisions, denials, evidence, meta, notices, refusals, restrictions,
    visitors, visits,
};

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
    /// The code of a kiosk's receipt, in place of visitor and token.
    pub code: Option<Code>,
    /// The client's address, where it came over the network: guesses are counted by it.
    pub from: Option<IpAddr>,
    /// Signals of the request.
    pub signals: consent::Signals,
    /// When it was received.
    pub received: Millis,
}

/// Where decisions are taken.
pub struct Consent {
    store: Arc<Store>,
    /// What notices must tell, site by site.
    facts: Vec<Facts>,
    guesses: Arc<Guesses>,
}

impl Consent {
    /// Decisions of this store.
    pub fn new(store: Arc<Store>, facts: Vec<Facts>) -> Self {
        Consent { store, facts, guesses: Arc::default() }
    }

    /// Publishes a notice; `who` stands in the audit. Errors: those of [`notice::publish`].
    pub fn publish(&self, seat: Seat, request: notice::Publish, who: &str) -> Result<Vec<notice::Published>> {
        let facts = self.facts.iter().find(|facts| facts.site == seat.site.id()).cloned().unwrap_or_default();
        let (request, who) = (Arc::new(request), who.to_owned());
        self.store.pen().call(move |tx| {
            let out = notice::publish(tx, &seat, &facts, &request)?;
            audit::insert(tx, &who, "notice_published", Some(&request.draft.version), Some(seat.site.id()))?;
            Ok(out)
        })
    }

    /// Registers an external notice; `who` stands in the audit. Errors: those of [`notice::register`].
    pub fn register(&self, seat: Seat, request: notice::Register, who: &str) -> Result<notice::Published> {
        let (request, who) = (Arc::new(request), who.to_owned());
        self.store.pen().call(move |tx| {
            let out = notice::register(tx, &seat, &request)?;
            audit::insert(tx, &who, "notice_registered", Some(&request.notice.version), Some(seat.site.id()))?;
            Ok(out)
        })
    }

    /// The languages of the notice in force, or of a version.
    pub fn notice(&self, site_id: i64, version: Option<&str>, now: Millis) -> Result<Vec<NoticeRow>> {
        self.store.read(|tx| match version {
            Some(version) => notices::version(tx, site_id, version),
            None => notices::in_force(tx, site_id, meta::choice_time(tx, now)?),
        })
    }

    /// Records a decision; `done` is called after the commit. Errors: `Busy` at once; `Invalid`, `Denied` (token) and
    /// `Storage` to `done`.
    pub fn record_later(&self, request: Request, done: impl FnOnce(Result<Recorded>) + Send + 'static) -> Result<()> {
        let (from, received, guessed) = (request.from, request.received, request.code.is_some());
        if guessed {
            self.guesses.may(from, received)?;
        }
        let (request, guesses) = (Arc::new(request), Arc::clone(&self.guesses));
        let answered = move |recorded: Result<Recorded>| {
            if guessed && recorded.as_ref().is_err_and(|error| error.code == CODE_UNKNOWN) {
                guesses.failed(from, received);
            }
            done(recorded);
        };
        self.store.pen().submit(1, move |tx| asked_for(tx, &request), answered)
    }

    /// Does this token prove the visitor?
    pub fn token_holds(&self, seat: &Seat, key: &ClientId, token: &str) -> bool {
        visitor::token_holds(&self.store.identity().hash_key, seat.site.id(), key, token)
    }

    /// What a banner needs to know of a visitor that was proved, or of somebody new.
    pub fn state(
        &self,
        seat: &Seat,
        key: Option<&ClientId>,
        language: Option<&str>,
        moment: (Millis, consent::Signals),
    ) -> Result<state::State> {
        let id_hash = key.map(|key| seat.id_hash(&self.store.identity().hash_key, key));
        self.store.read(|tx| state::state(tx, seat, (key, id_hash.as_ref()), language, moment))
    }

    /// The receipt of a visitor's decision, of the newest where none is named. Errors: `NotFound`.
    pub fn receipt(&self, seat: &Seat, key: &ClientId, which: (Option<Seq>, Option<&str>)) -> Result<receipt::Receipt> {
        let identity = self.store.identity();
        self.store.read(|tx| receipt::make(tx, seat, key, which, &identity))
    }

    /// A receipt's bytes in a form, signed; a page carries the proof of its DPV form.
    pub fn signed(&self, made: &receipt::Receipt, form: receipt::Form) -> receipt::Signed {
        let identity = self.store.identity();
        let edge = &identity.edge;
        let sign = |bytes| receipt::Signed::new(bytes, &edge.signing, &edge.key_id);
        match form {
            receipt::Form::Html => sign(receipt::page(made, Some(&sign(made.render(receipt::Form::Dpv)))).into_bytes()),
            form => sign(made.render(form)),
        }
    }

    /// The visitor that a code opens. Errors: `Denied` with code `code_unknown`, `Busy` after too many guesses.
    pub fn by_code(&self, seat: &Seat, code: &Code, from: Option<IpAddr>, now: Millis) -> Result<Visitor> {
        self.guesses.may(from, now)?;
        let key = self.store.identity().hash_key.clone();
        let found = self.store.read(|tx| codes::open(tx, &key, code))?;
        let found = found.filter(|v| v.site_id == seat.id && !visitors::is_cut_off(v));
        found.ok_or_else(|| {
            self.guesses.failed(from, now);
            guess::unknown()
        })
    }

    /// Hands out the sealed proofs to be opened elsewhere: [`proofs::ask`].
    pub fn ask_proofs(&self, who: &str, reason: &str) -> Result<Vec<proofs::SealedProof>> {
        proofs::ask(&self.store, who, reason)
    }

    /// The decisions of a visitor. Errors: `NotFound`.
    pub fn history(&self, site_id: i64, visitor: &ClientId) -> Result<History> {
        self.store.read(|tx| history(tx, site_id, visitor))
    }
}

/// Records what was asked for, by visitor and token or by code.
fn asked_for(tx: &WriteTx<'_>, request: &Request) -> Result<Recorded> {
    let asked = Asked {
        actor: request.actor,
        token: request.token.as_deref(),
        signals: request.signals,
        received: request.received,
    };
    let Some(code) = &request.code else {
        return record(tx, &request.seat, &request.visitor, &request.decision, &asked);
    };
    if request.decision.action == consent::Action::Give {
        return Err(Error::denied("a code opens withdrawal, access and erasure, and no consent")
            .code("code")
            .remedy("ask the person on a screen that shows the notice"));
    }
    tx.settle()?;
    let key = &tx.identity().hash_key;
    let visitor = codes::open(tx, key, code)?
        .filter(|v| v.site_id == request.seat.id && !visitors::is_cut_off(v))
        .ok_or_else(guess::unknown)?;
    // who has the code has shown as much as who has the token
    let token = visitor::token(key, request.seat.site.id(), &visitor.key);
    record(tx, &request.seat, &visitor.key, &request.decision, &Asked { token: Some(&token), ..asked })
}

/// Records one decision within a transaction: the row, the standing, the floors, the rights log.
pub fn record(
    tx: &WriteTx<'_>,
    seat: &Seat,
    key: &ClientId,
    decision: &Decision,
    asked: &Asked<'_>,
) -> Result<Recorded> {
    check_action(decision.action, asked.actor)?;
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
        (None, Some(r)) => r.denial().into_iter().collect(),
        _ => Vec::new(),
    };
    let time = meta::choice_time_held(tx)?;
    let lapse = match &known {
        Some(v) => lapse::of(tx, seat, v, time)?,
        None => None,
    };
    let standing = match (&known, &refusal) {
        (Some(v), _) => lapse.as_ref().map_or(&v.standing, |change| &change.standing).clone(),
        (None, Some(r)) => r.standing(),
        (None, None) => Standing::default(),
    };
    let mut change = consent::decide(decision, at, &standing, &denials, &seat.site.gate.bases)?;
    let meant = notice::meant(tx, seat, decision, at, asked.received)?;
    let expires = at.months_later(seat.site.options.choice_months);
    if decision.action == consent::Action::Give && change.current {
        change.standing.valid_until = lapse::after(tx, seat, (decision, &meant.version), &standing, expires)?;
    }
    let sealed = evidence::commit(&decision.evidence);
    let circumstances = Circumstances {
        notice_digest: meant.digest,
        expires: Some(expires),
        evidence: sealed.as_ref().map(|sealed| sealed.commitment),
        ..circumstances(seat, id_hash, at, asked)
    };
    let decision = &Decision { notice: meant.version, ..decision.clone() };
    let mut visitor = match known {
        Some(v) => Some(v),
        None if grants(decision, &change) => Some(welcome(tx, seat, key, asked.received, &denials)?),
        None => None,
    };
    if let (Some(visitor), true) = (&mut visitor, standing.restricted) {
        keep_restricted(tx, visitor)?; // said before there was a visitor: it lasts
    }
    if let (Some(lapse), Some(visitor)) = (&lapse, &mut visitor) {
        lapse::write(tx, visitor, lapse, &circumstances)?;
        change.standing.consent_seq = visitor.standing.consent_seq;
    }
    let row = decisions::append(tx, decision, &change, visitor.as_mut(), &circumstances)?;
    if let Some(sealed) = &sealed {
        evidence::insert(tx, row.seq, row.subject_ref, sealed)?;
    }
    let code = visitor.as_ref().and_then(|_| code_of(tx, &row));
    if let (Some(code), Some(visitor)) = (&code, &visitor) {
        codes::insert(tx, code, visitor.id, asked.received)?;
    }
    let token = (!seen).then(|| visitor::token(hash_key, seat.site.id(), key));
    Ok(Recorded { row, repeated: false, stands: change.stands, token, code })
}

fn circumstances(seat: &Seat, id_hash: Hash, at: Millis, asked: &Asked<'_>) -> Circumstances {
    Circumstances {
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
    }
}

/// The code that a decision taken at a kiosk hands out.
fn code_of(tx: &WriteTx<'_>, row: &DecisionRow) -> Option<Code> {
    (row.method == consent::Method::KioskTouch.word())
        .then(|| Code::of(&tx.identity().hash_key, &row.salt.0, row.seq.0))
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
        standing: Standing { denied, ..Standing::default() },
        floors: denied,
        rights: Rights { flags: Purposes::NONE, basis_id: seat.basis_id, ..Rights::default() },
        ..Visitor::new(seat.id, key.clone(), seq, received)
    };
    visitors::keep(tx, visitor.clone());
    visits::none_yet(tx, visitor.id);
    if !before.is_empty() {
        tx.settle()?;
    }
    for denial in before {
        denials::take_over(tx, visitor.id, denial)?;
    }
    Ok(visitor)
}

/// A visitor first seen by its yes while processing is restricted for its id.
fn keep_restricted(tx: &WriteTx<'_>, visitor: &mut Visitor) -> Result<()> {
    if visitor.restricted_upto != RESTRICTED {
        restrictions::set(tx, visitor.id, true, tx.last_seq())?;
        (visitor.restricted_upto, visitor.standing.restricted) = (RESTRICTED, true);
    }
    Ok(())
}

/// Restriction and release are for whoever answers a person's request: an operator, or the register of requests.
/// Errors: `Denied`.
fn check_action(action: consent::Action, actor: Actor) -> Result<()> {
    if action.is_choice() || matches!(actor, Actor::Operator | Actor::System) {
        return Ok(());
    }
    Err(Error::denied("a restriction is set and released by the operator, on a person's request")
        .code("operator_only")
        .remedy(
            "open a request: `wayside subject open --kind restrict`, or use `wayside consent restrict` on the machine",
        ))
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
    let code = known.and_then(|_| code_of(tx, &row));
    Ok(Recorded { row, repeated: true, stands: Purposes::NONE, token, code })
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
