//! Where received batches lie: `relay/<edge>/<epoch>/<lane>/<no>`, as in a `dir` target; parts of one below `relay/parts/`.
//! Must never decide what is kept. Invariant: a manifest under its own name means that the lines beside it are whole and on
//! the disk.

use std::path::{Path, PathBuf};

use crate::base::error::Result;
use crate::domain::batch::Manifest;
use crate::forward::dir::{self, DATA, MANIFEST};
use crate::forward::inspect;
use crate::forward::target::Key;

/// The folder in the data directory.
pub const FOLDER: &str = "relay";
/// Below it: parts of batches that are not whole yet.
pub const PARTS: &str = "parts";

/// The files of received batches.
#[derive(Clone, Debug)]
pub struct Files {
    root: PathBuf,
}

impl Files {
    /// Those of this data directory. Nothing is made before the first batch.
    pub fn of(data_dir: &Path) -> Self {
        Files { root: data_dir.join(FOLDER) }
    }

    /// The folder.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The lines of a batch.
    pub fn lines(&self, key: Key) -> PathBuf {
        self.root.join(format!("{key}{DATA}"))
    }

    fn manifest(&self, key: Key) -> PathBuf {
        self.root.join(format!("{key}{MANIFEST}"))
    }

    /// Writes a batch: lines first, then what goes beside them, each whole and on the disk. Returns their bytes.
    /// Errors: `Storage`.
    pub fn write(&self, key: Key, gz: &[u8], manifest: &Manifest) -> Result<u64> {
        let lines = self.lines(key);
        dir::make_dirs(lines.parent().unwrap_or(&self.root))?;
        // a manifest beside other lines than its own would be a lie, however short
        dir::remove(&self.manifest(key))?;
        dir::write_whole(&lines, gz)?;
        let mut text = serde_json::to_vec(manifest).expect("invariant: a manifest has string keys");
        text.push(b'\n');
        dir::write_whole(&self.manifest(key), &text)?;
        Ok((gz.len() + text.len()) as u64)
    }

    /// A batch as it lies here: lines (gzip) and manifest; `None` where either is gone. Errors: `Storage`, `Invalid`.
    pub fn read(&self, key: Key) -> Result<Option<(Vec<u8>, Manifest)>> {
        let Some(text) = dir::read_if_there(&self.manifest(key))? else { return Ok(None) };
        let Some(gz) = dir::read_if_there(&self.lines(key))? else { return Ok(None) };
        Ok(Some((gz, inspect::parse(&text)?)))
    }

    /// Removes a batch. Errors: `Storage`.
    pub fn discard(&self, key: Key) -> Result<()> {
        dir::remove(&self.manifest(key))?;
        dir::remove(&self.lines(key))
    }

    /// The keys of all batches, by lines or manifest. Errors: `Storage`.
    pub fn keys(&self) -> Result<Vec<Key>> {
        dir::keys(&self.root)
    }
}
