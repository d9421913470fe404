//! The one recipe for a connection: every pragma on every connection; and the lock of the data directory.
//! Must never hold a query. Invariant: two processes never write one data directory.

use std::fs::{File, TryLockError};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rusqlite::config::DbConfig;
use rusqlite::hooks::{AuthAction, AuthContext, Authorization};
use rusqlite::{Connection, ErrorCode, OpenFlags};

use crate::base::error::{Error, Kind, Result, io};

/// Name of the database file in the data directory.
pub const DATABASE: &str = "wayside.db";

/// The database file of a data directory.
pub fn database_path(data_dir: &Path) -> PathBuf {
    data_dir.join(DATABASE)
}

/// Translates a SQLite error; a full disk keeps its code, so that the caller is told 507 and when to come back.
pub(in crate::store) fn error(doing: &str, error: rusqlite::Error) -> Error {
    let out = match error.sqlite_error_code() {
        Some(ErrorCode::DiskFull) => Error::new(Kind::Storage, "disk_full", format!("{doing}: the disk is full"))
            .remedy("free space; the collector goes on by itself as soon as there is some"),
        Some(ErrorCode::OperationInterrupted) => {
            Error::busy(format!("{doing}: took longer than a reader may live")).remedy("ask for less at once")
        }
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => {
            Error::busy(format!("{doing}: the database is busy")).code("database_busy")
        }
        Some(ErrorCode::ConstraintViolation | ErrorCode::TypeMismatch | ErrorCode::TooBig) => {
            Error::storage(format!("{doing}: the database refuses it; this is a defect of wayside")).code("row_refused")
        }
        Some(ErrorCode::DatabaseCorrupt | ErrorCode::NotADatabase) => {
            Error::new(Kind::Storage, "damaged", format!("{doing}: the database file is damaged"))
                .remedy("restart wayside: it keeps the damaged file aside and starts a fresh one")
        }
        _ => Error::storage(doing.to_owned()),
    };
    out.source(error)
}

/// What SQLite may use of memory for pages, per connection, KiB.
const WRITER_CACHE_KIB: i64 = 8 * 1024;
const READER_CACHE_KIB: i64 = 1024;

/// Opens the database for writing, making the file where there is none.
pub(in crate::store) fn writer(path: &Path) -> Result<Connection> {
    let fresh = !path.exists();
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_CREATE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let conn = Connection::open_with_flags(path, flags).map_err(|e| error("opening the database", e))?;
    if fresh {
        private(path)?;
    }
    // before the first table exists; afterwards the file has it, and setting it again would be a write
    let empty = conn.pragma_query_value(None, "page_count", |r| r.get::<_, i64>(0)).map(|pages| pages == 0);
    if empty.map_err(|e| error("looking at the database", e))? {
        conn.pragma_update(None, "auto_vacuum", "INCREMENTAL").map_err(|e| error("preparing a database", e))?;
    }
    recipe(&conn, WRITER_CACHE_KIB)?;
    Ok(conn)
}

/// Opens the database for reading only.
pub(in crate::store) fn reader(path: &Path) -> Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let mut conn =
        Connection::open_with_flags(path, flags).map_err(|e| error("opening the database for reading", e))?;
    recipe(&conn, READER_CACHE_KIB)?;
    conn.pragma_update(None, "query_only", true).map_err(|e| error("setting query_only", e))?;
    guard(&mut conn)?;
    Ok(conn)
}

/// Longest a connection waits for another one.
pub(in crate::store) const BUSY_WAIT: std::time::Duration = std::time::Duration::from_secs(5);

/// Every pragma, on every connection.
fn recipe(conn: &Connection, cache_kib: i64) -> Result<()> {
    let set = || -> rusqlite::Result<()> {
        conn.busy_timeout(BUSY_WAIT)?;
        conn.pragma_update(None, "journal_mode", "WAL")?;
        conn.pragma_update(None, "synchronous", "FULL")?;
        conn.pragma_update(None, "secure_delete", "ON")?;
        conn.pragma_update(None, "temp_store", "MEMORY")?;
        conn.pragma_update(None, "recursive_triggers", "ON")?;
        conn.pragma_update(None, "foreign_keys", "ON")?;
        conn.pragma_update(None, "trusted_schema", "OFF")?;
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_DEFENSIVE, true)?;
        // plans must not look at bound values: else SQLite prepares anew whatever may use a partial index, at every run
        conn.set_db_config(DbConfig::SQLITE_DBCONFIG_ENABLE_QPSG, true)?;
        conn.pragma_update(None, "cache_size", -cache_kib)?;
        conn.pragma_update(None, "wal_autocheckpoint", 2000)?;
        conn.pragma_update(None, "journal_size_limit", 16 << 20)?;
        conn.set_prepared_statement_cache_capacity(192);
        Ok(())
    };
    set().map_err(|e| error("preparing a database connection", e))
}

/// The tables whose rows are never changed, and removed in an open [`Window`] only.
const LEDGER: [&str; 4] = ["ledger", "cleared", "checkpoints", "decisions"];
/// What would switch a guard off.
const PRAGMAS: [&str; 9] = [
    "writable_schema",
    "recursive_triggers",
    "trusted_schema",
    "foreign_keys",
    "ignore_check_constraints",
    "legacy_alter_table",
    "secure_delete",
    "journal_mode",
    "query_only",
];

/// Lets the pen remove what belongs to the ledger for a moment: the only way to have such a statement prepared.
#[derive(Clone, Debug, Default)]
pub struct Window(Arc<AtomicBool>);

/// An open [`Window`]; it closes when this goes.
pub struct Opened<'w>(&'w Window);

impl Window {
    /// Opens it.
    pub fn open(&self) -> Opened<'_> {
        self.0.store(true, Ordering::Relaxed);
        Opened(self)
    }
}

impl Drop for Opened<'_> {
    fn drop(&mut self) {
        self.0.0.store(false, Ordering::Relaxed);
    }
}

/// Guards a connection whose schema is settled: it changes no schema, attaches no file, switches no guard off, and removes
/// nothing of the ledger but in its window. SQLite asks when a statement is prepared, never when it runs.
pub(in crate::store) fn guard(conn: &mut Connection) -> Result<Window> {
    let window = Window::default();
    let asked = window.clone();
    conn.authorizer(Some(move |context: AuthContext<'_>| {
        if allowed(&context.action, asked.0.load(Ordering::Relaxed)) {
            Authorization::Allow
        } else {
            Authorization::Deny
        }
    }))
    .map_err(|e| error("guarding a database connection", e))?;
    Ok(window)
}

fn allowed(action: &AuthAction<'_>, window: bool) -> bool {
    let of_ledger = |table: &str| LEDGER.iter().any(|name| name.eq_ignore_ascii_case(table));
    match action {
        AuthAction::Delete { table_name } => !is_schema(table_name) && (window || !of_ledger(table_name)),
        AuthAction::Update { table_name, .. } => !is_schema(table_name) && !of_ledger(table_name),
        AuthAction::Insert { table_name } => !is_schema(table_name),
        AuthAction::Pragma { pragma_name, pragma_value: Some(_) } => {
            !PRAGMAS.iter().any(|name| name.eq_ignore_ascii_case(pragma_name))
        }
        AuthAction::Read { .. }
        | AuthAction::Select
        | AuthAction::Pragma { .. }
        | AuthAction::Transaction { .. }
        | AuthAction::Savepoint { .. }
        | AuthAction::Function { .. }
        | AuthAction::Recursive => true,
        _ => false, // every change of the schema, ATTACH, DETACH
    }
}

fn is_schema(table: &str) -> bool {
    table.to_ascii_lowercase().starts_with("sqlite_")
}

/// Makes a file readable by its owner only.
pub(in crate::store) fn private(path: &Path) -> Result<()> {
    use std::os::unix::fs::PermissionsExt;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))
        .map_err(|e| io(format_args!("setting the mode of {}", path.display()), e))
}

/// The right to write one data directory, held while the process lives.
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes `<data>/lock`, making the directory (mode 0700) where there is none. Errors: `Conflict` if it is held.
    pub fn take(data_dir: &Path) -> Result<Lock> {
        use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(data_dir)
            .map_err(|e| io(format_args!("making the data directory {}", data_dir.display()), e))?;
        let path = data_dir.join("lock");
        let file = File::options()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(0o600)
            .open(&path)
            .map_err(|e| io(format_args!("opening {}", path.display()), e))?;
        match file.try_lock() {
            Ok(()) => Ok(Lock { _file: file }),
            Err(TryLockError::WouldBlock) => Err(Error::conflict(format!(
                "another wayside process holds {}",
                data_dir.display()
            ))
            .code("locked")
            .remedy(
                "stop it, or use another --data-dir; commands beside a running daemon go through its control socket",
            )),
            Err(TryLockError::Error(e)) => Err(io(format_args!("locking {}", path.display()), e)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_connection_has_every_pragma() {
        let dir = tempfile::tempdir().unwrap();
        let path = database_path(dir.path());
        let write = writer(&path).unwrap();
        write.execute_batch("CREATE TABLE t (x)").unwrap();
        let read = reader(&path).unwrap();
        for conn in [&write, &read] {
            let get = |name: &str| conn.pragma_query_value(None, name, |r| r.get::<_, i64>(0)).unwrap();
            assert_eq!(get("synchronous"), 2, "FULL");
            assert_eq!(get("secure_delete"), 1);
            assert_eq!(get("temp_store"), 2, "MEMORY");
            assert_eq!(get("auto_vacuum"), 2, "INCREMENTAL");
            assert_eq!(get("recursive_triggers"), 1);
            assert_eq!(get("foreign_keys"), 1);
            let mode: String = conn.pragma_query_value(None, "journal_mode", |r| r.get(0)).unwrap();
            assert_eq!(mode, "wal");
        }
        assert!(read.execute("INSERT INTO t VALUES (1)", []).is_err(), "a reader cannot write");
    }

    #[test]
    fn opening_a_reader_waits_for_no_writer_and_writes_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = database_path(dir.path());
        let write = writer(&path).unwrap();
        write.execute_batch("CREATE TABLE t (x); BEGIN IMMEDIATE; INSERT INTO t VALUES (1)").unwrap();
        let wal = || std::fs::metadata(dir.path().join("wayside.db-wal")).unwrap().len();
        let before = wal();
        let read = reader(&path).unwrap();
        assert_eq!(read.query_row("SELECT count(*) FROM t", [], |r| r.get::<_, i64>(0)).unwrap(), 0);
        assert_eq!(wal(), before);
    }

    #[test]
    fn no_statistics_keep_erased_keys() {
        let conn = Connection::open_in_memory().unwrap();
        let stat4: bool = conn.query_row("SELECT sqlite_compileoption_used('ENABLE_STAT4')", [], |r| r.get(0)).unwrap();
        assert!(!stat4, "build with LIBSQLITE3_FLAGS=-USQLITE_ENABLE_STAT4 (.cargo/config.toml)");
    }

    #[test]
    fn two_processes_never_hold_one_directory() {
        let dir = tempfile::tempdir().unwrap();
        let first = Lock::take(dir.path()).unwrap();
        let second = Lock::take(dir.path()).err().unwrap();
        assert_eq!((second.kind, second.code), (Kind::Conflict, "locked"));
        drop(first);
        assert!(Lock::take(dir.path()).is_ok());
    }
}
