//! From a decoded body to the pen and back: which site, may this origin send, one outcome per event, in order.
//! Owns the hand-over; must never write a row itself or know HTTP.
//! Invariant: `done` is called after the commit, with as many outcomes as there were events.

use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;

use crate::base::error::{Error, Kind, Result};
use crate::base::id::ClientId;
use crate::base::time::Millis;
use crate::domain::consent::{Decision, Signals};
use crate::domain::event::{Event, Fate, Lane};
use crate::domain::site::Seat;
use crate::ingest::decode::{Decoded, Item};
use crate::ingest::record::{self, From, Outcome};
use crate::ingest::shape::{Authority, Origin, shape_attached, shape_decision};
use crate::ingest::wire::{Invalid, RawDecision};
use crate::ingest::{Ingest, decode};
use crate::store::WriteTx;
use crate::store::decisions::{Actor, Asked};

/// How a body is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One object, an array or an envelope.
    Json,
    /// One object a line.
    Ndjson,
}

/// A request as far as ingest needs to know it.
#[derive(Clone, Debug)]
pub struct Arrived<'a> {
    /// The site named outside the body (`?site=`).
    pub site: Option<&'a str>,
    /// The `Origin` header.
    pub origin: Option<&'a str>,
    /// The `User-Agent` header.
    pub user_agent: Option<&'a str>,
    /// The client's address, behind trusted proxies.
    pub ip: Option<IpAddr>,
    /// `Sec-GPC`, `DNT`.
    pub signals: Signals,
    /// By what right it speaks.
    pub authority: Authority,
    /// When it was received.
    pub received: Millis,
    /// The header `Wayside-Consent`: a decision for all events.
    pub consent_header: Option<&'a str>,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct Answer {
    /// One outcome per event, in order.
    pub outcomes: Vec<Outcome>,
    /// The caller may know reasons and remedies.
    pub explain: bool,
}

/// One part of a request, ready for the pen.
pub(in crate::ingest) enum Part {
    Event(Box<Event>),
    Decision(Box<(ClientId, Decision)>),
    Invalid(Invalid),
    /// An address the site filters: nothing is kept.
    Filtered,
    /// One whose answer shows the event again.
    Shared(Arc<Part>),
}

impl Part {
    pub(in crate::ingest) fn name(&self) -> &str {
        match self {
            Part::Event(event) => &event.name,
            Part::Decision(_) => "decision",
            Part::Invalid(_) => "invalid",
            Part::Filtered => "filtered",
            Part::Shared(part) => part.name(),
        }
    }

    fn is_fine(&self) -> bool {
        match self {
            Part::Event(event) => event.lane() == Lane::Fine,
            Part::Shared(part) => part.is_fine(),
            _ => false,
        }
    }
}

/// Gives the decision of an envelope or a header to the first event of each visitor: it is one decision, not one an event.
/// Its id is one person's; of a second one it is told apart by the event it came with (`record.rs`).
fn attach(parts: &mut [Part], decision: &Decision) {
    let mut seen: HashSet<ClientId> = HashSet::new();
    for part in parts {
        let Part::Event(event) = part else { continue };
        let Some(visitor) = event.visitor.clone().filter(|_| event.decision.is_none()) else { continue };
        let first = seen.is_empty();
        if seen.insert(visitor) {
            event.decision = Some(Box::new(taken_with(event, decision, first)));
        }
    }
}

/// A decision as it came with an event: without a time of its own it was taken by the event's time.
pub(in crate::ingest) fn taken_with(event: &Event, decision: &Decision, keeps_id: bool) -> Decision {
    Decision {
        id: decision.id.clone().filter(|_| keeps_id),
        client_at: decision.client_at.or(event.client_at),
        sent_at: decision.sent_at.or(event.sent_at),
        ..decision.clone()
    }
}

impl Ingest {
    /// Takes a body. Errors come at once: `Invalid` (does not parse, unknown site), `Denied` (origin), `Busy`; those of
    /// the pen come to `done`.
    pub fn accept(
        &self,
        body: &[u8],
        format: Format,
        arrived: &Arrived<'_>,
        done: impl FnOnce(Result<Answer>) + Send + 'static,
    ) -> Result<()> {
        let decoded = match format {
            Format::Json => decode::json(body, &self.limits)?,
            Format::Ndjson => decode::ndjson(body, &self.limits)?,
        };
        let seat = self.seat_for(arrived, decoded.site.as_deref())?;
        let parts = self.shape_all(decoded, arrived, &seat)?;
        self.hand_over(seat, parts, arrived, done)
    }

    /// The site a request belongs to, if its origin may send there.
    pub fn seat_for(&self, arrived: &Arrived<'_>, in_body: Option<&str>) -> Result<Seat> {
        if let (Some(query), Some(body)) = (arrived.site, in_body)
            && query != body
        {
            return Err(Error::invalid("the request names two sites").code("site").remedy("name the site once"));
        }
        let seat = self.seat(arrived.site.or(in_body))?;
        match arrived.origin {
            Some(origin) if arrived.authority == Authority::Public && !seat.site.admits(origin) => Err(Error::denied(
                format!("origin {:?} may not send to site {:?}", crate::base::text::cut(origin, 200), seat.site.id()),
            )
            .code("origin_not_allowed")
            .remedy("add the origin to the site's allowed_origins")),
            _ => Ok(seat.clone()),
        }
    }

    fn shape_all(&self, decoded: Decoded<'_>, arrived: &Arrived<'_>, seat: &Seat) -> Result<Vec<Part>> {
        let filtered = arrived.ip.is_some_and(|ip| seat.site.filters.contains(ip));
        let origin = Origin {
            site: &seat.site,
            user_agent: arrived.user_agent,
            ip: arrived.ip,
            place: arrived.ip.and_then(|ip| self.geo.look_up(ip)),
            sent_at: decoded.sent_at,
            authority: arrived.authority,
        };
        let attached = self.attached(decoded.decision, arrived, &origin)?;
        let mut parts: Vec<Part> = decoded
            .items
            .into_iter()
            .map(|item| match item {
                _ if filtered => Part::Filtered,
                Err(problem) => Part::Invalid(problem),
                Ok(Item::Decision(raw)) => self.decision_line(*raw, &origin),
                Ok(Item::Event(mut raw)) => {
                    match self.deriver.shape(&mut raw, &origin, self.hash_key(), &self.limits) {
                        Err(problem) => Part::Invalid(problem),
                        Ok(event) => {
                            self.too_old(&event, arrived.received).map_or_else(|| Part::Event(event), Part::Invalid)
                        }
                    }
                }
            })
            .collect();
        if let Some(decision) = attached {
            attach(&mut parts, &decision);
        }
        Ok(parts)
    }

    /// The decision of the envelope or of the header, which stands for every event.
    pub(in crate::ingest) fn attached(
        &self,
        envelope: Option<RawDecision<'_>>,
        arrived: &Arrived<'_>,
        origin: &Origin<'_>,
    ) -> Result<Option<Decision>> {
        let shaped = match (envelope, arrived.consent_header) {
            (Some(raw), _) => shape_attached(raw, origin, &self.limits),
            (None, Some(header)) => match decode::one_line(header.as_bytes(), &self.limits)? {
                Ok(Item::Decision(raw)) => shape_attached(*raw, origin, &self.limits),
                _ => Err(Invalid::new("Wayside-Consent", "is no decision")),
            },
            (None, None) => return Ok(None),
        };
        shaped.map(Some).map_err(|p| {
            Error::invalid(format!("{} {}", p.field, p.what))
                .code("decision")
                .remedy("correct the decision, or leave it out; nothing of the request was taken")
        })
    }

    pub(in crate::ingest) fn decision_line(&self, raw: RawDecision<'_>, origin: &Origin<'_>) -> Part {
        if !origin.may_decide() {
            let what = "decision lines need authority: record it with POST /v1/consent";
            return Part::Invalid(Invalid::new("decision", what));
        }
        match shape_decision(raw, origin.site, &self.limits) {
            Ok(shaped) => Part::Decision(Box::new(shaped)),
            Err(problem) => Part::Invalid(problem),
        }
    }

    /// The native door's own age limit, off by default: a kiosk is days late.
    fn too_old(&self, event: &Event, received: Millis) -> Option<Invalid> {
        let limit = self.native_age_ms?;
        let created = event.client_at?;
        (received.since(created) > limit)
            .then(|| Invalid::new("time", "is older than this collector accepts (event_age_minutes_max)"))
    }

    /// Hands shaped parts to the pen as one job.
    pub(in crate::ingest) fn hand_over(
        &self,
        seat: Seat,
        parts: Vec<Part>,
        arrived: &Arrived<'_>,
        done: impl FnOnce(Result<Answer>) + Send + 'static,
    ) -> Result<()> {
        self.refuse_when_full(&parts)?;
        let explain = arrived.authority != Authority::Public || seat.site.options.debug;
        let from = From {
            received: arrived.received,
            signals: arrived.signals,
            actor: match arrived.authority {
                Authority::Public => Actor::Subject,
                Authority::Sender => Actor::Sender,
                Authority::Operator => Actor::Operator,
            },
            visit_told: false,
        };
        let parts = Arc::new(parts);
        let (rules, tail) = (self.rules.clone(), Arc::clone(&self.tail));
        let site = seat.site.id().to_owned();
        let told = Arc::clone(&parts);
        self.store.pen().submit(
            parts.len(),
            move |tx| {
                let mut outcomes = Vec::with_capacity(parts.len());
                for part in parts.iter() {
                    outcomes.push(one(tx, &seat, &rules, &from, part)?);
                }
                Ok(outcomes)
            },
            move |result: Result<Vec<Outcome>>| {
                if let Ok(outcomes) = &result {
                    tail.add(from.received, &site, told.iter().map(Part::name).zip(outcomes));
                }
                done(result.map(|outcomes| Answer { outcomes, explain }));
            },
        )
    }

    /// The disk budget refuses by lane (contract 7): `fine` first, at last all but consent.
    pub(in crate::ingest) fn refuse_when_full(&self, parts: &[Part]) -> Result<()> {
        let refuse = match self.store.pressure() {
            0..90 => false,
            90..95 => parts.iter().all(Part::is_fine),
            _ => !parts.iter().all(|part| matches!(part, Part::Decision(_))),
        };
        if !refuse {
            return Ok(());
        }
        Err(Error::busy("the disk budget is used up")
            .code("budget_full")
            .remedy("try again later; the site's operator is told by wayside status"))
    }
}

pub(in crate::ingest) fn one(
    tx: &WriteTx<'_>,
    seat: &Seat,
    rules: &record::Rules,
    from: &From,
    part: &Part,
) -> Result<Outcome> {
    match part {
        Part::Event(event) => record::event(tx, seat, rules, from, event),
        Part::Invalid(problem) => Ok(Outcome::invalid(problem.field.to_string(), problem.what.to_string())),
        Part::Shared(part) => one(tx, seat, rules, &From { visit_told: true, ..*from }, part),
        Part::Filtered => Ok(Outcome { filtered: true, ..Outcome::of(Fate::Counted) }),
        Part::Decision(decision) => {
            let asked = Asked { actor: from.actor, token: None, signals: from.signals, received: from.received };
            match (rules.recorder)(tx, seat, &decision.0, &decision.1, &asked) {
                Ok(done) => Ok(Outcome {
                    event_id: Some(done.row.decision_id),
                    seq: Some(done.row.seq),
                    token: done.token,
                    ..Outcome::of(if done.repeated { Fate::Duplicate } else { Fate::Accepted })
                }),
                Err(e) if e.kind == Kind::Storage => Err(e),
                Err(e) => Ok(Outcome::invalid("decision", e.what)),
            }
        }
    }
}
