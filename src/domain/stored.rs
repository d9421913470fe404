//! Rows of pages, events and sessions as the store keeps and returns them. Shapes only, no rules.
//! Must never hold a personal field: those live in `store/personal.rs` alone.

use crate::base::id::{ClientId, Salt, Seq};
use crate::base::time::Millis;
use crate::domain::clock::ClockState;
use crate::domain::event::{EventType, Lane};
use crate::domain::visitor::Rights;

/// One entering of a page or screen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRow {
    /// Row id: the seq of the event that entered it.
    pub id: i64,
    /// The visit it lies in.
    pub visit_id: i64,
    /// The client's own id of it.
    pub client_page: Option<ClientId>,
    /// Scrubbed address.
    pub url: Option<String>,
    /// Name of the screen.
    pub screen: Option<String>,
    /// Document title.
    pub title: Option<String>,
    /// Meta keywords.
    pub keywords: Option<String>,
    /// Language of the document.
    pub language: Option<String>,
    /// Categories joined by semicolons.
    pub category: Option<String>,
    /// Entered, corrected time.
    pub entered: Millis,
    /// Left, corrected time.
    pub exited: Option<Millis>,
    /// Time spent, ms.
    pub dwell_ms: Option<i64>,
    /// What it may be used for.
    pub rights: Rights,
}

/// One event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EventRow {
    /// Its number.
    pub seq: Seq,
    /// The client's id, or a minted one.
    pub event_id: ClientId,
    /// The site's row.
    pub site_id: i64,
    /// Birth epoch.
    pub epoch_id: i64,
    /// Its visit.
    pub visit_id: i64,
    /// The page it happened on.
    pub page_id: Option<i64>,
    /// The authenticated session it happened in.
    pub session_id: Option<i64>,
    /// Its name.
    pub name: String,
    /// SYSTEM or BUSINESS.
    pub event_type: EventType,
    /// The lane it leaves by.
    pub lane: Lane,
    /// Keyed hash of its content.
    pub content_hash: i64,
    /// Client clock at the occurrence.
    pub client_at: Option<Millis>,
    /// Client clock at the sending.
    pub sent_at: Option<Millis>,
    /// When it was received.
    pub received: Millis,
    /// The time visits run on.
    pub corrected: Millis,
    /// What became of the client's time.
    pub clock_state: ClockState,
    /// Address, where it differs from its page's.
    pub url: Option<String>,
    /// Title, where it differs from its page's.
    pub title: Option<String>,
    /// Referrer, packed (`referrer::whole`), where it differs from its visit's.
    pub referrer: Option<String>,
    /// What was searched for.
    pub search_query: Option<String>,
    /// Custom attributes: a JSON object of strings.
    pub attributes: Option<String>,
    /// Their types: a letter each (`attributes::types`).
    pub attribute_types: Option<String>,
    /// Conversation: JSON `{"id","medium"}`.
    pub conversation: Option<String>,
    /// Names of personal fields left out, joined by commas.
    pub withheld: Option<String>,
    /// What it may be used for.
    pub rights: Rights,
    /// Destroyed with the row.
    pub salt: Salt,
    /// The row it supersedes.
    pub replaces: Option<Seq>,
}

/// An authenticated period inside a visit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// Row id: the seq of its SignIn.
    pub id: i64,
    /// Its public id (UUIDv7).
    pub uuid: [u8; 16],
    /// The visit it lies in.
    pub visit_id: i64,
    /// Who signed in; `None` where the identity was withheld.
    pub identity_id: Option<i64>,
    /// SignIn, corrected time.
    pub started: Millis,
    /// SignOut, corrected time.
    pub ended: Option<Millis>,
    /// What it may be used for.
    pub rights: Rights,
}

/// Where an event was stored, for dedupe.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// Its number.
    pub seq: Seq,
    /// Keyed hash of its content.
    pub content_hash: i64,
    /// Its visit.
    pub visit_id: i64,
}
