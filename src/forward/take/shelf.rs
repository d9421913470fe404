//! Where a job keeps what it took: files as a `dir` target has them.
//! Must never give a file its name before it is whole and on the disk. Invariant: what is set aside never lies among the sound.

use std::path::{Path, PathBuf};

use crate::base::error::Result;
use crate::domain::batch::SealedPart;
use crate::forward::dir::{DATA, MANIFEST, make_dirs, remove, write_whole};
use crate::forward::take::fetch::Fetched;

/// Below the destination: batches that do not verify.
pub const BAD: &str = "bad";

/// A destination.
pub trait Shelf {
    /// Keeps a batch that was verified; on the disk when this returns. Returns the file it lies in. Errors: `Storage`, those of a
    /// destination elsewhere.
    fn put(&mut self, part: &SealedPart, fetched: &Fetched) -> Result<PathBuf>;

    /// The file a batch lies in, if it is still here. Errors: `Storage`.
    fn file(&self, part: &SealedPart) -> Result<PathBuf>;

    /// Keeps a batch that does not verify, with why. Errors: `Storage`.
    fn put_aside(&mut self, key: &str, fetched: Option<&Fetched>, why: &str) -> Result<()>;
}

/// A key as its signed part names it.
pub(in crate::forward) fn key_of(part: &SealedPart) -> String {
    format!("{}/{}/{}/{:012}", part.edge, part.epoch, part.lane, part.batch_no)
}

/// Below `root`, one pair of files for each batch.
#[derive(Debug)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// This folder. Nothing is made before the first batch.
    pub fn at(root: &Path) -> Self {
        Folder { root: root.to_owned() }
    }

    fn place(&self, key: &str, kind: &str) -> PathBuf {
        self.root.join(format!("{key}{kind}"))
    }
}

impl Shelf for Folder {
    fn put(&mut self, part: &SealedPart, fetched: &Fetched) -> Result<PathBuf> {
        let key = key_of(part);
        let data = self.place(&key, DATA);
        make_dirs(data.parent().unwrap_or(&self.root))?;
        remove(&self.place(&key, MANIFEST))?; // beside other lines than its own it would be a lie, however short
        write_whole(&data, &fetched.gz)?;
        write_whole(&self.place(&key, MANIFEST), format!("{}\n", fetched.manifest).as_bytes())?;
        Ok(data)
    }

    fn file(&self, part: &SealedPart) -> Result<PathBuf> {
        Ok(self.place(&key_of(part), DATA))
    }

    fn put_aside(&mut self, key: &str, fetched: Option<&Fetched>, why: &str) -> Result<()> {
        put_aside(&self.root, key, fetched, why)
    }
}

/// Into `bad/`: what came, and why it is not kept.
pub(in crate::forward) fn put_aside(root: &Path, key: &str, fetched: Option<&Fetched>, why: &str) -> Result<()> {
    let base = root.join(BAD).join(key.replace('/', "-"));
    make_dirs(&root.join(BAD))?;
    let named = |kind: &str| {
        let mut name = base.as_os_str().to_owned();
        name.push(kind);
        PathBuf::from(name)
    };
    if let Some(fetched) = fetched {
        write_whole(&named(DATA), &fetched.gz)?;
        write_whole(&named(MANIFEST), format!("{}\n", fetched.manifest).as_bytes())?;
    }
    write_whole(&named(".why.txt"), format!("{why}\n").as_bytes())
}
