//! The one transaction of ingest: duplicate or not, may it be kept, which visit, and the rows. Owns the order of these
//! questions; must never parse a wire format or answer a client.
//! Invariant: everything checkable is checked before the first write, so a commit group needs no savepoints; that an id was taken
//! before may show only when the group is written, and then it is run again.

use crate::base::error::{Kind, Result};
use crate::base::id::{ClientId, Salt, Seq};
use crate::base::time::{Date, Millis};
use crate::domain::attributes;
use crate::domain::choice;
use crate::domain::clock::{self, ClockState};
use crate::domain::consent::{
    Action, Ask, Decision, Denial, Evidence, Method, Purposes, Refusal, Signals, Standing, Verdict, WithoutConsent,
};
use crate::domain::count::Cell;
use crate::domain::event::{Act, Event, Fate};
use crate::domain::notice::NONE;
use crate::domain::referrer::Referrer;
use crate::domain::site::Seat;
use crate::domain::stored::EventRow;
use crate::domain::visit::{Visit, VisitOptions};
use crate::domain::visitor::{self, Rights, Visitor};
use crate::ingest::stay;
use crate::store::decisions::{Actor, Asked, Grants, Recorder};
use crate::store::{WriteTx, counts, denials, events, meta, personal, refusals, suppressed, tallies, visitors, visits};

/// What does not change from event to event.
#[derive(Clone)]
pub struct Rules {
    /// When visits end.
    pub visits: VisitOptions,
    /// Personal fields are kept, sealed (`personal.store = "sealed"`).
    pub personal_sealed: bool,
    /// Whoever says to be younger than this, in years, gets no profile, marketing or offers; `None` = nobody is asked.
    pub minor_age: Option<u8>,
    /// Records a decision that came with an event.
    pub recorder: Recorder,
    /// Tells until when each yes of a person holds.
    pub grants: Grants,
}

/// Where a request came from.
#[derive(Clone, Copy, Debug)]
pub struct From {
    /// When it was received.
    pub received: Millis,
    /// `Sec-GPC`, `DNT`.
    pub signals: Signals,
    /// Who attaches decisions.
    pub actor: Actor,
    /// The outcome is to tell the visit.
    pub visit_told: bool,
}

/// What became of one event.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// The outcome word.
    pub fate: Fate,
    /// The id it is kept under, or was sent with.
    pub event_id: Option<ClientId>,
    /// Its number, where stored.
    pub seq: Option<Seq>,
    /// Why it was not kept; only for callers who may know.
    pub refusal: Option<Refusal>,
    /// It came from an address the site filters: nothing was kept, nothing counted.
    pub filtered: bool,
    /// Personal fields left out.
    pub withheld: Vec<&'static str>,
    /// The visitor's token, where it was first seen by this event.
    pub token: Option<String>,
    /// The visit it joined, where stored or a duplicate; only for who asked for it.
    pub visit: Option<Box<Visit>>,
    /// It opened that visit.
    pub new_visit: bool,
    /// It was the first of its visitor.
    pub new_visitor: bool,
    /// Field and what is wrong with it.
    pub problem: Option<(String, String)>,
}

impl Outcome {
    /// An outcome with nothing stored.
    pub fn of(fate: Fate) -> Self {
        Outcome {
            fate,
            event_id: None,
            seq: None,
            refusal: None,
            filtered: false,
            withheld: Vec::new(),
            token: None,
            visit: None,
            new_visit: false,
            new_visitor: false,
            problem: None,
        }
    }

    /// Reason and remedy, for callers who may know.
    pub fn explanation(&self) -> (Option<String>, Option<String>) {
        let text = |s: &str| Some(s.to_owned());
        match (&self.refusal, &self.problem, self.fate) {
            (Some(refusal), ..) => (text(refusal.word()), text(refusal.remedy())),
            (_, Some((field, what)), _) => {
                (Some(format!("{field}: {what}")), text("correct that field and send the event again"))
            }
            _ if self.filtered => (text("ip_filter"), text("the site's ip_filters leave this address out")),
            (.., Fate::Conflict) => {
                (text("event_id"), text("this eventId was used for another event; mint a fresh one per event"))
            }
            _ => (None, None),
        }
    }

    /// An event that is none.
    pub fn invalid(field: impl Into<String>, what: impl Into<String>) -> Self {
        Outcome { problem: Some((field.into(), what.into())), ..Outcome::of(Fate::Invalid) }
    }
}

/// Records one event. Errors: `Storage`; everything else is an outcome.
pub fn event(tx: &WriteTx<'_>, seat: &Seat, rules: &Rules, from: &From, ev: &Event) -> Result<Outcome> {
    if let Some(problem) = attached(tx, seat, rules, from, ev)? {
        return Ok(problem);
    }
    let (at, clock_state) = match ev.imported_at {
        Some(at) => (at, ClockState::Imported),
        None => clock::correct(ev.client_at, ev.sent_at, from.received),
    };
    let known = match &ev.visitor {
        Some(key) => visitors::take(tx, seat.id, key)?,
        None => None,
    };
    // a no that outlived its visitor, or was said before there was one
    let refused = match (&ev.visitor, &known) {
        (Some(key), None) if !refusals::none(tx)? => refusals::get(tx, &seat.id_hash(&tx.identity().hash_key, key))?,
        _ => None,
    };
    let fresh = refused.map_or_else(Standing::default, |r| r.standing());
    let refused = refused.and_then(|r| r.denial());
    if erased(tx, seat, ev, at, known.as_ref())? {
        return count(tx, seat, from, ev, Refusal::Erased);
    }
    let today = Date::of(from.received);
    let minor = rules.minor_age.is_some_and(|age| ev.personal.declares_minor(&ev.attributes, today, age));
    let claim = if minor { Some(ev.claim.unwrap_or(Purposes::ALL).without(Purposes::BY_MINORITY)) } else { ev.claim };
    let verdict = judge(tx, rules.grants, seat, from, (ev, claim), at, known.as_ref().ok_or(&fresh))?;
    if let Some(taken) = taken_before(tx, seat, ev, known.as_ref(), verdict)? {
        return Ok(taken);
    }
    match verdict {
        Verdict::Refuse(refusal) => count(tx, seat, from, ev, refusal),
        Verdict::Keep { purposes, exempt } => {
            let visitor = known.map_or_else(|| (new_visitor(tx, seat, ev, at, refused), true), |v| (v, false));
            let consent_seq = visitor.0.standing.consent_seq;
            let rights = Rights { flags: purposes, basis_id: seat.basis_id, consent_seq, exempt };
            let id = ev.id.clone().unwrap_or_else(|| ClientId::mint(from.received));
            Kept { tx, seat, rules, from, ev, id, at, clock_state, rights, refused, minor }.store(visitor.0, visitor.1)
        }
    }
}

/// Records the decision that came with the event; a refused one makes the event invalid.
fn attached(tx: &WriteTx<'_>, seat: &Seat, rules: &Rules, from: &From, ev: &Event) -> Result<Option<Outcome>> {
    let (Some(decision), Some(key)) = (&ev.decision, &ev.visitor) else { return Ok(None) };
    let asked = Asked { actor: from.actor, token: None, signals: from.signals, received: from.received };
    let mut decision = decision.clone();
    if let (None, Some(id)) = (&decision.id, &ev.id) {
        decision.id = Some(ClientId::new(&format!("{id}/decision"))); // a retry of the event is one of its decision
    }
    match (rules.recorder)(tx, seat, key, &decision, &asked) {
        Ok(_) => Ok(None),
        Err(e) if e.kind == Kind::Storage => Err(e),
        Err(e) => Ok(Some(Outcome { event_id: ev.id.clone(), ..Outcome::invalid("decision", e.what) })),
    }
}

/// Does it come late, of somebody erased? Whoever is unknown stays so until a new yes, whatever the basis; to whoever said it,
/// what happened before the erasure still does not belong.
fn erased(tx: &WriteTx<'_>, seat: &Seat, ev: &Event, at: Millis, known: Option<&Visitor>) -> Result<bool> {
    let (Some(key), Some(newest)) = (&ev.visitor, suppressed::newest(tx)?) else { return Ok(false) };
    if known.is_some() && at > newest {
        return Ok(false);
    }
    let until = suppressed::get(tx, &seat.id_hash(&tx.identity().hash_key, key))?;
    Ok(until.is_some_and(|until| known.is_none() || at <= until))
}

/// Asks the Gate, with the visitor, or with what is kept of somebody who has no row.
fn judge(
    tx: &WriteTx<'_>,
    grants: Grants,
    seat: &Seat,
    from: &From,
    (ev, claim): (&Event, Option<Purposes>),
    at: Millis,
    known: Result<&Visitor, &Standing>,
) -> Result<Verdict> {
    let narrowed = match known {
        Ok(v) => lapsed(tx, grants, seat, v)?,
        Err(_) => None,
    };
    let standing = narrowed.as_ref().unwrap_or_else(|| known.map_or_else(|standing| standing, |v| &v.standing));
    let denials = match known {
        Ok(v) if !v.floors.is_none() => denials::of_visitor(tx, v.id)?,
        _ => Vec::new(),
    };
    Ok(seat.site.gate.evaluate(&Ask {
        at,
        first_seen: known.ok().map(|v| v.first_seen),
        standing: ev.visitor.as_ref().map(|_| standing),
        denials: &denials,
        signals: from.signals,
        claim,
    }))
}

/// The standing without what has lapsed; `None` where nothing can have. What lapsed is remembered, so that a clock that goes
/// back revives none; upkeep writes it into the ledger.
fn lapsed(tx: &WriteTx<'_>, grants: Grants, seat: &Seat, visitor: &Visitor) -> Result<Option<Standing>> {
    let Some(until) = visitor.standing.valid_until else { return Ok(None) };
    let time = meta::choice_time_held(tx)?;
    if until > time {
        return Ok(None);
    }
    tx.settle()?;
    let grants = grants(tx, seat, visitor.visitor_ref)?;
    let narrowed = choice::narrowed(&visitor.standing, &grants, time);
    if narrowed.granted != visitor.standing.granted {
        meta::note_lapse(tx, until)?;
    }
    Ok(Some(narrowed))
}

/// Was this id taken before? What may not be read any more answers as if it had never been kept.
fn taken_before(
    tx: &WriteTx<'_>,
    seat: &Seat,
    ev: &Event,
    known: Option<&Visitor>,
    verdict: Verdict,
) -> Result<Option<Outcome>> {
    let Some(id) = &ev.id else { return Ok(None) };
    let stored = matches!(verdict, Verdict::Keep { .. });
    let Some(taken) = events::find(tx, seat.id, id, stored)? else { return Ok(None) };
    let withdrawn = known.is_some_and(|v| taken.seq <= v.measure_floor).then_some(Refusal::Denied);
    if let (Verdict::Refuse(refusal), _) | (_, Some(refusal)) = (verdict, withdrawn) {
        return Ok(Some(Outcome { event_id: Some(id.clone()), refusal: Some(refusal), ..Outcome::of(Fate::Counted) }));
    }
    if taken.content_hash != ev.content_hash {
        return Ok(Some(Outcome { event_id: Some(id.clone()), ..Outcome::of(Fate::Conflict) }));
    }
    let token = known
        .filter(|v| v.first_seq == taken.seq)
        .map(|v| visitor::token(&tx.identity().hash_key, seat.site.id(), &v.key));
    let visit = match visits::held(tx, taken.visit_id) {
        Some(visit) => Some(visit),
        None => visits::get(tx, taken.visit_id)?,
    };
    Ok(Some(Outcome {
        event_id: Some(id.clone()),
        seq: Some(taken.seq),
        token,
        // an id that another visitor used tells nothing of that one's visit
        visit: visit.filter(|visit| known.is_some_and(|v| v.id == visit.visitor_id)).map(Box::new),
        ..Outcome::of(Fate::Duplicate)
    }))
}

/// Without the right to measure: a counter that names nobody, or nothing.
fn count(tx: &WriteTx<'_>, seat: &Seat, from: &From, ev: &Event, refusal: Refusal) -> Result<Outcome> {
    let seen = ev.id.as_ref().is_some_and(|id| {
        counts::counted_before(tx, tx.identity().hash_key.hash64(&[seat.site.id().as_bytes(), id.bytes()]))
    });
    if !seen && seat.site.gate.without_consent != WithoutConsent::Drop {
        counts::raise(tx, seat.id, ev.imported_at.unwrap_or(from.received), Cell::of(ev))?;
    }
    Ok(Outcome { event_id: ev.id.clone(), refusal: Some(refusal), ..Outcome::of(Fate::Counted) })
}

fn new_visitor(tx: &WriteTx<'_>, seat: &Seat, ev: &Event, at: Millis, refused: Option<Denial>) -> Visitor {
    let seq = tx.next_seq();
    let denied = refused.map_or(Purposes::NONE, |r| r.purposes);
    let visitor = Visitor {
        standing: Standing { denied, ..Standing::default() },
        floors: denied,
        ..Visitor::new(seat.id, ev.visitor.clone().unwrap_or_else(|| ClientId::new("")), seq, at)
    };
    visits::none_yet(tx, visitor.id);
    visitor
}

/// An event that is kept.
pub(in crate::ingest) struct Kept<'a, 'c> {
    pub(in crate::ingest) tx: &'a WriteTx<'c>,
    pub(in crate::ingest) seat: &'a Seat,
    pub(in crate::ingest) rules: &'a Rules,
    pub(in crate::ingest) from: &'a From,
    pub(in crate::ingest) ev: &'a Event,
    /// The client's id, or a minted one.
    id: ClientId,
    pub(in crate::ingest) at: Millis,
    pub(in crate::ingest) clock_state: ClockState,
    pub(in crate::ingest) rights: Rights,
    /// What a new visitor had refused before.
    refused: Option<Denial>,
    /// It tells that its visitor is a minor.
    minor: bool,
}

impl Kept<'_, '_> {
    /// Writes the event and what it changes.
    fn store(&self, mut visitor: Visitor, new_visitor: bool) -> Result<Outcome> {
        let tx = self.tx;
        let seq = tx.next_seq();
        if new_visitor {
            visitor.first_seq = seq;
        }
        visitor.last_seen = visitor.last_seen.max(self.from.received);
        visitor.event_count += 1;
        visitor.rights = self.rights;
        let narrowed = self.minor && !visitor.standing.denied.has(Purposes::BY_MINORITY);
        let (mut visit, new_visit) = stay::find_or_open(self, &mut visitor, seq)?;
        let withheld = self.withheld();
        if new_visitor {
            visitors::keep(tx, visitor.clone());
        }
        if new_visit {
            visits::keep(tx, visit.clone(), &self.rules.visits, true);
        }
        if let Some(denial) = &self.refused {
            tx.settle()?;
            denials::take_over(tx, visitor.id, denial)?;
        }
        let page_id = stay::pages(self, &mut visitor, &mut visit, seq)?;
        let session_id = stay::sessions(self, &visitor, &mut visit, seq)?;
        tallies::add(tx, "denied.fields", i64::try_from(self.ev.denied.len()).unwrap_or(0))?;
        self.keep_personal(&visitor, seq)?;
        events::insert(tx, self.row(seq, &visit, page_id, session_id, &withheld));
        let token = new_visitor.then(|| visitor::token(&tx.identity().hash_key, self.seat.site.id(), &visitor.key));
        visitors::keep(tx, visitor);
        let told = self.from.visit_told.then(|| Box::new(visit.clone()));
        visits::keep(tx, visit, &self.rules.visits, false);
        if narrowed {
            self.refuse_for_a_minor()?;
        }
        Ok(Outcome {
            event_id: Some(self.id.clone()),
            seq: Some(seq),
            withheld,
            token,
            visit: told,
            new_visit,
            new_visitor,
            ..Outcome::of(Fate::Accepted)
        })
    }

    /// Who tells to be a minor loses what nobody may do with one, until a decision grants it, as a parent may (GDPR Art. 8). The
    /// ledger says when and why; what was taken in before loses it too.
    fn refuse_for_a_minor(&self) -> Result<()> {
        let Some(key) = &self.ev.visitor else { return Ok(()) };
        let decision = Decision {
            id: None,
            action: Action::Refuse,
            purposes: Purposes::BY_MINORITY,
            method: Method::DeclaredMinor,
            notice: NONE.to_owned(),
            notice_digest: None,
            evidence: Evidence::default(),
            language: None,
            // it says nothing about a signal: what the decision before said stays so
            signal_shown: visitors::take(self.tx, self.seat.id, key)?.is_some_and(|v| v.standing.signal_shown),
            client_at: None,
            sent_at: None,
        };
        let asked =
            Asked { actor: Actor::System, token: None, signals: self.from.signals, received: self.from.received };
        (self.rules.recorder)(self.tx, self.seat, key, &decision, &asked)?;
        // also what a contract calls for: no decision takes that away
        if let Some(mut visitor) = visitors::take(self.tx, self.seat.id, key)? {
            visitor.standing.denied = visitor.standing.denied.with(Purposes::BY_MINORITY);
            visitors::keep(self.tx, visitor);
        }
        Ok(())
    }

    /// May personal fields of this event be kept?
    pub(in crate::ingest) fn personal_kept(&self) -> bool {
        self.rules.personal_sealed && self.rights.flags.has(Purposes::PERSONAL)
    }

    /// Was the customer of that name erased after this happened? Then it is not tied to the name again.
    pub(in crate::ingest) fn name_erased(&self, name: &str) -> Result<bool> {
        if suppressed::newest(self.tx)?.is_none_or(|newest| self.at > newest) {
            return Ok(false);
        }
        let hash = visitor::identity_hash(&self.tx.identity().hash_key, self.seat.site.id(), name);
        Ok(suppressed::get(self.tx, &hash)?.is_some_and(|until| self.at <= until))
    }

    /// Names of the personal fields that are not kept: for want of the right, or because this event has no place for them.
    fn withheld(&self) -> Vec<&'static str> {
        let mut fields = self.ev.personal.fields();
        if self.personal_kept() {
            // only these two tie a visitor to an identity; of any other event it is left out, and said so
            fields.retain(|field| *field == "identity" && !matches!(self.ev.act, Act::SignIn | Act::UserInfo));
        }
        let denied = self.ev.denied.iter().copied().filter(|field| !fields.contains(field)).collect::<Vec<_>>();
        fields.extend(denied);
        fields
    }

    fn keep_personal(&self, visitor: &Visitor, seq: Seq) -> Result<()> {
        if !self.personal_kept() {
            return Ok(());
        }
        let of = personal::Of { seq, site_id: self.seat.id, visitor_id: visitor.id, at: self.from.received };
        personal::insert(self.tx, of, &self.ev.personal.as_fields())
    }

    fn row(
        &self,
        seq: Seq,
        visit: &Visit,
        page_id: Option<i64>,
        session_id: Option<i64>,
        withheld: &[&str],
    ) -> EventRow {
        let ev = self.ev;
        let entered = page_id == Some(seq.0);
        let referrer = ev.referrer.as_ref().map(Referrer::packed).filter(|r| visit.referrer.as_ref() != Some(r));
        let own = |text: Option<&str>| text.filter(|_| !entered).map(str::to_owned);
        EventRow {
            seq,
            event_id: self.id.clone(),
            site_id: self.seat.id,
            epoch_id: self.tx.identity().epoch_id,
            visit_id: visit.id,
            page_id,
            session_id,
            name: ev.name.clone(),
            event_type: ev.event_type,
            lane: ev.lane(),
            content_hash: ev.content_hash,
            client_at: ev.client_at,
            sent_at: ev.sent_at,
            received: self.from.received,
            corrected: self.at,
            clock_state: self.clock_state,
            url: own(ev.page.address.as_ref().map(|a| a.url.as_str())),
            title: own(ev.page.title.as_deref()),
            referrer,
            search_query: ev.search_query.clone(),
            attributes: stay::attribute_values(&ev.attributes),
            attribute_types: attributes::letters(&ev.attributes),
            conversation: ev
                .conversation
                .as_ref()
                .map(|(id, medium)| stay::json(&serde_json::json!({"id": id.to_string(), "medium": medium}))),
            withheld: (!withheld.is_empty()).then(|| withheld.join(",")),
            rights: self.rights,
            salt: Salt::mint(),
            replaces: None,
        }
    }
}
