//! One line of a batch: its kinds, its fields in order, its bytes, its hash (contract 5).
//! Owns the format; must never read a row. Invariant: the same line always renders to the same bytes, so a digest made
//! when a batch was sealed holds for ever; a change of the bytes is a new schema version with a renderer of its own.

use std::sync::Arc;

use serde::Serialize;

use crate::base::digest::{Hash, Hasher, sha256};
use crate::base::id::{EdgeId, Epoch, Salt, Seq};
use crate::base::text::{hex, push_hex, push_json, push_number};
use crate::base::time::Millis;
use crate::domain::consent::Purposes;
use crate::domain::visitor::Rights;

/// Version of the lines this program renders: `major.minor`; a minor only adds optional fields.
pub const SCHEMA: &str = "1.0";
/// The version of a batch in which a line names where it was (`was`), and of no other: whoever reads 1.0 reads all the rest.
pub const SCHEMA_WAS: &str = "1.1";
/// Versions that can be rendered.
pub const SCHEMAS: [&str; 2] = [SCHEMA, SCHEMA_WAS];

macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident = $word:literal),* $(,)?) => {
        /// What a line tells.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
        pub enum LineKind { $($(#[$doc])* $name),* }

        impl LineKind {
            /// Stable word.
            pub fn word(self) -> &'static str {
                match self { $(LineKind::$name => $word),* }
            }

            /// The kind of a word.
            pub fn parse(word: &str) -> Option<Self> {
                match word { $($word => Some(LineKind::$name),)* _ => None }
            }
        }
    };
}

kinds! {
    /// One occurrence.
    Event = "event",
    /// A snapshot of a visit.
    Visit = "visit",
    /// One hour of a site's counters.
    Count = "count",
    /// A decision.
    Decision = "decision",
    /// A withdrawal: who, which purposes, up to which number.
    Withdrawal = "withdrawal",
    /// An erasure.
    Erasure = "erasure",
    /// A rectification.
    Rectification = "rectification",
    /// What was lost, and why.
    Loss = "loss",
    /// A step of the clock.
    Clock = "clock",
    /// A signed state of the ledger.
    Checkpoint = "checkpoint",
}

impl LineKind {
    /// Does it tell of rights, losses or counters, so that no floor covers it?
    pub fn tells_of_rights(self) -> bool {
        !matches!(self, LineKind::Event | LineKind::Visit)
    }
}

/// Whom a line is about, as far as rights go.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct About {
    /// The visitor's row.
    pub visitor_id: i64,
    /// At or below: nothing leaves.
    pub measure_floor: Seq,
    /// At or below: nothing leaves to a third party.
    pub share_floor: Seq,
    /// Lines numbered at or below do not leave: restricted, or sent again under another number since.
    pub restricted_upto: Seq,
}

/// About as long as what stands before a body.
const HEAD_BYTES: usize = 400;

/// One line, ready to be rendered.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// What it tells.
    pub kind: LineKind,
    /// Its number.
    pub seq: Seq,
    /// Lowest number of a row it was made from.
    pub first_seq: Seq,
    /// Where it was born: edge and epoch.
    pub origin: (EdgeId, Epoch),
    /// The site's name.
    pub site: Option<Arc<str>>,
    /// The event's id.
    pub event_id: Option<String>,
    /// When what it tells was received.
    pub received: Millis,
    /// When what it tells happened.
    pub corrected: Millis,
    /// What it may be used for.
    pub rights: Rights,
    /// Destroyed with its row.
    pub salt: Salt,
    /// Whom it is about.
    pub about: Option<About>,
    /// Its own fields: the inside of a JSON object, without braces.
    pub body: String,
    /// Its body names where it was before its batch was voided.
    pub moved: bool,
}

impl Line {
    /// Why this line may not leave: to anyone, or (`third_party`) to a recipient that needs the purpose `share`
    /// (contract 2 and 5). What tells of rights themselves has no floor: a withdrawal must reach whoever has the rows.
    pub fn barred(&self, third_party: bool) -> Option<HoleReason> {
        if self.rights.exempt {
            return Some(HoleReason::NoRight);
        }
        let about = self.about?;
        let of_rights = self.kind.tells_of_rights();
        if !of_rights && self.seq <= about.restricted_upto {
            return Some(HoleReason::Restricted);
        }
        if !of_rights && self.first_seq <= about.measure_floor {
            return Some(HoleReason::Withdrawn);
        }
        if third_party && !self.rights.flags.has(Purposes::SHARE) {
            return Some(HoleReason::NoRight);
        }
        (third_party && !of_rights && self.first_seq <= about.share_floor).then_some(HoleReason::Withdrawn)
    }

    /// The line's bytes, without a line end. `edge_label` is the one in force when its batch was sealed.
    pub fn render(&self, edge_label: &str) -> Vec<u8> {
        let mut out = String::with_capacity(self.body.len() + HEAD_BYTES);
        self.render_into(edge_label, &mut out);
        out.into_bytes()
    }

    /// Adds the line to a text. By hand: every line is rendered twice, and this is half of what a serialiser takes.
    pub fn render_into(&self, edge_label: &str, out: &mut String) {
        out.push_str("{\"kind\":\"");
        out.push_str(self.kind.word());
        out.push_str("\",\"edge\":\"");
        push_hex(out, &self.origin.0.0);
        out.push_str("\",\"edge_label\":");
        push_json(out, edge_label);
        if let Some(site) = &self.site {
            out.push_str(",\"site\":");
            push_json(out, site);
        }
        out.push_str(",\"epoch\":\"");
        push_hex(out, &self.origin.1.0);
        out.push_str("\",\"seq\":");
        push_number(out, self.seq.0);
        if let Some(event_id) = &self.event_id {
            out.push_str(",\"event_id\":");
            push_json(out, event_id);
        }
        out.push_str(",\"received_at\":\"");
        self.received.push_rfc3339(out);
        out.push_str("\",\"corrected_at\":\"");
        self.corrected.push_rfc3339(out);
        out.push_str("\",\"flags\":");
        push_number(out, i64::from(self.rights.flags.0));
        out.push_str(",\"consent_seq\":");
        push_number(out, self.rights.consent_seq.0);
        out.push_str(",\"salt\":\"");
        push_hex(out, &self.salt.0);
        out.push('"');
        if !self.body.is_empty() {
            out.push(',');
            out.push_str(&self.body);
        }
        out.push('}');
    }
}

/// Serialises a line's own fields: the inside of a JSON object, without braces.
pub fn body(fields: &impl Serialize) -> String {
    let mut text = serde_json::to_string(fields).expect("invariant: a body has string keys");
    text.pop();
    text.remove(0);
    text
}

/// Why a line may no longer leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum HoleReason {
    /// Its visitor withdrew.
    Withdrawn,
    /// Its person was erased.
    Erased,
    /// Its person restricted processing.
    Restricted,
    /// Superseded by a rectified row.
    Rectified,
    /// The target has no right to it.
    NoRight,
    /// The target refused it.
    Refused,
    /// Removed for want of space.
    Quota,
    /// Removed by age.
    Retention,
}

const HOLE_REASONS: [HoleReason; 8] = [
    HoleReason::Withdrawn,
    HoleReason::Erased,
    HoleReason::Restricted,
    HoleReason::Rectified,
    HoleReason::NoRight,
    HoleReason::Refused,
    HoleReason::Quota,
    HoleReason::Retention,
];

impl HoleReason {
    /// Stable word.
    pub fn word(self) -> &'static str {
        match self {
            HoleReason::Withdrawn => "withdrawn",
            HoleReason::Erased => "erased",
            HoleReason::Restricted => "restricted",
            HoleReason::Rectified => "rectified",
            HoleReason::NoRight => "no_right",
            HoleReason::Refused => "refused",
            HoleReason::Quota => "quota",
            HoleReason::Retention => "retention",
        }
    }

    /// The reason of a word.
    pub fn parse(word: &str) -> Option<Self> {
        HOLE_REASONS.into_iter().find(|reason| reason.word() == word)
    }
}

#[derive(Serialize)]
struct HoleLine {
    kind: &'static str,
    edge: String,
    epoch: String,
    seq: i64,
    reason: &'static str,
    line_sha256: String,
}

/// The line that stands where another may no longer leave: its number and digest stay.
pub fn render_hole(origin: (EdgeId, Epoch), seq: Seq, reason: HoleReason, line: &Hash) -> Vec<u8> {
    let hole = HoleLine {
        kind: "hole",
        edge: origin.0.to_string(),
        epoch: origin.1.to_string(),
        seq: seq.0,
        reason: reason.word(),
        line_sha256: hex(line),
    };
    serde_json::to_vec(&hole).expect("invariant: a hole has string keys")
}

/// The hash of a line's bytes, without its line end.
pub fn line_hash(line: &[u8]) -> Hash {
    sha256(line)
}

/// The digest of a batch: over the hashes of its lines in order, domain-separated, count included.
pub fn digest(lines: &[Hash]) -> Hash {
    let mut hasher = Hasher::new();
    hasher.add(b"wayside-batch-v1\0").add(&(lines.len() as u64).to_be_bytes());
    for line in lines {
        hasher.add(line);
    }
    hasher.finish()
}

#[cfg(test)]
mod tests;
