//! Disk space: what is free, what the data directory uses, and pages given back to the file system.
//! Must never decide what is removed. Invariant: a symbolic link is never followed out of the data directory.

use std::path::{Path, PathBuf};

use crate::base::error::{Result, io};
use crate::store::{ReadTx, WriteTx, files, open};

/// Free bytes for this user, and all bytes, of the file system `dir` lies on. Errors: `Storage`.
pub fn free_bytes(dir: &Path) -> Result<(u64, u64)> {
    let found = rustix::fs::statvfs(dir)
        .map_err(|e| io(format_args!("asking for the free space of {}", dir.display()), e.into()))?;
    Ok((found.f_bavail.saturating_mul(found.f_frsize), found.f_blocks.saturating_mul(found.f_frsize)))
}

/// Length in bytes of all files below the data directory; links count as themselves, files that vanish as nothing.
/// Errors: `Storage`.
pub fn used_bytes(data_dir: &Path) -> Result<u64> {
    let gone = |e: &std::io::Error| e.kind() == std::io::ErrorKind::NotFound;
    let failed = |path: &Path, e| io(format_args!("measuring {}", path.display()), e);
    let mut sum = 0u64;
    let mut folders: Vec<PathBuf> = vec![data_dir.to_owned()];
    while let Some(folder) = folders.pop() {
        let entries = match std::fs::read_dir(&folder) {
            Ok(entries) => entries,
            Err(e) if gone(&e) => continue,
            Err(e) => return Err(failed(&folder, e)),
        };
        for entry in entries {
            let entry = entry.map_err(|e| failed(&folder, e))?;
            // of the entry itself: a link is not followed
            match entry.metadata() {
                Ok(meta) if meta.is_dir() => folders.push(entry.path()),
                Ok(meta) => sum = sum.saturating_add(meta.len()),
                Err(e) if gone(&e) => {}
                Err(e) => return Err(failed(&entry.path(), e)),
            }
        }
    }
    Ok(sum)
}

/// Length of the write-ahead log in bytes. Errors: `Storage`.
pub fn wal_bytes(data_dir: &Path) -> Result<u64> {
    files::length(&files::beside(&open::database_path(data_dir), "-wal"))
}

/// How long emptying the write-ahead log waits for readers, ms: the pen waits meanwhile.
const READERS_MS: u64 = 250;

/// Empties the write-ahead log into the database, so that no page of before is left in it; false where a reader still holds
/// a snapshot of before. Errors: `Busy`, `Storage`.
pub fn empty_log(data_dir: &Path) -> Result<bool> {
    let failed = |e| open::error("emptying the write-ahead log", e);
    let conn = open::reader(&open::database_path(data_dir))?;
    // most of it while the pen goes on
    let run = |sql: &str| conn.query_row(sql, [], |r| r.get::<_, i64>(0)).map_err(failed);
    run("PRAGMA wal_checkpoint(PASSIVE)")?;
    conn.busy_timeout(std::time::Duration::from_millis(READERS_MS)).map_err(failed)?;
    let busy = run("PRAGMA wal_checkpoint(TRUNCATE)")?;
    Ok(busy == 0 && wal_bytes(data_dir)? == 0)
}

/// Length in bytes of all files below the data directory but for those of the database: see [`database_bytes`].
/// Errors: `Storage`.
pub fn beside_bytes(data_dir: &Path) -> Result<u64> {
    let path = open::database_path(data_dir);
    let mut rest = used_bytes(data_dir)?;
    for tail in ["", "-wal", "-shm"] {
        rest = rest.saturating_sub(files::length(&files::beside(&path, tail))?);
    }
    Ok(rest)
}

/// Bytes of the database that are in use, and bytes that are free inside it and used again first. The file itself follows
/// with the next checkpoint, and its log is emptied then.
pub fn database_bytes(tx: &ReadTx<'_>) -> Result<(u64, u64)> {
    let get = |name: &str| tx.conn().pragma_query_value(None, name, |r| r.get::<_, u32>(0)).map(u64::from);
    let bytes = || {
        let (pages, free, size) = (get("page_count")?, get("freelist_count")?, get("page_size")?);
        Ok((pages.saturating_sub(free) * size, free * size))
    };
    bytes().map_err(|e| open::error("measuring the database", e))
}

/// Takes at most `pages_max` free pages off the end of the database; the file shrinks with the next checkpoint.
/// Returns how many.
pub fn give_back(tx: &WriteTx<'_>, pages_max: u32) -> Result<u32> {
    let free = || {
        tx.conn()
            .pragma_query_value(None, "freelist_count", |r| r.get::<_, u32>(0))
            .map_err(|e| open::error("counting free pages", e))
    };
    let before = free()?;
    if before == 0 || pages_max == 0 {
        return Ok(0); // the pragma would take 0 for "all"
    }
    tx.held().borrow_mut().writes += 1;
    // each step of the statement moves one page
    tx.conn()
        .pragma(None, "incremental_vacuum", pages_max, |_| Ok(()))
        .map_err(|e| open::error("giving pages back", e))?;
    Ok(before.saturating_sub(free()?))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::time::{ManualClock, Millis};
    use crate::store::{Store, StoreOptions};

    #[test]
    fn a_file_system_has_space() {
        let dir = tempfile::tempdir().unwrap();
        let (free, total) = free_bytes(dir.path()).unwrap();
        assert!(total > 0 && free <= total);
        assert!(free_bytes(&dir.path().join("none")).is_err());
    }

    #[test]
    fn everything_below_counts_and_links_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let outside = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(outside.path(), vec![0; 50_000]).unwrap();
        std::fs::create_dir_all(dir.path().join("a/b")).unwrap();
        std::fs::write(dir.path().join("x"), [0; 10]).unwrap();
        std::fs::write(dir.path().join("a/b/y"), [0; 5]).unwrap();
        assert_eq!(used_bytes(dir.path()).unwrap(), 15);
        std::os::unix::fs::symlink(outside.path(), dir.path().join("a/link")).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("a/root")).unwrap();
        assert!(used_bytes(dir.path()).unwrap() < 1_000);
        assert_eq!(used_bytes(&dir.path().join("none")).unwrap(), 0);
    }

    #[test]
    fn freed_pages_go_back_to_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        let options = StoreOptions::at(dir.path());
        let store = Store::open(&options, Arc::new(ManualClock::at(Millis(1_700_000_000_000)))).unwrap();
        let path = open::database_path(dir.path());
        let checkpoint = || {
            let conn = open::writer(&path).unwrap();
            conn.query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
            std::fs::metadata(&path).unwrap().len()
        };
        store
            .pen()
            .call(|tx| {
                tx.execute("INSERT INTO meta (key, value) VALUES ('big', zeroblob(4000000))", [])?;
                tx.execute("INSERT INTO meta (key, value) VALUES ('last', 1)", [])
            })
            .unwrap();
        let full = checkpoint();
        assert!(wal_bytes(dir.path()).unwrap() == 0 && full > 4_000_000);
        store.pen().call(|tx| tx.execute("DELETE FROM meta WHERE key = 'big'", [])).unwrap();
        assert!(wal_bytes(dir.path()).unwrap() > 0);
        assert_eq!(checkpoint(), full, "deleting alone frees pages, not space");
        assert_eq!(store.pen().call(|tx| give_back(tx, 0)).unwrap(), 0);
        assert_eq!(store.pen().call(|tx| give_back(tx, 100)).unwrap(), 100);
        assert_eq!(checkpoint(), full - 100 * 4096);
        let rest = store.pen().call(|tx| give_back(tx, u32::MAX >> 1)).unwrap();
        assert!(rest > 800 && checkpoint() < full / 4);
        assert_eq!(store.pen().call(|tx| give_back(tx, 100)).unwrap(), 0, "nothing is left to give");
        store.close().unwrap();
    }
}
