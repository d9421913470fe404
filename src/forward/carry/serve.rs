//! Carrying, the side that holds the batches: what is due, rendering for a stick, and what came back.
//! Must never touch a stick: whoever does may be another process, which may write where the collector may not.
//! Invariants: an attempt is committed before its batch is rendered, from a snapshot taken after that; no batch of another lane is
//! rendered while a consent batch is on no stick.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use crate::base::age::Recipient as AgeKey;
use crate::base::digest::sha256;
use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, Epoch};
use crate::base::text::{cut, hex, unhex};
use crate::domain::delivery::{Ack, SignedAck};
use crate::domain::event::Lane;
use crate::domain::signed::Signed;
use crate::forward::carry::Carried;
use crate::forward::carry::out::{AcksTaken, DueBatch, Given, Landed};
use crate::forward::carry::stick::{INDEX_KIND, Index};
use crate::forward::encode::{self, Order};
use crate::forward::options::{Recipient, TargetKind, TargetOptions};
use crate::forward::run::{Due, next_in_lane};
use crate::forward::target::Key;
use crate::forward::{Forwarder, expire, seal};
use crate::store::cursors::Cursor;
use crate::store::epochs::EpochRow;
use crate::store::{WriteTx, alarms, attempts, batches, cursors, epochs};

/// Batches of one answer at the most.
const PAGE: usize = 500;
/// Reasons told of acknowledgements at the most.
const REASONS_MAX: usize = 20;

/// A target that is reached by sticks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CarryTarget {
    /// Its name.
    pub name: String,
    /// Whose hands it is in.
    pub recipient: Recipient,
    /// To whom its files are encrypted; `None` = plain.
    pub to: Option<AgeKey>,
    /// Whose acknowledgements are believed; `None` = anybody's who had the stick.
    pub receiver_key: Option<[u8; 32]>,
}

/// Serves whoever writes sticks.
pub struct Carry {
    forwarder: Arc<Forwarder>,
    targets: Vec<CarryTarget>,
}

impl Carry {
    /// For the targets of kind `carry` among these. Errors: `Config` where a key is none.
    pub fn new(forwarder: Arc<Forwarder>, targets: &[TargetOptions]) -> Result<Self> {
        let targets =
            targets.iter().filter(|target| target.kind == TargetKind::Carry).map(target).collect::<Result<_>>()?;
        Ok(Carry { forwarder, targets })
    }

    /// The edge whose batches these are.
    pub fn edge(&self) -> EdgeId {
        self.forwarder.store.identity().edge.id
    }

    /// The key it signs with.
    pub fn public_key(&self) -> [u8; 32] {
        self.forwarder.store.identity().edge.signing.public()
    }

    /// Its targets that are reached by sticks.
    pub fn targets(&self) -> &[CarryTarget] {
        &self.targets
    }

    /// The target of that name. Errors: `NotFound` with code `unknown_target`.
    pub fn target(&self, name: &str) -> Result<&CarryTarget> {
        self.targets.iter().find(|target| target.name == name).ok_or_else(|| {
            Error::not_found(format!("no target {:?} is reached by sticks", cut(name, 64)))
                .code("unknown_target")
                .remedy("name a [[target]] with kind = \"carry\" of the configuration")
        })
    }

    /// Seals what waits, then lists batches of a lane behind `after` that a target has not acknowledged, in order. Errors: `NotFound`
    /// (the target), `Busy`, `Storage`.
    pub fn due(&self, name: &str, lane: Lane, after: Option<Key>) -> Result<Vec<DueBatch>> {
        let target = self.target(name)?;
        if after.is_none() {
            self.forwarder.seal_due(true)?;
            self.pass_gaps(&target.name, lane)?;
        }
        self.forwarder.store.read(|tx| {
            let mut out = Vec::new();
            let mut begun = after.is_none();
            for epoch in epochs::all(tx)? {
                let here = after.is_some_and(|after| after.edge == epoch.edge && after.epoch == epoch.epoch);
                if !begun && !here {
                    continue;
                }
                begun = true;
                let acked = cursors::get(tx, &target.name, epoch.id, lane)?.acked_no;
                let from = after.filter(|_| here).map_or(acked, |after| acked.max(after.batch_no));
                let room = i64::try_from(PAGE - out.len()).unwrap_or(0);
                for batch in batches::list(tx, epoch.id, lane, from, room)? {
                    let key = Key { edge: epoch.edge, epoch: epoch.epoch, lane, batch_no: batch.batch_no };
                    out.push(DueBatch { key, digest: hex(&batch.digest) });
                }
            }
            Ok(out)
        })
    }

    /// Batches that went before this target was there can never come: told as a loss, and passed over.
    fn pass_gaps(&self, name: &str, lane: Lane) -> Result<()> {
        while let Some(due) = self.forwarder.store.read(|tx| next_in_lane(tx, name, lane))?
            && due.batch.batch_no > due.cursor.put_no + 1
        {
            expire::pass_gap(&self.forwarder.store, name, &due)?;
        }
        Ok(())
    }

    /// Commits an attempt, then renders a batch for a target. Errors: `Conflict` with code `consent_first`; `NotFound` with code
    /// `unknown_target`, `unknown_batch` or `rows_removed` (told as a loss, and passed over); `Busy`, `Storage`.
    pub fn give(&self, name: &str, key: Key) -> Result<Given> {
        let target = self.target(name)?;
        let due = self.find(&target.name, key)?;
        let (attempt_id, began) = self.begin(&target.name, &due)?;
        let keys = &self.forwarder.store.identity().edge.keys;
        let order = Order { recipient: target.recipient, keys, began, refused: &[] };
        let rendered = match self.forwarder.store.read(|tx| encode::render(tx, &due.batch, &order)) {
            Err(error) if error.code == "rows_removed" => {
                expire::skip(&self.forwarder.store, &target.name, &due, attempt_id)?;
                return Err(error);
            }
            rendered => rendered?.compress(self.forwarder.gzip_level),
        };
        let manifest = serde_json::to_string(&rendered.manifest).expect("invariant: a manifest has string keys");
        let lines_sha256 = hex(&sha256(&rendered.ndjson));
        Ok(Given { carried: Carried { key, manifest, gz: rendered.gz }, lines_sha256, attempt_id })
    }

    fn find(&self, name: &str, key: Key) -> Result<Due> {
        let found = self.forwarder.store.read(|tx| {
            let Some(epoch) = epoch_of(&epochs::all(tx)?, key.edge, key.epoch) else { return Ok(None) };
            let cursor = cursors::get(tx, name, epoch.id, key.lane)?;
            let batch = batches::get(tx, epoch.id, key.lane, key.batch_no)?;
            Ok(batch.map(|batch| Due { epoch, batch, cursor }))
        })?;
        found.ok_or_else(|| {
            Error::not_found(format!("there is no batch {key} here"))
                .code("unknown_batch")
                .remedy("list anew what is due: the database may have been replaced")
        })
    }

    fn begin(&self, name: &str, due: &Due) -> Result<(i64, crate::base::time::Millis)> {
        let (name, rules) = (name.to_owned(), self.forwarder.rules.clone());
        let (epoch_id, lane, batch_no) = (due.epoch.id, due.batch.lane, due.batch.batch_no);
        self.forwarder.store.pen().call(move |tx| {
            if lane != Lane::Consent {
                seal::consent(tx, &rules)?;
                if next_in_lane(tx, &name, Lane::Consent)?.is_some() {
                    return Err(Error::conflict("consent batches wait that are on no stick yet")
                        .code("consent_first")
                        .remedy("carry the batches of the lane consent first"));
                }
            }
            Ok((attempts::begin(tx, &name, epoch_id, lane, batch_no)?.0, tx.now()))
        })
    }

    /// Notes what is on a stick. Errors: `NotFound` (the target), `Busy`, `Storage`.
    pub fn landed(&self, name: &str, landed: &[Landed]) -> Result<()> {
        let name = self.target(name)?.name.clone();
        let landed = landed.to_vec();
        self.forwarder.store.pen().call(move |tx| {
            let known = epochs::all(tx)?;
            for one in &landed {
                let Some(epoch) = epoch_of(&known, one.key.edge, one.key.epoch) else { continue };
                let before = cursors::get(tx, &name, epoch.id, one.key.lane)?;
                if batches::get(tx, epoch.id, one.key.lane, one.key.batch_no)?.is_some() {
                    let put_no = before.put_no.max(one.key.batch_no);
                    cursors::put(tx, &name, epoch.id, one.key.lane, &Cursor { put_no, ..before })?;
                }
                attempts::end(tx, one.attempt_id, if one.same { "same" } else { "put" }, 0)?;
            }
            Ok(())
        })
    }

    /// Takes acknowledgements in: signed by the target's receiver, of batches that were sealed here. A cursor moves over what is
    /// acknowledged without a gap. Errors: `NotFound` (the target), `Busy`, `Storage`.
    pub fn acks(&self, name: &str, acks: &[SignedAck]) -> Result<AcksTaken> {
        let target = self.target(name)?;
        let mut taken = AcksTaken::default();
        let mut said = BTreeMap::<(String, i64), (Vec<Ack>, Lane)>::new();
        let mut bad: Option<String> = None;
        for (n, signed) in acks.iter().enumerate() {
            match signed.open(target.receiver_key.as_ref()) {
                Ok(ack) => match Lane::parse(&ack.lane) {
                    Some(lane) => {
                        let at = said.entry((format!("{}/{}", ack.edge, ack.epoch), lane.code()));
                        at.or_insert_with(|| (Vec::new(), lane)).0.push(ack);
                    }
                    None => taken.refuse(format!("acknowledgement {}: no lane {:?}", n + 1, cut(&ack.lane, 20))),
                },
                Err(error) => {
                    taken.refuse(format!("acknowledgement {}: {}", n + 1, error.what));
                    bad.get_or_insert(error.what);
                }
            }
        }
        if let Some(what) = bad {
            self.alarm("bad_ack", &target.name, &what)?;
        }
        for ((origin, _), (acks, lane)) in said {
            let (name, alarmed) = (target.name.clone(), target.name.clone());
            let done = self.forwarder.store.pen().call(move |tx| taken_in(tx, &name, (&origin, lane), &acks))?;
            if done.forked {
                self.alarm("fork", &alarmed, done.refused.first().map_or("", String::as_str))?;
            }
            taken.acknowledged += done.acknowledged;
            done.refused.into_iter().for_each(|what| taken.refuse(what));
        }
        Ok(taken)
    }

    fn alarm(&self, code: &'static str, about: &str, what: &str) -> Result<()> {
        let (about, what) = (about.to_owned(), what.to_owned());
        self.forwarder.store.pen().call(move |tx| alarms::raise(tx, code, &about, &what))
    }

    /// Dates and signs an index of this edge. Errors: `NotFound` (the target); `Invalid` where it is another's.
    pub fn sign(&self, index: Index) -> Result<Signed> {
        self.target(&index.target)?;
        let edge = &self.forwarder.store.identity().edge;
        if index.edge != edge.id.to_string() || index.kind != INDEX_KIND {
            return Err(Error::invalid("this is no index of this edge"));
        }
        Ok(Signed::of(&Index { made_at: self.forwarder.clock.now().rfc3339(), ..index }, &edge.signing))
    }
}

impl AcksTaken {
    fn refuse(&mut self, what: String) {
        if self.refused.len() < REASONS_MAX {
            self.refused.push(what);
        }
    }
}

fn target(options: &TargetOptions) -> Result<CarryTarget> {
    let config = |e: Error| Error::config(format!("target {}: {}", options.name, e.what)).remedy(e.remedy);
    let receiver = options.receiver_key.as_deref().map(|key| unhex::<32>(key.trim())).transpose().map_err(config)?;
    Ok(CarryTarget {
        name: options.name.clone(),
        recipient: options.recipient,
        to: options.encrypt_to.as_deref().map(AgeKey::parse).transpose().map_err(config)?,
        receiver_key: receiver,
    })
}

fn epoch_of(known: &[EpochRow], edge: EdgeId, epoch: Epoch) -> Option<EpochRow> {
    known.iter().find(|row| row.edge == edge && row.epoch == epoch).cloned()
}

/// What became of the acknowledgements of one epoch and lane.
#[derive(Default)]
struct Done {
    acknowledged: i64,
    forked: bool,
    refused: Vec<String>,
}

fn taken_in(tx: &WriteTx<'_>, name: &str, (origin, lane): (&str, Lane), acks: &[Ack]) -> Result<Done> {
    let mut done = Done::default();
    let known = epochs::all(tx)?;
    let epoch = known.iter().find(|row| format!("{}/{}", row.edge, row.epoch) == origin);
    let Some(epoch) = epoch else {
        done.refused
            .push(format!("{} acknowledgements are of {origin}, which is no epoch of this database", acks.len()));
        return Ok(done);
    };
    let before = cursors::get(tx, name, epoch.id, lane)?;
    let mut held = BTreeSet::new();
    for ack in acks.iter().filter(|ack| ack.batch_no > before.acked_no) {
        match batches::get(tx, epoch.id, lane, ack.batch_no)? {
            Some(batch) if hex(&batch.digest) == ack.digest => {
                held.insert(ack.batch_no);
            }
            Some(_) => {
                done.forked = true;
                done.refused.push(format!(
                    "{origin}/{}/{} was acknowledged with another digest",
                    lane.word(),
                    ack.batch_no
                ));
            }
            None => done.refused.push(format!("{origin}/{}/{} was never sealed here", lane.word(), ack.batch_no)),
        }
    }
    let mut acked_no = before.acked_no;
    while held.contains(&(acked_no + 1)) {
        acked_no += 1;
    }
    if acked_no > before.acked_no {
        let put_no = before.put_no.max(acked_no);
        done.acknowledged = acked_no - before.acked_no;
        cursors::put(tx, name, epoch.id, lane, &Cursor { put_no, acked_no, ..before })?;
    }
    Ok(done)
}
