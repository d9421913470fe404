//! The whole database as one file, beside a daemon that goes on writing.
//! Must never know how it is copied (`store/backup.rs`). Invariant: a backup overwrites nothing.

use std::path::{Path, PathBuf};

use serde::Serialize;

use crate::base::cell::{Recipient, RecipientKey};
use crate::base::error::{Error, Result, io};
use crate::store::backup::{BackupOptions, rights_log_of, run};
use crate::store::keys;

/// What was copied.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Backup {
    /// The copy.
    pub file: PathBuf,
    /// The log of rights that belongs to it.
    pub rights_log: PathBuf,
    /// The sealed keys of personal fields, where a recipient was named and there are any.
    pub keys: Option<PathBuf>,
    /// Length of the copy, bytes.
    pub size_bytes: u64,
    /// Its pages.
    pub pages: u64,
    /// Times it had to begin.
    pub attempts: u32,
}

/// Copies the database of `data_dir` to `to`, with `rights.log` beside it. `progress` is told pages done and in all.
/// `wal_bytes_max`: length of the write-ahead log at which the backup gives way and begins again.
/// Errors: `NotFound` without a database, `Conflict` where `to` is there already, `Busy`, `Storage`.
pub fn backup(
    data_dir: &Path,
    to: &Path,
    wal_bytes_max: Option<u64>,
    progress: &mut dyn FnMut(u64, u64),
) -> Result<Backup> {
    let mut options = BackupOptions::default();
    if let Some(bytes) = wal_bytes_max {
        options.wal_bytes_max = bytes;
    }
    let done = run(data_dir, to, options, progress)?;
    Ok(Backup {
        file: to.to_owned(),
        rights_log: rights_log_of(to),
        keys: None,
        size_bytes: done.bytes,
        pages: done.pages,
        attempts: done.attempts,
    })
}

/// Seals the keys of personal fields to a recipient, into `<backup>.keys`; `None` where there are no keys.
/// Errors: `Conflict` where that file is there already, `Config` with code `root_key`, `Storage`.
pub fn export_keys(
    data_dir: &Path,
    root_key_file: Option<&Path>,
    backup: &Path,
    recipient: &Recipient,
) -> Result<Option<PathBuf>> {
    let mut name = backup.as_os_str().to_owned();
    name.push(".keys");
    let to = PathBuf::from(name);
    Ok(keys::export_to(data_dir, root_key_file, &to, recipient)?.map(|_| to))
}

/// Makes a pair of keys: the secret one into a file of mode 0600 that must not exist; returns the public one as text.
/// Errors: `Conflict` with code `exists`, `Storage`.
pub fn new_recipient(file: &Path) -> Result<String> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let secret = RecipientKey::mint();
    let made = std::fs::File::options().write(true).create_new(true).mode(0o600).open(file);
    let mut made = made.map_err(|e| match e.kind() {
        std::io::ErrorKind::AlreadyExists => Error::conflict(format!("{} is there already", file.display()))
            .code("exists")
            .remedy("name a file that does not exist"),
        _ => io(format_args!("making {}", file.display()), e),
    })?;
    writeln!(made, "{}", secret.secret_text())
        .and_then(|()| made.sync_all())
        .map_err(|e| io(format_args!("writing {}", file.display()), e))?;
    Ok(secret.recipient().to_string())
}

/// Opens sealed keys with the secret key in `key_file`, and puts `keys.db` and `root.key` into `to`; returns their paths.
/// Errors: `Conflict` with code `sealed` for another key, with code `exists` where one is there already; `Invalid`, `Storage`.
pub fn recover_keys(sealed: &Path, key_file: &Path, to: &Path) -> Result<(PathBuf, PathBuf)> {
    let text = std::fs::read_to_string(key_file).map_err(|e| io(format_args!("reading {}", key_file.display()), e))?;
    keys::recover(sealed, &RecipientKey::parse(&text)?, to)
}
