//! The `completeness` table: until when everything of an edge's lane has come, and how many batches are missing between.
//! Must never be set by anything but a batch that is on the disk. Invariant: `complete_until` only rises.

use crate::base::error::Result;
use crate::base::id::EdgeId;
use crate::base::time::Millis;
use crate::domain::event::Lane;
use crate::store::{ReadTx, WriteTx, open};

/// How complete one lane of an edge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Complete {
    /// The edge.
    pub edge: EdgeId,
    /// The lane.
    pub lane: Lane,
    /// Nothing received there before this is missing here, but for gaps.
    pub until: Millis,
    /// Rows that waited there when it was told.
    pub backlog_rows: i64,
    /// Batches between that have not come.
    pub gap_count: i64,
    /// When it was told.
    pub told: Millis,
}

/// Keeps what the newest batch of a lane says.
pub fn put(tx: &WriteTx<'_>, c: &Complete) -> Result<()> {
    tx.execute(
        "INSERT INTO completeness (edge, lane, complete_until, backlog_rows, gap_count, told_at) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6) ON CONFLICT DO UPDATE SET complete_until = max(complete_until, excluded.complete_until), \
         backlog_rows = excluded.backlog_rows, gap_count = excluded.gap_count, told_at = excluded.told_at",
        (c.edge.to_string(), c.lane.code(), c.until, c.backlog_rows, c.gap_count, c.told),
    )
    .map(|_| ())
}

/// Every edge and lane, by edge.
pub fn list(tx: &ReadTx<'_>) -> Result<Vec<Complete>> {
    tx.conn()
        .prepare_cached(
            "SELECT edge, lane, complete_until, backlog_rows, gap_count, told_at FROM completeness ORDER BY edge, lane",
        )
        .and_then(|mut s| {
            s.query_map([], |r| {
                let (edge, lane): (String, i64) = (r.get(0)?, r.get(1)?);
                Ok(Complete {
                    edge: EdgeId::parse(&edge).map_err(|_| {
                        rusqlite::Error::InvalidColumnType(0, "an id".to_owned(), rusqlite::types::Type::Text)
                    })?,
                    lane: Lane::from_code(lane).ok_or(rusqlite::Error::IntegralValueOutOfRange(1, lane))?,
                    until: r.get(2)?,
                    backlog_rows: r.get(3)?,
                    gap_count: r.get(4)?,
                    told: r.get(5)?,
                })
            })?
            .collect()
        })
        .map_err(|e| open::error("reading how complete edges are", e))
}
