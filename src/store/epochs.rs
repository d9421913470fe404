//! The `epochs` table: the generations of this database. Rows keep the epoch they were born in.
//! Must never change or delete a row. Invariant: an epoch has one row, one edge and one reason for ever.

use std::sync::Arc;

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, OptionalExtension};
use serde::{Deserialize, Serialize};

use crate::base::error::Result;
use crate::base::id::{EdgeId, Epoch};
use crate::base::time::Millis;
use crate::store::edge::Edge;
use crate::store::{Identity, ReadTx, WriteTx, open, row};

/// Why an epoch began.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// The edge's first.
    FirstStart,
    /// The database was damaged or gone; a fresh one serves.
    FreshAfterDamage,
    /// A backup was restored.
    Restore,
    /// The data directory woke up on another machine.
    OtherHardware,
    /// Batches past the last common digest were voided.
    Fork,
}

impl Reason {
    const ALL: [Reason; 5] =
        [Reason::FirstStart, Reason::FreshAfterDamage, Reason::Restore, Reason::OtherHardware, Reason::Fork];

    /// Stable word, as in the column.
    pub fn word(self) -> &'static str {
        match self {
            Reason::FirstStart => "first_start",
            Reason::FreshAfterDamage => "fresh_after_damage",
            Reason::Restore => "restore",
            Reason::OtherHardware => "other_hardware",
            Reason::Fork => "fork",
        }
    }
}

impl ToSql for Reason {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.word()))
    }
}

impl FromSql for Reason {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        row::word(value, |word| Reason::ALL.into_iter().find(|reason| reason.word() == word))
    }
}

/// One epoch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EpochRow {
    /// The number rows refer to it by.
    pub id: i64,
    /// Its name outside.
    pub epoch: Epoch,
    /// The edge it belongs to.
    pub edge: EdgeId,
    /// When it began.
    pub started_at: Millis,
    /// Why.
    pub reason: Reason,
}

/// Adds an epoch; returns its row id.
pub(in crate::store) fn begin(
    conn: &Connection,
    edge: EdgeId,
    epoch: Epoch,
    reason: Reason,
    now: Millis,
) -> Result<i64> {
    conn.query_row(
        "INSERT INTO epochs (epoch, edge, started_at, reason) VALUES (?1, ?2, ?3, ?4) RETURNING epoch_id",
        (epoch.to_string(), edge.to_string(), now, reason),
        |r| r.get(0),
    )
    .map_err(|e| open::error("beginning an epoch", e))
}

/// Begins an epoch while the database serves; returns its row id. What this transaction writes still belongs to the epoch
/// before; the pen serves for the new one from its commit on.
pub(in crate::store) fn go_on(tx: &WriteTx<'_>, edge: Edge) -> Result<i64> {
    tx.settle()?;
    let epoch_id = begin(tx.conn(), edge.id, edge.epoch, edge.reason, edge.started_at)?;
    let hash_key = edge.hash_key.clone();
    let mut held = tx.held().borrow_mut();
    held.writes += 1;
    held.next_identity = Some(Arc::new(Identity { edge, epoch_id, hash_key }));
    Ok(epoch_id)
}

/// The row id of an epoch; `None` where it has not begun here.
pub(in crate::store) fn current_id(conn: &Connection, epoch: Epoch) -> Result<Option<i64>> {
    conn.query_row("SELECT epoch_id FROM epochs WHERE epoch = ?1", [epoch.to_string()], |r| r.get(0))
        .optional()
        .map_err(|e| open::error("reading the current epoch", e))
}

/// Every epoch this database knows, oldest first.
pub fn all(tx: &ReadTx<'_>) -> Result<Vec<EpochRow>> {
    let parsed = |error| FromSqlError::Other(Box::<crate::base::error::Error>::new(error));
    tx.conn()
        .prepare_cached("SELECT epoch_id, epoch, edge, started_at, reason FROM epochs ORDER BY epoch_id")
        .and_then(|mut s| {
            s.query_map([], |r| {
                Ok(EpochRow {
                    id: r.get(0)?,
                    epoch: Epoch::parse(r.get_ref(1)?.as_str()?).map_err(parsed)?,
                    edge: EdgeId::parse(r.get_ref(2)?.as_str()?).map_err(parsed)?,
                    started_at: r.get(3)?,
                    reason: r.get(4)?,
                })
            })?
            .collect()
        })
        .map_err(|e| open::error("reading the epochs", e))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn epochs_are_kept_in_order_with_their_reasons() {
        let dir = tempfile::tempdir().unwrap();
        let conn = open::writer(&open::database_path(dir.path())).unwrap();
        conn.execute_batch(crate::store::migrate::SCHEMA).unwrap();
        let edge = EdgeId::mint();
        let epochs: Vec<Epoch> = Reason::ALL
            .into_iter()
            .map(|reason| {
                let epoch = Epoch::mint();
                assert_eq!(current_id(&conn, epoch).unwrap(), None);
                let id = begin(&conn, edge, epoch, reason, Millis(5)).unwrap();
                assert_eq!(current_id(&conn, epoch).unwrap(), Some(id));
                epoch
            })
            .collect();
        let rows = all(&ReadTx::new(&conn)).unwrap();
        assert_eq!(rows.iter().map(|r| r.epoch).collect::<Vec<_>>(), epochs);
        assert_eq!(rows.iter().map(|r| r.reason).collect::<Vec<_>>(), Reason::ALL);
        assert!(rows.iter().all(|r| r.edge == edge && r.started_at == Millis(5)));
        assert!(begin(&conn, edge, epochs[0], Reason::Fork, Millis(6)).is_err(), "an epoch begins once");
    }
}
