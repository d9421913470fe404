//! From an event as it was sent to an event as the rest of the program knows it: checked, derived, scrubbed.
//! Must never store, count or look at a visitor's standing; that is the pen's. Owns the cache of parsed user agents.
//! Invariant: nothing of an address's excluded parameters, and no more of a client's address than the site keeps, comes out.

use std::net::IpAddr;
use std::sync::Arc;

use crate::base::digest::HashKey;
use crate::base::text::cut;
use crate::base::time::Millis;
use crate::domain::address::{read_page_url, read_referrer_url, registrable_domain};
use crate::domain::denied::DenyList;
use crate::domain::device::{Agent, AgentParser, DeviceCategory};
use crate::domain::event::{Act, Event, EventType, PageInfo, Stream};
use crate::domain::network::truncate_ip;
use crate::domain::place::Place;
use crate::domain::referrer::ReferrerBook;
use crate::domain::site::{ConsentSource, KeepIp, Site};
use crate::domain::visit::EndReason;
use crate::ingest::limits::{LANGUAGE_BYTES_MAX, Limits, NAME_BYTES_MAX, USER_AGENT_BYTES_MAX};
use crate::ingest::shape::check::{fits, id, purposes, short};
use crate::ingest::shape::known::Known;
use crate::ingest::shape::parts::{content_hash, context, conversation, custom};
use crate::ingest::wire::{Invalid, RawEvent};

mod check;
mod decide;
mod known;
mod parts;

pub use decide::{shape_attached, shape_decision};

/// Parsed user agents that are remembered.
const AGENTS_MAX: usize = 1024;
/// Hosts of pages and referrers whose registrable domain is remembered.
const HOSTS_MAX: usize = 512;

/// Names with a fixed meaning (seed 004); every other name is the site's own.
const SYSTEM_NAMES: [&str; 6] = ["VisitStarted", "PageEntered", "PageExited", "SignIn", "SignOut", "UserInfo"];

pub(crate) type Shaped<T> = std::result::Result<T, Invalid>;

/// By what right a request speaks (contract 2).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Authority {
    /// Anyone: a browser at the public door.
    Public,
    /// A program with an ingest token.
    Sender,
    /// The control socket or the spool folder: writing there is authority.
    Operator,
}

/// What a request tells of all its events.
#[derive(Clone, Debug)]
pub struct Origin<'a> {
    /// The site they belong to.
    pub site: &'a Site,
    /// The header `User-Agent`. Read for web pages of public callers only: other callers' name their library.
    pub user_agent: Option<&'a str>,
    /// The client's address, behind trusted proxies.
    pub ip: Option<IpAddr>,
    /// Where that address lies.
    pub place: Option<Place>,
    /// When the envelope was sent, by the client's clock.
    pub sent_at: Option<Millis>,
    /// By what right it speaks.
    pub authority: Authority,
}

impl Origin<'_> {
    /// May decisions come with events here? (contract 2, consent_source)
    pub fn may_decide(&self) -> bool {
        match self.authority {
            Authority::Public => false,
            Authority::Sender => self.site.options.consent_source == ConsentSource::Sender,
            Authority::Operator => true,
        }
    }
}

/// Derives what an event does not say itself. Building it takes some milliseconds: build one and share it.
#[derive(Debug)]
pub struct Deriver {
    parser: AgentParser,
    book: ReferrerBook,
    agents: Known<(Arc<str>, Arc<Agent>)>,
    domains: Known<str>,
    deny: DenyList,
}

impl Default for Deriver {
    fn default() -> Self {
        Self::with(DenyList::none())
    }
}

impl Deriver {
    /// With the rules that are compiled in, leaving out what tells of the list's words.
    pub fn with(deny: DenyList) -> Self {
        let (agents, domains) = (Known::new(AGENTS_MAX), Known::new(HOSTS_MAX));
        Deriver { parser: AgentParser::new(), book: ReferrerBook::builtin(), agents, domains, deny }
    }

    /// Leaves out of an event what tells of a special category of personal data.
    pub fn screen(&self, event: &mut Event) {
        self.deny.screen(event);
    }

    /// What a user agent tells; remembered, since few of them make most requests.
    pub fn agent(&self, user_agent: &str) -> Arc<Agent> {
        Arc::clone(&self.known_agent(user_agent).1)
    }

    fn known_agent(&self, user_agent: &str) -> Arc<(Arc<str>, Arc<Agent>)> {
        self.agents.get(user_agent, |text| Arc::new((text.into(), Arc::new(self.parser.parse(text)))))
    }

    /// What can be registered of a host; remembered, since a site has one or two and the engines that lead to it are few.
    fn domain(&self, host: &str) -> Arc<str> {
        self.domains.get(host, |host| registrable_domain(host).into())
    }

    /// Checks an event and derives what it does not say, taking its texts. `hash_key` is the database's secret. Both events are
    /// large, and stay where they are.
    /// Errors: the first field that is wrong, and what would be right.
    pub fn shape(
        &self,
        raw: &mut RawEvent<'_>,
        origin: &Origin<'_>,
        hash_key: &HashKey,
        limits: &Limits,
    ) -> Shaped<Box<Event>> {
        let site = origin.site;
        let mut event = named(raw, site)?;
        event.id = id("eventId", raw.event_id.take(), limits)?;
        event.visitor = id("visitor", raw.visitor.take(), limits)?;
        event.visit = id("visitId", raw.visit_id.take(), limits)?;
        event.device_id = id("deviceId", raw.device_id.take(), limits)?.map(|id| id.to_string());
        event.client_at = raw.time;
        event.sent_at = raw.sent_at.or(origin.sent_at);
        self.page(&mut event, raw, site, limits)?;
        event.context = context(raw, limits)?;
        self.agent_of(&mut event, raw, origin);
        event.claim = match raw.consent.take() {
            Some(words) => Some(purposes("consent", &words, site)?),
            None => None,
        };
        if let Some(decision) = raw.decision.take() {
            let mut decision = shape_attached(*decision, origin, limits)?;
            // a decision without a time was taken by the time of its event, not when both arrived
            decision.client_at = decision.client_at.or(event.client_at);
            decision.sent_at = decision.sent_at.or(event.sent_at);
            event.decision = Some(Box::new(decision));
            if event.visitor.is_none() {
                return Err(Invalid::new("visitor", "is missing: the decision must be somebody's"));
            }
        }
        event.conversation = conversation(raw, event.act, limits)?;
        custom(&mut event, raw, limits)?;
        keep_address(&mut event, origin);
        event.content_hash = content_hash(&event, hash_key);
        event.personal.claim(&mut event.attributes);
        self.screen(&mut event);
        Ok(event)
    }

    /// Page or screen, and what is read off addresses: campaign, search, referrer.
    fn page(&self, event: &mut Event, raw: &mut RawEvent<'_>, site: &Site, limits: &Limits) -> Shaped<()> {
        let most = limits.text_bytes_max;
        let language = short("page.lang", raw.lang.take(), LANGUAGE_BYTES_MAX)?;
        let language_code = short("languageCode", raw.language_code.take(), LANGUAGE_BYTES_MAX)?;
        event.search_query = short("searchQuery", raw.search_query.take(), most)?;
        event.page = PageInfo {
            id: id("pageId", raw.page_id.take(), limits)?,
            address: None,
            screen: short("screen", raw.screen.take(), most)?,
            title: short("page.title", raw.title.take(), most)?,
            keywords: short("page.keywords", raw.keywords.take(), most)?,
            language: language.or(language_code),
            category: short("category", raw.category.take(), most)?,
        };
        if let Some(url) = raw.url.take().filter(|url| !url.is_empty()) {
            fits("page.url", &url, limits.url_bytes_max)?;
            let landed = read_page_url(&url, &site.url_rules).map_err(|error| Invalid::new("page.url", error.what))?;
            event.page.address = Some(landed.address);
            event.campaign = landed.campaign.map(Box::new);
            event.search_query = event.search_query.take().or(landed.search_query);
        }
        match (&event.page.address, &event.page.screen) {
            (Some(_), Some(_)) => return Err(Invalid::new("screen", "stands beside a page address; give one of them")),
            (None, None) if event.act == Act::PageEntered => {
                return Err(Invalid::new("page.url", "is missing: give page.url, or for an app its screen"));
            }
            _ => {}
        }
        // a referrer that makes no sense is the other site's doing, and no reason to lose the event
        let host = event.page.address.as_ref().map_or("", |address| &address.hostname);
        let (own, campaign) = (&site.options.internal_hosts, event.campaign.as_deref());
        let found = raw.referrer.take().and_then(|referrer| read_referrer_url(&referrer, &site.url_rules));
        event.referrer = found.map(|found| self.book.classify_by(found, host, own, campaign, |host| self.domain(host)));
        Ok(())
    }

    /// What the user agent tells, or where there is none the device object.
    fn agent_of(&self, event: &mut Event, raw: &RawEvent<'_>, origin: &Origin<'_>) {
        let header = origin.user_agent.filter(|_| event.stream == Stream::Web && origin.authority == Authority::Public);
        let given = raw.user_agent.as_deref().filter(|text| !text.is_empty()).or(header);
        if let Some(user_agent) = given.map(|text| cut(text.trim(), USER_AGENT_BYTES_MAX)) {
            let known = self.known_agent(user_agent);
            event.agent = Some(Arc::clone(&known.1));
            event.user_agent = Some(Arc::clone(&known.0));
        } else if let Some(device) = raw.device.as_ref().filter(|device| !device.is_empty()) {
            let text = |key: &str| device.text(key).map(str::to_owned);
            event.agent = Some(Arc::new(Agent {
                category: device.text("category").and_then(|word| DeviceCategory::parse(word).ok()).unwrap_or_default(),
                device_type: text("type"),
                os_family: text("osFamily"),
                os_version: text("osVersion"),
                manufacturer: text("manufacturer"),
                ..Agent::default()
            }));
        }
    }
}

/// Name, type, stream and act.
fn named(raw: &mut RawEvent<'_>, site: &Site) -> Shaped<Box<Event>> {
    let name = raw.name.take().ok_or_else(|| Invalid::new("name", "is missing"))?;
    let well_formed = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_');
    if !well_formed || name.len() > NAME_BYTES_MAX {
        return Err(Invalid::new("name", format!("must be 1 to {NAME_BYTES_MAX} letters, digits and underscores")));
    }
    let allowed = &site.options.allowed_events;
    if raw.act.is_none() && !allowed.is_empty() && !allowed.iter().any(|one| *one == name) {
        return Err(Invalid::new("name", format!("{name} is not among the site's allowed_events")));
    }
    let mut event = Box::new(Event::named(&name));
    event.act = raw.act.unwrap_or(event.act);
    let system = SYSTEM_NAMES.contains(&name.as_ref());
    event.event_type = if system { EventType::System } else { EventType::Business };
    match raw.event_type.take().as_deref() {
        None => {}
        Some(given) if given == event.event_type.word() => {}
        Some("SYSTEM" | "BUSINESS") => {
            let what = format!("is not that of {name}; SYSTEM are {} and nothing else", SYSTEM_NAMES.join(", "));
            return Err(Invalid::new("eventType", what));
        }
        Some(_) => return Err(Invalid::new("eventType", "must be SYSTEM or BUSINESS")),
    }
    event.stream = match raw.stream.take() {
        Some(given) => {
            Stream::parse(&given).ok_or_else(|| Invalid::new("stream", "must be web, app, conversation or custom"))?
        }
        None if raw.conversation_id.is_some() => Stream::Conversation,
        None if raw.screen.is_some() || raw.app.is_some() || name == "screen_viewed" => Stream::App,
        None => Stream::Web,
    };
    if let Some(reason) = raw.end_reason.take() {
        let reason = EndReason::parse(&reason)
            .filter(|r| matches!(r, EndReason::BrowserClosed | EndReason::LeftSite | EndReason::NextPerson))
            .ok_or_else(|| Invalid::new("endReason", "must be browser_closed, left_site or next_person"))?;
        if name != "visit_ended" {
            return Err(Invalid::new("endReason", "belongs to the event visit_ended only"));
        }
        event.act = Act::VisitEnded(reason);
    }
    Ok(event)
}

/// As much of the client's address as the site keeps.
fn keep_address(event: &mut Event, origin: &Origin<'_>) {
    event.place = origin.place.clone().map(Box::new);
    let Some(ip) = origin.ip else { return };
    let keep = origin.site.options.keep_ip;
    if keep != KeepIp::None {
        event.ip = Some(truncate_ip(ip).to_string());
    }
    if keep == KeepIp::Full {
        event.personal.full_ip = Some(ip.to_canonical().to_string());
    }
}

#[cfg(test)]
mod tests;
