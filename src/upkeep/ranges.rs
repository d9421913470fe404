//! Stretches of numbers in which receiving time only rises: retention looks at the beginning of each, so that rows received
//! under a clock that was ahead hold nothing back. Must never remove anything.
//! Invariant: the ranges cover every number once, in order.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::store::ages::Range;
use crate::store::{ReadTx, events, meta};

/// All of them; one, where the clock never went back.
pub(in crate::upkeep) fn all(tx: &ReadTx<'_>) -> Result<Vec<Range>> {
    let mut after = Seq(0);
    let ends = meta::steps_back(tx)?.into_iter().chain([Seq(i64::MAX)]);
    let ranges = ends.map(|upto| Range { after: std::mem::replace(&mut after, upto), upto });
    Ok(ranges.filter(|range| range.after < range.upto).collect())
}

/// The part of a range before its first event: no visit begun there has events, but for late ones.
pub(in crate::upkeep) fn bare(tx: &ReadTx<'_>, range: Range) -> Result<Range> {
    let first = events::oldest(tx, range.after, 1)?.first().map_or(range.upto, |e| Seq(e.seq.0 - 1));
    Ok(Range { upto: first.min(range.upto), ..range })
}

/// The earliest of what `find` says of each range.
pub(in crate::upkeep) fn earliest<T: Ord>(
    tx: &ReadTx<'_>,
    mut find: impl FnMut(Range) -> Result<Option<T>>,
) -> Result<Option<T>> {
    let mut first = None;
    for range in all(tx)? {
        first = first.into_iter().chain(find(range)?).min();
    }
    Ok(first)
}
