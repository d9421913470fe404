//! Verifying the ledger: does the chain hold, do its contents, do the signed checkpoints, and does it reach as far as they say?
//! Must never change anything, nor stop at the first finding. Invariant: what is found is told with the number of the first
//! bad entry, and what kind of fault it is.

use std::collections::BTreeMap;
use std::path::Path;

use serde::Serialize;

use crate::base::digest::{Hash, sha256};
use crate::base::error::{Error, Result};
use crate::base::id::uuid_bytes;
use crate::base::text::{hex, unhex};
use crate::base::time::Millis;
use crate::domain::checkpoint::{Checkpoint, Signed, bad};
use crate::domain::ledger::{Cleared, EntryKind, GENESIS, went_back};
use crate::store::checkpoints::CheckpointRow;
use crate::store::edge::{Edge, KnownKey};
use crate::store::ledger::{ClearedDetail, Content, EraseDetail, Found};
use crate::store::{ReadTx, Reading, checkpoints, decisions, erasures, ledger};

/// Entries read in one snapshot.
const PER_READ: i64 = 2_000;
/// Faults told one by one; more are only counted.
const FAULTS_MAX: usize = 100;

/// What kind of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum FaultKind {
    /// An entry, its content or the step to it is not what it was.
    Chain,
    /// A checkpoint is not signed by this edge, or not the one that followed.
    Signature,
    /// The ledger ends before where it once was.
    Truncated,
    /// The clock went back, and no entry says so.
    ClockBack,
}

impl FaultKind {
    /// The exit code of `wayside consent verify`.
    pub fn exit_code(self) -> u8 {
        match self {
            FaultKind::Chain => 2,
            FaultKind::Signature => 3,
            FaultKind::Truncated => 4,
            FaultKind::ClockBack => 5,
        }
    }
}

/// Something that does not hold.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Fault {
    /// What kind.
    pub kind: FaultKind,
    /// The entry's number in the ledger.
    pub ledger_no: i64,
    /// What is wrong.
    pub what: String,
}

/// What verifying came to.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Verified {
    /// Entries looked at.
    pub entries: i64,
    /// Contents that are there and were hashed anew.
    pub contents: i64,
    /// Contents that were removed, each with the entry that says why.
    pub cleared: i64,
    /// Checkpoints looked at.
    pub checkpoints: i64,
    /// Entries up to this one are gone; a signed anchor stands for them.
    pub anchor_no: i64,
    /// The newest entry.
    pub newest_no: i64,
    /// Its hash.
    pub newest_hash: String,
    /// Entries that no checkpoint covers yet.
    pub unsigned: i64,
    /// How many faults were found.
    pub fault_count: usize,
    /// The first of them.
    pub faults: Vec<Fault>,
    /// What is worth knowing and no fault.
    pub notes: Vec<String>,
}

impl Verified {
    fn finds(&mut self, kind: FaultKind, ledger_no: i64, what: impl Into<String>) {
        self.fault_count += 1;
        if self.faults.len() < FAULTS_MAX {
            self.faults.push(Fault { kind, ledger_no, what: what.into() });
        }
    }

    /// The gravest kind of fault: a broken chain before a bad signature, that before a cut tail, that before the clock.
    pub fn gravest(&self) -> Option<FaultKind> {
        self.faults.iter().map(|fault| fault.kind).min()
    }

    /// The exit code: 0 where everything holds.
    pub fn exit_code(&self) -> u8 {
        self.gravest().map_or(0, FaultKind::exit_code)
    }
}

/// How far it is: entries done, and entries in all.
pub type Progress<'a> = &'a mut dyn FnMut(u64, Option<u64>);

/// Verifies the ledger of a data directory, also beside a running daemon. `against` = a checkpoint kept elsewhere.
/// Errors: `NotFound` without a database, `Config` for another schema version, `Busy`, `Storage`.
pub fn beside(data_dir: &Path, read_ms_max: u64, against: Option<&Signed>, progress: Progress<'_>) -> Result<Verified> {
    let keys = Edge::load(data_dir)?.map(|edge| edge.keys).unwrap_or_default();
    run(&Reading::open(data_dir, read_ms_max)?, &keys, against, progress)
}

/// Verifies a ledger. `keys` = all that ever signed here. Errors: `Busy`, `Storage`.
pub fn run(source: &Reading, keys: &[KnownKey], against: Option<&Signed>, progress: Progress<'_>) -> Result<Verified> {
    let mut out = Verified::default();
    let head = source.read(ledger::head)?;
    out.newest_no = head.no;
    out.newest_hash = hex(&head.hash);
    let mut walk = Walk::new(head.no);
    walk.begin(source.read(checkpoints::anchor)?, &mut out);
    while walk.at < head.no {
        let after = walk.at;
        let (page, anchor) = source.read(|tx| Ok((ledger::page(tx, after, PER_READ)?, checkpoints::anchor(tx)?)))?;
        if page.first().is_none_or(|first| first.entry.no > after + 1)
            && anchor.as_ref().is_some_and(|a| a.ledger_no > after)
        {
            walk.begin(anchor, &mut out); // upkeep folded entries away since the last look
            continue;
        }
        if page.is_empty() {
            break;
        }
        for found in page.into_iter().take_while(|found| found.entry.no <= head.no) {
            walk.step(&found, &mut out);
            if found.entry.kind == EntryKind::Erase && !source.read(|tx| result_holds(tx, &found))? {
                out.finds(
                    FaultKind::Chain,
                    found.entry.no,
                    "the result kept with that erasure is not the one it names",
                );
            }
        }
        progress(u64::try_from(walk.at).unwrap_or(0), u64::try_from(head.no).ok());
    }
    walk.end(&|no| Ok(source.read(|tx| ledger::hash_at(tx, no))?.is_some()), &mut out)?;
    if let Some(no) = source.read(decisions::unchained)? {
        let kind = if no > head.no { FaultKind::Truncated } else { FaultKind::Chain };
        out.finds(kind, no, "a decision lies outside the ledger: its entry is not there, or is another one's");
    }
    signatures(source, keys, &mut out)?;
    if let Some(signed) = against {
        compare(source, keys, signed, &mut out)?;
    }
    out.faults.sort_by_key(|fault| (fault.kind, fault.ledger_no));
    Ok(out)
}

/// The walk along the chain.
struct Walk {
    /// The entry it has come to.
    at: i64,
    hash: Hash,
    time: Option<Millis>,
    until: i64,
    /// Contents that are gone, by the entry that says why.
    cleared: BTreeMap<i64, (Cleared, i64, i64)>,
    anchor: i64,
}

impl Walk {
    fn new(until: i64) -> Walk {
        Walk { at: 0, hash: GENESIS, time: None, until, cleared: BTreeMap::new(), anchor: 0 }
    }

    /// Goes on behind an anchor, where there is one. What it says is verified with the other checkpoints.
    fn begin(&mut self, anchor: Option<CheckpointRow>, out: &mut Verified) {
        let Some(anchor) = anchor.filter(|anchor| anchor.ledger_no > self.at) else { return };
        match anchor.signed.read().and_then(|read| read.hash()) {
            Ok(hash) => self.hash = hash,
            Err(_) => out.finds(FaultKind::Signature, anchor.ledger_no, "the anchor cannot be read"),
        }
        (self.at, self.anchor, out.anchor_no) = (anchor.ledger_no, anchor.ledger_no, anchor.ledger_no);
        self.time = None;
    }

    fn step(&mut self, found: &Found, out: &mut Verified) {
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
        if entry.kind != EntryKind::Clock && self.time.is_some_and(|before| went_back(before, entry.at)) {
            out.finds(FaultKind::ClockBack, entry.no, "the clock went back before it, and no entry says so");
        }
        (self.at, self.hash, self.time) = (entry.no, found.hash, Some(entry.at));
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
        if told.first_no <= self.anchor {
            return; // part of what it names is behind the anchor
        }
        let (count, digest, first, last) = match seen {
            Some((sum, first, last)) => (sum.count, hex(&sum.finish()), first, last),
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
    fn end(&mut self, comes: &dyn Fn(i64) -> Result<bool>, out: &mut Verified) -> Result<()> {
        for (by, (_, first, _)) in std::mem::take(&mut self.cleared) {
            if by <= self.until || !comes(by)? {
                out.finds(FaultKind::Chain, first, format!("its content is gone, and entry {by} does not say why"));
            }
        }
        if self.at < self.until {
            out.finds(FaultKind::Chain, self.at + 1, "the entries behind it cannot be read");
        }
        Ok(())
    }
}

/// Is what an erasure came to still what its entry says? An erasure whose row went by age says nothing any more.
fn result_holds(tx: &ReadTx<'_>, found: &Found) -> Result<bool> {
    let Some(told) = found.detail.as_deref().and_then(|text| serde_json::from_str::<EraseDetail>(text).ok()) else {
        return Ok(false);
    };
    let Some(id) = uuid_bytes(&told.erasure_id) else { return Ok(false) };
    let digest = |text: String| hex(&sha256(text.as_bytes())) == told.result_sha256;
    Ok(erasures::get(tx, &id)?.is_none_or(|row| row.result.is_some_and(digest)))
}

/// Every checkpoint: signature, the one before, and what the ledger has at its place.
fn signatures(source: &Reading, keys: &[KnownKey], out: &mut Verified) -> Result<()> {
    let mut before: Option<CheckpointRow> = None;
    let mut covered = out.anchor_no;
    loop {
        let after = before.as_ref().map_or(0, |row| row.no);
        let page = source.read(|tx| {
            let page = checkpoints::after(tx, after, PER_READ)?;
            page.into_iter().map(|row| Ok((placed(tx, row.ledger_no)?, row))).collect::<Result<Vec<_>>>()
        })?;
        if page.is_empty() {
            break;
        }
        for (place, row) in page {
            out.checkpoints += 1;
            one(&row, before.as_ref(), keys, out);
            at_its_place(&row.signed, row.ledger_no, place, out);
            covered = covered.max(row.ledger_no);
            before = Some(row);
        }
    }
    out.unsigned = (out.newest_no - covered).max(0);
    Ok(())
}

/// What the ledger has at a place.
#[derive(Clone, Copy)]
enum Place {
    Has(Hash),
    /// An anchor stands for it.
    Folded,
    /// The ledger ends before it.
    Beyond,
    Missing,
}

fn placed(tx: &ReadTx<'_>, no: i64) -> Result<Place> {
    if let Some(hash) = ledger::hash_at(tx, no)? {
        return Ok(Place::Has(hash));
    }
    Ok(match checkpoints::anchor(tx)? {
        Some(anchor) if no <= anchor.ledger_no => Place::Folded,
        _ if no > ledger::head(tx)?.no => Place::Beyond,
        _ => Place::Missing,
    })
}

fn one(row: &CheckpointRow, before: Option<&CheckpointRow>, keys: &[KnownKey], out: &mut Verified) {
    let no = row.no;
    let read = match opened(&row.signed, keys) {
        Ok(read) => read,
        Err(what) => return out.finds(FaultKind::Signature, row.ledger_no, format!("checkpoint {no}: {what}")),
    };
    let says = (read.checkpoint_no, read.ledger_no, read.anchor, Millis::parse(&read.at));
    if says != (no, row.ledger_no, row.anchor, Some(row.at)) {
        out.finds(
            FaultKind::Signature,
            row.ledger_no,
            format!("checkpoint {no}: its columns and its signed text differ"),
        );
    }
    let follows = match before {
        Some(before) => before.no + 1 == no && read.previous == Some(before.signed.digest()),
        // the oldest that is left: the first of all, or from before an anchor that stands for those gone
        None => read.previous.is_none() && no == 1 || out.anchor_no > 0,
    };
    if !follows {
        out.finds(
            FaultKind::Signature,
            row.ledger_no,
            format!("checkpoint {no}: the one it names as the one before is not there"),
        );
    }
}

fn opened(signed: &Signed, keys: &[KnownKey]) -> Result<Checkpoint, String> {
    let read = signed.read().map_err(|e| e.to_string())?;
    match keys.iter().find(|key| key.key_id == read.key_id) {
        None => Err(format!("it is signed by the key {}, which was never this edge's", read.key_id)),
        Some(key) if !signed.holds(&key.public) => Err("the signature does not hold".to_owned()),
        Some(_) => Ok(read),
    }
}

fn at_its_place(signed: &Signed, no: i64, place: Place, out: &mut Verified) {
    let Ok(read) = signed.read() else { return };
    match place {
        Place::Has(hash) if hex(&hash) == read.hash => {}
        Place::Has(_) => out.finds(FaultKind::Chain, no, format!("it is not the entry that was signed at {}", read.at)),
        Place::Folded => {}
        Place::Beyond => {
            let what =
                format!("the ledger ends at {}; it had come to {no} when it was signed at {}", out.newest_no, read.at);
            out.finds(FaultKind::Truncated, no, what);
        }
        Place::Missing => out.finds(FaultKind::Chain, no, "a signed entry is missing"),
    }
}

/// A checkpoint that somebody else kept.
fn compare(source: &Reading, keys: &[KnownKey], signed: &Signed, out: &mut Verified) -> Result<()> {
    let read = match opened(signed, keys) {
        Ok(read) => read,
        Err(what) => {
            let no = signed.read().map_or(0, |read| read.ledger_no);
            out.finds(FaultKind::Signature, no, format!("the checkpoint given: {what}"));
            return Ok(());
        }
    };
    let place = source.read(|tx| placed(tx, read.ledger_no))?;
    if matches!(place, Place::Folded) {
        out.notes.push(format!(
            "entry {} of the checkpoint given is folded into the anchor at {}: only its signature was verified",
            read.ledger_no, out.anchor_no
        ));
    }
    at_its_place(signed, read.ledger_no, place, out);
    Ok(())
}

/// Reads a checkpoint from text: a line of the consent lane, the answer of `wayside consent checkpoint --json`, or several
/// lines of which the last checkpoint counts. Errors: `Invalid` with code `bad_checkpoint`.
pub fn parse_checkpoint(text: &str) -> Result<Signed> {
    let whole = serde_json::from_str::<serde_json::Value>(text).into_iter();
    let lines = text.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok());
    let found = whole.chain(lines).rfind(|line| line["signed"].is_string() && line["signature"].is_string());
    let found = found.ok_or_else(|| bad("no object with \"signed\" and \"signature\" in it"))?;
    let part = |name: &str| found[name].as_str().unwrap_or_default().to_owned();
    let signature = unhex(&part("signature")).map_err(|e| bad("its signature is no 128 hex digits").source(e))?;
    let signed = Signed { text: part("signed"), signature };
    signed.read()?;
    Ok(signed)
}

/// The newest checkpoint, as a line to be kept elsewhere.
#[derive(Clone, Debug, Serialize)]
pub struct CheckpointView {
    /// The entry it names.
    pub ledger_no: i64,
    /// The hash of that entry.
    pub hash: String,
    /// When it was made.
    pub at: String,
    /// The signed text.
    pub signed: String,
    /// Signature over it.
    pub signature: String,
    /// The public key that signed.
    pub public_key: Option<String>,
}

/// The newest checkpoint of a data directory. Errors: `NotFound` with code `no_checkpoint` before the first.
pub fn newest_checkpoint(data_dir: &Path, read_ms_max: u64) -> Result<CheckpointView> {
    let row = Reading::open(data_dir, read_ms_max)?.read(checkpoints::newest)?.ok_or_else(|| {
        Error::not_found("the ledger has no checkpoint yet")
            .code("no_checkpoint")
            .remedy("a running collector signs within five minutes of a decision; or run `wayside upkeep`")
    })?;
    let read = row.signed.read()?;
    let keys = Edge::load(data_dir)?.map(|edge| edge.keys).unwrap_or_default();
    let public_key = keys.iter().find(|key| key.key_id == read.key_id).map(|key| hex(&key.public));
    let signature = hex(&row.signed.signature);
    Ok(CheckpointView {
        ledger_no: row.ledger_no,
        hash: read.hash,
        at: read.at,
        signed: row.signed.text,
        signature,
        public_key,
    })
}
