//! The folder `results/`: answers as files, by the number of their request, until they expire. They hold a person's data in the
//! clear: mode 0600, removed by upkeep after `results_days` and at once by whoever erases the person.
//! Must never take a name from outside for a path. Invariant: a file is there whole or not at all.

use std::fs::{DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use crate::base::error::{Error, Result, io};
use crate::base::id::uuid_text;

/// The folder's name in the data directory.
pub const FOLDER: &str = "results";

/// How a result is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Form {
    /// For programs.
    Json,
    /// For reading.
    Html,
}

impl Form {
    /// Both.
    pub const ALL: [Form; 2] = [Form::Json, Form::Html];

    fn ending(self) -> &'static str {
        match self {
            Form::Json => "json",
            Form::Html => "html",
        }
    }

    /// Its content type.
    pub fn media(self) -> &'static str {
        match self {
            Form::Json => "application/json",
            Form::Html => "text/html; charset=utf-8",
        }
    }

    /// By the ending of a file's name.
    pub fn parse(word: &str) -> Option<Form> {
        Form::ALL.into_iter().find(|form| form.ending() == word)
    }
}

fn path(data_dir: &Path, id: &[u8; 16], form: Form) -> PathBuf {
    data_dir.join(FOLDER).join(format!("{}.{}", uuid_text(id), form.ending()))
}

/// Writes a result; one of the same request is replaced. Errors: `Storage`.
pub fn write(data_dir: &Path, id: &[u8; 16], form: Form, bytes: &[u8]) -> Result<()> {
    let path = path(data_dir, id, form);
    let part = path.with_extension("part");
    let done = || -> std::io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(data_dir.join(FOLDER))?;
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        std::fs::rename(&part, &path)?;
        File::open(data_dir.join(FOLDER))?.sync_all()
    };
    done().map_err(|e| io(format_args!("writing {}", path.display()), e))
}

/// Reads a result. Errors: `NotFound` where there is none (any more).
pub fn read(data_dir: &Path, id: &[u8; 16], form: Form) -> Result<Vec<u8>> {
    let path = path(data_dir, id, form);
    std::fs::read(&path).map_err(|e| match e.kind() {
        ErrorKind::NotFound => gone(),
        _ => io(format_args!("reading {}", path.display()), e),
    })
}

/// Removes the files of a request. Errors: `Storage`.
pub fn remove(data_dir: &Path, id: &[u8; 16]) -> Result<()> {
    for form in Form::ALL {
        match std::fs::remove_file(path(data_dir, id, form)) {
            Err(e) if e.kind() != ErrorKind::NotFound => return Err(io("removing a result", e)),
            _ => {}
        }
    }
    Ok(())
}

/// The result is not there.
pub fn gone() -> Error {
    Error::not_found("no result of this request lies here, or it has expired")
        .code("no_result")
        .remedy("open a new request; results stay [retention] results_days")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn a_result_is_private_and_goes() {
        let dir = tempfile::tempdir().unwrap();
        let id = [7; 16];
        assert_eq!(read(dir.path(), &id, Form::Json).unwrap_err().code, "no_result");
        write(dir.path(), &id, Form::Json, b"{}").unwrap();
        write(dir.path(), &id, Form::Json, b"{\"a\":1}").unwrap();
        assert_eq!(read(dir.path(), &id, Form::Json).unwrap(), b"{\"a\":1}");
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&dir.path().join(FOLDER)), mode(&path(dir.path(), &id, Form::Json))), (0o700, 0o600));
        remove(dir.path(), &id).unwrap();
        assert_eq!(std::fs::read_dir(dir.path().join(FOLDER)).unwrap().count(), 0);
    }
}
