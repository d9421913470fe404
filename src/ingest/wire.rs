//! What one event or decision looks like on the wire, before anything is judged or derived.
//! Owns the native key names; must never apply a site's rules, read a clock or touch the store.
//! Invariant: a key that no table names never reaches an event; each key is taken once, whatever its spelling.

use std::borrow::Cow;
use std::net::IpAddr;

use serde::ser::{Serialize, SerializeMap, Serializer};

use crate::base::time::Millis;
use crate::domain::event::{Act, Attribute};

pub(crate) mod attributes;
pub(crate) mod item;
pub(crate) mod read;
pub(crate) mod scalar;

pub(crate) use item::{Items, RawItem};
pub use scalar::Invalid;
pub(crate) use scalar::{Scalar, Sink};

/// Text on the wire; borrowed from the body where it has no escapes.
pub type Text<'a> = Cow<'a, str>;

/// One event as it was sent. Names, types and nesting are checked; lengths and meaning are not.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawEvent<'a> {
    /// `name`, `eventName`.
    pub name: Option<Text<'a>>,
    /// SYSTEM or BUSINESS.
    pub event_type: Option<Text<'a>>,
    /// web, app, conversation or custom.
    pub stream: Option<Text<'a>>,
    /// `eventId`, `eventID`.
    pub event_id: Option<Text<'a>>,
    /// `visitor`, `globalVisitId`, `globalVisitID`, `customerCookieId`.
    pub visitor: Option<Text<'a>>,
    /// `visitId`, `visitID`: the client's own id of the visit.
    pub visit_id: Option<Text<'a>>,
    /// `pageId`, `pageID`: the client's own id of this entering of the page.
    pub page_id: Option<Text<'a>>,
    /// The machine, at a kiosk.
    pub device_id: Option<Text<'a>>,
    /// `time`, `timestamp`, `createdDate`: client clock at the occurrence.
    pub time: Option<Millis>,
    /// Client clock at the sending.
    pub sent_at: Option<Millis>,
    /// `page.url` or `url`.
    pub url: Option<Text<'a>>,
    /// `page.title` or `title`.
    pub title: Option<Text<'a>>,
    /// `page.keywords`.
    pub keywords: Option<Text<'a>>,
    /// `page.lang`.
    pub lang: Option<Text<'a>>,
    /// `page.category` or `category`: names joined by semicolons.
    pub category: Option<Text<'a>>,
    /// Name of the screen.
    pub screen: Option<Text<'a>>,
    /// Address of the page before.
    pub referrer: Option<Text<'a>>,
    /// Language of the page where `page.lang` tells none.
    pub language_code: Option<Text<'a>>,
    /// What was searched for on the site.
    pub search_query: Option<Text<'a>>,
    /// User agent; goes before the request's header.
    pub user_agent: Option<Text<'a>>,
    /// The client's address as a vendor SDK tells it: the caller of `shape` decides whether it counts.
    pub ip: Option<IpAddr>,
    /// Device as the client told it.
    pub device: Option<Part<'a>>,
    /// Browser as the client told it.
    pub browser: Option<Part<'a>>,
    /// App as the client told it.
    pub app: Option<Part<'a>>,
    /// The sending library.
    pub sdk_library: Option<Part<'a>>,
    /// The network of the device.
    pub network: Option<Part<'a>>,
    /// Custom attributes.
    pub attributes: Option<Vec<Attribute>>,
    /// Web Engagement's extras; attributes, or of SignIn and UserInfo traits.
    pub data: Option<Vec<Attribute>>,
    /// The site's own name for the customer.
    pub identity: Option<Text<'a>>,
    /// Person-level pairs.
    pub traits: Option<Vec<Attribute>>,
    /// A third party's name for the customer.
    pub external_id: Option<Text<'a>>,
    /// Third parties' names for the customer, by namespace.
    pub external_ids: Option<Vec<Attribute>>,
    /// What was filled into a form.
    pub form: Option<Vec<Attribute>>,
    /// Id of a conversation.
    pub conversation_id: Option<Text<'a>>,
    /// Its medium: chat, call, ...
    pub conversation_medium: Option<Text<'a>>,
    /// Why the visit ended.
    pub end_reason: Option<Text<'a>>,
    /// Purposes the sender says it may be used for; only narrows.
    pub consent: Option<Vec<Text<'a>>>,
    /// A decision that came with it.
    pub decision: Option<Box<RawDecision<'a>>>,
    /// What it does, where its name does not tell.
    pub act: Option<Act>,
}

/// One decision as it was sent.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct RawDecision<'a> {
    /// Whose; `None` where it is attached to events.
    pub visitor: Option<Text<'a>>,
    /// The client's id of it.
    pub decision_id: Option<Text<'a>>,
    /// give, refuse or withdraw.
    pub action: Option<Text<'a>>,
    /// To what.
    pub purposes: Option<Vec<Text<'a>>>,
    /// How it was taken.
    pub method: Option<Text<'a>>,
    /// The notice version shown.
    pub notice: Option<Text<'a>>,
    /// Digest of what was shown.
    pub notice_digest: Option<Text<'a>>,
    /// Address of the page it was taken on.
    pub page_url: Option<Text<'a>>,
    /// Digest of the banner.
    pub banner_digest: Option<Text<'a>>,
    /// What another consent tool recorded.
    pub tool_record: Option<Text<'a>>,
    /// The machine, at a kiosk.
    pub kiosk_id: Option<Text<'a>>,
    /// Language of what was shown.
    pub language: Option<Text<'a>>,
    /// The screen showed the browser's privacy signal.
    pub signal_shown: Option<bool>,
    /// Client clock at the decision.
    pub time: Option<Millis>,
    /// Client clock at the sending.
    pub sent_at: Option<Millis>,
}

/// What a request holds, in its order.
#[derive(Clone, Debug, PartialEq)]
pub enum Item<'a> {
    /// An event.
    Event(Box<RawEvent<'a>>),
    /// A decision of its own: `action` and no `name`.
    Decision(Box<RawDecision<'a>>),
}

/// A flat object whose values are as they were sent: kept as context, key by key.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Part<'a>(pub(crate) Vec<(&'static str, Scalar<'a>)>);

impl Part<'_> {
    /// The text under a key.
    pub fn text(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(name, _)| *name == key).and_then(|(_, value)| match value {
            Scalar::Text(text) => Some(text.as_ref()),
            _ => None,
        })
    }

    /// Keys with their texts.
    pub fn texts(&self) -> impl Iterator<Item = (&'static str, &str)> {
        self.0.iter().filter_map(|(name, value)| match value {
            Scalar::Text(text) => Some((*name, text.as_ref())),
            _ => None,
        })
    }

    /// Does it tell nothing?
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(|(_, value)| *value == Scalar::Null)
    }
}

impl Serialize for Part<'_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let mut map = to.serialize_map(None)?;
        for (name, value) in self.0.iter().filter(|(_, value)| *value != Scalar::Null) {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// What a value of a [`Part`] must be.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Kind {
    Text,
    Flag,
    Whole,
    Number,
    OneOf(&'static [&'static str]),
}

/// Keys of a [`Part`] and what their values must be.
pub(crate) type Shape = &'static [(&'static str, Kind)];

pub(crate) const CATEGORIES: &[&str] = &["desktop", "mobile", "tablet", "other"];
pub(crate) const DEVICE: Shape = &[
    ("category", Kind::OneOf(CATEGORIES)),
    ("type", Kind::Text),
    ("isMobile", Kind::Flag),
    ("screenHeight", Kind::Whole),
    ("screenWidth", Kind::Whole),
    ("screenDensity", Kind::Number),
    ("osFamily", Kind::Text),
    ("osVersion", Kind::Text),
    ("manufacturer", Kind::Text),
];
pub(crate) const BROWSER: Shape = &[("family", Kind::Text), ("version", Kind::Text), ("lang", Kind::Text)];
pub(crate) const APP: Shape =
    &[("name", Kind::Text), ("namespace", Kind::Text), ("version", Kind::Text), ("buildNumber", Kind::Text)];
pub(crate) const SDK_LIBRARY: Shape = &[("name", Kind::Text), ("version", Kind::Text)];
pub(crate) const NETWORK: Shape = &[
    ("carrier", Kind::Text),
    ("bluetoothEnabled", Kind::Flag),
    ("cellularEnabled", Kind::Flag),
    ("wifiEnabled", Kind::Flag),
];

/// Which of a target's objects a key lies in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Table {
    /// The event or decision itself.
    Whole,
    /// `page`
    Page,
    /// `conversation`
    Conversation,
}

/// Where the value of a key goes, and by that what it must be.
pub(crate) enum Slot<'e, 'a> {
    Text(&'e mut Option<Text<'a>>),
    Time(&'e mut Option<Millis>),
    Flag(&'e mut Option<bool>),
    Words(&'e mut Option<Vec<Text<'a>>>),
    Part(&'e mut Option<Part<'a>>, Shape),
    Attributes(&'e mut Option<Vec<Attribute>>),
    Decision(&'e mut Option<Box<RawDecision<'a>>>),
    Items(&'e mut Option<Items<'a>>),
    /// An object whose keys are the target's own.
    Inner(Table),
}

impl Slot<'_, '_> {
    /// Was its key read before?
    pub fn is_filled(&self) -> bool {
        match self {
            Slot::Text(out) => out.is_some(),
            Slot::Time(out) => out.is_some(),
            Slot::Flag(out) => out.is_some(),
            Slot::Words(out) => out.is_some(),
            Slot::Part(out, _) => out.is_some(),
            Slot::Attributes(out) => out.is_some(),
            Slot::Decision(out) => out.is_some(),
            Slot::Items(out) => out.is_some(),
            Slot::Inner(_) => false,
        }
    }
}

/// Whatever an object is read into: it knows the keys.
pub(crate) trait Target<'a> {
    /// The slot of a key; `None` for keys nobody knows.
    fn slot<'e>(&'e mut self, table: Table, key: &str) -> Option<Slot<'e, 'a>>;
}

impl<'a> Target<'a> for RawEvent<'a> {
    fn slot<'e>(&'e mut self, table: Table, key: &str) -> Option<Slot<'e, 'a>> {
        Some(match table {
            Table::Whole => return event_slot(self, key),
            Table::Page => match key {
                "url" => Slot::Text(&mut self.url),
                "title" => Slot::Text(&mut self.title),
                "keywords" => Slot::Text(&mut self.keywords),
                "lang" => Slot::Text(&mut self.lang),
                "category" => Slot::Text(&mut self.category),
                _ => return None,
            },
            Table::Conversation => match key {
                "id" => Slot::Text(&mut self.conversation_id),
                "medium" => Slot::Text(&mut self.conversation_medium),
                _ => return None,
            },
        })
    }
}

/// The native keys and the Web Engagement envelope's.
fn event_slot<'e, 'a>(event: &'e mut RawEvent<'a>, key: &str) -> Option<Slot<'e, 'a>> {
    Some(match key {
        "name" | "eventName" => Slot::Text(&mut event.name),
        "eventType" => Slot::Text(&mut event.event_type),
        "stream" => Slot::Text(&mut event.stream),
        "eventId" | "eventID" => Slot::Text(&mut event.event_id),
        "visitor" | "globalVisitId" | "globalVisitID" | "customerCookieId" => Slot::Text(&mut event.visitor),
        "visitId" | "visitID" => Slot::Text(&mut event.visit_id),
        "pageId" | "pageID" => Slot::Text(&mut event.page_id),
        "deviceId" => Slot::Text(&mut event.device_id),
        "time" | "timestamp" | "createdDate" => Slot::Time(&mut event.time),
        "sentAt" => Slot::Time(&mut event.sent_at),
        "page" => Slot::Inner(Table::Page),
        "url" => Slot::Text(&mut event.url),
        "title" => Slot::Text(&mut event.title),
        "category" => Slot::Text(&mut event.category),
        "screen" => Slot::Text(&mut event.screen),
        "referrer" => Slot::Text(&mut event.referrer),
        "languageCode" => Slot::Text(&mut event.language_code),
        "searchQuery" => Slot::Text(&mut event.search_query),
        "userAgent" => Slot::Text(&mut event.user_agent),
        "device" => Slot::Part(&mut event.device, DEVICE),
        "browser" => Slot::Part(&mut event.browser, BROWSER),
        "app" => Slot::Part(&mut event.app, APP),
        "sdkLibrary" => Slot::Part(&mut event.sdk_library, SDK_LIBRARY),
        "networkConnectivity" => Slot::Part(&mut event.network, NETWORK),
        "attributes" => Slot::Attributes(&mut event.attributes),
        "data" => Slot::Attributes(&mut event.data),
        "identity" => Slot::Text(&mut event.identity),
        "traits" => Slot::Attributes(&mut event.traits),
        "externalId" => Slot::Text(&mut event.external_id),
        "externalIds" => Slot::Attributes(&mut event.external_ids),
        "form" => Slot::Attributes(&mut event.form),
        "conversation" => Slot::Inner(Table::Conversation),
        "endReason" => Slot::Text(&mut event.end_reason),
        "consent" => Slot::Words(&mut event.consent),
        "decision" => Slot::Decision(&mut event.decision),
        _ => return None,
    })
}

impl<'a> Target<'a> for RawDecision<'a> {
    /// Keys of an attached decision; a decision line has the shared keys besides.
    fn slot<'e>(&'e mut self, _: Table, key: &str) -> Option<Slot<'e, 'a>> {
        Some(match key {
            "decisionId" => Slot::Text(&mut self.decision_id),
            "action" => Slot::Text(&mut self.action),
            "purposes" => Slot::Words(&mut self.purposes),
            "method" => Slot::Text(&mut self.method),
            "notice" => Slot::Text(&mut self.notice),
            "noticeDigest" => Slot::Text(&mut self.notice_digest),
            "pageUrl" => Slot::Text(&mut self.page_url),
            "bannerDigest" => Slot::Text(&mut self.banner_digest),
            "toolRecord" => Slot::Text(&mut self.tool_record),
            "kioskId" => Slot::Text(&mut self.kiosk_id),
            "language" => Slot::Text(&mut self.language),
            "signalShown" => Slot::Flag(&mut self.signal_shown),
            "time" => Slot::Time(&mut self.time),
            _ => return None,
        })
    }
}
