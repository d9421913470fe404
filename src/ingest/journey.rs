//! The vendor's Journey shapes (spec/predictive-engagement 2.1, Appendix A): requests in, answers and error bodies out.
//! Must never apply rules of sites or consent. Invariant: unknown keys are skipped, since the SDK may grow; wrong
//! enumeration words are refused, since the SDK sends `outdated_sdk_version` for them.

use std::net::IpAddr;

use serde::Serialize;

use crate::base::id::{random_bytes, uuid_text};
use crate::base::time::Millis;
use crate::domain::event::{Act, Attribute, DataType};
use crate::ingest::decode::{parse_object, text_of};
use crate::ingest::limits::{Limits, NAME_BYTES_MAX};
use crate::ingest::wire::{
    APP, BROWSER, DEVICE, Invalid, NETWORK, RawEvent, SDK_LIBRARY, Sink, Slot, Table, Target, Text,
};

mod answer;

pub use answer::{AppEventResponse, VisitSummary, WebEventResponse, app_response, web_response};

/// States of an action that a browser may tell.
pub const ACTION_STATES: [&str; 14] = [
    "accepted",
    "rejected",
    "timedout",
    "errored",
    "ignored",
    "qualified",
    "offered",
    "started",
    "engaged",
    "qualifiedOutsideSchedule",
    "offeredOutsideSchedule",
    "abandoned",
    "completed",
    "frequencyCapReached",
];

/// The name under which an action event is stored.
pub const ACTION_EVENT: &str = "action_state";

/// Why a Journey request is not taken: what its error body tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct JourneyProblem {
    /// HTTP status: 400 where the request is not of the documented shape, 422 where a value cannot be taken.
    pub status: u16,
    /// Code of the error body.
    pub code: &'static str,
    /// The field, by the vendor's name; empty for the body as a whole.
    pub field: String,
    /// What is wrong with it.
    pub what: String,
}

impl JourneyProblem {
    fn shape(field: &str, what: impl Into<String>) -> Self {
        JourneyProblem { status: 400, code: "bad.request", field: field.to_owned(), what: what.into() }
    }

    /// An event older than the deployment takes (the vendor's rule of one hour).
    pub fn too_old() -> Self {
        let what = "is older than this deployment takes events".to_owned();
        JourneyProblem { status: 422, code: "bad.request", field: "createdDate".to_owned(), what }
    }

    /// The error body.
    pub fn body(&self) -> Vec<u8> {
        let message = format!("{} {}", self.field, self.what);
        let details = [("invalid.value", self.field.as_str())];
        error_body(self.status, self.code, message.trim(), if self.field.is_empty() { &[] } else { &details })
    }
}

/// What `shape` found wrong, by the vendor's names of fields.
impl From<Invalid> for JourneyProblem {
    fn from(problem: Invalid) -> Self {
        let field = match problem.field.as_str() {
            "visitor" => "customerCookieId",
            "name" => "eventName",
            "screen" => "screenName",
            "time" => "createdDate",
            other => other,
        };
        JourneyProblem { status: 422, code: "bad.request", field: field.to_owned(), what: problem.what }
    }
}

type Parsed<'a> = std::result::Result<RawEvent<'a>, JourneyProblem>;

/// A WebEventRequest. Errors: what is missing, wrong, or no JSON.
pub fn web<'a>(body: &'a [u8], limits: &Limits) -> Parsed<'a> {
    let mut request = WebRequest::default();
    read(body, &mut request, limits)?;
    let WebRequest { mut event, ip } = request;
    required(&[
        ("customerCookieId", event.visitor.is_some()),
        ("eventName", event.name.is_some()),
        ("page.url", event.url.as_ref().is_some_and(|url| !url.is_empty())),
        ("page.title", event.title.is_some()),
        ("createdDate", event.time.is_some()),
    ])?;
    event.ip = match ip.filter(|text| !text.is_empty()) {
        None => None,
        Some(text) => {
            let ip: IpAddr = text.parse().map_err(|_| JourneyProblem::shape("ipAddress", "is no IP address"))?;
            Some(ip)
        }
    };
    event.stream = Some("web".into());
    named(event)
}

/// An AppEventRequest. Errors: what is missing, wrong, or no JSON.
pub fn app<'a>(body: &'a [u8], limits: &Limits) -> Parsed<'a> {
    let mut request = AppRequest::default();
    read(body, &mut request, limits)?;
    let AppRequest(mut event) = request;
    required(&[
        ("eventName", event.name.is_some()),
        ("screenName", event.screen.as_ref().is_some_and(|screen| !screen.is_empty())),
        ("app", event.app.is_some()),
        ("device", event.device.is_some()),
        ("customerCookieId", event.visitor.is_some()),
        ("createdDate", event.time.is_some()),
    ])?;
    event.stream = Some("app".into());
    named(event)
}

/// An ActionEventRequest, as an event named `action_state`. Its `sessionId` is kept as an attribute and stands in `visit_id`: it
/// is the id we gave the visit, not the client's own, so the caller looks the visit up. Errors: what is missing, wrong, or no
/// JSON.
pub fn action<'a>(body: &'a [u8], limits: &Limits) -> Parsed<'a> {
    let mut request = ActionRequest::default();
    read(body, &mut request, limits)?;
    let ActionRequest { session, action, state, error_code, error_message } = request;
    let given = |text: &Option<Text<'_>>| text.as_ref().is_some_and(|text| !text.is_empty());
    required(&[("sessionId", given(&session)), ("actionId", given(&action)), ("actionState", given(&state))])?;
    if !state.as_deref().is_some_and(|word| ACTION_STATES.contains(&word)) {
        return Err(JourneyProblem::shape("actionState", format!("must be one of {}", ACTION_STATES.join(", "))));
    }
    let told = [
        ("actionId", action),
        ("actionState", state),
        ("errorCode", error_code),
        ("errorMessage", error_message),
        ("sessionId", session.clone()),
    ];
    let attributes = told.into_iter().filter_map(|(name, value)| {
        Some(Attribute { name: name.to_owned(), value: value?.into_owned(), data_type: DataType::String })
    });
    Ok(RawEvent {
        name: Some(ACTION_EVENT.into()),
        act: Some(Act::ActionState),
        visit_id: session,
        attributes: Some(attributes.collect()),
        ..RawEvent::default()
    })
}

/// Is an event too old to be taken? `max_age_ms` of `None` takes every age (contract: off for the native API).
pub fn too_old(created: Millis, received: Millis, max_age_ms: Option<i64>) -> bool {
    max_age_ms.is_some_and(|most| received.since(created) > most)
}

/// The vendor's ErrorBody as JSON; `details` are pairs of errorCode and fieldName.
pub fn error_body(status: u16, code: &str, message: &str, details: &[(&str, &str)]) -> Vec<u8> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Detail<'a> {
        error_code: &'a str,
        field_name: &'a str,
    }
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Body<'a> {
        message: &'a str,
        code: &'a str,
        status: u16,
        message_with_params: &'a str,
        message_params: std::collections::BTreeMap<&'a str, &'a str>,
        context_id: String,
        details: Vec<Detail<'a>>,
        errors: [(); 0],
    }
    // a random UUID (RFC 9562, version 4): names one answer, so that a log line can be found by it
    let mut context: [u8; 16] = random_bytes();
    context[6] = (context[6] & 0x0f) | 0x40;
    context[8] = (context[8] & 0x3f) | 0x80;
    let body = Body {
        message,
        code,
        status,
        message_with_params: message,
        message_params: std::collections::BTreeMap::new(),
        context_id: uuid_text(&context),
        details: details.iter().map(|(error_code, field_name)| Detail { error_code, field_name }).collect(),
        errors: [],
    };
    serde_json::to_vec(&body).expect("invariant: texts and numbers are JSON")
}

fn read<'a, T: Target<'a>>(body: &'a [u8], target: &mut T, limits: &Limits) -> std::result::Result<(), JourneyProblem> {
    let mut sink = Sink { first: None, vendor: true, attributes_max: limits.attributes_max, events_max: 1 };
    let broken = |error: crate::base::error::Error| JourneyProblem::shape("", error.what);
    parse_object(text_of(body).map_err(broken)?, target, &mut sink).map_err(broken)?;
    sink.first.map_or(Ok(()), |Invalid { field, what }| Err(JourneyProblem::shape(&field, what)))
}

fn required(fields: &[(&str, bool)]) -> std::result::Result<(), JourneyProblem> {
    match fields.iter().find(|(_, given)| !given) {
        Some((field, _)) => Err(JourneyProblem::shape(field, "is required")),
        None => Ok(()),
    }
}

fn named(event: RawEvent<'_>) -> Parsed<'_> {
    let name = event.name.as_deref().unwrap_or_default();
    let fits =
        (1..=NAME_BYTES_MAX).contains(&name.len()) && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if fits { Ok(event) } else { Err(JourneyProblem::shape("eventName", "must be letters, digits and underscores")) }
}

#[derive(Default)]
struct WebRequest<'a> {
    event: RawEvent<'a>,
    ip: Option<Text<'a>>,
}

impl<'a> Target<'a> for WebRequest<'a> {
    fn slot<'e>(&'e mut self, table: Table, key: &str) -> Option<Slot<'e, 'a>> {
        let event = &mut self.event;
        if table == Table::Page {
            return match key {
                "url" | "title" | "keywords" | "lang" => event.slot(Table::Page, key),
                _ => None,
            };
        }
        Some(match key {
            "page" => Slot::Inner(Table::Page),
            "userAgentString" => Slot::Text(&mut event.user_agent),
            "browser" => Slot::Part(&mut event.browser, BROWSER),
            "ipAddress" => Slot::Text(&mut self.ip),
            _ => return common(event, key),
        })
    }
}

#[derive(Default)]
struct AppRequest<'a>(RawEvent<'a>);

impl<'a> Target<'a> for AppRequest<'a> {
    fn slot<'e>(&'e mut self, _: Table, key: &str) -> Option<Slot<'e, 'a>> {
        let AppRequest(event) = self;
        Some(match key {
            "screenName" => Slot::Text(&mut event.screen),
            "app" => Slot::Part(&mut event.app, APP),
            "sdkLibrary" => Slot::Part(&mut event.sdk_library, SDK_LIBRARY),
            "networkConnectivity" => Slot::Part(&mut event.network, NETWORK),
            _ => return common(event, key),
        })
    }
}

/// Keys of both requests.
fn common<'e, 'a>(event: &'e mut RawEvent<'a>, key: &str) -> Option<Slot<'e, 'a>> {
    Some(match key {
        "customerCookieId" => Slot::Text(&mut event.visitor),
        "eventName" => Slot::Text(&mut event.name),
        "device" => Slot::Part(&mut event.device, DEVICE),
        "searchQuery" => Slot::Text(&mut event.search_query),
        "referrerUrl" => Slot::Text(&mut event.referrer),
        "attributes" => Slot::Attributes(&mut event.attributes),
        "traits" => Slot::Attributes(&mut event.traits),
        "externalId" => Slot::Text(&mut event.external_id),
        "createdDate" => Slot::Time(&mut event.time),
        _ => return None,
    })
}

#[derive(Default)]
struct ActionRequest<'a> {
    session: Option<Text<'a>>,
    action: Option<Text<'a>>,
    state: Option<Text<'a>>,
    error_code: Option<Text<'a>>,
    error_message: Option<Text<'a>>,
}

impl<'a> Target<'a> for ActionRequest<'a> {
    fn slot<'e>(&'e mut self, _: Table, key: &str) -> Option<Slot<'e, 'a>> {
        Some(Slot::Text(match key {
            "sessionId" => &mut self.session,
            "actionId" => &mut self.action,
            "actionState" => &mut self.state,
            "errorCode" => &mut self.error_code,
            "errorMessage" => &mut self.error_message,
            _ => return None,
        }))
    }
}

#[cfg(test)]
mod tests;
