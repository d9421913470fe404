//! Decisions as they were sent: a line of their own, or attached to an event, an envelope or a header.
//! Must never apply one: what a decision changes is `domain::consent`'s. Invariant: a grant names its purposes.

use crate::base::digest::Hash;
use crate::base::id::ClientId;
use crate::base::text::{hex, unhex};
use crate::domain::address::{path_template, read_page_url};
use crate::domain::consent::{Action, Decision, Evidence, Method};
use crate::domain::site::Site;
use crate::ingest::limits::{LANGUAGE_BYTES_MAX, Limits};
use crate::ingest::shape::check::{id, purposes, short, word};
use crate::ingest::shape::{Authority, Origin, Shaped};
use crate::ingest::wire::{Invalid, RawDecision, Text};

/// Longest record of another consent tool, in bytes.
const TOOL_RECORD_BYTES_MAX: usize = 2_048;

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
    let action =
        raw.action.take().ok_or_else(|| Invalid::new("action", "is missing: give, refuse, withdraw or object"))?;
    let action: Action = word("action", &action)?;
    let words = raw.purposes.take().unwrap_or_default();
    let purposes = purposes("purposes", &words, site)?;
    if action == Action::Give && purposes.is_none() {
        return Err(Invalid::new("purposes", "is missing: a grant must name its purposes, for example [\"measure\"]"));
    }
    let method = raw.method.take().map(|text| word("method", &text)).transpose()?.unwrap_or_default();
    if action == Action::Give && matches!(method, Method::BannerRefuse | Method::BrowserSignal) {
        return Err(Invalid::new("method", "is no way to agree: a signal or a refusal never means yes"));
    }
    let evidence = evidence(&mut raw, site, limits)?;
    Ok(Decision {
        id: id("decisionId", raw.decision_id.take(), limits)?,
        action,
        purposes,
        method,
        notice: short("notice", raw.notice.take(), limits.id_bytes_max)?.unwrap_or_else(|| "none".to_owned()),
        notice_digest: digest("noticeDigest", raw.notice_digest.take())?,
        evidence,
        language: short("language", raw.language.take(), LANGUAGE_BYTES_MAX)?,
        signal_shown: raw.signal_shown.unwrap_or_default(),
        client_at: raw.time,
        sent_at: raw.sent_at,
    })
}

fn digest(field: &str, value: Option<Text<'_>>) -> Shaped<Option<Hash>> {
    let Some(text) = value.filter(|text| !text.is_empty()) else { return Ok(None) };
    unhex::<32>(&text).map(Some).map_err(|_| Invalid::new(field, "is no SHA-256 of 64 hex digits"))
}

/// Of the page only host and path template stay: neither query nor what may name a person.
fn evidence(raw: &mut RawDecision<'_>, site: &Site, limits: &Limits) -> Shaped<Evidence> {
    let page = short("pageUrl", raw.page_url.take(), limits.url_bytes_max)?;
    let page = page.map(|text| read_page_url(&text, &site.url_rules)).transpose();
    let page = page.map_err(|e| Invalid::new("pageUrl", e.what))?;
    Ok(Evidence {
        page: page.map(|landed| format!("{}{}", landed.address.hostname, path_template(&landed.address.pathname))),
        banner: digest("bannerDigest", raw.banner_digest.take())?.map(|digest| hex(&digest)),
        record: short("toolRecord", raw.tool_record.take(), TOOL_RECORD_BYTES_MAX)?,
        device: short("kioskId", raw.kiosk_id.take(), limits.id_bytes_max)?,
    })
}
