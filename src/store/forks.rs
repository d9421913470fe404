//! The `forks` table: stretches of a lane whose batches were voided. A row born in the epoch of a stretch, with a number in
//! it, counts as born in the later epoch since. The rows themselves stay as they are: voiding is one short transaction.
//! Must never be changed once written: origins were minted by it. Invariant: one stretch per epoch, lane and new epoch.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::domain::event::Lane;
use crate::store::{ReadTx, WriteTx, open};

/// A stretch of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// Row of the epoch whose batches were voided.
    pub epoch_id: i64,
    /// The lane.
    pub lane: Lane,
    /// Behind this number: the last one that every side has the same.
    pub after: Seq,
    /// Up to this number: the newest one when it was voided.
    pub upto: Seq,
    /// Row of the epoch its rows count as born in since.
    pub new_epoch_id: i64,
}

/// The epoch a row counts as born in, by all stretches: the one it was stored with, unless that was voided around it.
pub fn born(forks: &[Fork], stored: i64, lane: Lane, seq: Seq) -> i64 {
    let mut epoch_id = stored;
    // each stretch leads to a later epoch, so this ends
    while let Some(fork) = forks.iter().find(|fork| {
        fork.epoch_id == epoch_id
            && fork.lane == lane
            && fork.after < seq
            && seq <= fork.upto
            && fork.new_epoch_id > epoch_id
    }) {
        epoch_id = fork.new_epoch_id;
    }
    epoch_id
}

/// Keeps a stretch.
pub fn insert(tx: &WriteTx<'_>, fork: &Fork) -> Result<()> {
    tx.execute(
        "INSERT INTO forks (epoch_id, lane, after_seq, upto_seq, new_epoch_id) VALUES (?1, ?2, ?3, ?4, ?5)",
        (fork.epoch_id, fork.lane.code(), fork.after, fork.upto, fork.new_epoch_id),
    )
    .map(|_| ())
}

/// Every stretch; nearly always none.
pub fn all(tx: &ReadTx<'_>) -> Result<Vec<Fork>> {
    tx.conn()
        .prepare_cached("SELECT epoch_id, lane, after_seq, upto_seq, new_epoch_id FROM forks")
        .and_then(|mut s| {
            s.query_map([], |r| {
                let lane: i64 = r.get(1)?;
                Ok(Fork {
                    epoch_id: r.get(0)?,
                    lane: Lane::from_code(lane).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, lane))?,
                    after: r.get(2)?,
                    upto: r.get(3)?,
                    new_epoch_id: r.get(4)?,
                })
            })?
            .collect()
        })
        .map_err(|e| open::error("reading voided stretches", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_of_a_voided_stretch_count_as_born_later_and_no_others_do() {
        let of = |epoch_id, (after, upto), new_epoch_id| Fork {
            epoch_id,
            lane: Lane::Pages,
            after: Seq(after),
            upto: Seq(upto),
            new_epoch_id,
        };
        let forks = [of(1, (10, 20), 2), of(2, (15, 40), 3)];
        let born = |stored, lane, seq| born(&forks, stored, lane, Seq(seq));
        assert_eq!([10, 11, 15, 16, 20, 21].map(|seq| born(1, Lane::Pages, seq)), [1, 2, 2, 3, 3, 1]);
        assert_eq!([15, 16, 40, 41].map(|seq| born(2, Lane::Pages, seq)), [2, 3, 3, 2]);
        assert_eq!(born(1, Lane::Visits, 12), 1, "each lane has its own last common batch");
        assert_eq!(super::born(&[], 1, Lane::Pages, Seq(12)), 1);
    }
}
