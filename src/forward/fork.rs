//! Voiding: batches past the last one that both sides have the same are voided at every target; their rows count as born in
//! a new epoch, name where they were, and are sealed afresh (contract 4). Whoever must give way does this: an edge whose
//! database was copied or put back. Must never touch a row. Invariants: it is one transaction, so a cut leaves all or
//! nothing, and what was meant is on record before, so that the next start goes on; a number of a voided batch is never given
//! out again, for its epoch is over.

use crate::base::error::{Error, Result};
use crate::base::id::{Epoch, Seq};
use crate::base::text::hex;
use crate::domain::alarm;
use crate::domain::body::EpochLossBody;
use crate::domain::directive::Renewing;
use crate::domain::event::Lane;
use crate::domain::line::LineKind;
use crate::forward::Forwarder;
use crate::forward::target::Key;
use crate::forward::tell::about;
use crate::store::epochs::{EpochRow, Reason};
use crate::store::forks::{self, Fork};
use crate::store::{
    ReadTx, Store, WriteTx, alarms, batches, cursors, disclosure, epochs, frozen, holes, meta, stale, visitors,
};

/// Fact: the row of the epoch that is being voided; 0 = none.
const PENDING: &str = "fork.epoch";
/// Fact: is it voided because the database was put back?
const PENDING_RESTORE: &str = "fork.restore";
/// Begins the facts that say up to which batch a lane stays.
const PENDING_CUT: &str = "fork.cut.";

/// Up to where a lane of an epoch stays as it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cut {
    /// Row of the epoch.
    pub epoch_id: i64,
    /// The lane.
    pub lane: Lane,
    /// The last batch that stays; 0 = none.
    pub common_no: i64,
}

/// What was voided.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Voided {
    /// The epoch that goes on.
    pub epoch: Epoch,
    /// Batches that were voided, by epoch and number, with their lane.
    pub batches: Vec<Key>,
}

impl Forwarder {
    /// This edge gives way at a target that has another batch under a number of ours: everything of the forked epoch past
    /// the last batch that target has acknowledged is voided, at every target, and goes out afresh under a new epoch. Without
    /// `target` it is the one that is fenced. Errors: `NotFound` for another target, `Conflict` with code `no_fork` where none is
    /// fenced and none is named, `Busy`, `Storage`.
    pub fn give_way(&self, target: Option<&str>) -> Result<Voided> {
        if let Some(name) = target.filter(|name| !self.target_names().iter().any(|known| known == name)) {
            return Err(Error::not_found(format!("there is no target {name:?}")).code("unknown_target"));
        }
        let names = self.target_names();
        let cuts = self.store.read(|tx| {
            let fenced = fenced(tx, &names)?;
            let at = target.map(str::to_owned).or_else(|| fenced.first().map(|(name, _)| name.clone()));
            let Some(at) = at else { return Ok(None) };
            let epoch = fenced.iter().find(|(name, _)| *name == at).map(|(_, epoch)| epoch.clone());
            let current = epochs::all(tx)?.pop();
            epoch.or(current).map(|epoch| cuts_at(tx, &at, &epoch)).transpose()
        })?;
        let cuts = cuts.ok_or_else(|| {
            Error::conflict("no target says that another database writes as this edge")
                .code("no_fork")
                .remedy("name the target at which this edge must give way, with --target")
        })?;
        self.void(Reason::Fork, &cuts)
    }

    /// Was this batch sealed here, with this digest? Of two databases of one edge that tells which is meant. Errors: `Storage`.
    pub fn has_sealed(&self, named: &Renewing) -> Result<bool> {
        let Some(lane) = Lane::parse(&named.lane) else { return Ok(false) };
        self.store.read(|tx| {
            let all = epochs::all(tx)?;
            let Some(epoch) = all.iter().find(|epoch| epoch.epoch.to_string() == named.epoch) else { return Ok(false) };
            let batch = batches::get(tx, epoch.id, lane, named.batch_no)?;
            Ok(batch.is_some_and(|batch| hex(&batch.digest) == named.digest))
        })
    }

    /// Voids what lies behind the cuts, and goes on in a new epoch. Errors: `Busy`, `Storage`.
    pub(in crate::forward) fn void(&self, reason: Reason, cuts: &[Cut]) -> Result<Voided> {
        let noted = cuts.to_vec();
        self.store.pen().call(move |tx| note(tx, reason, &noted))?;
        self.go_on_voiding()?.ok_or_else(|| Error::storage("what was to be voided is not on record"))
    }

    /// Voids what is on record: after a cut, the start does this first. Errors: `Busy`, `Storage`.
    pub(in crate::forward) fn go_on_voiding(&self) -> Result<Option<Voided>> {
        let Some((reason, cuts)) = self.store.read(pending)? else { return Ok(None) };
        let names = self.target_names();
        let lost = self.store.read(|tx| Ok(epochs::all(tx)?.into_iter().find(|epoch| epoch.id == cuts[0].epoch_id)))?;
        let keys = begin(&self.store, reason, cuts, names)?;
        for target in &self.targets {
            for key in keys.iter().filter(|key| target.lies(**key)) {
                target.discard(*key)?;
            }
        }
        let identity = self.store.identity();
        if let Some(lost) = lost.filter(|_| reason == Reason::Restore) {
            let now = self.clock.now().rfc3339();
            self.store.pen().call(move |tx| {
                let (lost_epoch, to) = (lost.epoch.to_string(), now.clone());
                let body = EpochLossBody { reason: "restore", lost_epoch, from: None, to, last_seq: None };
                frozen::note(tx, LineKind::Loss, &body).map(|_| ())
            })?;
        }
        for target in &self.targets {
            self.pace(target.as_ref()).begin_anew();
        }
        self.bell.ring(false);
        Ok(Some(Voided { epoch: identity.edge.epoch, batches: keys }))
    }
}

/// Targets that have another batch under a number of ours, with the epoch that is.
fn fenced(tx: &ReadTx<'_>, names: &[String]) -> Result<Vec<(String, EpochRow)>> {
    let told = alarms::list(tx)?;
    let mut out = Vec::new();
    for name in names {
        for lane in Lane::ALL {
            let place = about(name, lane);
            if !told.iter().any(|alarm| alarm.code == alarm::FORK && alarm.about == place) {
                continue;
            }
            for epoch in epochs::all(tx)? {
                if cursors::get(tx, name, epoch.id, lane)?.failures > 0 {
                    out.push((name.clone(), epoch));
                    break;
                }
            }
        }
    }
    Ok(out)
}

/// What a target has of an epoch stays.
fn cuts_at(tx: &ReadTx<'_>, target: &str, epoch: &EpochRow) -> Result<Vec<Cut>> {
    let cut = |lane| {
        let common_no = cursors::get(tx, target, epoch.id, lane)?.acked_no;
        Ok(Cut { epoch_id: epoch.id, lane, common_no })
    };
    Lane::ALL.into_iter().map(cut).collect()
}

fn note(tx: &WriteTx<'_>, reason: Reason, cuts: &[Cut]) -> Result<()> {
    let Some(first) = cuts.first() else { return Ok(()) };
    for cut in cuts {
        meta::set_fact(tx, &format!("{PENDING_CUT}{}", cut.lane.word()), cut.common_no)?;
    }
    meta::set_fact(tx, PENDING_RESTORE, i64::from(reason == Reason::Restore))?;
    meta::set_fact(tx, PENDING, first.epoch_id)
}

fn pending(tx: &ReadTx<'_>) -> Result<Option<(Reason, Vec<Cut>)>> {
    let epoch_id = meta::fact(tx, PENDING)?.unwrap_or(0);
    if epoch_id == 0 {
        return Ok(None);
    }
    let reason = if meta::fact(tx, PENDING_RESTORE)? == Some(1) { Reason::Restore } else { Reason::Fork };
    let cut = |lane: Lane| {
        let common_no = meta::fact(tx, &format!("{PENDING_CUT}{}", lane.word()))?.unwrap_or(0);
        Ok(Cut { epoch_id, lane, common_no })
    };
    let cuts = Lane::ALL.into_iter().map(cut).collect::<Result<Vec<Cut>>>()?;
    Ok(Some((reason, cuts)))
}

/// One transaction: the epoch begins, batches behind the cuts are gone, their rows wait again.
fn begin(store: &Store, reason: Reason, cuts: Vec<Cut>, names: Vec<String>) -> Result<Vec<Key>> {
    store.begin_epoch(reason, move |tx, new_epoch_id| {
        // another state or a copy of this database may have sent what never left here: whoever has it must hear of every
        // right that is exercised
        disclosure::disclose(tx, &visitors::undisclosed(tx)?)?;
        let known = epochs::all(tx)?;
        let upto = tx.last_seq();
        let mut keys = Vec::new();
        for cut in &cuts {
            let after = stays_upto(tx, &known, *cut)?;
            for (epoch_id, batch_no) in batches::void_behind(tx, cut.lane, after)? {
                stale::forget(tx, epoch_id, cut.lane, batch_no)?;
                let epoch = known.iter().find(|epoch| epoch.id == epoch_id);
                keys.extend(epoch.map(|e| Key { edge: e.edge, epoch: e.epoch, lane: cut.lane, batch_no }));
            }
            holes::void_behind(tx, cut.lane, after)?;
            for epoch in known.iter().filter(|epoch| epoch.id >= cut.epoch_id && epoch.id != new_epoch_id) {
                let common_no = if epoch.id == cut.epoch_id { cut.common_no } else { 0 };
                cursors::clamp(tx, epoch.id, cut.lane, common_no)?;
            }
            forks::insert(tx, &Fork { epoch_id: cut.epoch_id, lane: cut.lane, after, upto, new_epoch_id })?;
        }
        for name in &names {
            for lane in Lane::ALL {
                alarms::clear(tx, alarm::FORK, &about(name, lane))?;
            }
        }
        meta::set_fact(tx, PENDING, 0)?;
        Ok(keys)
    })
}

/// The number up to which a lane stays as it is: the end of the last batch that stays, whatever epoch that is of.
fn stays_upto(tx: &ReadTx<'_>, known: &[EpochRow], cut: Cut) -> Result<Seq> {
    if let Some(batch) = batches::get(tx, cut.epoch_id, cut.lane, cut.common_no)? {
        return Ok(batch.last_seq);
    }
    for epoch in known.iter().rev().filter(|epoch| epoch.id < cut.epoch_id) {
        if let Some(batch) = batches::newest(tx, epoch.id, cut.lane)? {
            return Ok(batch.last_seq);
        }
    }
    Ok(Seq(0))
}
