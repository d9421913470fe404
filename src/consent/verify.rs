//! Verifying the ledger: does the chain hold, do its contents, do the signed checkpoints, and does it reach as far as they say?
//! Must never change anything, nor stop at the first finding. Invariant: what is found is told with the number of the first
//! bad entry, and what kind of fault it is.

use std::path::Path;

use serde::Serialize;

use crate::base::digest::{Hash, sha256};
use crate::base::error::{Error, Result};
use crate::base::id::uuid_bytes;
use crate::base::text::{hex, unhex};
use crate::base::time::Millis;
use crate::consent::notice::OnRecord;
use crate::domain::checkpoint::{Checkpoint, Signed, bad};
use crate::domain::ledger::{EntryKind, minute};
use crate::store::checkpoints::CheckpointRow;
use crate::store::edge::{Edge, KnownKey};
use crate::store::ledger::{EraseDetail, Found};
use crate::store::{ReadTx, Reading, checkpoints, decisions, erasures, ledger, notices, sites};

mod receipt;
mod walk;

pub use self::receipt::{Kept, receipt};
use self::walk::Walk;

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
    /// Puts the gravest first.
    fn sort(&mut self) {
        self.faults.sort_by_key(|fault| (fault.kind, fault.ledger_no));
    }

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
    walk.begin(source.read(|tx| anchor(tx, keys))?, &mut out);
    while walk.at < head.no {
        let after = walk.at;
        let (page, anchor) = source.read(|tx| Ok((ledger::page(tx, after, PER_READ)?, anchor(tx, keys)?)))?;
        if page.first().is_none_or(|first| first.entry.no > after + 1)
            && anchor.as_ref().is_some_and(|(read, _)| read.ledger_no > after)
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
    for (no, told) in &walk.notices {
        source.read(|tx| published(tx, *no, told, &mut out))?;
    }
    signatures(source, keys, &mut out)?;
    if let Some(signed) = against {
        compare(source, keys, signed, &walk.restores, &mut out)?;
    }
    out.sort();
    Ok(out)
}

/// Does each language of a notice lie here as it was published?
fn published(tx: &ReadTx<'_>, no: i64, told: &OnRecord, out: &mut Verified) -> Result<()> {
    let rows = match sites::id(tx, &told.site)? {
        Some(site) => notices::version(tx, site, &told.version)?,
        None => Vec::new(),
    };
    for one in &told.languages {
        let there = rows.iter().find(|row| row.language == one.language);
        let digest = there.map(|row| match &row.body {
            notices::Body::Own(notice) => hex(&notice.digest()),
            notices::Body::External(_) => hex(&row.digest),
        });
        if digest.as_ref() != Some(&one.sha256) || there.is_some_and(|row| hex(&row.digest) != one.sha256) {
            let what = format!("the notice {:?} ({}) is not what was published", told.version, one.language);
            out.finds(FaultKind::Chain, no, what);
        }
    }
    Ok(())
}

/// The newest anchor that this edge signed: one that does not hold stands for nothing.
fn anchor(tx: &ReadTx<'_>, keys: &[KnownKey]) -> Result<Option<(Checkpoint, CheckpointRow)>> {
    let read = |row: &CheckpointRow| {
        let read = opened(&row.signed, keys).ok()?;
        (read.anchor && read.ledger_no == row.ledger_no && read.hash().is_ok()).then_some(read)
    };
    let found = checkpoints::anchor(tx, |row| read(row).is_some())?;
    Ok(found.and_then(|row| read(&row).map(|said| (said, row))))
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
            let folded = anchor(tx, keys)?.map_or(0, |(read, _)| read.ledger_no);
            page.into_iter().map(|row| Ok((placed(tx, row.ledger_no, folded)?, row))).collect::<Result<Vec<_>>>()
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

fn placed(tx: &ReadTx<'_>, no: i64, folded: i64) -> Result<Place> {
    Ok(match ledger::hash_at(tx, no)? {
        _ if no < folded => Place::Folded, // also where upkeep has not come to it
        Some(hash) => Place::Has(hash),
        None if no == folded => Place::Folded,
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

/// A checkpoint that somebody else kept. Where a backup was restored since it was signed, what came after the backup is not
/// here: that is a cut tail all the same, and the entry that tells of the restore is named.
fn compare(
    source: &Reading,
    keys: &[KnownKey],
    signed: &Signed,
    restores: &[(i64, Millis, String)],
    out: &mut Verified,
) -> Result<()> {
    let read = match opened(signed, keys) {
        Ok(read) => read,
        Err(what) => {
            let no = signed.read().map_or(0, |read| read.ledger_no);
            out.finds(FaultKind::Signature, no, format!("the checkpoint given: {what}"));
            return Ok(());
        }
    };
    let place =
        source.read(|tx| placed(tx, read.ledger_no, anchor(tx, keys)?.map_or(0, |(read, _)| read.ledger_no)))?;
    if matches!(place, Place::Folded) {
        out.notes.push(format!(
            "entry {} of the checkpoint given is folded into the anchor at {}: only its signature was verified",
            read.ledger_no, out.anchor_no
        ));
    }
    let same = matches!(place, Place::Folded) || matches!(place, Place::Has(hash) if hex(&hash) == read.hash);
    let signed_at = Millis::parse(&read.at).map(minute);
    let restored =
        restores.iter().find(|(no, at, _)| *no <= read.ledger_no && signed_at.is_some_and(|then| *at >= then));
    match restored.filter(|_| !same) {
        Some((no, at, backup)) => {
            let what = format!(
                "what was signed from here to {} is not here: a backup of {backup} was restored at {}, and this entry says so",
                read.ledger_no,
                at.rfc3339()
            );
            out.finds(FaultKind::Truncated, *no, what);
        }
        None => at_its_place(signed, read.ledger_no, place, out),
    }
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
