//! A visit: one stretch of browsing; its rules and its stored shape (the Journey API calls it session).
//! Owns when a visit is idle, away or due to end; where events belong lives in `placement.rs`. Pure.

use serde::{Deserialize, Serialize};

use crate::base::id::{ClientId, Seq};
use crate::base::time::{HOUR_MS, MINUTE_MS, Millis};
use crate::domain::event::Stream;
use crate::domain::visitor::Rights;

/// The rules of visits.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct VisitOptions {
    /// Minutes without activity after which a visit has ended (a gap of exactly this is a new visit).
    pub ends_after_minutes: u32,
    /// Minutes without activity after which a visitor is considered idle.
    pub idle_after_minutes: u32,
    /// Minutes without activity after which a visitor is considered away.
    pub away_after_minutes: u32,
    /// Hours after which a visit that the client named ends.
    pub named_ends_after_hours: u32,
}

impl Default for VisitOptions {
    fn default() -> Self {
        VisitOptions {
            ends_after_minutes: 20,
            idle_after_minutes: 5,
            away_after_minutes: 10,
            named_ends_after_hours: 24,
        }
    }
}

impl VisitOptions {
    /// The window on both sides, in ms.
    pub fn window_ms(&self) -> i64 {
        i64::from(self.ends_after_minutes) * MINUTE_MS
    }

    /// The life of a named visit, in ms.
    pub fn named_ms(&self) -> i64 {
        i64::from(self.named_ends_after_hours) * HOUR_MS
    }

    /// When a visit last active then is due to end.
    pub fn due(&self, start: Millis, last_active: Millis, named: bool) -> Millis {
        if named { start.plus(self.named_ms()) } else { last_active.plus(self.window_ms()) }
    }
}

/// Why a visit ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EndReason {
    /// No activity.
    Idle,
    /// A new campaign or referrer source arrived.
    NewSource,
    /// The client said that the browser was closed.
    BrowserClosed,
    /// The client said that the visitor left.
    LeftSite,
    /// At a kiosk the next person began.
    NextPerson,
    /// A named visit grew older than its limit.
    Expired,
    /// The database began a new epoch.
    NewEpoch,
}

const END_REASONS: [EndReason; 7] = [
    EndReason::Idle,
    EndReason::NewSource,
    EndReason::BrowserClosed,
    EndReason::LeftSite,
    EndReason::NextPerson,
    EndReason::Expired,
    EndReason::NewEpoch,
];

impl EndReason {
    /// Stable word of rows and lines.
    pub fn word(self) -> &'static str {
        match self {
            EndReason::Idle => "idle",
            EndReason::NewSource => "new_source",
            EndReason::BrowserClosed => "browser_closed",
            EndReason::LeftSite => "left_site",
            EndReason::NextPerson => "next_person",
            EndReason::Expired => "expired",
            EndReason::NewEpoch => "new_epoch",
        }
    }

    /// The reason of a word.
    pub fn parse(word: &str) -> Option<Self> {
        END_REASONS.into_iter().find(|reason| reason.word() == word)
    }

    /// Does nothing later belong to a visit that ended so?
    pub fn closes(self) -> bool {
        self != EndReason::Idle
    }
}

/// A visit as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Visit {
    /// Row id: the seq of its first event, so that floors apply to it.
    pub id: i64,
    /// Its public id (UUIDv7).
    pub uuid: [u8; 16],
    /// The site's row.
    pub site_id: i64,
    /// The visitor's row.
    pub visitor_id: i64,
    /// The epoch it was born in.
    pub epoch_id: i64,
    /// The client's own id of it.
    pub client_visit: Option<ClientId>,
    /// Web, app, conversation or program.
    pub stream: Stream,
    /// The machine, at a kiosk.
    pub device_id: Option<String>,
    /// The user agent's row.
    pub agent_id: Option<i64>,
    /// First activity, corrected time.
    pub started: Millis,
    /// Last activity, corrected time.
    pub last_active: Millis,
    /// When its newest event was received.
    pub last_received: Millis,
    /// End and reason, once ended.
    pub end: Option<(Millis, EndReason)>,
    /// Campaign or referrer source it began with, as a hash; 0 = none.
    pub source: i64,
    /// Referrer of its first event, packed (`referrer::whole`).
    pub referrer: Option<String>,
    /// Campaign of its first event: JSON.
    pub campaign: Option<String>,
    /// Device, browser and app as the client told them: JSON.
    pub context: Option<String>,
    /// Where the address lies: JSON.
    pub place: Option<String>,
    /// Truncated client address.
    pub ip: Option<String>,
    /// Searches on the site: a JSON list, at most 20.
    pub searches: Option<String>,
    /// First page or screen.
    pub entry_page: Option<i64>,
    /// Newest page or screen.
    pub last_page: Option<i64>,
    /// When the newest page was entered, where it is known to be open still: kept by the pen between events, not in the row.
    pub open_page_since: Option<Millis>,
    /// Pages entered.
    pub page_count: i64,
    /// Screens entered.
    pub screen_count: i64,
    /// Events.
    pub event_count: i64,
    /// A session was open at the newest event.
    pub authenticated: bool,
    /// The open session's row.
    pub session_id: Option<i64>,
    /// Seq of its newest event or change.
    pub last_seq: Seq,
    /// The newest seq a snapshot covers; 0 = none made.
    pub snapshot_seq: Seq,
    /// Rights of its first event, narrowed by later ones.
    pub rights: Rights,
}

impl Visit {
    /// When the visitor is considered idle, away, and the visit due to end.
    pub fn idle(&self, options: &VisitOptions) -> Millis {
        self.last_active.plus(i64::from(options.idle_after_minutes) * MINUTE_MS)
    }

    /// When the visitor is considered away.
    pub fn away(&self, options: &VisitOptions) -> Millis {
        self.last_active.plus(i64::from(options.away_after_minutes) * MINUTE_MS)
    }

    /// When the visit is due to end.
    pub fn due(&self, options: &VisitOptions) -> Millis {
        options.due(self.started, self.last_active, self.client_visit.is_some())
    }
}
