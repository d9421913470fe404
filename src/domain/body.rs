//! The own fields of each kind of line, in their order: what stands behind the head of `line.rs`.
//! Owns names and order only; must never read a row or a clock. Invariant: no key depends on data, and no field names a
//! person: a visitor appears as its reference alone (contract 5).

use serde::Serialize;

use crate::base::id::{EdgeId, Epoch, Seq};
use crate::domain::event::Lane;
use crate::domain::line::body;

mod event;

pub use self::event::EventBody;
use self::event::with_json;

/// Fields of a `visit` line: what a visit came to when it had ended.
#[derive(Debug, Serialize)]
pub struct VisitBody<'a> {
    /// Public id of the visit.
    pub visit_id: String,
    /// Reference of the visitor.
    pub visitor_ref: String,
    /// Lowest `seq` of a row it was made from: a withdrawal's floor covers it by this.
    pub first_seq: i64,
    /// `web`, `app`, `conversation` or `custom`.
    pub stream: &'a str,
    /// First activity.
    pub started_at: String,
    /// Last activity.
    pub last_active_at: String,
    /// When it ended.
    pub ended_at: String,
    /// Why: `idle`, `new_source` ...
    pub end_reason: &'a str,
    /// When its newest event was received.
    pub last_received_at: String,
    /// Pages entered.
    pub page_count: i64,
    /// Screens entered.
    pub screen_count: i64,
    /// Events.
    pub event_count: i64,
    /// Authenticated sessions.
    pub session_count: usize,
    /// Somebody was signed in at the newest event.
    pub authenticated: bool,
    /// The machine, at a kiosk.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_id: Option<&'a str>,
    /// Scrubbed address of the first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_url: Option<String>,
    /// Name of the first screen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_screen: Option<String>,
    /// Title of the first page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entry_title: Option<String>,
    /// Scrubbed address of the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_url: Option<String>,
    /// Name of the last screen.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_screen: Option<String>,
    /// Title of the last page.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_title: Option<String>,
    /// The user agent as sent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub user_agent: Option<&'a str>,
    /// `desktop`, `mobile`, `tablet` or `other`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_category: Option<&'a str>,
    /// Kind of device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub device_type: Option<&'a str>,
    /// Maker of the device.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub manufacturer: Option<&'a str>,
    /// Browser.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub browser_family: Option<&'a str>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub browser_version: Option<&'a str>,
    /// System.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_family: Option<&'a str>,
    /// Its version.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub os_version: Option<&'a str>,
    /// The rule that says it is a robot.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub robot: Option<&'a str>,
    /// The immutable purpose -> basis row in force.
    pub basis_id: i64,
    /// Where it came from: a JSON object as text.
    #[serde(skip)]
    pub referrer: Option<&'a str>,
    /// Campaign: a JSON object as text.
    #[serde(skip)]
    pub campaign: Option<&'a str>,
    /// Device, browser and app as the client told them: a JSON object as text.
    #[serde(skip)]
    pub context: Option<&'a str>,
    /// Where the address lies: a JSON object as text.
    #[serde(skip)]
    pub place: Option<&'a str>,
    /// Searches on the site: a JSON list as text.
    #[serde(skip)]
    pub searches: Option<&'a str>,
}

impl VisitBody<'_> {
    /// The inside of the line's JSON object. What is JSON in the row is taken over as it is.
    pub fn text(&self) -> String {
        let json = [
            ("referrer", self.referrer),
            ("campaign", self.campaign),
            ("context", self.context),
            ("place", self.place),
            ("searches", self.searches),
        ];
        with_json(body(self), &json)
    }
}

/// Fields of a `count` line: the counters of one site, hour and epoch.
#[derive(Debug, Serialize)]
pub struct CountBody {
    /// Start of the hour.
    pub hour_at: String,
    /// Its cells, small ones folded.
    pub cells: Vec<CellBody>,
}

/// One cell of a `count` line.
#[derive(Debug, Serialize)]
pub struct CellBody {
    /// Path template, or `__other__`.
    pub path: String,
    /// Device class.
    pub device: String,
    /// Referrer medium, or `none`.
    pub medium: String,
    /// Robots' events.
    pub robot: bool,
    /// How many events: a number, or the text `<5`.
    pub n: serde_json::Value,
}

/// Fields of a `clock` line: the clock of the day was set.
#[derive(Debug, Serialize)]
pub struct ClockBody {
    /// What it should have said.
    pub from: String,
    /// What it said.
    pub to: String,
    /// How far it was set, ms; negative = back.
    pub step_ms: i64,
}

/// Fields of a `checkpoint` line: how far the ledger went, signed.
#[derive(Debug, Serialize)]
pub struct CheckpointBody<'a> {
    /// The ledger's newest entry; of an anchor the last one that may be gone.
    pub ledger_no: i64,
    /// The signed text: a JSON object, verified as these very bytes.
    pub signed: &'a str,
    /// Signature over it, 128 hex digits.
    pub signature: String,
    /// The public key that signed, 64 hex digits.
    pub public_key: String,
}

/// Fields of a `decision` line.
#[derive(Debug, Serialize)]
pub struct DecisionBody<'a> {
    /// The client's id of it, or a minted one.
    pub decision_id: String,
    /// Its number in the ledger.
    pub decision_seq: i64,
    /// Reference of the visitor.
    pub visitor_ref: String,
    /// `give`, `refuse`, `withdraw` ...
    pub action: &'a str,
    /// Purposes named.
    pub purposes: u32,
    /// Granted before.
    pub before: u32,
    /// Granted after.
    pub after: u32,
    /// Did any part of it become current?
    pub current: bool,
    /// How it was taken.
    pub method: &'a str,
    /// Who took it.
    pub actor: &'a str,
    /// The notice version shown, or `none`.
    pub notice: &'a str,
    /// Language shown.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub language: Option<&'a str>,
    /// `Sec-GPC` was sent.
    pub gpc: bool,
    /// `DNT` was sent.
    pub dnt: bool,
    /// Client clock at the decision.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_at: Option<String>,
    /// The immutable purpose -> basis row in force.
    pub basis_id: i64,
}

/// The fields behind a body that name the line it replaces: its number and, where they are not the line's own, the edge and
/// epoch it was born in.
pub fn replaces(seq: Seq, born: (EdgeId, Epoch), own: (EdgeId, Epoch)) -> String {
    let mut text = format!(",\"replaces\":{}", seq.0);
    if born.1 != own.1 {
        text.push_str(&format!(",\"replaces_epoch\":\"{}\"", born.1));
    }
    if born.0 != own.0 {
        text.push_str(&format!(",\"replaces_edge\":\"{}\"", born.0));
    }
    text
}

/// The field behind a body that names where a line was before its batch was voided: edge, epoch and number it had then.
pub fn was(seq: Seq, born: (EdgeId, Epoch)) -> String {
    format!(",\"was\":{{\"edge\":\"{}\",\"epoch\":\"{}\",\"seq\":{}}}", born.0, born.1, seq.0)
}

/// Fields of a `withdrawal` line: what rests on these purposes at or below the floor may be used no longer.
#[derive(Debug, Serialize)]
pub struct WithdrawalBody {
    /// Reference of the visitor.
    pub visitor_ref: String,
    /// Number of the decision in the ledger.
    pub decision_seq: i64,
    /// Purposes withdrawn.
    pub purposes: u32,
    /// Rows at or below it are covered.
    pub floor_seq: i64,
}

/// Fields of a `rectification` line: these rows were corrected.
#[derive(Debug, Serialize)]
pub struct RectificationBody {
    /// Reference of the visitor.
    pub visitor_ref: String,
    /// Origin `seq` of each row that no longer holds; the row in its place names it in `replaces`.
    pub superseded: Vec<i64>,
}

/// Rows of one epoch, by their numbers: all between are meant.
#[derive(Debug, Serialize)]
pub struct ErasedRange {
    /// Edge they were born at, 32 hex digits.
    pub edge: String,
    /// Epoch they were born in, 16 hex digits.
    pub epoch: String,
    /// The lowest `seq`.
    pub first_seq: i64,
    /// The highest `seq`.
    pub last_seq: i64,
}

/// Fields of an `erasure` line: forget these rows, and whoever is behind the reference.
#[derive(Debug, Serialize)]
pub struct ErasureBody {
    /// The erasure, as in `wayside erasures`.
    pub erasure_id: String,
    /// Reference of the visitor; absent where only what was tied to one customer goes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visitor_ref: Option<String>,
    /// The rows that may have been received; a long list continues in the next line of the same erasure.
    pub rows: Vec<ErasedRange>,
}

/// Fields of a `loss` line about batches that nobody took.
#[derive(Debug, Serialize)]
pub struct LossBody<'a> {
    /// Why: `quota` or `retention`.
    pub reason: &'a str,
    /// The target that did not take them.
    pub target: &'a str,
    /// Edge of the batches, 32 hex digits.
    pub batch_edge: String,
    /// Epoch of the batches, 16 hex digits.
    pub batch_epoch: String,
    /// Their lane.
    pub lane: &'a str,
    /// The first of them.
    pub first_no: i64,
    /// The last of them.
    pub last_no: i64,
    /// Lines in them; absent where this database never knew the batches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub count: Option<i64>,
}

impl<'a> LossBody<'a> {
    /// Batches `first_no` to `last_no` of a lane that a target did not take.
    pub fn of_batches(
        target: &'a str,
        reason: &'a str,
        origin: (EdgeId, Epoch),
        lane: Lane,
        numbers: (i64, i64),
        count: Option<i64>,
    ) -> Self {
        LossBody {
            reason,
            target,
            batch_edge: origin.0.to_string(),
            batch_epoch: origin.1.to_string(),
            lane: lane.word(),
            first_no: numbers.0,
            last_no: numbers.1,
            count,
        }
    }
}

/// Fields of a `loss` line about rows that were removed before they were delivered.
#[derive(Debug, Serialize)]
pub struct RowLossBody {
    /// Why: `quota` or `retention`.
    pub reason: &'static str,
    /// How many rows.
    pub rows: i64,
    /// When the first of them was received.
    pub from: String,
    /// When the last of them was received.
    pub to: String,
    /// The same by lane.
    pub lanes: Vec<LaneLoss>,
}

/// Fields of a `loss` line about a database that was lost: rows received between `from` and `to` may never have left it.
#[derive(Debug, Serialize)]
pub struct EpochLossBody {
    /// Why: `damage`.
    pub reason: &'static str,
    /// Epoch of the database that was lost, 16 hex digits.
    pub lost_epoch: String,
    /// Everything received before was acknowledged by every target; null where that cannot be known.
    pub from: Option<String>,
    /// From here on the fresh database serves.
    pub to: String,
    /// The highest `seq` the lost database told; null where it could not be read.
    pub last_seq: Option<i64>,
}

/// Rows of one lane that were removed before they were delivered.
#[derive(Debug, Serialize)]
pub struct LaneLoss {
    /// The lane.
    pub lane: &'static str,
    /// How many rows.
    pub rows: i64,
    /// The lowest `seq` of one.
    pub first_seq: i64,
    /// The highest `seq` of one.
    pub last_seq: i64,
}

#[cfg(test)]
mod tests;
