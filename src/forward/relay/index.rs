//! The transaction that follows a received batch's files: its row, how far its lane is, how complete its edge is, and what
//! its lines bind this relay to. Must never be committed before the files are on the disk.
//! Invariant: whoever reads the row finds bound whatever the batch said.

use crate::base::error::Result;
use crate::base::id::{EdgeId, Seq};
use crate::base::time::Millis;
use crate::domain::relay::{Bound, BoundKind, BoundRows};
use crate::forward::relay::bind::Told;
use crate::forward::relay::receive::Judged;
use crate::store::completeness::Complete;
use crate::store::received::Received;
use crate::store::streams::{First, Stream};
use crate::store::{Store, WriteTx, bound, completeness, known_edges, received, streams};

/// Commits it; returns when that was. Errors: `Busy`, `Storage`.
pub(in crate::forward::relay) fn commit(store: &Store, row: Received, batch: &Judged) -> Result<Millis> {
    let (told, part) = (batch.told.clone(), batch.part.clone());
    let until = Millis::parse(&batch.manifest.complete_until);
    let backlog_rows = batch.manifest.backlog_rows;
    store.pen().call(move |tx| {
        let edge = row.stream.edge;
        let stream = enter(tx, &row, part.previous_epoch.clone())?;
        if let Some(until) = until.filter(|_| stream.highest_no == row.batch_no) {
            let (lane, told) = (row.stream.lane, tx.now());
            let gap_count = gaps(tx, &row)?;
            completeness::put(tx, &Complete { edge, lane, until, backlog_rows, gap_count, told })?;
        }
        bind_all(tx, edge, &told)?;
        known_edges::seen(tx, edge, tx.now())?;
        Ok(tx.now())
    })
}

/// Adds the row, and moves the stream over everything that follows without a gap.
fn enter(tx: &WriteTx<'_>, row: &Received, previous_epoch: Option<String>) -> Result<Stream> {
    let no = row.batch_no;
    let keep = |stream_id: i64| received::insert(tx, &Received { stream_id, received: tx.now(), ..row.clone() });
    let Some(mut stream) = streams::get(tx, row.stream)? else {
        let first = First {
            batch_no: no,
            last_seq: row.last_seq,
            digest: row.digest,
            previous_epoch: previous_epoch.clone(),
            previous_digest: row.previous,
        };
        let id = streams::begin(tx, row.stream, &first)?;
        keep(id)?;
        let (key, began) = (row.stream, tx.now());
        return Ok(Stream {
            id,
            key,
            first_no: no,
            upto_no: no,
            highest_no: no,
            batch_count: 1,
            last_seq: row.last_seq,
            digest: row.digest,
            previous_epoch,
            began,
        });
    };
    keep(stream.id)?;
    stream.batch_count += 1;
    stream.highest_no = stream.highest_no.max(no);
    while received::get(tx, stream.id, stream.first_no - 1)?.is_some() {
        stream.first_no -= 1;
    }
    while let Some(next) = received::get(tx, stream.id, stream.upto_no + 1)? {
        (stream.upto_no, stream.last_seq, stream.digest) = (next.batch_no, next.last_seq, next.digest);
    }
    streams::update(tx, &stream)?;
    Ok(stream)
}

/// Batches of this lane, over all epochs, that have not come.
fn gaps(tx: &WriteTx<'_>, row: &Received) -> Result<i64> {
    let all = streams::of_edge(tx, row.stream.edge)?;
    Ok(all.iter().filter(|one| one.key.lane == row.stream.lane).map(|one| one.gap_count().max(0)).sum())
}

/// Keeps what lines say. The files of the edge, and of edges it came after, are to be looked through.
pub(in crate::forward::relay) fn bind_all(tx: &WriteTx<'_>, edge: EdgeId, told: &[Told]) -> Result<()> {
    for one in told {
        match *one {
            Told::Bound(bound) => bound::bind(tx, &bound, false)?,
            Told::Released { visitor, upto, until, origin } => {
                for there in bound::of_visitor(tx, visitor)?.into_iter().filter(|b| b.kind == BoundKind::Restricted) {
                    let upto = if (there.edge, there.epoch) == origin { upto } else { Seq(there.upto.0) };
                    bound::bind(tx, &Bound { upto, until, ..there }, true)?;
                }
            }
            Told::Rows(rows) if may_name(tx, edge, &rows)? => bound::bind_rows(tx, &rows)?,
            Told::Rows(rows) => log::warn!("edge {edge} names rows of edge {}: it has no say about them", rows.edge),
        }
    }
    if !told.is_empty() {
        bound::mark_unswept(tx, edge)?;
        for before in known_edges::list(tx)?.iter().filter(|known| known.successor == Some(edge)) {
            bound::mark_unswept(tx, before.edge)?;
        }
    }
    Ok(())
}

/// An edge speaks for its own rows, and for those of an edge it came after; not for another one that joined.
fn may_name(tx: &WriteTx<'_>, edge: EdgeId, rows: &BoundRows) -> Result<bool> {
    if rows.edge == edge {
        return Ok(true);
    }
    Ok(known_edges::get(tx, rows.edge)?.is_none_or(|known| known.successor == Some(edge)))
}
