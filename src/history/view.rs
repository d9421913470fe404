//! The shapes that are shown: snake_case, RFC 3339 times, purposes as words and as a number.
//! Must never query. Invariant: a view is made from rows together with the floors that cover them, never without.

use serde::Serialize;
use serde_json::Value;

use crate::base::id::{Seq, uuid_text};
use crate::base::time::Millis;
use crate::domain::attributes;
use crate::domain::consent::Purposes;
use crate::domain::device::Agent;
use crate::domain::event::Stream;
use crate::domain::referrer;
use crate::domain::stored::{PageRow, SessionRow};
use crate::domain::visit::{EndReason, VisitOptions};
use crate::domain::visitor::Rights;
use crate::history::History;
use crate::store::floors;
use crate::store::queries::{FoundEvent, FoundVisit};

/// Rights as they are shown: without what a withdrawal covers.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RightsView {
    /// What the row may be used for, in words.
    pub purposes: Vec<String>,
    /// The same as bits.
    pub flags: u32,
    /// The lawful bases in force when it was accepted; 0 where consent alone carried it.
    pub basis_id: i64,
    /// The decision in force; 0 where none.
    pub consent_seq: i64,
    /// Kept under the operator's exemption.
    pub exempt: bool,
}

/// What a user agent tells.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DeviceView {
    /// desktop, mobile, tablet or other.
    pub category: String,
    /// Browser with its version.
    pub browser: Option<String>,
    /// System with its version.
    pub os: Option<String>,
    /// In one line for people.
    pub summary: String,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct EventView {
    /// Its number.
    pub seq: i64,
    /// The client's id, or a minted one.
    pub event_id: String,
    /// The site.
    pub site: String,
    /// Its name.
    pub name: String,
    /// SYSTEM or BUSINESS.
    pub event_type: &'static str,
    /// web, app, conversation or custom.
    pub stream: String,
    /// The lane it leaves by.
    pub lane: &'static str,
    /// The visit's id.
    pub visit_id: String,
    /// The visitor's only name outside this machine.
    pub visitor_ref: String,
    /// The client's id of the visitor; only where one event is looked at.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visitor: Option<String>,
    /// The event that entered its page.
    pub page_seq: Option<i64>,
    /// The authenticated session.
    pub session_id: Option<String>,
    /// When it was received.
    pub received_at: String,
    /// When it happened, as far as can be told.
    pub corrected_at: String,
    /// Client clock at the occurrence.
    pub client_at: Option<String>,
    /// Client clock at the sending.
    pub sent_at: Option<String>,
    /// What became of the client's time.
    pub clock_state: &'static str,
    /// Address.
    pub url: Option<String>,
    /// Title.
    pub title: Option<String>,
    /// Name of the screen.
    pub screen: Option<String>,
    /// Referrer, where it differs from its visit's.
    pub referrer: Option<Value>,
    /// What was searched for on the site.
    pub search_query: Option<String>,
    /// Custom attributes: an object of texts.
    pub attributes: Value,
    /// Types of those that are no text.
    pub attribute_types: Option<Value>,
    /// Id and medium of its conversation.
    pub conversation: Option<Value>,
    /// Names of personal fields left out for want of the right.
    pub withheld: Vec<String>,
    /// What the user agent tells.
    pub device: Option<DeviceView>,
    /// The rule by which it is a robot's.
    pub robot: Option<String>,
    /// What it may be used for.
    #[serde(flatten)]
    pub rights: RightsView,
    /// The epoch it was born in.
    pub epoch: String,
}

/// One visit.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VisitView {
    /// Its id.
    pub visit_id: String,
    /// Its number: the one of its first event.
    pub seq: i64,
    /// The site.
    pub site: String,
    /// The visitor's only name outside this machine.
    pub visitor_ref: String,
    /// web, app, conversation or custom.
    pub stream: &'static str,
    /// open or ended.
    pub state: &'static str,
    /// First activity.
    pub started_at: String,
    /// Last activity.
    pub last_active_at: String,
    /// When its newest event was received.
    pub last_received_at: String,
    /// When an open one is considered idle.
    pub idle_at: Option<String>,
    /// When an open one is considered away.
    pub away_at: Option<String>,
    /// When it ended.
    pub ended_at: Option<String>,
    /// Why.
    pub end_reason: Option<&'static str>,
    /// From first to last activity, ms.
    pub duration_ms: i64,
    /// Address or screen it began on.
    pub entry_page: Option<String>,
    /// Newest address or screen.
    pub last_page: Option<String>,
    /// Pages entered.
    pub page_count: i64,
    /// Screens entered.
    pub screen_count: i64,
    /// Events.
    pub event_count: i64,
    /// A session was open at the newest event.
    pub authenticated: bool,
    /// Where the visitor came from.
    pub referrer: Option<Value>,
    /// The campaign it began with.
    pub campaign: Option<Value>,
    /// Searches on the site.
    pub searches: Vec<String>,
    /// Where the address lies.
    pub place: Option<Value>,
    /// The truncated address.
    pub ip: Option<String>,
    /// The machine, at a kiosk.
    pub device_id: Option<String>,
    /// What the user agent tells.
    pub device: Option<DeviceView>,
    /// Device, browser and app as the client told them.
    pub context: Option<Value>,
    /// The rule by which it is a robot's.
    pub robot: Option<String>,
    /// What it may be used for.
    #[serde(flatten)]
    pub rights: RightsView,
    /// The epoch it was born in.
    pub epoch: String,
}

/// One entering of a page or screen.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct PageView {
    /// The event that entered it.
    pub seq: i64,
    /// Address.
    pub url: Option<String>,
    /// Name of the screen.
    pub screen: Option<String>,
    /// Title.
    pub title: Option<String>,
    /// Language of the document.
    pub language: Option<String>,
    /// Categories.
    pub category: Option<String>,
    /// Entered.
    pub entered_at: String,
    /// Left.
    pub exited_at: Option<String>,
    /// Time spent, ms.
    pub dwell_ms: Option<i64>,
}

/// One authenticated period.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct SessionView {
    /// Its id.
    pub session_id: String,
    /// Its number.
    pub seq: i64,
    /// SignIn.
    pub started_at: String,
    /// SignOut.
    pub ended_at: Option<String>,
}

/// JSON kept as text; what does not parse is shown as text.
fn json(text: Option<&str>) -> Option<Value> {
    text.map(|text| serde_json::from_str(text).unwrap_or_else(|_| Value::String(text.to_owned())))
}

fn texts(list: Option<&str>) -> Vec<String> {
    list.and_then(|text| serde_json::from_str(text).ok()).unwrap_or_default()
}

fn time(at: Option<Millis>) -> Option<String> {
    at.map(Millis::rfc3339)
}

fn device(agent: Option<&Agent>) -> Option<DeviceView> {
    let agent = agent?;
    let named = |family: &Option<String>, version: &Option<String>| {
        let family = family.as_deref()?;
        Some(version.as_deref().map_or_else(|| family.to_owned(), |version| format!("{family} {version}")))
    };
    let browser = named(&agent.browser_family, &agent.browser_version);
    let os = named(&agent.os_family, &agent.os_version);
    let mut summary = browser.clone().unwrap_or_else(|| "unknown browser".to_owned());
    if let Some(os) = &os {
        summary.push_str(" on ");
        summary.push_str(os);
    }
    summary.push_str(", ");
    summary.push_str(agent.category.as_str());
    Some(DeviceView { category: agent.category.as_str().to_owned(), browser, os, summary })
}

/// The floors of one visitor.
pub(in crate::history) type Floors = Vec<(Purposes, Seq)>;

impl History {
    /// Rights less what the floors cover at `seq`.
    fn rights(&self, site: &str, rights: Rights, of: &Floors, seq: Seq) -> RightsView {
        let left = rights.flags.without(floors::covering(of, seq));
        RightsView {
            purposes: self.words(site, left),
            flags: left.0,
            basis_id: rights.basis_id,
            consent_seq: rights.consent_seq.0,
            exempt: rights.exempt,
        }
    }

    /// An event as it may be shown under these floors of its visitor.
    pub(in crate::history) fn event_view(&self, found: FoundEvent, floors: &Floors) -> EventView {
        let FoundEvent { event: e, whence, .. } = found;
        let types = e.attribute_types.as_deref().map(|kept| attributes::types(e.attributes.as_deref(), kept));
        EventView {
            seq: e.seq.0,
            event_id: e.event_id.to_string(),
            name: e.name,
            event_type: e.event_type.word(),
            stream: found.stream,
            lane: e.lane.word(),
            visit_id: uuid_text(&found.visit),
            visitor_ref: whence.visitor_ref.to_string(),
            visitor: None,
            page_seq: e.page_id,
            session_id: found.session.as_ref().map(uuid_text),
            received_at: e.received.rfc3339(),
            corrected_at: e.corrected.rfc3339(),
            client_at: time(e.client_at),
            sent_at: time(e.sent_at),
            clock_state: e.clock_state.word(),
            url: e.url.or(found.page_url),
            title: e.title.or(found.page_title),
            screen: found.screen,
            referrer: json(e.referrer.as_deref().map(referrer::whole).as_deref()),
            search_query: e.search_query,
            attributes: json(e.attributes.as_deref()).unwrap_or_else(|| Value::Object(serde_json::Map::new())),
            attribute_types: json(types.as_deref()),
            conversation: json(e.conversation.as_deref()),
            withheld: e.withheld.map(|list| list.split(',').map(str::to_owned).collect()).unwrap_or_default(),
            device: device(whence.agent.as_ref()),
            robot: whence.agent.as_ref().and_then(|agent| agent.robot.clone()),
            rights: self.rights(&whence.site, e.rights, floors, e.seq),
            site: whence.site,
            epoch: whence.epoch,
        }
    }

    /// A visit as it may be shown under these floors of its visitor.
    pub(in crate::history) fn visit_view(&self, found: FoundVisit, floors: &Floors) -> VisitView {
        let FoundVisit { visit: v, whence, entry, last } = found;
        let options: &VisitOptions = &self.options.visits;
        let open = v.end.is_none();
        VisitView {
            visit_id: uuid_text(&v.uuid),
            seq: v.id,
            visitor_ref: whence.visitor_ref.to_string(),
            stream: Stream::word(v.stream),
            state: if open { "open" } else { "ended" },
            started_at: v.started.rfc3339(),
            last_active_at: v.last_active.rfc3339(),
            last_received_at: v.last_received.rfc3339(),
            idle_at: open.then(|| v.idle(options).rfc3339()),
            away_at: open.then(|| v.away(options).rfc3339()),
            ended_at: v.end.map(|(at, _)| at.rfc3339()),
            end_reason: v.end.map(|(_, reason)| EndReason::word(reason)),
            duration_ms: v.last_active.since(v.started),
            entry_page: entry,
            last_page: last,
            page_count: v.page_count,
            screen_count: v.screen_count,
            event_count: v.event_count,
            authenticated: v.authenticated,
            referrer: json(v.referrer.as_deref().map(referrer::whole).as_deref()),
            campaign: json(v.campaign.as_deref()),
            searches: texts(v.searches.as_deref()),
            place: json(v.place.as_deref()),
            ip: v.ip,
            device_id: v.device_id,
            device: device(whence.agent.as_ref()),
            context: json(v.context.as_deref()),
            robot: whence.agent.as_ref().and_then(|agent| agent.robot.clone()),
            rights: self.rights(&whence.site, v.rights, floors, Seq(v.id)),
            site: whence.site,
            epoch: whence.epoch,
        }
    }
}

impl From<PageRow> for PageView {
    fn from(p: PageRow) -> Self {
        PageView {
            seq: p.id,
            url: p.url,
            screen: p.screen,
            title: p.title,
            language: p.language,
            category: p.category,
            entered_at: p.entered.rfc3339(),
            exited_at: time(p.exited),
            dwell_ms: p.dwell_ms,
        }
    }
}

impl From<SessionRow> for SessionView {
    fn from(s: SessionRow) -> Self {
        SessionView {
            session_id: uuid_text(&s.uuid),
            seq: s.id,
            started_at: s.started.rfc3339(),
            ended_at: time(s.ended),
        }
    }
}
