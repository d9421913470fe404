//! Who is how far: on every connection a target is asked what it has of us, and each lane decides by that whether to go on.
//! Must never send a batch. Invariant: what was acknowledged is believed as long as numbers and digests agree; where they do
//! not, it is told apart whether the target lost something, this database did, or two databases write as one edge.

use std::collections::BTreeSet;

use crate::base::error::{Error, Kind, Result};
use crate::base::text::hex;
use crate::domain::alarm;
use crate::domain::event::Lane;
use crate::forward::Forwarder;
use crate::forward::encode;
use crate::forward::fork::Cut;
use crate::forward::retry::Verdict;
use crate::forward::target::{Key, Target};
use crate::forward::tell::about;
use crate::store::cursors::Cursor;
use crate::store::epochs::{EpochRow, Reason};
use crate::store::{ReadTx, alarms, batches, cursors, epochs};

/// Batches whose digests a target is asked for, one by one, to find the last common one.
const LOOKS_MAX: i64 = 64;

/// How far a lane of an epoch is here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ours {
    /// Rows are still born in this epoch, and batches sealed.
    pub current: bool,
    /// Newest batch sealed; 0 = none.
    pub newest: i64,
    /// Newest batch that this target has acknowledged.
    pub acked: i64,
}

/// What a target says of the same lane, and the digest of our batch of that number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Theirs<'a> {
    /// Its highest batch without a gap before it.
    pub batch_no: i64,
    /// The digest of that batch there.
    pub digest: &'a str,
    /// The digest of that batch here; none where we have none of that number.
    pub ours: Option<&'a str>,
}

/// What follows for a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// Send what comes next.
    GoOn,
    /// It has up to here, and its acknowledgement was lost.
    Advance {
        /// The last batch it has.
        upto: i64,
    },
    /// It lost what it had acknowledged: send from behind here.
    Resend {
        /// The last batch it has.
        after: i64,
    },
    /// It has more than was ever sealed here: this database is older than what it sent.
    Restored,
    /// It has another batch under a number of ours: two databases write as one edge.
    Fork,
}

/// What follows for a lane. `theirs` is none where the target has nothing of it.
pub fn decide(ours: Ours, theirs: Option<Theirs<'_>>) -> Step {
    let Some(theirs) = theirs.filter(|theirs| theirs.batch_no > 0) else {
        return if ours.acked > 0 { Step::Resend { after: 0 } } else { Step::GoOn };
    };
    if theirs.batch_no > ours.newest {
        // of an epoch that is over, somebody else may have sent more: what is still to be sent of it meets that by itself
        return if ours.current { Step::Restored } else { Step::GoOn };
    }
    match theirs.ours {
        Some(digest) if digest != theirs.digest => Step::Fork,
        _ if theirs.batch_no < ours.acked => Step::Resend { after: theirs.batch_no },
        Some(_) if theirs.batch_no > ours.acked => Step::Advance { upto: theirs.batch_no },
        _ => Step::GoOn,
    }
}

/// A lane of an epoch as the handshake sees it.
struct Place {
    epoch: EpochRow,
    lane: Lane,
    ours: Ours,
    cursor: Cursor,
}

fn places(tx: &ReadTx<'_>, target: &str, current: i64) -> Result<Vec<Place>> {
    let mut out = Vec::new();
    for epoch in epochs::all(tx)? {
        for lane in Lane::ALL {
            let newest = batches::newest(tx, epoch.id, lane)?.map_or(0, |batch| batch.batch_no);
            let cursor = cursors::get(tx, target, epoch.id, lane)?;
            let ours = Ours { current: epoch.id == current, newest, acked: cursor.acked_no };
            if ours.current || newest > 0 {
                out.push(Place { epoch: epoch.clone(), lane, ours, cursor });
            }
        }
    }
    Ok(out)
}

impl Forwarder {
    /// Asks a target how far it is, and follows. True where positions may have changed, so that what is due is looked at
    /// again. Errors: those of the target, `Conflict` with code `fork` where it must not be sent to; `Busy`, `Storage`.
    pub(in crate::forward) fn shake(&self, target: &dyn Target) -> Result<bool> {
        let current = self.store.identity().epoch_id;
        let places = self.store.read(|tx| places(tx, target.name(), current))?;
        let edges: BTreeSet<[u8; 16]> = places.iter().map(|place| place.epoch.edge.0).collect();
        let mut theirs = Vec::new();
        for edge in edges {
            let edge = crate::base::id::EdgeId(edge);
            match target.watermarks(edge) {
                Ok(Some(list)) => theirs.extend(list.into_iter().map(|mark| (edge, mark))),
                Ok(None) => return Ok(false), // a put that meets another batch is the guard then
                Err(error) if error.kind == Kind::NotFound => return Ok(false),
                Err(error) => return Err(error),
            }
        }
        let mut news = Vec::new();
        for place in &places {
            let epoch = place.epoch.epoch.to_string();
            let mark = theirs.iter().find(|(edge, mark)| {
                *edge == place.epoch.edge && mark.epoch == epoch && mark.lane == place.lane.word()
            });
            let ours = match mark {
                Some((_, mark)) => self.digest_here(place, mark.batch_no)?,
                None => None,
            };
            let theirs =
                mark.map(|(_, mark)| Theirs { batch_no: mark.batch_no, digest: &mark.digest, ours: ours.as_deref() });
            news.push((place, mark.map_or(0, |(_, mark)| mark.batch_no), decide(place.ours, theirs)));
        }
        self.follow_steps(target, &news)
    }

    fn digest_here(&self, place: &Place, batch_no: i64) -> Result<Option<String>> {
        let batch = self.store.read(|tx| batches::get(tx, place.epoch.id, place.lane, batch_no))?;
        Ok(batch.map(|batch| hex(&batch.digest)))
    }

    fn follow_steps(&self, target: &dyn Target, news: &[(&Place, i64, Step)]) -> Result<bool> {
        let mut changed = false;
        for (place, _, step) in news {
            let no = match *step {
                Step::Advance { upto } => upto,
                Step::Resend { after } => after,
                _ => continue,
            };
            changed = true;
            let back = matches!(step, Step::Resend { .. });
            if back {
                log::warn!(
                    "{} has lost batches of the lane {} that it had acknowledged ({} of {}): they are sent again",
                    target.name(),
                    place.lane.word(),
                    place.ours.acked - no,
                    place.ours.acked
                );
            }
            let (name, epoch_id, lane, before) =
                (target.name().to_owned(), place.epoch.id, place.lane, place.cursor.clone());
            self.store.pen().call(move |tx| {
                if back {
                    cursors::set_back(tx, &name, epoch_id, lane, no)
                } else {
                    let cursor = Cursor { put_no: no.max(before.put_no), acked_no: no, ..before.clone() };
                    cursors::put(tx, &name, epoch_id, lane, &cursor)
                }
            })?;
        }
        for (place, their_no, step) in news {
            if *step == Step::Fork {
                self.forked(target, place, *their_no)?;
            }
        }
        if news.iter().any(|(.., step)| *step == Step::Restored) {
            self.came_back(target, news)?;
            return Ok(true);
        }
        Ok(changed)
    }

    /// The target has another batch under a number of ours: nothing goes to it until a person says who gives way. Rows of all
    /// lanes are numbered together, so that not even a lane in which both agree may go on.
    fn forked(&self, target: &dyn Target, place: &Place, their_no: i64) -> Result<()> {
        let acked = place.ours.acked;
        // what was acknowledged below the number they differ in is common; above it nothing is known
        let told = self.last_common(target, place, 0, their_no - 1)?;
        let common = told.unwrap_or(if acked < their_no { acked } else { 0 });
        // the first that differs: about those behind it nothing is to be said
        let differs = told.map_or(their_no, |common| common + 1);
        let (name, epoch_id, lane) = (target.name().to_owned(), place.epoch.id, place.lane);
        let key = self.key_of(place, their_no);
        let what = format!("{key} is another batch there; the last one both have is {common}");
        let told = what.clone();
        self.store.pen().call(move |tx| {
            cursors::set_back(tx, &name, epoch_id, lane, common)?;
            let before = cursors::get(tx, &name, epoch_id, lane)?;
            let (failures, last_error) = (before.failures + 1, Some(format!("{}: {told}", alarm::FORK)));
            let next_at = tx.now().plus(Verdict::Fence.wait_ms(failures, 0.0));
            let cursor = Cursor { put_no: common, acked_no: common, failures, next_at, last_error };
            cursors::put(tx, &name, epoch_id, lane, &cursor)?;
            alarms::raise(tx, alarm::FORK, &about(&name, lane), &told)
        })?;
        self.show_other(target, place, differs)?;
        Err(Error::conflict(what).code(alarm::FORK).remedy(alarm::remedy(alarm::FORK)))
    }

    /// The people there are to see both batches: they say who goes on.
    fn show_other(&self, target: &dyn Target, place: &Place, batch_no: i64) -> Result<()> {
        let identity = self.store.identity();
        let manifest = self.store.read(|tx| {
            let batch = batches::get(tx, place.epoch.id, place.lane, batch_no)?;
            batch.map(|batch| encode::manifest(tx, &batch, &identity.edge.keys, self.clock.now())).transpose()
        })?;
        let Some(manifest) = manifest else { return Ok(()) };
        if let Err(error) = target.show(self.key_of(place, batch_no), manifest) {
            log::debug!("{} was not shown what lies here: {error}", target.name());
        }
        Ok(())
    }

    /// This database is older than what it sent: what was sealed since it was put back is voided, and a new epoch goes on.
    fn came_back(&self, target: &dyn Target, news: &[(&Place, i64, Step)]) -> Result<()> {
        let mut cuts = Vec::new();
        for (place, their_no, step) in news.iter().filter(|(place, ..)| place.ours.current) {
            let common_no = match *step {
                Step::Advance { upto } => upto,
                Step::Restored => {
                    let acked = place.ours.acked;
                    let most = place.ours.newest.min(*their_no);
                    self.last_common(target, place, acked, most)?.unwrap_or(acked)
                }
                _ => place.ours.acked,
            };
            cuts.push(Cut { epoch_id: place.epoch.id, lane: place.lane, common_no });
        }
        log::warn!(
            "{} has more batches of this epoch than this database ever sealed: it was put back to an earlier state; a new \
             epoch begins",
            target.name()
        );
        self.void(Reason::Restore, &cuts).map(|_| ())
    }

    /// The last batch above `low` and up to `high` of which the target says our digest, looked for from above; `None` where
    /// the target does not tell.
    fn last_common(&self, target: &dyn Target, place: &Place, low: i64, high: i64) -> Result<Option<i64>> {
        let (mut at, mut looks) = (high, 0);
        while at > low && looks < LOOKS_MAX {
            let Some(there) = target.digest_of(self.key_of(place, at))? else { return Ok(None) };
            if self.digest_here(place, at)? == Some(there) {
                return Ok(Some(at));
            }
            (at, looks) = (at - 1, looks + 1);
        }
        Ok((at <= low && high > low).then_some(low))
    }

    fn key_of(&self, place: &Place, batch_no: i64) -> Key {
        Key { edge: place.epoch.edge, epoch: place.epoch.epoch, lane: place.lane, batch_no }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(newest: i64, acked: i64) -> Ours {
        Ours { current: true, newest, acked }
    }

    fn theirs(batch_no: i64, same: Option<bool>) -> Option<Theirs<'static>> {
        let ours = same.map(|same| if same { "aa" } else { "bb" });
        Some(Theirs { batch_no, digest: "aa", ours })
    }

    #[test]
    fn every_pair_of_positions_has_its_step() {
        let table = [
            (ours(0, 0), None, Step::GoOn),
            (ours(5, 0), None, Step::GoOn),
            (ours(5, 3), None, Step::Resend { after: 0 }),
            (ours(5, 3), theirs(0, None), Step::Resend { after: 0 }),
            (ours(5, 3), theirs(3, Some(true)), Step::GoOn),
            (ours(5, 3), theirs(4, Some(true)), Step::Advance { upto: 4 }),
            (ours(5, 3), theirs(5, Some(true)), Step::Advance { upto: 5 }),
            (ours(5, 3), theirs(2, Some(true)), Step::Resend { after: 2 }),
            (ours(5, 3), theirs(2, None), Step::Resend { after: 2 }),
            (ours(5, 3), theirs(3, Some(false)), Step::Fork),
            (ours(5, 3), theirs(1, Some(false)), Step::Fork),
            (ours(5, 3), theirs(5, Some(false)), Step::Fork),
            (ours(5, 3), theirs(6, None), Step::Restored),
            (ours(0, 0), theirs(1, None), Step::Restored),
        ];
        for (ours, theirs, step) in table {
            assert_eq!(decide(ours, theirs), step, "{ours:?} {theirs:?}");
        }
        let over = Ours { current: false, ..ours(5, 3) };
        assert_eq!(decide(over, theirs(6, None)), Step::GoOn, "an epoch that is over is never restored");
    }

    #[test]
    fn a_step_never_believes_less_than_numbers_and_digests_say() {
        for newest in 0..6 {
            for acked in 0..=newest {
                for there in 1..8 {
                    for same in [true, false] {
                        let known = (there <= newest).then_some(same);
                        match decide(ours(newest, acked), theirs(there, known)) {
                            Step::Advance { upto } => assert!(same && upto > acked && upto <= newest),
                            Step::Resend { after } => assert!(same && after < acked),
                            Step::GoOn => assert!(same && there == acked),
                            Step::Fork => assert!(!same && there <= newest),
                            Step::Restored => assert!(there > newest),
                        }
                    }
                }
            }
        }
    }
}
