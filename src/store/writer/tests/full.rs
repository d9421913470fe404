//! A disk that is really full: a small file system in memory, which only root may mount; others are told that it was skipped.
//! Must never leave a mount behind. Invariant: it is skipped loudly, never silently.

use std::path::{Path, PathBuf};
use std::process::Command;

use super::*;

/// A file system of 8 MiB, unmounted when dropped.
struct Small(tempfile::TempDir);

impl Small {
    fn mount() -> Option<Small> {
        let dir = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount").args(["-t", "tmpfs", "-o", "size=8m", "tmpfs"]).arg(dir.path()).output();
        match mounted {
            Ok(out) if out.status.success() => Some(Small(dir)),
            Ok(out) => skipped(&String::from_utf8_lossy(&out.stderr)),
            Err(error) => skipped(&error.to_string()),
        }
    }

    fn path(&self) -> &Path {
        self.0.path()
    }
}

fn skipped(why: &str) -> Option<Small> {
    let all = std::env::var("CI").is_ok_and(|ci| ci == "true") && rustix::process::geteuid().is_root();
    assert!(!all, "a full disk needs a mounted tmpfs, which even root may not have here: {}", why.trim());
    eprintln!("SKIPPED: a full disk needs a mounted tmpfs, which this user may not have: {}", why.trim());
    None
}

impl Drop for Small {
    fn drop(&mut self) {
        let done = Command::new("umount").arg(self.path()).status();
        assert!(done.is_ok_and(|status| status.success()), "{} stays mounted", self.path().display());
    }
}

/// Fills the file system to the last byte; removing the file gives the space back.
fn fill(disk: &Path) -> PathBuf {
    use std::io::Write;
    let path = disk.join("ballast");
    let mut file = std::fs::File::create(&path).unwrap();
    for size in [1 << 16, 1 << 12, 1] {
        while file.write_all(&vec![1u8; size]).is_ok() {}
    }
    path
}

fn heavy(n: i64) -> impl FnMut(&WriteTx<'_>) -> Result<i64> + Send + 'static {
    move |tx| {
        tx.execute("INSERT INTO meta (key, value) VALUES ('row ' || ?1, zeroblob(20000))", [n])?;
        Ok(n)
    }
}

fn stored(store: &Store) -> Vec<i64> {
    let sql = "SELECT CAST(substr(key, 5) AS INTEGER) FROM meta WHERE key LIKE 'row %' ORDER BY 1";
    store
        .read(|tx| {
            let mut rows = tx.conn().prepare(sql).map_err(|e| open::error("reading", e))?;
            let rows = rows.query_map([], |r| r.get(0)).map_err(|e| open::error("reading", e))?;
            rows.collect::<rusqlite::Result<Vec<i64>>>().map_err(|e| open::error("reading", e))
        })
        .unwrap()
}

#[test]
fn a_full_disk_is_told_loses_nothing_and_passes_by_itself() {
    let Some(disk) = Small::mount() else { return };
    let data = disk.path().join("data");
    let store = store(&data);
    let mut acknowledged: Vec<i64> = (0..10).map(|n| store.pen().call(heavy(n)).unwrap()).collect();
    let ballast = fill(disk.path());
    let mut refused = 0;
    for round in 0..20 {
        // a whole group at once: each of its jobs is told
        let go = hold_quietly(&store);
        let told: Vec<_> = (0..5).map(|n| send(&store, heavy(100 + 10 * round + n))).collect();
        drop(go);
        for told in told {
            match told.recv().unwrap() {
                Ok(n) => acknowledged.push(n),
                Err(error) => {
                    assert_eq!((error.kind, error.code), (Kind::Storage, "disk_full"), "{error}");
                    refused += 1;
                }
            }
        }
    }
    assert!(refused > 0, "the disk was full");
    assert!(!store.pen().status().broken);
    assert_eq!(stored(&store), acknowledged, "what was acknowledged, and nothing else");
    std::fs::remove_file(ballast).unwrap();
    acknowledged.push(store.pen().call(heavy(1_000)).unwrap());
    assert_eq!(stored(&store), acknowledged, "it goes on by itself");
    store.close().unwrap();
    let again = super::store(&data);
    assert_eq!(stored(&again), acknowledged);
    again.close().unwrap();
}

/// One row written again and again: the log grows by each version, the file by none.
fn same(n: i64) -> impl FnMut(&WriteTx<'_>) -> Result<i64> + Send + 'static {
    move |tx| {
        tx.execute(
            "INSERT INTO meta (key, value) VALUES ('row 1', randomblob(20000)) ON CONFLICT DO UPDATE SET value = excluded.value",
            [],
        )?;
        Ok(n)
    }
}

#[test]
fn less_space_than_the_log_takes_is_enough_to_go_on() {
    let Some(disk) = Small::mount() else { return };
    let data = disk.path().join("data");
    let first = store(&data);
    first.pen().call(same(0)).unwrap();
    first.close().unwrap(); // the file holds these pages, once
    let store = super::store(&data);
    for n in 0..100 {
        store.pen().call(same(n)).unwrap();
    }
    let log = space::wal_bytes(&disk.path().join("data")).unwrap();
    assert!(log > 2_000_000, "{log}");
    let room = disk.path().join("room");
    std::fs::write(&room, vec![1; 200_000]).unwrap();
    fill(disk.path());
    let full = |error: &Error| assert_eq!(error.code, "disk_full", "{error}");
    store.pen().call(same(0)).map_err(|error| full(&error)).ok();
    std::fs::remove_file(room).unwrap();
    // far less came free than the log takes: by itself it would be used up at once
    let (mut refused, began) = (0, monotonic_ms());
    for n in 0..100 {
        while let Err(error) = store.pen().call(same(n)) {
            full(&error);
            refused += 1;
            assert!(monotonic_ms() - began < 20_000, "it does not come back");
        }
    }
    eprintln!("{refused} refused meanwhile");
    store.close().unwrap();
}

/// As [`hold`]; whether its own empty group could be committed does not matter.
fn hold_quietly(store: &Store) -> Sender<()> {
    let (go, gone) = channel::<()>();
    let (began, begun) = channel();
    let work = move |_: &WriteTx<'_>| {
        let _ = began.send(());
        let _ = gone.recv();
        Ok(())
    };
    store.pen().submit(1, work, |_: Result<()>| ()).unwrap();
    begun.recv().unwrap();
    go
}
