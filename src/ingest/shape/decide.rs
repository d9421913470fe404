//! Decisions as they were sent: a line of their own, or attached to an event, an envelope or a header.
//! Must never apply one: what a decision changes is `domain::consent`'s. Invariant: a grant names its purposes.

use crate::base::id::ClientId;
use crate::domain::consent::{Action, Decision};
use crate::domain::site::Site;
use crate::ingest::limits::{LANGUAGE_BYTES_MAX, Limits};
use crate::ingest::shape::check::{id, purposes, short, word};
use crate::ingest::shape::{Authority, Origin, Shaped};
use crate::ingest::wire::{Invalid, RawDecision};

/// Checks a decision line. Whether the caller may decide for this visitor is the caller's to check.
/// Errors: the field that is wrong.
pub fn shape_decision(raw: RawDecision<'_>, site: &Site, limits: &Limits) -> Shaped<(ClientId, Decision)> {
    let mut raw = raw;
    let visitor = id("visitor", raw.visitor.take(), limits)?
        .ok_or_else(|| Invalid::new("visitor", "is missing: whose decision is it?"))?;
    Ok((visitor, decision(raw, site, limits)?))
}

/// Checks a decision that came with an event, an envelope or a header. Errors: the field that is wrong; `decision` where the
/// site takes none that way.
pub fn shape_attached(raw: RawDecision<'_>, origin: &Origin<'_>, limits: &Limits) -> Shaped<Decision> {
    if !origin.may_decide() {
        let what = match origin.authority {
            Authority::Public => "needs an ingest token; without one record it with POST /v1/consent",
            _ => {
                "is not taken from senders of this site; set its consent_source = \"sender\", or record it with POST /v1/consent"
            }
        };
        return Err(Invalid::new("decision", what));
    }
    decision(raw, origin.site, limits)
        .map_err(|problem| Invalid::new(format!("decision.{}", problem.field), problem.what))
}

fn decision(mut raw: RawDecision<'_>, site: &Site, limits: &Limits) -> Shaped<Decision> {
    let action = raw.action.take().ok_or_else(|| Invalid::new("action", "is missing: give, refuse or withdraw"))?;
    let action: Action = word("action", &action)?;
    let words = raw.purposes.take().unwrap_or_default();
    let purposes = purposes("purposes", &words, site)?;
    if action == Action::Give && purposes.is_none() {
        return Err(Invalid::new("purposes", "is missing: a grant must name its purposes, for example [\"measure\"]"));
    }
    Ok(Decision {
        id: id("decisionId", raw.decision_id.take(), limits)?,
        action,
        purposes,
        method: raw.method.take().map(|text| word("method", &text)).transpose()?.unwrap_or_default(),
        notice: short("notice", raw.notice.take(), limits.id_bytes_max)?.unwrap_or_else(|| "none".to_owned()),
        language: short("language", raw.language.take(), LANGUAGE_BYTES_MAX)?,
        signal_shown: raw.signal_shown.unwrap_or_default(),
        client_at: raw.time,
        sent_at: raw.sent_at,
    })
}
