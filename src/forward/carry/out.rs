//! `carry out`: takes in the acknowledgements a stick brings, then writes to it what its target has not acknowledged.
//! Owns what is written, kept, written again or removed there. Must never render a batch itself, nor sign. Invariants: the consent
//! lane is on the stick before another begins; a file that lies there whole is not written again unless its lines changed.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;

use crate::base::age::Recipient;
use crate::base::error::Result;
use crate::domain::delivery::SignedAck;
use crate::domain::event::Lane;
use crate::domain::signed::Signed;
use crate::forward::carry::file::{FileWriter, Head};
use crate::forward::carry::stick::{Index, IndexedBatch, IndexedFile, Place, Sink, alone};
use crate::forward::carry::{Carried, ENCRYPTED, PLAIN};
use crate::forward::target::Key;

/// Batches of one file at the most.
const RUN_BATCHES_MAX: usize = 256;
/// gzip bytes after which a file ends.
const RUN_BYTES: u64 = 8 << 20;
/// Times the plan is made anew because a withdrawal came in between.
const PLANS_MAX: usize = 32;

/// A batch the target has not acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DueBatch {
    /// Its name.
    pub key: Key,
    /// Its digest, 64 hex digits.
    pub digest: String,
}

/// A batch rendered for the stick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The batch.
    pub carried: Carried,
    /// SHA-256 of its lines, 64 hex digits.
    pub lines_sha256: String,
    /// The row of the attempt, committed before it was rendered.
    pub attempt_id: i64,
}

/// A batch that is on the stick.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Landed {
    /// Its name.
    pub key: Key,
    /// The row of its attempt.
    pub attempt_id: i64,
    /// It lay there already, with the same lines.
    pub same: bool,
}

/// What became of acknowledgements.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AcksTaken {
    /// Batches newly acknowledged.
    pub acknowledged: i64,
    /// Acknowledgements that were not believed, or say nothing here, and why.
    pub refused: Vec<String>,
}

/// Whoever holds the batches: the collector of this machine.
pub trait Edge {
    /// The edge's id, 32 hex digits.
    fn edge(&self) -> String;
    /// The key it signs with, where that is known.
    fn public_key(&self) -> Option<[u8; 32]>;
    /// Batches of a lane behind `after` that the target has not acknowledged, in order; none = that is all.
    fn due(&mut self, lane: Lane, after: Option<Key>) -> Result<Vec<DueBatch>>;
    /// Commits an attempt, then renders. Errors: `Conflict` with code `consent_first`; `NotFound` with code `rows_removed`.
    fn give(&mut self, key: Key) -> Result<Given>;
    /// Notes what is on the stick.
    fn landed(&mut self, landed: &[Landed]) -> Result<()>;
    /// Takes acknowledgements in.
    fn acks(&mut self, acks: Vec<SignedAck>) -> Result<AcksTaken>;
    /// Dates and signs an index.
    fn sign(&mut self, index: &Index) -> Result<Signed>;
}

/// What is written where.
#[derive(Clone, Copy, Debug)]
pub struct Order<'a> {
    /// The target's name.
    pub target: &'a str,
    /// To whom it is encrypted; `None` = plain.
    pub to: Option<&'a Recipient>,
    /// Bytes of the target's files on the stick at the most.
    pub bytes_max: Option<u64>,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// Acknowledgements that lay on the stick.
    pub acks: AcksTaken,
    /// Files written, and the batches in them.
    pub written: u64,
    /// Batches in those.
    pub batches: u64,
    /// Files that lay there whole and are as they must be.
    pub kept: u64,
    /// Files removed: their batches are acknowledged.
    pub removed: u64,
    /// Bytes of all files of this edge and target on the stick now.
    pub bytes: u64,
    /// Batches that did not fit.
    pub waiting: u64,
}

/// Takes acknowledgements in, then writes. `told` hears how many batches are on the stick. What fails leaves the stick with whole
/// files and an index of them; the next call goes on. Errors: `NotFound` with code `no_stick`; `Storage`, `disk_full` when the stick
/// is full; those of `edge`.
pub fn carry_out(edge: &mut dyn Edge, stick: &Path, order: Order<'_>, told: &mut dyn FnMut(u64)) -> Result<Outcome> {
    let place = Place::of(stick, &edge.edge(), order.target)?;
    let _alone = alone(stick)?;
    let mut outcome = Outcome::default();
    let (acks, strange) = place.acks()?;
    if !acks.is_empty() {
        outcome.acks = edge.acks(acks)?;
    }
    outcome.acks.refused.extend(strange);
    let index = Index::new(&edge.edge(), order.target);
    // an index that does not hold under this edge's own key names nothing: whatever lies there is written anew
    let key = edge.public_key();
    let old = place.index((&index.edge, order.target), key.as_ref()).ok().flatten();
    let old = old.map_or(Vec::new(), |(index, _)| index.files);
    let mut copy = Copy { edge, place, order, index, old, done: HashSet::new(), full: false, outcome, told };
    let went = copy.all();
    let signed = copy.finish(went.is_ok());
    went?;
    signed?;
    Ok(copy.outcome)
}

/// Batches that belong into one file.
struct Run {
    batches: Vec<DueBatch>,
    /// The file they lie in, as the index on the stick has it.
    old: Option<IndexedFile>,
}

struct Copy<'a> {
    edge: &'a mut dyn Edge,
    place: Place,
    order: Order<'a>,
    /// What this call has written or found as it must be.
    index: Index,
    /// What the index on the stick had and this call has not come to.
    old: Vec<IndexedFile>,
    /// Batches this call is done with.
    done: HashSet<String>,
    /// No room for more: whatever is not on the stick yet waits.
    full: bool,
    outcome: Outcome,
    told: &'a mut dyn FnMut(u64),
}

impl Copy<'_> {
    fn all(&mut self) -> Result<()> {
        let mut plans = 0;
        loop {
            match self.pass() {
                Err(error) if error.code == "consent_first" && plans < PLANS_MAX => plans += 1,
                Err(error) => return Err(error),
                Ok(()) => break,
            }
        }
        // files of a copy that was cut off before its index was written
        let named: HashSet<&String> = self.index.files.iter().map(|file| &file.name).collect();
        for stray in self.place.files()?.iter().filter(|name| !named.contains(name)) {
            self.place.remove(stray)?;
        }
        Ok(())
    }

    /// Every lane once, the consent lane first.
    fn pass(&mut self) -> Result<()> {
        self.outcome.waiting = 0;
        let due = Lane::ALL.into_iter().map(|lane| self.due(lane)).collect::<Result<Vec<_>>>()?;
        self.make_room(&due)?;
        for lane in due {
            for run in self.runs(lane) {
                self.one(run)?;
            }
        }
        Ok(())
    }

    /// Removes files whose batches are all acknowledged.
    fn make_room(&mut self, due: &[Vec<DueBatch>]) -> Result<()> {
        let waits: HashSet<(String, i64, i64)> = due
            .iter()
            .flatten()
            .map(|due| (due.key.epoch.to_string(), due.key.lane.code(), due.key.batch_no))
            .collect();
        let lane = |word: &str| Lane::parse(word).map_or(i64::MAX, Lane::code);
        let is_due = |file: &IndexedFile| {
            file.batches.iter().any(|batch| waits.contains(&(file.epoch.clone(), lane(&file.lane), batch.batch_no)))
        };
        let (stay, go): (Vec<_>, Vec<_>) = std::mem::take(&mut self.old).into_iter().partition(is_due);
        self.old = stay;
        for file in go {
            self.place.remove(&file.name)?;
            self.outcome.removed += 1;
        }
        Ok(())
    }

    fn due(&mut self, lane: Lane) -> Result<Vec<DueBatch>> {
        let mut out: Vec<DueBatch> = Vec::new();
        loop {
            let page = self.edge.due(lane, out.last().map(|due| due.key))?;
            if page.is_empty() {
                out.retain(|due| !self.done.contains(&due.key.to_string()));
                return Ok(out);
            }
            out.extend(page);
        }
    }

    /// Puts together what lies in one file already; the rest epoch by epoch.
    fn runs(&self, due: Vec<DueBatch>) -> Vec<Run> {
        let mut lies: BTreeMap<(String, String, i64), usize> = BTreeMap::new();
        for (n, file) in self.old.iter().enumerate() {
            for batch in &file.batches {
                lies.insert((file.epoch.clone(), file.lane.clone(), batch.batch_no), n);
            }
        }
        let mut out: Vec<(Option<usize>, Vec<DueBatch>)> = Vec::new();
        for batch in due {
            let key = batch.key;
            let at = lies.get(&(key.epoch.to_string(), key.lane.word().to_owned(), key.batch_no)).copied();
            match out.last_mut() {
                Some((last, run))
                    if *last == at
                        && run.last().is_some_and(|one| one.key.at(0) == key.at(0))
                        && (at.is_some() || run.len() < RUN_BATCHES_MAX) =>
                {
                    run.push(batch);
                }
                _ => out.push((at, vec![batch])),
            }
        }
        out.into_iter().map(|(at, batches)| Run { batches, old: at.map(|n| self.old[n].clone()) }).collect()
    }

    fn one(&mut self, run: Run) -> Result<()> {
        if let Some(old) = &run.old {
            if self.holds(old, &run.batches)? {
                self.outcome.kept += 1;
                self.keep(old.clone(), &run.batches);
                return Ok(());
            }
            // first of all what may no longer lie here goes, even if there is no room to write it again: the edge has it
            self.old.retain(|file| file.name != old.name);
            self.place.remove(&old.name)?;
        }
        let mut rest = &run.batches[..];
        while !rest.is_empty() && !self.full {
            let count = self.write(rest, run.old.is_some())?;
            self.full = count == 0;
            rest = &rest[count..];
        }
        self.outcome.waiting += u64::try_from(rest.len()).unwrap_or(0);
        Ok(())
    }

    /// Does a file lie there whole, with just these batches, each with the lines it would have now?
    fn holds(&mut self, old: &IndexedFile, due: &[DueBatch]) -> Result<bool> {
        let ending = if self.order.to.is_some() { ENCRYPTED } else { PLAIN };
        let same = |(a, b): (&IndexedBatch, &DueBatch)| a.batch_no == b.key.batch_no && a.digest == b.digest;
        if old.batches.len() != due.len() || !old.batches.iter().zip(due).all(same) || !old.name.ends_with(ending) {
            return Ok(false);
        }
        let measured = self.place.measure(&old.name)?;
        if measured.is_none_or(|it| it.bytes != old.bytes || it.sha256 != old.sha256) {
            return Ok(false);
        }
        let mut landed = Vec::new();
        for (batch, due) in old.batches.iter().zip(due) {
            let given = self.edge.give(due.key)?;
            landed.push(Landed { key: due.key, attempt_id: given.attempt_id, same: true });
            if given.lines_sha256 != batch.lines_sha256 {
                return Ok(false);
            }
        }
        self.edge.landed(&landed)?;
        Ok(true)
    }

    fn keep(&mut self, file: IndexedFile, batches: &[DueBatch]) {
        self.old.retain(|old| old.name != file.name);
        self.outcome.bytes += file.bytes;
        self.index.files.push(file);
        self.done.extend(batches.iter().map(|due| due.key.to_string()));
        (self.told)(u64::try_from(self.done.len()).unwrap_or(0));
    }

    /// Writes a file of as many batches as fit; how many they were. `again` = they lay there before, and room is no question.
    fn write(&mut self, batches: &[DueBatch], again: bool) -> Result<usize> {
        let first = batches[0].key;
        let ending = if self.order.to.is_some() { ENCRYPTED } else { PLAIN };
        let name = format!("{}/{}/{:012}{ending}", first.epoch, first.lane.word(), first.batch_no);
        let lie: u64 = self.old.iter().map(|file| file.bytes).sum();
        let room = self.order.bytes_max.filter(|_| !again).map(|most| most.saturating_sub(self.outcome.bytes + lie));
        let Some(given) = self.give(first)? else {
            self.done.insert(first.to_string());
            return Ok(1);
        };
        if room.is_some_and(|room| size(&given) > room) {
            return Ok(0);
        }
        let head = Head::new(&self.index.edge, self.order.target);
        let (to, place) = (self.order.to, self.place.clone());
        let (written, (landed, listed, count)) = place.write(&name, |sink| {
            let mut file = FileWriter::start(sink, to, &head)?;
            let filled = self.fill(&mut file, given, batches, room)?;
            file.finish()?;
            Ok(filled)
        })?;
        self.edge.landed(&landed)?;
        let (epoch, lane) = (first.epoch.to_string(), first.lane.word().to_owned());
        let file = IndexedFile { name, bytes: written.bytes, sha256: written.sha256, epoch, lane, batches: listed };
        self.outcome.written += 1;
        self.outcome.batches += u64::try_from(landed.len()).unwrap_or(0);
        self.keep(file, &batches[..count]);
        // with many files the index is long: what a cut leaves unnamed is written again
        if self.index.files.len() < 16 || self.index.files.len().is_multiple_of(8) {
            self.put_index(false)?;
        }
        Ok(count)
    }

    #[allow(clippy::type_complexity)] // what a file holds, twice over
    fn fill(
        &mut self,
        file: &mut FileWriter<&mut Sink>,
        first: Given,
        batches: &[DueBatch],
        room: Option<u64>,
    ) -> Result<(Vec<Landed>, Vec<IndexedBatch>, usize)> {
        let (mut landed, mut listed, mut bytes) = (Vec::new(), Vec::new(), 0);
        let mut given = Some(first);
        for (n, due) in batches.iter().enumerate() {
            if n > 0 {
                given = self.give(due.key)?;
            }
            let Some(given) = given.take() else { continue };
            if n > 0 && (room.is_some_and(|room| bytes + size(&given) > room) || bytes >= RUN_BYTES) {
                return Ok((landed, listed, n));
            }
            file.put(&given.carried)?;
            bytes += size(&given);
            landed.push(Landed { key: due.key, attempt_id: given.attempt_id, same: false });
            let (batch_no, digest) = (due.key.batch_no, due.digest.clone());
            listed.push(IndexedBatch { batch_no, digest, lines_sha256: given.lines_sha256 });
        }
        Ok((landed, listed, batches.len()))
    }

    /// `None` for a batch whose rows are gone: the edge has told it as a loss.
    fn give(&mut self, key: Key) -> Result<Option<Given>> {
        match self.edge.give(key) {
            Err(error) if error.code == "rows_removed" => Ok(None),
            given => given.map(Some),
        }
    }

    fn put_index(&mut self, complete: bool) -> Result<()> {
        let mut index = Index { complete, waiting: self.outcome.waiting, ..self.index.clone() };
        index.files.extend(self.old.iter().cloned());
        let lane = |word: &str| Lane::parse(word).map_or(i64::MAX, Lane::code);
        index.files.sort_by_key(|file| lane(&file.lane)); // stable: within a lane as it was written
        let signed = self.edge.sign(&index)?;
        self.place.set_index(&signed)
    }

    fn finish(&mut self, complete: bool) -> Result<()> {
        self.outcome.bytes = self.index.files.iter().chain(&self.old).map(|file| file.bytes).sum();
        if self.index.files.is_empty() && self.old.is_empty() && !self.place.path("").is_dir() {
            return Ok(()); // nothing was ever carried here
        }
        self.put_index(complete)
    }
}

/// What a batch takes in a file, bytes.
fn size(given: &Given) -> u64 {
    u64::try_from(given.carried.gz.len() + given.carried.manifest.len() + 200).unwrap_or(u64::MAX)
}
