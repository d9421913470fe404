//! Sealing: numbers the rows that wait in a lane and freezes them as a batch. To seal is not to encrypt.
//! Must never seal a row twice, nor one that may not leave anybody. Invariant: the decisions of a visitor are sealed in
//! the transaction that seals its first row, before it.
//!
//! Lines are hashed on a reader's snapshot, so that the pen is not held up; the pen checks that nothing has changed since
//! and else hashes them itself. It notices rows that went (by their number) and rights that changed (by the newest
//! decision): whoever changes a row that is not sealed yet appends a decision in the same transaction.

use std::collections::{BTreeMap, HashSet};
use std::ops::ControlFlow;

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::id::{Seq, VisitorRef};
use crate::base::text::hex;
use crate::base::time::{Millis, SECOND_MS};
use crate::domain::batch::{Batch, FORMAT, SealedPart};
use crate::domain::event::Lane;
use crate::domain::line::{HoleReason, SCHEMA, SCHEMA_WAS, digest, line_hash};
use crate::forward::fresh::{Fresh, Kept};
use crate::forward::options::ForwardOptions;
use crate::forward::schedule::turn_came;
use crate::store::lines::{self, Found, Stretch};
use crate::store::{ReadTx, Store, WriteTx, batches, decisions, disclosure, holes};

/// Bytes of lines that room is made for at once, at the most.
const TEXT_BYTES: usize = 4 << 20;

/// When and how lanes are sealed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SealRules {
    /// Age of the oldest waiting row at which a lane is sealed, ms. The consent lane never waits.
    pub after_ms: i64,
    /// Rows of a batch; as many waiting rows are sealed at once.
    pub rows_max: i64,
    /// Rendered bytes of a batch; a longer line makes a batch of its own.
    pub bytes_max: usize,
    /// The edge's human name, part of every line from now on.
    pub edge_label: String,
    /// Where in each interval of `after_ms` this edge seals, ms; none where no other machine is sent to.
    pub phase_ms: Option<i64>,
}

impl SealRules {
    /// The rules of the configuration.
    pub fn new(options: &ForwardOptions, edge_label: &str) -> Self {
        SealRules {
            after_ms: i64::from(options.seal_after_seconds) * SECOND_MS,
            rows_max: i64::from(options.seal_rows_max).max(1),
            bytes_max: usize::try_from(options.seal_bytes_max).unwrap_or(usize::MAX),
            edge_label: edge_label.to_owned(),
            phase_ms: None,
        }
    }
}

/// A batch that was sealed now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sealed {
    /// Its lane.
    pub lane: Lane,
    /// Its number in the current epoch.
    pub batch_no: i64,
    /// Lines in it.
    pub count: i64,
}

/// Seals at most one batch of a lane (and the consent lane before it, where that must be), if something is due.
/// `now` decides what has waited long enough; `force` seals whatever waits. Returns `None` if nothing was due.
/// Errors: `Busy`, `Storage`.
pub fn step(store: &Store, lane: Lane, rules: &SealRules, now: Millis, force: bool) -> Result<Option<Vec<Sealed>>> {
    keeping(store, lane, rules, (now, force), &Fresh::default())
}

/// [`step`], and keeps the lines for the put that follows.
pub(in crate::forward) fn keeping(
    store: &Store,
    lane: Lane,
    rules: &SealRules,
    (now, force): (Millis, bool),
    fresh: &Fresh,
) -> Result<Option<Vec<Sealed>>> {
    let waits = |tx: &ReadTx<'_>| -> Result<Option<Stretch>> {
        let waits = Stretch { lane, after: batches::sealed_upto(tx, lane)?, upto: lines::newest_seq(tx)? };
        Ok(is_due(tx, waits, rules, now, force)?.then_some(waits))
    };
    let owned = rules.clone();
    if lane == Lane::Consent {
        let due = store.read(waits)?.is_some();
        return if due { store.pen().call(move |tx| consent(tx, &owned)).map(Some) } else { Ok(None) };
    }
    let mut text = String::new();
    let drafted = store.read(|tx| {
        let Some(waits) = waits(tx)? else { return Ok(None) };
        // at once as much as it can come to: growing by doubling would leave as much unused memory behind
        text.reserve(rules.bytes_max.min(TEXT_BYTES) + TEXT_BYTES / 64);
        draft(tx, waits, rules, &mut text).map(Some)
    })?;
    let Some(drafted) = drafted else { return Ok(None) };
    let ends = drafted.ends.unwrap_or_default();
    let left_out = drafted.left_out.iter().filter(|(seq, ..)| (ends.0..=ends.1).contains(seq)).count();
    let ledger = drafted.ledger;
    let (sealed, digest) = store.pen().call(move |tx| write(tx, &drafted, &owned))?;
    if let Some(digest) = digest {
        fresh.keep(Kept { digest, ndjson: text.into_bytes(), left_out, ledger });
    }
    Ok(Some(sealed))
}

/// Seals all that waits in the consent lane, within a transaction.
pub(in crate::forward) fn consent(tx: &WriteTx<'_>, rules: &SealRules) -> Result<Vec<Sealed>> {
    tx.settle()?;
    let lane = Lane::Consent;
    let mut out = Vec::new();
    loop {
        let waits = Stretch { lane, after: batches::sealed_upto(tx, lane)?, upto: tx.last_seq() };
        if lines::first_received(tx, waits)?.is_none() {
            if waits.upto.0 - waits.after.0 >= rules.rows_max {
                batches::set_sealed_upto(tx, lane, waits.upto)?;
            }
            return Ok(out);
        }
        let drafted = draft(tx, waits, rules, &mut String::new())?;
        out.extend(insert(tx, &drafted, rules)?.map(|(sealed, _)| sealed));
    }
}

fn is_due(tx: &ReadTx<'_>, waits: Stretch, rules: &SealRules, now: Millis, force: bool) -> Result<bool> {
    let span = waits.upto.0 - waits.after.0;
    if span <= 0 {
        return Ok(false);
    }
    let full = span >= rules.rows_max;
    let Some(first) = lines::first_received(tx, waits)? else {
        return Ok(full); // nothing waits: the boundary moves on, so that the same numbers are not looked through for ever
    };
    // a row from the future was received before the clock was set back: it has waited long enough
    let turn = rules.phase_ms.is_some_and(|phase| turn_came(first, now, rules.after_ms, phase));
    let old = turn || now.since(first).abs() >= rules.after_ms;
    if force || old || waits.lane == Lane::Consent {
        return Ok(true);
    }
    Ok(full && lines::waiting(tx, waits, rules.rows_max)?.0 >= rules.rows_max)
}

/// What a batch would hold, and what it was found under.
#[derive(Clone, Debug)]
struct Draft {
    /// Looked through, to where the batch ends.
    seen: Stretch,
    /// Rows in there, those left out included.
    rows: i64,
    /// The newest decision then.
    ledger: Seq,
    lines: Vec<Hash>,
    /// Lowest and highest number of a line.
    ends: Option<(Seq, Seq)>,
    received: (Millis, Millis),
    bytes: usize,
    undisclosed: BTreeMap<i64, VisitorRef>,
    /// A line names where it was.
    moved: bool,
    /// Rows without a line: number, birth epoch, why.
    left_out: Vec<(Seq, i64, HoleReason)>,
}

/// `text` takes the lines, each with its line end.
fn draft(tx: &ReadTx<'_>, waits: Stretch, rules: &SealRules, text: &mut String) -> Result<Draft> {
    let mut out = Draft {
        seen: waits,
        rows: 0,
        ledger: decisions::newest(tx)?,
        lines: Vec::new(),
        ends: None,
        received: (Millis(i64::MAX), Millis(i64::MIN)),
        bytes: 0,
        undisclosed: BTreeMap::new(),
        moved: false,
        left_out: Vec::new(),
    };
    let first = Seq(waits.after.0 + 1);
    let gone: HashSet<i64> = holes::between(tx, waits.lane, first, waits.upto)?.iter().map(|hole| hole.seq.0).collect();
    lines::each(tx, waits, |found| Ok(out.add(&found, rules, gone.contains(&found.line.seq.0), text)))?;
    Ok(out)
}

impl Draft {
    /// Takes in the next row, or ends before or behind it. `text` takes its line.
    fn add(&mut self, found: &Found, rules: &SealRules, is_hole: bool, text: &mut String) -> ControlFlow<()> {
        let line = &found.line;
        let barred = line.barred(false).or(is_hole.then_some(HoleReason::Restricted));
        if let Some(reason) = barred {
            self.rows += 1;
            self.left_out.push((line.seq, found.epoch_id, reason));
            return ControlFlow::Continue(());
        }
        let begun = text.len();
        line.render_into(&rules.edge_label, text);
        let line_bytes = text.len() - begun;
        if !self.lines.is_empty() && self.bytes + line_bytes >= rules.bytes_max {
            self.seen.upto = self.ends.map_or(self.seen.after, |(_, last)| last);
            // rows left out behind the last line are looked at again with the next batch
            let last = self.seen.upto;
            let before = self.left_out.len();
            self.left_out.retain(|(seq, ..)| *seq <= last);
            self.rows -= i64::try_from(before - self.left_out.len()).unwrap_or(0);
            text.truncate(begun);
            return ControlFlow::Break(());
        }
        self.rows += 1;
        self.moved |= line.moved;
        self.bytes += line_bytes + 1;
        self.lines.push(line_hash(&text.as_bytes()[begun..]));
        text.push('\n');
        self.ends = Some((self.ends.map_or(line.seq, |(first, _)| first), line.seq));
        self.received = (self.received.0.min(line.received), self.received.1.max(line.received));
        if let (Some(visitor), Some(about)) = (found.undisclosed, line.about) {
            self.undisclosed.insert(about.visitor_id, visitor);
        }
        if i64::try_from(self.lines.len()).unwrap_or(i64::MAX) >= rules.rows_max {
            self.seen.upto = line.seq;
            return ControlFlow::Break(());
        }
        ControlFlow::Continue(())
    }

    /// Is everything still as it was when the draft was made?
    fn holds(&self, tx: &ReadTx<'_>) -> Result<bool> {
        Ok(batches::sealed_upto(tx, self.seen.lane)? == self.seen.after
            && decisions::newest(tx)? == self.ledger
            && lines::count(tx, self.seen)? == self.rows)
    }
}

/// What was sealed; and the digest of the draft's own batch, if that is what was sealed.
fn write(tx: &WriteTx<'_>, drafted: &Draft, rules: &SealRules) -> Result<(Vec<Sealed>, Option<Hash>)> {
    tx.settle()?;
    let lane = drafted.seen.lane;
    if drafted.holds(tx)? {
        return with_disclosure(tx, drafted, rules);
    }
    let waits = Stretch { lane, after: batches::sealed_upto(tx, lane)?, upto: tx.last_seq() };
    let anew = draft(tx, waits, rules, &mut String::new())?;
    with_disclosure(tx, &anew, rules).map(|(sealed, _)| (sealed, None))
}

fn with_disclosure(tx: &WriteTx<'_>, drafted: &Draft, rules: &SealRules) -> Result<(Vec<Sealed>, Option<Hash>)> {
    let mut out = Vec::new();
    if !drafted.undisclosed.is_empty() {
        let undisclosed: Vec<(i64, VisitorRef)> = drafted.undisclosed.iter().map(|(id, name)| (*id, *name)).collect();
        disclosure::disclose(tx, &undisclosed)?;
        out = consent(tx, rules)?;
    }
    let (own, digest) = insert(tx, drafted, rules)?.unzip();
    out.extend(own);
    Ok((out, digest))
}

/// Moves the lane's boundary, and keeps the batch if the draft has lines.
fn insert(tx: &WriteTx<'_>, d: &Draft, rules: &SealRules) -> Result<Option<(Sealed, Hash)>> {
    let lane = d.seen.lane;
    batches::set_sealed_upto(tx, lane, d.seen.upto)?;
    let Some((first, last)) = d.ends else { return Ok(None) };
    for (seq, epoch_id, reason) in d.left_out.iter().filter(|(seq, ..)| (first..=last).contains(seq)) {
        holes::leave_out(tx, lane, *seq, *epoch_id, *reason)?;
    }
    let identity = tx.identity();
    let before = batches::before_next(tx, identity.epoch_id, lane)?;
    let (batch_no, previous_epoch) = match &before {
        Some(batch) if batch.epoch_id == identity.epoch_id => (batch.batch_no + 1, None),
        Some(batch) => (1, Some(lines::origin(tx, batch.epoch_id)?.1)),
        None => (1, identity.edge.previous),
    };
    let count = i64::try_from(d.lines.len()).unwrap_or(i64::MAX);
    let schema = if d.moved { SCHEMA_WAS } else { SCHEMA };
    let sum = digest(&d.lines);
    let part = SealedPart {
        format: FORMAT,
        edge: identity.edge.id.to_string(),
        epoch: identity.edge.epoch.to_string(),
        lane: lane.word().to_owned(),
        batch_no,
        first_seq: first.0,
        last_seq: last.0,
        count,
        digest: hex(&sum),
        previous_digest: before.as_ref().map(|batch| hex(&batch.digest)),
        previous_epoch: previous_epoch.map(|epoch| epoch.to_string()),
        min_received_at: d.received.0.rfc3339(),
        max_received_at: d.received.1.rfc3339(),
        sealed_at: tx.now().rfc3339(),
        schema: schema.to_owned(),
        key_id: identity.edge.key_id.clone(),
    };
    let (sealed_part, signature) = part.sign(&identity.edge.signing);
    let batch = Batch {
        epoch_id: identity.epoch_id,
        lane,
        batch_no,
        first_seq: first,
        last_seq: last,
        count,
        digest: sum,
        received: d.received,
        sealed_at: tx.now(),
        edge_label: rules.edge_label.clone(),
        schema: schema.to_owned(),
        sealed_part,
        signature,
    };
    batches::insert(tx, &batch)?;
    Ok(Some((Sealed { lane, batch_no, count }, sum)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::consent::Action;
    use crate::domain::purpose::Purposes;
    use crate::forward::tests::support::{MEASURE, World};

    fn drafted(world: &World, rules: &SealRules) -> Draft {
        let seal = |tx: &ReadTx<'_>| {
            let all = Stretch { lane: Lane::Pages, after: Seq(0), upto: lines::newest_seq(tx)? };
            draft(tx, all, rules, &mut String::new())
        };
        world.store.read(seal).unwrap()
    }

    #[test]
    fn what_changed_since_the_draft_is_seen_by_the_pen() {
        let world = World::new();
        let rules = SealRules::new(&ForwardOptions::default(), "Kiosk 7");
        let (a, b) = (world.visitor("a", MEASURE), world.visitor("b", MEASURE));
        let rows = [world.page(a), world.page(b), world.page(b)];
        let whole = drafted(&world, &rules);
        assert!(world.store.read(|tx| whole.holds(tx)).unwrap());
        world.page(b);
        assert!(world.store.read(|tx| whole.holds(tx)).unwrap(), "what came later is another batch's");
        world.decide("a", Action::Withdraw, Purposes::NONE);
        assert!(!world.store.read(|tx| whole.holds(tx)).unwrap());
        let narrower = drafted(&world, &rules);
        assert_eq!(narrower.left_out.iter().map(|(seq, ..)| *seq).collect::<Vec<_>>(), [rows[0]]);
        world.delete(Lane::Pages, rows[1], None);
        assert!(!world.store.read(|tx| narrower.holds(tx)).unwrap(), "a row that went leaves no line");
        let sealed =
            world.pen(move |tx| write(tx, &narrower, &SealRules::new(&ForwardOptions::default(), "Kiosk 7"))).0;
        assert_eq!(sealed.iter().map(|s| s.count).collect::<Vec<_>>(), [2], "so the pen made the batch anew");
        let stale = whole.clone();
        assert!(!world.store.read(|tx| stale.holds(tx)).unwrap(), "a seal is never redone");
        assert_eq!(world.forwarder().verify(&|_| ()).unwrap().problems, Vec::new());
    }
}
