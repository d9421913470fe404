//! `keys.db` elsewhere: the one companion copy, and what a recipient can recover the keys from.
//! Must never keep an older copy beside a newer one: a key destroyed is destroyed there too with the next copy.
//! Invariant: a copy that was cut off is the one before, whole (SQLite's journal), or not there.

use std::path::{Path, PathBuf};

use rusqlite::backup::{Backup, StepResult};
use rusqlite::{Connection, MAIN_DB, OpenFlags};

use crate::base::cell::{self, Key, Recipient, RecipientKey};
use crate::base::error::{Error, Result, io};
use crate::store::keys::{counted, path};
use crate::store::{files, open, root};

/// What a recovery file is bound to.
pub const RECOVERY_CONTEXT: &[u8] = b"wayside keys 1";

/// What became of the companion copy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Copied {
    /// It was behind and has been written.
    pub written: bool,
    /// Keys in it.
    pub keys: i64,
}

/// Brings the companion copy up to date, in place: one file, never a second version. Nothing is written where nothing has
/// changed. `None` where there are no keys. Errors: `Storage`.
pub fn copy_to(data_dir: &Path, to: &Path) -> Result<Option<Copied>> {
    let from = path(data_dir);
    if !from.exists() {
        return Ok(None);
    }
    let source = open::reader(&from)?;
    let (keys, changes) = counted(&source)?;
    if to.exists() && counted_there(to).is_ok_and(|(_, there)| there == changes) {
        return Ok(Some(Copied { written: false, keys }));
    }
    files::make_dir(files::folder_of(to))?;
    write(&source, to)?;
    Ok(Some(Copied { written: true, keys }))
}

fn counted_there(copy: &Path) -> Result<(i64, i64)> {
    // writable, so that the journal of a copy that was cut off is rolled back first
    let conn = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|e| open::error("opening the copy of the keys", e))?;
    counted(&conn)
}

/// Copies a whole database into a file that needs no other beside it, over whatever is there.
fn write(source: &Connection, to: &Path) -> Result<()> {
    let failed = |e| open::error("copying the keys", e);
    let fresh = !to.exists();
    let mut target = Connection::open(to).map_err(failed)?;
    if fresh {
        open::private(to)?;
    }
    target
        .pragma_update(None, "synchronous", "FULL")
        .and_then(|()| target.pragma_update(None, "secure_delete", "ON"))
        .map_err(failed)?;
    let step = Backup::new(source, &mut target).and_then(|backup| backup.step(-1)).map_err(failed)?;
    if step != StepResult::Done {
        return Err(Error::busy("copying the keys: the file is locked"));
    }
    // a copied header says WAL; the copy is to stand alone
    target.pragma_update(None, "journal_mode", "DELETE").map_err(failed)?;
    target.close().map_err(|(_, e)| failed(e))?;
    if fresh { files::sync_dir(files::folder_of(to)) } else { Ok(()) }
}

/// Puts the companion copy in the place of keys that are gone.
pub(in crate::store) fn take_over(copy: &Path, to: &Path) -> Result<()> {
    let source = Connection::open_with_flags(copy, OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX)
        .map_err(|e| open::error("opening the copy of the keys", e))?;
    counted(&source)?; // a file that holds no keys is not taken for them
    let part = files::beside(to, ".part");
    write(&source, &part)?;
    std::fs::rename(&part, to).map_err(|e| io(format_args!("writing {}", to.display()), e))?;
    files::sync_dir(files::folder_of(to))
}

/// Writes all that opens the personal cells of a data directory into one file that only the recipient can open: the root key and
/// `keys.db`. The file must not exist. Returns how many keys are in it; `None` where there are none.
/// Errors: `Conflict` with code `exists`, `Config` with code `root_key`, `Storage`.
pub fn export_to(
    data_dir: &Path,
    root_key_file: Option<&Path>,
    to: &Path,
    recipient: &Recipient,
) -> Result<Option<i64>> {
    let from = path(data_dir);
    if !from.exists() {
        return Ok(None);
    }
    if to.symlink_metadata().is_ok() {
        return Err(Error::conflict(format!("{} is there already", to.display()))
            .code("exists")
            .remedy("name a file that does not exist"));
    }
    let named = root::path(data_dir, root_key_file);
    let Some(root) = root::load(&named)? else {
        return Err(Error::config(format!("the root key {} is missing", named.display())).code("root_key"));
    };
    let source = open::reader(&from)?;
    let (keys, _) = counted(&source)?;
    let mut memory = Connection::open_in_memory().map_err(|e| open::error("copying the keys", e))?;
    Backup::new(&source, &mut memory)
        .and_then(|backup| backup.step(-1))
        .map_err(|e| open::error("copying the keys", e))?;
    let image = memory.serialize(MAIN_DB).map_err(|e| open::error("copying the keys", e))?;
    let mut plain = Vec::with_capacity(32 + image.len());
    plain.extend_from_slice(root.bytes());
    plain.extend_from_slice(&image);
    let sealed = cell::seal_to(recipient, RECOVERY_CONTEXT, &plain)?;
    cell::wipe(&mut plain);
    files::write_whole(to, &sealed)?;
    Ok(Some(keys))
}

/// Opens what [`export_to`] wrote, and puts `keys.db` and `root.key` into a folder that has neither. Returns their paths.
/// Errors: `Conflict` with code `sealed` if the secret key is another one, `Conflict` with code `exists`.
pub fn recover(sealed: &Path, with: &RecipientKey, into: &Path) -> Result<(PathBuf, PathBuf)> {
    let bytes = std::fs::read(sealed).map_err(|e| io(format_args!("reading {}", sealed.display()), e))?;
    let mut plain = cell::open_sealed(with, RECOVERY_CONTEXT, &bytes)?;
    let (keys, root_file) = (path(into), root::path(into, None));
    if let Some(taken) = [&keys, &root_file].into_iter().find(|file| file.symlink_metadata().is_ok()) {
        return Err(Error::conflict(format!("{} is there already", taken.display()))
            .code("exists")
            .remedy("name a folder without keys.db and root.key, and move them where they belong"));
    }
    let Some((root, image)) = plain.split_first_chunk::<32>() else {
        return Err(Error::conflict("the recovery file is too short").code("sealed"));
    };
    files::make_dir(into)?;
    files::write_whole(&keys, image)?;
    root::put(&root_file, &Key::new(*root))?;
    cell::wipe(&mut plain);
    Ok((keys, root_file))
}
