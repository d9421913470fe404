//! The walk along the chain: each entry follows the one before, holds its content, and explains what it removed.
//! Must never read a row nor judge a signature. Invariant: behind an anchor only those contents may be gone in the name of a
//! removal from before it that the anchor itself names.

use std::collections::BTreeMap;

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::text::hex;
use crate::base::time::Millis;
use crate::consent::notice::OnRecord;
use crate::consent::verify::{FaultKind, Verified};
use crate::domain::checkpoint::Checkpoint;
use crate::domain::ledger::{Cleared, EntryKind, GENESIS, Left, went_back};
use crate::store::checkpoints::CheckpointRow;
use crate::store::ledger::{ClearedDetail, Content, Found};

/// The walk along the chain.
pub(super) struct Walk {
    /// The entry it has come to.
    pub at: i64,
    hash: Hash,
    time: Option<Millis>,
    until: i64,
    /// Contents that are gone, by the entry that says why: their digest, the lowest and the highest number.
    cleared: BTreeMap<i64, (Cleared, i64, i64)>,
    anchor: i64,
    /// What the anchor says of the removals it cuts through.
    signed: Option<String>,
    /// What is found of them, and the first that says so.
    left: Left,
    first_cut: Option<i64>,
    /// Entries that tell of a restored backup: number, time, and when the backup was of.
    pub restores: Vec<(i64, Millis, String)>,
    /// Entries that tell of a published notice.
    pub notices: Vec<(i64, OnRecord)>,
}

impl Walk {
    pub fn new(until: i64) -> Walk {
        Walk {
            at: 0,
            hash: GENESIS,
            time: None,
            until,
            cleared: BTreeMap::new(),
            anchor: 0,
            signed: None,
            left: Left::default(),
            first_cut: None,
            restores: Vec::new(),
            notices: Vec::new(),
        }
    }

    /// Goes on behind an anchor that holds, where there is one.
    pub fn begin(&mut self, anchor: Option<(Checkpoint, CheckpointRow)>, out: &mut Verified) {
        let Some((read, _)) = anchor.filter(|(read, _)| read.ledger_no > self.at) else { return };
        let Ok(hash) = read.hash() else { return };
        let until = self.until;
        *self = Walk { at: read.ledger_no, anchor: read.ledger_no, hash, signed: read.left, ..Walk::new(until) };
        out.anchor_no = read.ledger_no;
    }

    pub fn step(&mut self, found: &Found, out: &mut Verified) {
        let entry = &found.entry;
        out.entries += 1;
        if entry.no != self.at + 1 {
            out.finds(
                FaultKind::Chain,
                self.at + 1,
                format!("entries {} to {} are missing", self.at + 1, entry.no - 1),
            );
        } else if entry.prev != self.hash {
            out.finds(FaultKind::Chain, entry.no, "it does not follow the entry before");
        }
        if entry.hash() != found.hash {
            out.finds(FaultKind::Chain, entry.no, "its hash is not that of what it says");
        }
        match found.content {
            Content::Has(leaf) if leaf == entry.leaf => out.contents += 1,
            Content::Has(_) => out.finds(FaultKind::Chain, entry.no, "its content was changed"),
            Content::Cleared(by) => {
                out.cleared += 1;
                let (sum, first, last) =
                    self.cleared.entry(by).or_insert_with(|| (Cleared::default(), entry.no, entry.no));
                sum.add(entry.no, &entry.leaf);
                (*first, *last) = ((*first).min(entry.no), (*last).max(entry.no));
            }
            Content::Gone => out.finds(FaultKind::Chain, entry.no, "its content is gone, and no entry says why"),
        }
        if entry.kind.clears() {
            self.explained(found, out);
        }
        self.remember(found, out);
        if entry.kind != EntryKind::Clock && self.time.is_some_and(|before| went_back(before, entry.at)) {
            out.finds(FaultKind::ClockBack, entry.no, "the clock went back before it, and no entry says so");
        }
        (self.at, self.hash, self.time) = (entry.no, found.hash, Some(entry.at));
    }

    fn remember(&mut self, found: &Found, out: &mut Verified) {
        let Some(detail) = &found.detail else { return };
        let no = found.entry.no;
        match found.entry.kind {
            EntryKind::Restore => {
                let said = serde_json::from_str::<serde_json::Value>(detail).unwrap_or_default();
                let of = said["backup_at"].as_str().unwrap_or("an unknown time").to_owned();
                self.restores.push((no, found.entry.at, of));
            }
            EntryKind::Notice => match serde_json::from_str(detail) {
                Ok(told) => self.notices.push((no, told)),
                Err(_) => out.finds(FaultKind::Chain, no, "the notice it tells of cannot be read"),
            },
            _ => {}
        }
    }

    /// An entry that says which contents went: are these the ones? (They all come before it.)
    fn explained(&mut self, found: &Found, out: &mut Verified) {
        let no = found.entry.no;
        let told = found.detail.as_deref().and_then(|text| serde_json::from_str::<ClearedDetail>(text).ok());
        let (told, seen) = match (told, self.cleared.remove(&no)) {
            (Some(told), seen) => (told, seen),
            (None, None) => return,
            (None, Some(_)) => {
                return out.finds(FaultKind::Chain, no, "contents are gone on its word that it does not name");
            }
        };
        if told.first_no <= self.anchor && told.last_no > self.anchor {
            // part of what it names is behind the anchor, which says what is left of it
            self.first_cut.get_or_insert(no);
            return self.left.add(no, seen.map(|(sum, _, _)| sum).unwrap_or_default());
        }
        let (count, digest, first, last) = match seen {
            Some((sum, first, last)) => (sum.count, hex(&sum.finish()), first, last),
            None if told.last_no <= self.anchor => return, // all it names is folded away
            None => (0, String::new(), 0, 0),
        };
        if (count, digest.as_str(), first, last) != (told.count, told.digest.as_str(), told.first_no, told.last_no) {
            let what = format!(
                "it says that the contents of {} entries went, and names others than those that are gone",
                told.count
            );
            out.finds(FaultKind::Chain, no, what);
        }
    }

    /// What is left over at the end. `comes` = is there an entry of that number by now? It came while the walk went on.
    pub fn end(&mut self, comes: &dyn Fn(i64) -> Result<bool>, out: &mut Verified) -> Result<()> {
        for (by, (_, first, _)) in std::mem::take(&mut self.cleared) {
            if by <= self.until || !comes(by)? {
                out.finds(FaultKind::Chain, first, format!("its content is gone, and entry {by} does not say why"));
            }
        }
        let left = std::mem::take(&mut self.left).finish().map(|digest| hex(&digest));
        if left != self.signed {
            let no = self.first_cut.unwrap_or(self.anchor + 1);
            out.finds(FaultKind::Chain, no, "contents are gone in its name that the anchor before it does not know of");
        }
        if self.at < self.until {
            out.finds(FaultKind::Chain, self.at + 1, "the entries behind it cannot be read");
        }
        Ok(())
    }
}
