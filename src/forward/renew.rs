//! Files a target still keeps here: rendered again when a withdrawal, a restriction or a removal has covered lines of them.
//! Must never touch what was taken, nor write before the attempt is committed. Invariant: the same batch with more holes;
//! what is to be looked at is remembered until it was written, across restarts.

use std::collections::BTreeSet;

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::domain::consent::Purposes;
use crate::forward::encode::{self, Order};
use crate::forward::options::Recipient;
use crate::forward::target::{Key, Parcel, Put, Target};
use crate::forward::{Forwarder, Report};
use crate::store::lines::{self, Row};
use crate::store::{ReadTx, attempts, batches, cursors, epochs, floors, meta, restrictions, stale};

/// Floors looked at in one go.
const FLOORS: i64 = 1_000;

/// Where the counter stood when a target's files were last looked through.
fn mark_of(target: &str) -> String {
    format!("renewed_upto.{target}")
}

/// Batches in which something may have been covered since, by epoch, lane and number.
type Names = BTreeSet<(i64, i64, i64)>;

impl Forwarder {
    /// Renders again the files of a target that are still ours and have got holes since the last look.
    /// Errors: `Busy`, `Storage`, those of the target; then everything is looked at again.
    pub(in crate::forward) fn renew(&self, target: &dyn Target, report: &mut Report) -> Result<()> {
        if target.keep().is_none() {
            return Ok(());
        }
        let (name, third_party) = (target.name(), target.recipient() == Recipient::ThirdParty);
        let since = |tx: &ReadTx<'_>| Ok(Seq(meta::fact(tx, &mark_of(name))?.unwrap_or_default()));
        if !self.store.read(|tx| anything(tx, since(tx)?, third_party))? {
            return Ok(());
        }
        // whatever is covered later is numbered from here on, so the next look finds it
        let mark = self.store.pen().call(|tx| Ok(tx.next_seq()))?;
        let names = self.store.read(|tx| covered(tx, since(tx)?, third_party))?;
        for (epoch_id, lane, batch_no) in names {
            report.renewed += i64::from(self.renew_one(target, epoch_id, lane, batch_no)?);
        }
        let keys: Vec<String> = self.targets.iter().filter(|t| t.keep().is_some()).map(|t| mark_of(t.name())).collect();
        let own = mark_of(name);
        self.store.pen().call(move |tx| {
            meta::set_fact(tx, &own, mark.0)?;
            let mut seen = mark;
            for key in &keys {
                seen = seen.min(Seq(meta::fact(tx, key)?.unwrap_or_default()));
            }
            stale::delete_before(tx, seen, FLOORS).map(|_| ())
        })
    }

    /// One batch: an attempt of its own. False where nothing of it lies there any more.
    fn renew_one(&self, target: &dyn Target, epoch_id: i64, lane: i64, batch_no: i64) -> Result<bool> {
        let found = self.store.read(|tx| {
            let epoch = epochs::all(tx)?.into_iter().find(|epoch| epoch.id == epoch_id);
            let Some((epoch, lane)) = epoch.zip(crate::domain::event::Lane::from_code(lane)) else { return Ok(None) };
            let put = cursors::get(tx, target.name(), epoch_id, lane)?.put_no >= batch_no;
            let batch = batches::get(tx, epoch_id, lane, batch_no)?.filter(|_| put);
            Ok(batch.map(|batch| (Key { edge: epoch.edge, epoch: epoch.epoch, lane, batch_no }, batch)))
        })?;
        let Some((key, batch)) = found.filter(|(key, _)| target.lies(*key)) else { return Ok(false) };
        let (name, lane) = (target.name().to_owned(), key.lane);
        let _turn = self.turn(target);
        let (attempt_id, at) =
            self.store.pen().call(move |tx| Ok((attempts::begin(tx, &name, epoch_id, lane, batch_no)?.0, tx.now())))?;
        let identity = self.store.identity();
        let order = Order { recipient: target.recipient(), keys: &identity.edge.keys, began: at, refused: &[] };
        let rendered = self.store.read(|tx| encode::render(tx, &batch, &order));
        let put = match rendered {
            // every target of that time had it and its rows have gone by age: what lies there goes with its own
            Err(error) if error.code == "rows_removed" => {
                self.store.pen().call(move |tx| attempts::end(tx, attempt_id, "rows_removed", 0))?;
                return Ok(false);
            }
            rendered => {
                let rendered = rendered?.compress(self.gzip_level);
                let put = target.renew(&Parcel::whole(key, &rendered, true))?;
                put.map(|put| (put, rendered.holes))
            }
        };
        let (word, holes) = put.map_or(("gone", 0), |(Put { landed, .. }, holes)| (landed.word(), holes));
        self.store.pen().call(move |tx| attempts::end(tx, attempt_id, word, holes))?;
        Ok(put.is_some_and(|(put, _)| put.landed != crate::forward::target::Landed::Same))
    }
}

/// Is there anything new to look at?
fn anything(tx: &ReadTx<'_>, since: Seq, third_party: bool) -> Result<bool> {
    Ok(!stale::since(tx, since)?.is_empty()
        || !restrictions::since(tx, since)?.is_empty()
        || !visitors_below(tx, since, third_party, 1)?.is_empty())
}

/// Visitors with a floor set where the counter stood at `since` or later.
fn visitors_below(tx: &ReadTx<'_>, since: Seq, third_party: bool, limit: i64) -> Result<Vec<i64>> {
    let purposes: &[Purposes] = if third_party { &[Purposes::MEASURE, Purposes::SHARE] } else { &[Purposes::MEASURE] };
    let mut out = Vec::new();
    for purpose in purposes {
        let mut after = (Seq(since.0 - 1), i64::MAX);
        loop {
            let page = floors::behind(tx, *purpose, after, limit)?;
            let more = i64::try_from(page.len()).is_ok_and(|n| n == limit) && limit > 1;
            out.extend(page.iter().map(|(_, visitor)| *visitor));
            match page.last() {
                Some(last) if more => after = *last,
                _ => break,
            }
        }
    }
    Ok(out)
}

/// The batches that hold lines of whom something was covered since, and those that got a hole.
fn covered(tx: &ReadTx<'_>, since: Seq, third_party: bool) -> Result<Names> {
    let mut out: Names =
        stale::since(tx, since)?.into_iter().map(|(epoch, lane, no)| (epoch, lane.code(), no)).collect();
    let mut visitors: BTreeSet<i64> = visitors_below(tx, since, third_party, FLOORS)?.into_iter().collect();
    visitors.extend(restrictions::since(tx, since)?.iter().map(|restriction| restriction.visitor_id));
    for visitor_id in visitors {
        let mut last: Option<crate::domain::batch::Batch> = None;
        for Row { lane, seq } in lines::of_visitor(tx, visitor_id)? {
            let known = last.as_ref().is_some_and(|b| b.lane == lane && b.first_seq <= seq && seq <= b.last_seq);
            if known {
                continue;
            }
            if let Some(batch) = batches::holding(tx, lane, seq)? {
                out.insert((batch.epoch_id, lane.code(), batch.batch_no));
                last = Some(batch);
            }
        }
    }
    Ok(out)
}
