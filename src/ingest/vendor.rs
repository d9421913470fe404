//! The Journey endpoints' way to the pen: one event, answered enriched, with its visit as the vendor's session.
//! Must never parse the vendor's shapes itself (`journey.rs`). Invariant: without the right to measure the answer holds no
//! session, and tells nothing of why (contract 2).

use std::sync::Arc;

use crate::base::error::Result;
use crate::base::id::uuid_bytes;
use crate::base::id::uuid_text;
use crate::domain::event::Fate;
use crate::domain::referrer;
use crate::domain::site::Seat;
use crate::domain::visit::Visit;
use crate::ingest::Ingest;
use crate::ingest::accept::{Answer, Arrived, Part, taken_with};
use crate::ingest::journey::{self, JourneyProblem, VisitSummary};
use crate::ingest::record::Outcome;
use crate::ingest::shape::Origin;
use crate::ingest::wire::RawEvent;
use crate::store::{visitors, visits};

/// Which endpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// `/webevents`.
    Web,
    /// `/appevents`.
    App,
    /// `/actionevent`.
    Action,
}

/// What is answered.
#[derive(Clone, Debug)]
pub struct VendorAnswer {
    /// What became of the event.
    pub outcome: Outcome,
    /// The enriched event; empty for actions.
    pub body: Vec<u8>,
}

/// Why a request is not taken.
#[derive(Debug)]
pub enum Refused {
    /// The request is not as documented.
    Problem(JourneyProblem),
    /// Anything else.
    Error(crate::base::error::Error),
}

impl From<crate::base::error::Error> for Refused {
    fn from(error: crate::base::error::Error) -> Self {
        Refused::Error(error)
    }
}

impl Ingest {
    /// Takes one Journey event. Errors come at once, those of the pen to `done`.
    pub fn accept_vendor(
        &self,
        kind: Kind,
        body: &[u8],
        arrived: &Arrived<'_>,
        done: impl FnOnce(Result<VendorAnswer>) + Send + 'static,
    ) -> std::result::Result<(), Refused> {
        let seat = self.seat_for(arrived, None)?;
        let parse = match kind {
            Kind::Web => journey::web,
            Kind::App => journey::app,
            Kind::Action => journey::action,
        };
        let raw = parse(body, &self.limits).map_err(Refused::Problem)?;
        if raw.time.is_some_and(|at| journey::too_old(at, arrived.received, self.journey_age_ms)) {
            return Err(Refused::Problem(JourneyProblem::too_old()));
        }
        let part = self.vendor_part(kind, raw, arrived, &seat)?;
        let part = Arc::new(part);
        let shown = Arc::clone(&part);
        let finish = move |answer: Result<Answer>| {
            done(answer.map(|mut answer| {
                let outcome = answer.outcomes.pop().unwrap_or_else(|| Outcome::of(Fate::Counted));
                VendorAnswer { body: enriched(kind, &shown, &outcome), outcome }
            }));
        };
        self.hand_over(seat, vec![Part::Shared(part)], arrived, finish).map_err(Refused::Error)
    }

    fn vendor_part(
        &self,
        kind: Kind,
        mut raw: RawEvent<'_>,
        arrived: &Arrived<'_>,
        seat: &Seat,
    ) -> std::result::Result<Part, Refused> {
        if arrived.ip.is_some_and(|ip| seat.site.filters.contains(ip)) {
            return Ok(Part::Filtered);
        }
        // a sender may tell its visitor's address; it never lifts a filter, which goes by the connection
        let ip = raw.ip.or(arrived.ip);
        let origin = Origin {
            site: &seat.site,
            user_agent: arrived.user_agent,
            ip,
            place: ip.and_then(|ip| self.geo.look_up(ip)),
            sent_at: None,
            authority: arrived.authority,
        };
        let attached = self.attached(None, arrived, &origin)?;
        let shaped = self.deriver.shape(&mut raw, &origin, self.hash_key(), &self.limits);
        let mut event = shaped.map_err(|problem| Refused::Problem(problem.into()))?;
        event.decision = attached.map(|decision| Box::new(taken_with(&event, &decision, true)));
        if kind == Kind::Action {
            self.whose_action(&mut event)?;
        }
        Ok(Part::Event(event))
    }

    /// An action names the session we gave; it belongs to that visit's visitor.
    fn whose_action(&self, event: &mut crate::domain::event::Event) -> Result<()> {
        let named = event.visit.take().and_then(|id| uuid_bytes(&id.to_string().to_ascii_lowercase()));
        let Some(uuid) = named else { return Ok(()) };
        event.visitor = self.store.read(|tx| {
            let Some(visit) = visits::by_uuid(tx, &uuid)? else { return Ok(None) };
            Ok(visitors::get(tx, visit.visitor_id)?.map(|visitor| visitor.key))
        })?;
        Ok(())
    }
}

fn summary(visit: &Visit) -> VisitSummary {
    VisitSummary {
        id: uuid_text(&visit.uuid),
        started: visit.started,
        last_active: visit.last_active,
        event_count: visit.event_count,
        page_count: visit.page_count,
        screen_count: visit.screen_count,
        referrer: visit.referrer.as_deref().map(|kept| referrer::whole(kept).into_owned()),
        authenticated: visit.authenticated,
    }
}

fn enriched(kind: Kind, part: &Part, outcome: &Outcome) -> Vec<u8> {
    let Part::Event(event) = part else { return b"{}".to_vec() };
    let visit = outcome.visit.as_deref().map(summary);
    let made = match kind {
        Kind::Web => serde_json::to_vec(&journey::web_response(event, visit.as_ref())),
        Kind::App => serde_json::to_vec(&journey::app_response(event, outcome.event_id.as_ref(), visit.as_ref())),
        Kind::Action => return Vec::new(),
    };
    made.expect("invariant: an answer has string keys")
}
