//! Schema versions: a new file is made from `schema.sql`, an old one is brought there step by step after a snapshot, a
//! newer one is refused. Must never change a file it does not know.
//! Invariant: after the last step a file's schema equals `schema.sql`, comments and white space aside.

use std::fs::File;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use rusqlite::backup::{Backup, StepResult};

use crate::base::error::{Error, Kind, Result, io};
use crate::base::time::Millis;
use crate::store::{files, ledger, meta, open};

/// The newest schema, whole.
pub(in crate::store) const SCHEMA: &str = include_str!("../../schema.sql");
/// Its version (`PRAGMA user_version`).
pub const VERSION: i64 = 2;
/// `WAYS` in the file's header, so that `file` and SQLite tools know it.
const APPLICATION_ID: i64 = 0x5741_5953;
/// Numbered steps: each brings a file of the version before to its own. Never change one that was released.
const STEPS: &[(i64, &str)] = &[(2, include_str!("migrate/step_2.sql"))];
/// What a step does besides its SQL, in the same transaction.
const AFTER: &[(i64, After)] = &[(2, ledger::ground)];
/// Folder of snapshots in the data directory.
pub(in crate::store) const SNAPSHOTS: &str = "snapshots";

/// A migration that was done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Migrated {
    /// The version found.
    pub from: i64,
    /// The copy taken before.
    pub snapshot: PathBuf,
}

/// What had to be done to a file.
#[derive(Debug, PartialEq, Eq)]
pub(in crate::store) enum Raised {
    /// Nothing.
    Current,
    /// It was empty and has the newest schema now.
    Fresh,
    /// It was older.
    Migrated(Migrated),
}

type After = fn(&Connection, Millis) -> Result<()>;

/// The newest schema and the way to it; tests bring their own.
struct Plan<'a> {
    schema: &'a str,
    version: i64,
    steps: &'a [(i64, &'a str)],
    after: &'a [(i64, After)],
}

const PLAN: Plan<'static> = Plan { schema: SCHEMA, version: VERSION, steps: STEPS, after: AFTER };

/// Brings a file to the newest schema. `first_rows` fills a fresh file in the transaction that makes it.
/// Errors: `Config` with code `newer_schema`; `Storage`, `damaged` for a file that is none of ours.
pub(in crate::store) fn bring_up(
    conn: &Connection,
    data_dir: &Path,
    now: Millis,
    first_rows: impl FnOnce(&Connection) -> Result<()>,
) -> Result<Raised> {
    PLAN.bring_up(conn, data_dir, now, |conn| {
        meta::begin(conn)?;
        first_rows(conn)
    })
}

/// Is the file of this program's schema version? For readers, who never migrate.
/// Errors: `Config` with code `newer_schema` or `older_schema`.
pub(in crate::store) fn expect_current(conn: &Connection) -> Result<()> {
    let found = version_of(conn)?;
    match found.cmp(&VERSION) {
        std::cmp::Ordering::Equal => Ok(()),
        std::cmp::Ordering::Greater => Err(newer(found, VERSION)),
        std::cmp::Ordering::Less => {
            Err(Error::config(format!("the database has schema version {found}, this wayside reads version {VERSION}"))
                .code("older_schema")
                .remedy("start `wayside serve` of this version once: it takes a snapshot and brings the database up"))
        }
    }
}

/// The schema version of a file; 0 for an empty one.
pub(in crate::store) fn version_of(conn: &Connection) -> Result<i64> {
    conn.pragma_query_value(None, "user_version", |r| r.get(0))
        .map_err(|e| open::error("reading the schema version", e))
}

/// Does the file hold no table at all?
pub(in crate::store) fn is_empty(conn: &Connection) -> Result<bool> {
    conn.query_row("SELECT count(*) = 0 FROM sqlite_schema", [], |r| r.get(0))
        .map_err(|e| open::error("reading the schema", e))
}

/// The tables the newest schema has and this file has not.
pub(in crate::store) fn missing_tables(conn: &Connection) -> Result<Vec<String>> {
    let names = |conn: &Connection| -> rusqlite::Result<Vec<String>> {
        conn.prepare("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")?
            .query_map([], |r| r.get(0))?
            .collect()
    };
    let fresh = Connection::open_in_memory().map_err(|e| open::error("opening a database in memory", e))?;
    fresh.execute_batch(SCHEMA).map_err(|e| open::error("reading schema.sql", e))?;
    let there = names(conn).map_err(|e| open::error("reading the schema", e))?;
    let mut wanted = names(&fresh).map_err(|e| open::error("reading schema.sql", e))?;
    wanted.retain(|name| !there.contains(name));
    Ok(wanted)
}

fn newer(found: i64, known: i64) -> Error {
    Error::config(format!("the database has schema version {found}, this wayside knows versions up to {known}"))
        .code("newer_schema")
        .remedy(format!(
            "install the wayside that wrote it, or a later one; or use another --data-dir; a copy from before the change may \
             lie in the folder {SNAPSHOTS} of the data directory"
        ))
}

impl Plan<'_> {
    fn bring_up(
        &self,
        conn: &Connection,
        data_dir: &Path,
        now: Millis,
        first_rows: impl FnOnce(&Connection) -> Result<()>,
    ) -> Result<Raised> {
        let from = version_of(conn)?;
        if from > self.version {
            return Err(newer(from, self.version));
        }
        if from == self.version {
            return Ok(Raised::Current);
        }
        if from == 0 && is_empty(conn)? {
            in_transaction(conn, "making the database", || {
                batch(conn, self.schema)?;
                set_version(conn, self.version)?;
                first_rows(conn)
            })?;
            return Ok(Raised::Fresh);
        }
        let steps: Vec<_> = self.steps.iter().filter(|(to, _)| *to > from).collect();
        if !steps.iter().map(|(to, _)| *to).eq(from + 1..=self.version) {
            return Err(Error::new(
                Kind::Storage,
                "damaged",
                format!("no wayside wrote a file of schema version {from}"),
            ));
        }
        let snapshot = snapshot(conn, data_dir, from, now)?;
        let raised = steps.into_iter().try_for_each(|(to, sql)| {
            let after = self.after.iter().find(|(of, _)| of == to);
            step(conn, *to, sql, || after.map_or(Ok(()), |(_, run)| run(conn, now)))
        });
        raised.map_err(|e| e.remedy(format!("the database is as it was; a copy lies at {}", snapshot.display())))?;
        Ok(Raised::Migrated(Migrated { from, snapshot }))
    }
}

/// One step in one transaction. Foreign keys rest meanwhile, so that a table may be built anew, and are checked after.
fn step(conn: &Connection, to: i64, sql: &str, after: impl FnOnce() -> Result<()>) -> Result<()> {
    batch(conn, "PRAGMA foreign_keys = OFF")?;
    let doing = format!("the step to schema version {to}");
    let done = in_transaction(conn, &doing, || {
        batch(conn, sql)?;
        after()?;
        let broken: i64 = conn
            .query_row("SELECT count(*) FROM pragma_foreign_key_check", [], |r| r.get(0))
            .map_err(|e| open::error("checking foreign keys", e))?;
        if broken > 0 {
            return Err(Error::storage(format!("{broken} rows would refer to nothing")));
        }
        set_version(conn, to)
    });
    batch(conn, "PRAGMA foreign_keys = ON")?;
    done
}

fn set_version(conn: &Connection, version: i64) -> Result<()> {
    conn.pragma_update(None, "user_version", version)
        .and_then(|()| conn.pragma_update(None, "application_id", APPLICATION_ID))
        .map_err(|e| open::error("writing the schema version", e))
}

fn batch(conn: &Connection, sql: &str) -> Result<()> {
    conn.execute_batch(sql).map_err(|e| open::error("changing the schema", e))
}

fn in_transaction(conn: &Connection, doing: &str, work: impl FnOnce() -> Result<()>) -> Result<()> {
    let run = |sql: &str| conn.execute_batch(sql).map_err(|e| open::error(doing, e));
    run("BEGIN IMMEDIATE")?;
    let done = work().map_err(|e| e.context(doing)).and_then(|()| run("COMMIT"));
    if done.is_err() && !conn.is_autocommit() {
        run("ROLLBACK")?;
    }
    done
}

/// Copies the file before it is changed: `<data>/snapshots/before-schema-<from>-<time>.db`, mode 0600.
fn snapshot(conn: &Connection, data_dir: &Path, from: i64, now: Millis) -> Result<PathBuf> {
    let folder = data_dir.join(SNAPSHOTS);
    files::make_dir(&folder)?;
    let path = folder.join(format!("before-schema-{from}-{}.db", files::stamp(now)));
    let failed = |e| io(format_args!("writing the snapshot {}", path.display()), e);
    let file = File::options().write(true).create_new(true).mode(0o600).open(&path).map_err(failed)?;
    let copy = || -> rusqlite::Result<StepResult> {
        let mut to = Connection::open(&path)?;
        let done = Backup::new(conn, &mut to)?.step(-1)?;
        // one file that needs no WAL beside it
        to.pragma_update(None, "journal_mode", "DELETE")?;
        Ok(done)
    };
    match copy().map_err(|e| open::error("taking a snapshot before the schema changes", e))? {
        StepResult::Done => {}
        _ => return Err(Error::busy("the database is busy; no snapshot could be taken before the schema changes")),
    }
    file.sync_all().map_err(failed)?;
    files::sync_dir(&folder)?;
    Ok(path)
}

#[cfg(test)]
mod tests;
