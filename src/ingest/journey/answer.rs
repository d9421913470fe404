//! What the vendor's ingestion endpoints answer: the enriched event with its session (our visit).
//! Must never hold what the request did not send or the event does not hold. Invariant: unknown fields are left out, never null.

use serde::ser::{SerializeMap, Serializer};
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::base::id::ClientId;
use crate::base::piece::Piece;
use crate::base::time::Millis;
use crate::domain::address::Address;
use crate::domain::campaign::Campaign;
use crate::domain::device::{Agent, DeviceCategory};
use crate::domain::event::{Attribute, Event};
use crate::domain::place::Place;
use crate::domain::referrer::Referrer;

/// What an answer tells of a visit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VisitSummary {
    /// Its public id.
    pub id: String,
    /// First activity, corrected time.
    pub started: Millis,
    /// Last activity, corrected time.
    pub last_active: Millis,
    /// Events so far.
    pub event_count: i64,
    /// Pages so far.
    pub page_count: i64,
    /// Screens so far.
    pub screen_count: i64,
    /// Referrer of its first event: a JSON object.
    pub referrer: Option<String>,
    /// A session is open.
    pub authenticated: bool,
}

/// The vendor's WebEventResponse.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WebEventResponse<'a> {
    page: Page<'a>,
    #[serde(skip_serializing_if = "Option::is_none")]
    user_agent_string: Option<&'a str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    browser: Map<String, Value>,
    authenticated: bool,
    #[serde(flatten)]
    common: Common<'a>,
}

/// The vendor's AppEventResponse.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct AppEventResponse<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    screen_name: Option<&'a str>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    app: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    sdk_library: Map<String, Value>,
    #[serde(skip_serializing_if = "Map::is_empty")]
    network_connectivity: Map<String, Value>,
    #[serde(flatten)]
    common: Common<'a>,
}

/// What both answers tell.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Common<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    customer_id_type: Option<&'static str>,
    event_name: &'a str,
    #[serde(skip_serializing_if = "Map::is_empty")]
    device: Map<String, Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    search_query: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    geolocation: Option<&'a Place>,
    #[serde(skip_serializing_if = "Option::is_none")]
    mkt_campaign: Option<&'a Campaign>,
    #[serde(skip_serializing_if = "Option::is_none")]
    session: Option<Session>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<&'a Referrer>,
    #[serde(skip_serializing_if = "<[Attribute]>::is_empty", serialize_with = "typed")]
    attributes: &'a [Attribute],
    #[serde(skip_serializing_if = "<[Attribute]>::is_empty", serialize_with = "typed")]
    traits: &'a [Attribute],
    #[serde(skip_serializing_if = "Option::is_none")]
    external_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_date: Option<String>,
}

/// The vendor's ResponsePage.
#[derive(Debug, Default, Serialize)]
#[serde(rename_all = "camelCase")]
struct Page<'a> {
    url: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    title: Option<&'a str>,
    domain: String,
    fragment: &'a str,
    hostname: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    keywords: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lang: Option<&'a str>,
    pathname: &'a str,
    query_string: &'a str,
}

/// The vendor's WebEventResponseSession and AppEventResponseSession.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Session {
    id: String,
    duration_in_seconds: i64,
    event_count: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    pageview_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    screenview_count: Option<i64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    referrer: Option<Value>,
    self_uri: String,
    created_date: String,
}

/// Device, browser and app as the client told them.
#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
struct Told {
    device: Map<String, Value>,
    browser: Map<String, Value>,
    app: Map<String, Value>,
    sdk_library: Map<String, Value>,
    network_connectivity: Map<String, Value>,
}

/// The answer to a web event. Without the right to measure there is no visit, and so no session.
pub fn web_response<'a>(event: &'a Event, visit: Option<&VisitSummary>) -> WebEventResponse<'a> {
    let mut told = told(event);
    let device = device(std::mem::take(&mut told.device), event.agent.as_deref());
    let address = event.page.address.as_ref();
    let part = |part: fn(&'a Address) -> &'a Piece| address.map_or("", |a| part(a));
    let mut browser = told.browser;
    if let Some(agent) = event.agent.as_deref() {
        fill(&mut browser, "family", agent.browser_family.as_deref());
        fill(&mut browser, "version", agent.browser_version.as_deref());
    }
    WebEventResponse {
        page: Page {
            url: part(|a| &a.url),
            title: event.page.title.as_deref(),
            domain: address.map(Address::domain).unwrap_or_default(),
            fragment: part(|a| &a.fragment),
            hostname: part(|a| &a.hostname),
            keywords: event.page.keywords.as_deref(),
            lang: event.page.language.as_deref(),
            pathname: part(|a| &a.pathname),
            query_string: part(|a| &a.query_string),
        },
        user_agent_string: event.user_agent.as_deref(),
        browser,
        authenticated: visit.is_some_and(|visit| visit.authenticated),
        common: common(event, device, visit.map(|visit| session(visit, false))),
    }
}

/// The answer to an app event kept under `id`. Without the right to measure there is no visit, and so no session.
pub fn app_response<'a>(event: &'a Event, id: Option<&ClientId>, visit: Option<&VisitSummary>) -> AppEventResponse<'a> {
    let told = told(event);
    let device = device(told.device, event.agent.as_deref());
    AppEventResponse {
        id: id.map(ToString::to_string),
        screen_name: event.page.screen.as_deref(),
        app: told.app,
        sdk_library: told.sdk_library,
        network_connectivity: told.network_connectivity,
        common: common(event, device, visit.map(|visit| session(visit, true))),
    }
}

fn common<'a>(event: &'a Event, device: Map<String, Value>, session: Option<Session>) -> Common<'a> {
    Common {
        customer_id: event.visitor.as_ref().map(ToString::to_string),
        customer_id_type: event.visitor.is_some().then_some("cookie"),
        event_name: &event.name,
        device,
        search_query: event.search_query.as_deref(),
        geolocation: event.place.as_deref(),
        mkt_campaign: event.campaign.as_deref(),
        session,
        referrer: event.referrer.as_ref(),
        attributes: &event.attributes,
        traits: &event.personal.traits,
        external_id: event.personal.external_id.as_deref(),
        created_date: event.client_at.map(Millis::rfc3339),
    }
}

fn session(visit: &VisitSummary, screens: bool) -> Session {
    Session {
        duration_in_seconds: visit.last_active.since(visit.started).max(0) / crate::base::time::SECOND_MS,
        event_count: visit.event_count,
        pageview_count: (!screens).then_some(visit.page_count),
        screenview_count: screens.then_some(visit.screen_count),
        referrer: visit.referrer.as_deref().and_then(|json| serde_json::from_str(json).ok()),
        self_uri: format!("/api/v2/journey/sessions/{}", visit.id),
        created_date: visit.started.rfc3339(),
        id: visit.id.clone(),
    }
}

fn told(event: &Event) -> Told {
    event.context.as_deref().and_then(|json| serde_json::from_str(json).ok()).unwrap_or_default()
}

/// The device as told, completed by what the user agent tells.
fn device(mut device: Map<String, Value>, agent: Option<&Agent>) -> Map<String, Value> {
    let Some(agent) = agent else { return device };
    fill(&mut device, "category", Some(agent.category.as_str()));
    fill(&mut device, "type", agent.device_type.as_deref());
    fill(&mut device, "osFamily", agent.os_family.as_deref());
    fill(&mut device, "osVersion", agent.os_version.as_deref());
    fill(&mut device, "manufacturer", agent.manufacturer.as_deref());
    let mobile = matches!(agent.category, DeviceCategory::Mobile | DeviceCategory::Tablet);
    device.entry("isMobile").or_insert(Value::Bool(mobile));
    device
}

fn fill(map: &mut Map<String, Value>, key: &str, text: Option<&str>) {
    if let Some(text) = text {
        map.entry(key).or_insert_with(|| Value::from(text));
    }
}

/// `{"name": {"dataType": .., "value": ..}}`
fn typed<S: Serializer>(list: &[Attribute], to: S) -> Result<S::Ok, S::Error> {
    #[derive(Serialize)]
    #[serde(rename_all = "camelCase")]
    struct Typed<'a> {
        data_type: &'static str,
        value: &'a str,
    }
    let mut map = to.serialize_map(Some(list.len()))?;
    for attribute in list {
        let typed = Typed { data_type: attribute.data_type.word(), value: &attribute.value };
        map.serialize_entry(&attribute.name, &typed)?;
    }
    map.end()
}
