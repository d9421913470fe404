//! A statement that many rows of one commit group go through: prepared when the first comes, given back after the last.
//! Owns nothing but that; must never hold SQL of its own. Invariant: none outlives the transaction it was made in.

use rusqlite::{CachedStatement, Params, Statement};

use crate::store::ReadTx;

/// Looking a statement up by its text, and giving it back, costs as much as binding a row to it.
pub(in crate::store) struct Repeated<'t> {
    tx: &'t ReadTx<'t>,
    sql: &'static str,
    statement: Option<CachedStatement<'t>>,
}

impl<'t> Repeated<'t> {
    /// A statement not prepared yet.
    pub(in crate::store) fn new(tx: &'t ReadTx<'t>, sql: &'static str) -> Self {
        Repeated { tx, sql, statement: None }
    }

    fn get(&mut self) -> rusqlite::Result<&mut Statement<'t>> {
        match &mut self.statement {
            Some(statement) => Ok(statement),
            none => Ok(none.insert(self.tx.conn().prepare_cached(self.sql)?)),
        }
    }

    /// Runs it with these values; how many rows changed.
    pub(in crate::store) fn execute(&mut self, params: impl Params) -> rusqlite::Result<usize> {
        self.get()?.execute(params)
    }

    /// Runs it with the values that `bind` binds: all of them, for those of the run before stay bound.
    pub(in crate::store) fn run(
        &mut self,
        bind: impl FnOnce(&mut Statement<'_>) -> rusqlite::Result<()>,
    ) -> rusqlite::Result<usize> {
        let statement = self.get()?;
        bind(statement)?;
        statement.raw_execute()
    }
}
