//! One occurrence at one time, decoded and enriched, before anything is stored.
//! Owns the shape all wire formats are decoded into; must never know a wire format or a row.
//! Invariant: personal fields stand apart (`personal`), so that they can be withheld as a whole.

use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::id::ClientId;
use crate::base::time::Millis;
use crate::domain::address::Address;
use crate::domain::campaign::Campaign;
use crate::domain::consent::{Decision, Purposes};
use crate::domain::device::Agent;
use crate::domain::personal::Personal;
use crate::domain::place::Place;
use crate::domain::referrer::Referrer;
use crate::domain::visit::EndReason;

/// Where an event was made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stream {
    /// A web page.
    #[default]
    Web,
    /// An app or a kiosk: screens instead of pages.
    App,
    /// A chat or another conversation.
    Conversation,
    /// A program of the operator.
    Custom,
}

impl Stream {
    /// Stable word of rows and lines.
    pub fn word(self) -> &'static str {
        match self {
            Stream::Web => "web",
            Stream::App => "app",
            Stream::Conversation => "conversation",
            Stream::Custom => "custom",
        }
    }

    /// The stream of a word.
    pub fn parse(word: &str) -> Option<Self> {
        [Stream::Web, Stream::App, Stream::Conversation, Stream::Custom].into_iter().find(|s| s.word() == word)
    }
}

/// SYSTEM events have a fixed meaning; BUSINESS events are the site's own (seed 004).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum EventType {
    /// Visit and identity bookkeeping.
    System,
    /// Everything else.
    #[default]
    Business,
}

impl EventType {
    /// Stable word of rows and lines.
    pub fn word(self) -> &'static str {
        match self {
            EventType::System => "SYSTEM",
            EventType::Business => "BUSINESS",
        }
    }
}

/// What an event does to its visit, page, session or identity; follows from its name alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub enum Act {
    /// A visit begins; joins the visit if it is already there.
    VisitStarted,
    /// A page or screen is entered.
    PageEntered,
    /// The page is left.
    PageExited,
    /// An authenticated session begins.
    SignIn,
    /// It ends.
    SignOut,
    /// The site tells who it recognises.
    UserInfo,
    /// The visit ends by its own signal.
    VisitEnded(EndReason),
    /// A conversation begins.
    ConversationStarted,
    /// It ends.
    ConversationEnded,
    /// A browser tells the fate of an offered action.
    ActionState,
    /// Anything else.
    Other,
}

impl Act {
    /// The act of an event name.
    pub fn of(name: &str) -> Act {
        match name {
            "VisitStarted" => Act::VisitStarted,
            "PageEntered" | "page_viewed" | "screen_viewed" => Act::PageEntered,
            "PageExited" => Act::PageExited,
            "SignIn" => Act::SignIn,
            "SignOut" => Act::SignOut,
            "UserInfo" => Act::UserInfo,
            "visit_ended" => Act::VisitEnded(EndReason::LeftSite),
            "next_person" => Act::VisitEnded(EndReason::NextPerson),
            "conversation_started" => Act::ConversationStarted,
            "conversation_ended" => Act::ConversationEnded,
            _ => Act::Other,
        }
    }

    /// Do events of this act count as activity of the visit?
    pub fn is_activity(self) -> bool {
        !matches!(self, Act::VisitEnded(_))
    }
}

/// The lane a row leaves by, fixed at ingest (contract 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Lane {
    /// Decisions, withdrawals, losses, clock steps: first, always.
    Consent,
    /// Visits, counts, sign-ins, conversations.
    Visits,
    /// Every other event.
    Pages,
    /// Scroll, in-viewport, idle, debug.
    Fine,
}

impl Lane {
    /// In the order they are sent.
    pub const ALL: [Lane; 4] = [Lane::Consent, Lane::Visits, Lane::Pages, Lane::Fine];

    /// Stable word of rows, keys and paths.
    pub fn word(self) -> &'static str {
        match self {
            Lane::Consent => "consent",
            Lane::Visits => "visits",
            Lane::Pages => "pages",
            Lane::Fine => "fine",
        }
    }

    /// The lane of a word.
    pub fn parse(word: &str) -> Option<Self> {
        Lane::ALL.into_iter().find(|lane| lane.word() == word)
    }

    /// The small number kept in rows.
    pub fn code(self) -> i64 {
        self as i64
    }

    /// The lane of a row's number.
    pub fn from_code(code: i64) -> Option<Self> {
        Lane::ALL.into_iter().find(|lane| lane.code() == code)
    }

    /// The lane of an event.
    pub fn of(act: Act, name: &str) -> Lane {
        const FINE: [&str; 6] = ["scroll", "in_viewport", "idle", "debug", "scroll_depth", "page_idle"];
        match act {
            Act::SignIn | Act::SignOut | Act::UserInfo | Act::ConversationStarted | Act::ConversationEnded => {
                Lane::Visits
            }
            _ if FINE.contains(&name) => Lane::Fine,
            _ => Lane::Pages,
        }
    }
}

/// The type of a custom attribute (Journey's CustomEventAttribute.dataType).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "UPPERCASE")]
pub enum DataType {
    /// Text.
    String,
    /// A number, kept as the text it was sent as.
    Number,
    /// true or false.
    Boolean,
}

impl DataType {
    /// Stable word.
    pub fn word(self) -> &'static str {
        match self {
            DataType::String => "STRING",
            DataType::Number => "NUMBER",
            DataType::Boolean => "BOOLEAN",
        }
    }
}

/// A custom attribute or trait.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Attribute {
    /// Its name, at most 128 bytes.
    pub name: String,
    /// Its value as text, at most 1 KiB.
    pub value: String,
    /// What the value is.
    pub data_type: DataType,
}

/// A page or screen as an event tells it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PageInfo {
    /// The client's id of this entering of the page.
    pub id: Option<ClientId>,
    /// Scrubbed address; `None` for screens.
    pub address: Option<Address>,
    /// Name of the screen; `None` for pages.
    pub screen: Option<String>,
    /// Document title.
    pub title: Option<String>,
    /// Meta keywords.
    pub keywords: Option<String>,
    /// Language of the document (BCP 47).
    pub language: Option<String>,
    /// Categories joined by semicolons (Web Engagement).
    pub category: Option<String>,
}

/// One occurrence, decoded and enriched.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Event {
    /// The client's id; `None` = one is minted.
    pub id: Option<ClientId>,
    /// Its name: letters, digits and underscores, at most 128 bytes.
    pub name: String,
    /// SYSTEM or BUSINESS.
    pub event_type: EventType,
    /// Web page, app, conversation or program.
    pub stream: Stream,
    /// What it does.
    pub act: Act,
    /// Browser, device or kiosk turn; `None` = can only be counted.
    pub visitor: Option<ClientId>,
    /// The client's own id of the visit.
    pub visit: Option<ClientId>,
    /// The machine, at a kiosk.
    pub device_id: Option<String>,
    /// Client clock at the occurrence.
    pub client_at: Option<Millis>,
    /// Client clock at the sending.
    pub sent_at: Option<Millis>,
    /// A time taken as it is (imports).
    pub imported_at: Option<Millis>,
    /// What the sender says it may be used for; only narrows.
    pub claim: Option<Purposes>,
    /// A decision that came with it.
    pub decision: Option<Box<Decision>>,
    /// Page or screen.
    pub page: PageInfo,
    /// Where the visitor came from.
    pub referrer: Option<Referrer>,
    /// Marketing campaign of the landing address.
    pub campaign: Option<Box<Campaign>>,
    /// What was searched for on the site.
    pub search_query: Option<String>,
    /// The user agent as sent, at most 512 bytes.
    pub user_agent: Option<Arc<str>>,
    /// What it says.
    pub agent: Option<Arc<Agent>>,
    /// Where the address lies.
    pub place: Option<Box<Place>>,
    /// Truncated client address, where the site keeps it.
    pub ip: Option<String>,
    /// Device, browser, app, library and network details as the client told them: a JSON object.
    pub context: Option<String>,
    /// Custom attributes.
    pub attributes: Vec<Attribute>,
    /// Fields that need the right to `personal`.
    pub personal: Personal,
    /// Fields that told of a special category of personal data and were left out (`denied.rs`).
    #[serde(skip)]
    pub denied: Vec<&'static str>,
    /// Id and medium of a conversation.
    pub conversation: Option<(ClientId, String)>,
    /// 64-bit keyed hash over name, client time, page and attributes (contract 1).
    pub content_hash: i64,
}

impl Event {
    /// An event of that name with nothing else said.
    pub fn named(name: &str) -> Self {
        let act = Act::of(name);
        Event {
            id: None,
            name: name.to_owned(),
            event_type: EventType::default(),
            stream: Stream::default(),
            act,
            visitor: None,
            visit: None,
            device_id: None,
            client_at: None,
            sent_at: None,
            imported_at: None,
            claim: None,
            decision: None,
            page: PageInfo::default(),
            referrer: None,
            campaign: None,
            search_query: None,
            user_agent: None,
            agent: None,
            place: None,
            ip: None,
            context: None,
            attributes: Vec::new(),
            personal: Personal::default(),
            denied: Vec::new(),
            conversation: None,
            content_hash: 0,
        }
    }

    /// The lane its row leaves by.
    pub fn lane(&self) -> Lane {
        Lane::of(self.act, &self.name)
    }

    /// The rule by which its user agent is a robot's.
    pub fn robot(&self) -> Option<&str> {
        self.agent.as_ref().and_then(|agent| agent.robot.as_deref())
    }
}

/// The outcome words of contract 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Fate {
    /// Stored and committed.
    Accepted,
    /// Not stored for want of a right; at most counted.
    Counted,
    /// Taken before with the same content.
    Duplicate,
    /// Taken before with other content.
    Conflict,
    /// Not an event.
    Invalid,
}

impl Fate {
    /// Stable word.
    pub fn word(self) -> &'static str {
        match self {
            Fate::Accepted => "accepted",
            Fate::Counted => "counted",
            Fate::Duplicate => "duplicate",
            Fate::Conflict => "conflict",
            Fate::Invalid => "invalid",
        }
    }
}
