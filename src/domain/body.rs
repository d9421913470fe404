//! The own fields of each kind of line, in their order: what stands behind the head of `line.rs`.
//! Owns names and order only; must never read a row or a clock. Invariant: no key depends on data, and no field names a
//! person: a visitor appears as its reference alone (contract 5).

use serde::Serialize;

use crate::base::id::{EdgeId, Epoch, Seq};
use crate::base::text::{push_json, push_number};
use crate::base::time::Millis;
use crate::domain::event::Lane;
use crate::domain::line::body;

/// Fields of an `event` line.
#[derive(Debug)]
#[cfg_attr(test, derive(Serialize))]
pub struct EventBody<'a> {
    /// The event's name.
    pub name: &'a str,
    /// `SYSTEM` or `BUSINESS`.
    pub event_type: &'a str,
    /// `web`, `app`, `conversation` or `custom`.
    pub stream: &'a str,
    /// Reference of the visitor.
    pub visitor_ref: &'a str,
    /// Public id of the visit.
    pub visit_id: &'a str,
    /// Public id of the authenticated session.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub session_id: Option<&'a str>,
    /// `seq` of the event that entered the page it happened on.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub page_seq: Option<i64>,
    /// Scrubbed address.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub url: Option<&'a str>,
    /// Name of the screen entered.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub screen: Option<&'a str>,
    /// Document title.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub title: Option<&'a str>,
    /// Language of the page entered.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub language: Option<&'a str>,
    /// Categories of the page entered, joined by semicolons.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub category: Option<&'a str>,
    /// What was searched for.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub search_query: Option<&'a str>,
    /// Client clock at the occurrence.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none", serialize_with = "tests::instant"))]
    pub client_at: Option<Millis>,
    /// Client clock at the sending.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none", serialize_with = "tests::instant"))]
    pub sent_at: Option<Millis>,
    /// What became of the client's time.
    pub clock_state: &'a str,
    /// The immutable purpose -> basis row in force.
    pub basis_id: i64,
    /// `seq` of the line it supersedes: forget that one.
    #[cfg_attr(test, serde(skip_serializing_if = "Option::is_none"))]
    pub replaces: Option<i64>,
    /// Where it came from: a JSON object as text.
    #[cfg_attr(test, serde(skip))]
    pub referrer: Option<&'a str>,
    /// Custom attributes: a JSON object of strings, as text.
    #[cfg_attr(test, serde(skip))]
    pub attributes: Option<&'a str>,
    /// Types of the attributes that are no strings: a JSON object as text.
    #[cfg_attr(test, serde(skip))]
    pub attribute_types: Option<&'a str>,
    /// The conversation: a JSON object as text.
    #[cfg_attr(test, serde(skip))]
    pub conversation: Option<&'a str>,
}

/// About as long as an event's body is without its texts.
const EVENT_BYTES: usize = 400;

impl EventBody<'_> {
    /// The inside of the line's JSON object. What is JSON in the row is taken over as it is. By hand, as its head is.
    pub fn text(&self) -> String {
        let texts = [self.url, self.title, self.referrer, self.attributes];
        let room = texts.into_iter().flatten().map(str::len).sum::<usize>() + EVENT_BYTES;
        let mut out = String::with_capacity(room);
        out.push_str("\"name\":");
        push_json(&mut out, self.name);
        let words = [
            ("event_type", Some(self.event_type)),
            ("stream", Some(self.stream)),
            ("visitor_ref", Some(self.visitor_ref)),
            ("visit_id", Some(self.visit_id)),
            ("session_id", self.session_id),
        ];
        push_texts(&mut out, &words);
        push_count(&mut out, "page_seq", self.page_seq);
        let texts = [
            ("url", self.url),
            ("screen", self.screen),
            ("title", self.title),
            ("language", self.language),
            ("category", self.category),
            ("search_query", self.search_query),
        ];
        push_texts(&mut out, &texts);
        push_instant(&mut out, "client_at", self.client_at);
        push_instant(&mut out, "sent_at", self.sent_at);
        push_texts(&mut out, &[("clock_state", Some(self.clock_state))]);
        push_count(&mut out, "basis_id", Some(self.basis_id));
        push_count(&mut out, "replaces", self.replaces);
        let json = [
            ("referrer", self.referrer),
            ("attributes", self.attributes),
            ("attribute_types", self.attribute_types),
            ("conversation", self.conversation),
        ];
        with_json(out, &json)
    }
}

fn push_name(out: &mut String, name: &str) {
    out.push_str(",\"");
    out.push_str(name);
    out.push_str("\":");
}

fn push_texts(out: &mut String, texts: &[(&str, Option<&str>)]) {
    for (name, text) in texts {
        if let Some(text) = text {
            push_name(out, name);
            push_json(out, text);
        }
    }
}

fn push_count(out: &mut String, name: &str, n: Option<i64>) {
    if let Some(n) = n {
        push_name(out, name);
        push_number(out, n);
    }
}

fn push_instant(out: &mut String, name: &str, at: Option<Millis>) {
    if let Some(at) = at {
        push_name(out, name);
        out.push('"');
        at.push_rfc3339(out);
        out.push('"');
    }
}

/// Adds what is JSON already, as it is.
fn with_json(mut inside: String, parts: &[(&str, Option<&str>)]) -> String {
    for (name, json) in parts {
        if let Some(json) = json {
            push_name(&mut inside, name);
            inside.push_str(json);
        }
    }
    inside
}

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
mod tests {
    use super::*;

    #[allow(clippy::ref_option)] // serde's shape
    pub(super) fn instant<S: serde::Serializer>(at: &Option<Millis>, to: S) -> Result<S::Ok, S::Error> {
        at.map(Millis::rfc3339).serialize(to)
    }

    #[test]
    fn an_event_is_what_a_serialiser_makes_of_it() {
        let odd = "a \"quoted\"\\ \n\u{1} Zürich";
        let bare = EventBody {
            name: odd,
            event_type: "SYSTEM",
            stream: "web",
            visitor_ref: "v",
            visit_id: "0192f3a0-0000-7000-8000-000000000001",
            session_id: None,
            page_seq: None,
            url: None,
            screen: None,
            title: None,
            language: None,
            category: None,
            search_query: None,
            client_at: None,
            sent_at: None,
            clock_state: "client",
            basis_id: 0,
            replaces: None,
            referrer: None,
            attributes: None,
            attribute_types: None,
            conversation: None,
        };
        let full = EventBody {
            session_id: Some("s"),
            page_seq: Some(7),
            url: Some("https://shop.example/?q=1"),
            screen: Some(odd),
            title: Some(""),
            language: Some("de"),
            category: Some("a;b"),
            search_query: Some(odd),
            client_at: Some(Millis(1)),
            sent_at: Some(Millis(1_431_857_103_250)),
            basis_id: -1,
            replaces: Some(i64::MAX),
            ..bare
        };
        for fields in [&bare, &full] {
            assert_eq!(fields.text(), body(fields));
        }
        let told = EventBody {
            referrer: Some("{\"a\":1}"),
            attributes: Some("{}"),
            attribute_types: Some("{\"x\":\"NUMBER\"}"),
            conversation: Some("[1]"),
            ..full
        };
        let json =
            ",\"referrer\":{\"a\":1},\"attributes\":{},\"attribute_types\":{\"x\":\"NUMBER\"},\"conversation\":[1]";
        assert_eq!(told.text(), body(&told) + json, "what is JSON already stands last, as it is");
    }
}
