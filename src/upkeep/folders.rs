//! Old files of the data directory: rejected spool lines, answers to data subjects, snapshots, databases kept aside. Files age by the time they were
//! last written. Must never follow a link, nor leave the folders named here.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use crate::base::error::{Result, io};
use crate::base::time::Millis;
use crate::upkeep::Round;

/// Where bad lines of spool files lie, with values masked.
pub(in crate::upkeep) const REJECTED: [&str; 1] = ["spool/rejected"];
/// Where answers to data subjects lie.
pub(in crate::upkeep) const RESULTS: [&str; 1] = ["results"];
/// Where copies from before a migration and databases kept aside lie.
pub(in crate::upkeep) const ASIDE: [&str; 2] = ["snapshots", "damaged"];

/// What lies in the folders, and when it was last written.
fn entries(data_dir: &Path, folders: &[&str]) -> Result<Vec<(PathBuf, Millis, bool)>> {
    let mut found = Vec::new();
    for folder in folders.iter().map(|name| data_dir.join(name)) {
        let failed = |e| io(format_args!("looking into {}", folder.display()), e);
        let list = match std::fs::read_dir(&folder) {
            Ok(list) => list,
            Err(e) if e.kind() == ErrorKind::NotFound => continue,
            Err(e) => return Err(failed(e)),
        };
        for entry in list {
            let entry = entry.map_err(failed)?;
            let meta = entry.metadata().map_err(failed)?; // of a link: the link itself
            let since = meta.modified().map_err(failed)?.duration_since(std::time::UNIX_EPOCH);
            let at = since.map_or(0, |d| i64::try_from(d.as_millis()).unwrap_or(i64::MAX));
            found.push((entry.path(), Millis(at), meta.is_dir()));
        }
    }
    found.sort_by_key(|(_, at, _)| *at);
    Ok(found)
}

/// When the oldest entry was last written.
pub(in crate::upkeep) fn oldest(data_dir: &Path, folders: &[&str]) -> Result<Option<Millis>> {
    Ok(entries(data_dir, folders)?.first().map(|(_, at, _)| *at))
}

/// Removes entries last written before `cut`; returns how many.
pub(in crate::upkeep) fn clear(round: &Round<'_>, folders: &[&str], cut: Millis) -> Result<i64> {
    let mut gone = 0;
    for (path, _, is_dir) in entries(round.up.store().data_dir(), folders)?.into_iter().filter(|(_, at, _)| *at < cut) {
        let removed = if is_dir { std::fs::remove_dir_all(&path) } else { std::fs::remove_file(&path) };
        match removed {
            Ok(()) => gone += 1,
            Err(e) if e.kind() == ErrorKind::NotFound => {}
            Err(e) => return Err(io(format_args!("removing {}", path.display()), e)),
        }
    }
    if gone > 0 {
        log::info!("removed {gone} old entries of {}", folders.join(", "));
    }
    Ok(gone)
}
