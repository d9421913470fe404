//! What Art. 15 wants said besides the data: purposes and bases, categories, recipients, how long, rights, complaint, source,
//! automated decisions. Owns the words; the facts come from the configuration and the store. Must never name another person.

use serde_json::{Value, json};

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::domain::event::Lane;
use crate::domain::site::Seat;
use crate::store::{ReadTx, batches, cursors, epochs};
use crate::subject::scope::Scope;

/// Whom batches go to, as the configuration says.
#[derive(Clone, Debug)]
pub struct Upstream {
    /// The target's name.
    pub target: String,
    /// `own`, `processor` or `third_party`.
    pub recipient: &'static str,
    /// The recipient as the notice names it.
    pub name: Option<String>,
    /// Personal fields leave to it.
    pub personal: bool,
}

/// How long rows stay.
#[derive(Clone, Copy, Debug)]
pub struct Stay {
    /// Months that visits, pages and events stay.
    pub visits_months: u32,
    /// Days that personal data stays after the last visit.
    pub personal_days: u32,
    /// Months that decisions stay after the last event.
    pub ledger_months: u32,
    /// Days that the files of an answer stay.
    pub results_days: u32,
}

/// What is known of the collector when an answer is made.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// The sites.
    pub seats: Vec<Seat>,
    /// Where batches go.
    pub upstreams: Vec<Upstream>,
    /// How long rows stay.
    pub stay: Stay,
    /// Who is responsible.
    pub controller: String,
    /// Whom one may complain to.
    pub complaint: String,
}

impl Circumstances {
    /// The site of a row.
    pub fn seat(&self, site_id: i64) -> Option<&Seat> {
        self.seats.iter().find(|seat| seat.id == site_id)
    }

    /// The Art. 15(1) items for this person.
    pub fn told(&self, tx: &ReadTx<'_>, scope: &Scope) -> Result<Value> {
        let sites: Vec<&Seat> =
            self.seats.iter().filter(|seat| scope.visitors.iter().any(|of| of.visitor.site_id == seat.id)).collect();
        Ok(json!({
            "controller": if self.controller.is_empty() { "the operator of the site, as its privacy notice says" } else { self.controller.as_str() },
            "purposes": sites.iter().map(|seat| purposes(seat)).collect::<Vec<_>>(),
            "categories": categories(scope),
            "recipients": self.recipients(tx, scope)?,
            "retention": {
                "visits_pages_events": format!("{} months after they were received", self.stay.visits_months),
                "personal_fields": format!("{} days after the last visit", self.stay.personal_days),
                "decisions": format!("{} months after the last event, as the proof of consent", self.stay.ledger_months),
            },
            "rights": [
                "access to a copy (Art. 15)", "rectification (Art. 16)", "erasure (Art. 17)", "restriction (Art. 18)",
                "portability (Art. 20)", "objection (Art. 21)",
                "withdrawing consent at any time, as easily as it was given (Art. 7(3)); what was done before stays lawful",
            ],
            "complaint": self.complaint,
            "source": sources(scope),
            "automated_decisions": "none: no decision with legal or similarly significant effect is made, and no score or profile is kept",
        }))
    }

    /// Where rows of this person have gone, target by target: how many of them lie in batches that were put there.
    fn recipients(&self, tx: &ReadTx<'_>, scope: &Scope) -> Result<Vec<Value>> {
        let mut out = Vec::new();
        for upstream in &self.upstreams {
            let mut upto = [Seq(0); 4];
            for lane in [Lane::Visits, Lane::Pages, Lane::Fine] {
                for epoch in epochs::all(tx)? {
                    let put = cursors::get(tx, &upstream.target, epoch.id, lane)?.put_no;
                    if let Some(batch) = batches::get(tx, epoch.id, lane, put)? {
                        let slot = usize::try_from(lane.code()).unwrap_or(0) % 4;
                        upto[slot] = upto[slot].max(batch.last_seq);
                    }
                }
            }
            let third = upstream.recipient == "third_party";
            let gone =
                scope.visitors.iter().flat_map(|of| &of.visits).flat_map(|visit| &visit.events).filter(|found| {
                    let slot = usize::try_from(found.event.lane.code()).unwrap_or(0) % 4;
                    let rights = &found.event.rights;
                    let may = !rights.exempt && (!third || rights.flags.has(crate::domain::consent::Purposes::SHARE));
                    may && found.event.seq <= upto[slot]
                });
            out.push(json!({
                "target": upstream.target,
                "recipient": upstream.name.clone().unwrap_or_else(|| upstream.recipient.to_owned()),
                "role": upstream.recipient,
                "personal_fields": if upstream.personal { "leave, of people who granted personal" } else { "do not leave" },
                "known_there_as": scope.visitors.iter().map(|of| of.visitor.visitor_ref.to_string()).collect::<Vec<_>>(),
                "events_put": gone.count(),
            }));
        }
        Ok(out)
    }
}

fn purposes(seat: &Seat) -> Value {
    use crate::domain::consent::{LawfulBasis, Purposes};
    let bases = &seat.site.gate.bases;
    let each = Purposes::ALL.each().filter_map(|one| {
        let basis = [
            LawfulBasis::Consent,
            LawfulBasis::LegitimateInterest,
            LawfulBasis::Contract,
            LawfulBasis::LegalObligation,
        ]
        .into_iter()
        .find(|basis| bases.on(*basis).has(one))?;
        let name = one.names(&seat.site.book).concat();
        let configured = seat.site.options.purposes.iter().find(|purpose| purpose.name == name);
        let known = one.0.trailing_zeros() < 7 || configured.is_some();
        known.then(|| {
            json!({
                "purpose": name,
                "basis": basis.word(),
                "assessment": configured.and_then(|purpose| purpose.assessment.clone()),
            })
        })
    });
    json!({"site": seat.site.id(), "purposes": each.collect::<Vec<_>>()})
}

fn categories(scope: &Scope) -> Vec<&'static str> {
    let any = |test: &dyn Fn(&crate::subject::scope::OfVisitor) -> bool| scope.visitors.iter().any(test);
    let list = [
        ("identifiers of browser or device", any(&|_| true)),
        ("visits, pages and events with their times", any(&|of| !of.visits.is_empty())),
        ("browser, system and kind of device", any(&|of| of.visits.iter().any(|v| v.visit.whence.agent.is_some()))),
        ("where visits came from", any(&|of| of.visits.iter().any(|v| v.visit.visit.referrer.is_some()))),
        ("personal fields the person or the site told", any(&|of| !of.fields.is_empty())),
        ("names the site knows the person by", !scope.identities.is_empty()),
        ("decisions about consent", any(&|of| !of.decisions.is_empty())),
    ];
    list.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

fn sources(scope: &Scope) -> Vec<&'static str> {
    let imported = scope.visitors.iter().flat_map(|of| &of.visits).flat_map(|visit| &visit.events);
    let imported =
        imported.filter(|found| found.event.clock_state == crate::domain::clock::ClockState::Imported).count();
    let mut out = vec!["the person's own browser, device or kiosk, and programs of the site"];
    if imported > 0 {
        out.push("log files of the web server, imported");
    }
    out
}
