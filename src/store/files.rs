//! Small private files of the data directory: written whole and atomically, appended to, their folders made and synced.
//! Must never know what a file holds. Invariant: whoever reads a file written here sees the old content or the new, whole.

use std::fs::{DirBuilder, File};
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::base::error::{Error, Result, io};
use crate::base::time::Millis;

/// Makes a folder (and its parents) that only its owner may enter; one that exists is left as it is.
pub(in crate::store) fn make_dir(dir: &Path) -> Result<()> {
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir)
        .map_err(|e| io(format_args!("making the folder {}", dir.display()), e))
}

/// Brings a folder's entries to the disk: without it a renamed file may be gone after a power cut.
pub(in crate::store) fn sync_dir(dir: &Path) -> Result<()> {
    let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
    File::open(dir).and_then(|f| f.sync_all()).map_err(|e| io(format_args!("syncing the folder {}", dir.display()), e))
}

/// The folder a file lies in.
pub(in crate::store) fn folder_of(path: &Path) -> &Path {
    path.parent().unwrap_or(Path::new("."))
}

/// The same path with more behind its file name: `x.db` and `-wal` make `x.db-wal`.
pub(in crate::store) fn beside(path: &Path, tail: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(tail);
    PathBuf::from(name)
}

/// What SQLite leaves beside a database, and the file itself.
pub(in crate::store) const DATABASE_TAILS: [&str; 4] = ["", "-wal", "-shm", "-journal"];

/// Removes a database and what SQLite left beside it, as far as it is there.
pub(in crate::store) fn remove_database(path: &Path) -> Result<()> {
    for tail in DATABASE_TAILS {
        let file = beside(path, tail);
        match std::fs::remove_file(&file) {
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                return Err(io(format_args!("removing {}", file.display()), e));
            }
            _ => {}
        }
    }
    Ok(())
}

/// Replaces a file as a whole: written beside it (mode 0600), synced, renamed.
pub(in crate::store) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let part = beside(path, ".part");
    let write = || -> std::io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(|e| io(format_args!("writing {}", path.display()), e))?;
    sync_dir(folder_of(path))
}

/// The text of a file, `None` where there is none. Errors: `Config` with code `damaged_file` if it is no UTF-8.
pub(in crate::store) fn read_text(path: &Path) -> Result<Option<String>> {
    match std::fs::read(path) {
        Ok(bytes) => String::from_utf8(bytes).map(Some).map_err(|e| {
            Error::config(format!("{} is damaged: it is no text", path.display()))
                .code("damaged_file")
                .remedy("bring it back from a copy of the data directory")
                .source(e)
        }),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io(format_args!("reading {}", path.display()), e)),
    }
}

/// Length of a file in bytes; 0 where there is none.
pub(in crate::store) fn length(path: &Path) -> Result<u64> {
    match std::fs::metadata(path) {
        Ok(meta) => Ok(meta.len()),
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => Ok(0),
        Err(e) => Err(io(format_args!("looking at {}", path.display()), e)),
    }
}

/// A time as part of a file name: `20261121T100000.250Z`.
pub(in crate::store) fn stamp(at: Millis) -> String {
    at.rfc3339().chars().filter(|c| !matches!(c, '-' | ':')).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_file_is_replaced_whole_and_stays_private() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("a.json");
        write_whole(&path, b"a long first text").unwrap();
        write_whole(&path, b"short").unwrap();
        assert_eq!(read_text(&path).unwrap().as_deref(), Some("short"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1, "no part is left");
        assert_eq!(read_text(&dir.path().join("none")).unwrap(), None);
    }

    #[test]
    fn times_make_names_without_colons() {
        assert_eq!(stamp(Millis(1_431_857_103_250)), "20150517T100503.250Z");
    }
}
