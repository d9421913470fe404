//! A data directory as it must be before its disk is copied: without identity, keys or data, so that every copy becomes an
//! edge of its own at its first start. Must never touch a directory that a process holds, nor follow a link out of it.
//! Invariant: what stands in [`PLACES`] goes; what nobody here owns stays, and is named.
//!
//! [`PLACES`]: crate::store::traces::PLACES

use std::path::{Path, PathBuf};

use crate::base::error::{Error, Result, io};
use crate::store::traces::PLACES;
use crate::store::{files, open};

/// Held while it is done; it names nobody.
const LOCK: &str = "lock";

/// What was found in a data directory.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prepared {
    /// What goes, or has gone: names in the directory.
    pub gone: Vec<String>,
    /// What stays: wayside does not own it.
    pub stays: Vec<String>,
}

/// Looks what belongs to wayside below `data_dir`, `folders` of targets included, and with `really` removes it.
/// Errors: `NotFound` without the directory, `Conflict` with code `locked` beside a running process, `Storage`.
pub fn prepare(data_dir: &Path, folders: &[PathBuf], really: bool) -> Result<Prepared> {
    if !data_dir.is_dir() {
        return Err(Error::not_found(format!("no data directory at {}", data_dir.display())));
    }
    let _lock = open::Lock::take(data_dir)?;
    let failed = |e| io(format_args!("looking into {}", data_dir.display()), e);
    let mut out = Prepared::default();
    for entry in std::fs::read_dir(data_dir).map_err(failed)? {
        let name = entry.map_err(failed)?.file_name();
        let Some(text) = name.to_str() else {
            out.stays.push(name.to_string_lossy().into_owned());
            continue;
        };
        if text == LOCK {
            continue;
        }
        let of_target = folders.iter().any(|folder| folder.components().next() == Path::new(text).components().next());
        if !is_ours(text) && !of_target {
            out.stays.push(text.to_owned());
            continue;
        }
        if really {
            remove(&data_dir.join(text))?;
        }
        out.gone.push(text.to_owned());
    }
    out.gone.sort();
    out.stays.sort();
    if really {
        files::sync_dir(data_dir)?;
    }
    Ok(out)
}

/// Does a name in the data directory stand in the table of places?
fn is_ours(name: &str) -> bool {
    PLACES.iter().any(|place| match (place.path.strip_suffix('*'), place.path.split_once('/')) {
        (Some(stem), _) => name.starts_with(stem),
        (_, Some((folder, _))) => name == folder,
        _ => name == place.path,
    })
}

fn remove(path: &Path) -> Result<()> {
    let failed = |e| io(format_args!("removing {}", path.display()), e);
    // of the entry itself: a link goes, what it points to stays
    let is_folder = std::fs::symlink_metadata(path).map_err(failed)?.is_dir();
    if is_folder { std::fs::remove_dir_all(path) } else { std::fs::remove_file(path) }.map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::sync::Arc;

    use super::*;
    use crate::base::time::{ManualClock, Millis};
    use crate::store::{Store, StoreOptions, epochs};

    fn opened(dir: &Path) -> Store {
        Store::open(&StoreOptions::at(dir), Arc::new(ManualClock::at(Millis(1_780_000_000_000)))).unwrap()
    }

    fn copy_all(from: &Path, to: &Path) {
        for entry in std::fs::read_dir(from).unwrap().map(Result::unwrap) {
            let target = to.join(entry.file_name());
            if entry.file_type().unwrap().is_dir() {
                std::fs::create_dir(&target).unwrap();
                copy_all(&entry.path(), &target);
            } else {
                std::fs::copy(entry.path(), target).unwrap();
            }
        }
    }

    #[test]
    fn twenty_copies_of_a_prepared_image_started_together_are_twenty_edges() {
        let image = tempfile::tempdir().unwrap();
        let store = opened(image.path());
        let first = store.identity();
        store.pen().call(|tx| epochs::all(tx).map(|_| tx.next_seq())).unwrap();
        store.close().unwrap();
        std::fs::create_dir(image.path().join("spool")).unwrap();
        std::fs::write(image.path().join("spool/left.ndjson"), "{}").unwrap();
        std::fs::write(image.path().join("join.toml"), "kept").unwrap();
        let done = prepare(image.path(), &[], true).unwrap();
        assert_eq!(done.stays, ["join.toml"], "what is not ours stays");
        for gone in ["wayside.db", "edge.json", "edge.key", "root.key", "keys.db", "spool"] {
            assert!(done.gone.iter().any(|name| name == gone), "{gone}: {:?}", done.gone);
            assert!(!image.path().join(gone).exists());
        }
        let copies: Vec<_> = (0..20).map(|_| tempfile::tempdir().unwrap()).collect();
        copies.iter().for_each(|copy| copy_all(image.path(), copy.path()));
        let together = std::sync::Barrier::new(copies.len());
        let found: Vec<(String, String, String, Vec<u8>)> = std::thread::scope(|scope| {
            let start = |copy: &tempfile::TempDir| {
                let (path, together) = (copy.path().to_owned(), &together);
                scope.spawn(move || {
                    together.wait();
                    let store = opened(&path);
                    let identity = store.identity();
                    let edge = &identity.edge;
                    let epochs = store.read(epochs::all).unwrap();
                    assert_eq!(epochs.len(), 1);
                    let root = std::fs::read(path.join("root.key")).unwrap();
                    (edge.id.to_string(), edge.epoch.to_string(), edge.key_id.clone(), root)
                })
            };
            let threads: Vec<_> = copies.iter().map(start).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(found.iter().map(|f| &f.0).collect::<BTreeSet<_>>().len(), 20, "edges");
        assert_eq!(found.iter().map(|f| &f.1).collect::<BTreeSet<_>>().len(), 20, "epochs");
        assert_eq!(found.iter().map(|f| &f.2).collect::<BTreeSet<_>>().len(), 20, "signing keys");
        assert_eq!(found.iter().map(|f| &f.3).collect::<BTreeSet<_>>().len(), 20, "root keys");
        assert!(found.iter().all(|f| f.0 != first.edge.id.to_string()));
    }

    #[test]
    fn nothing_goes_without_the_word_nor_beside_a_process_that_holds_the_directory() {
        let dir = tempfile::tempdir().unwrap();
        let store = opened(dir.path());
        assert_eq!(prepare(dir.path(), &[], true).unwrap_err().code, "locked");
        store.close().unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("kept"), "x").unwrap();
        std::os::unix::fs::symlink(outside.path(), dir.path().join("results")).unwrap();
        std::fs::create_dir_all(dir.path().join("to-centre/x")).unwrap();
        let seen = prepare(dir.path(), &[PathBuf::from("to-centre")], false).unwrap();
        assert!(seen.gone.contains(&"wayside.db".to_owned()) && dir.path().join("wayside.db").exists());
        let done = prepare(dir.path(), &[PathBuf::from("to-centre")], true).unwrap();
        assert_eq!(done, seen);
        assert!(!dir.path().join("results").exists() && !dir.path().join("to-centre").exists());
        assert!(outside.path().join("kept").exists(), "a link is not followed");
        let none = prepare(&dir.path().join("none"), &[], true).unwrap_err();
        assert_eq!(none.kind, crate::base::error::Kind::NotFound);
    }
}
