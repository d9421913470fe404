//! Parts of a batch that is longer than one request may be: kept until all are here, then one batch.
//! Must never acknowledge a batch. Invariant: parts lie by the digest of their batch, so parts of two batches never mix.

use std::path::PathBuf;

use crate::base::error::{Error, Result};
use crate::base::gzip;
use crate::forward::dir;
use crate::forward::relay::files::{Files, PARTS};
use crate::forward::target::Key;

/// Most parts of one batch.
pub const PARTS_MAX: u32 = 1_000;

/// Which part of how many, from 1.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Which.
    pub no: u32,
    /// Of how many.
    pub count: u32,
}

impl Part {
    /// `3-of-12`; `None` for anything else.
    pub fn parse(text: &str) -> Option<Part> {
        let (no, count) = text.split_once("-of-")?;
        let number = |text: &str| text.parse().ok().filter(|_| text.bytes().all(|b| b.is_ascii_digit()));
        let part = Part { no: number(no)?, count: number(count)? };
        (part.no >= 1 && part.no <= part.count && part.count <= PARTS_MAX).then_some(part)
    }
}

/// Where the parts of one batch lie.
#[derive(Clone, Copy, Debug)]
pub(in crate::forward::relay) struct Place<'a> {
    pub key: Key,
    pub count: u32,
    /// The batch's digest, hex, as its manifest says.
    pub digest: &'a str,
}

impl Place<'_> {
    fn folder(&self, files: &Files) -> PathBuf {
        let short = self.digest.get(..16).unwrap_or(self.digest);
        files.root().join(PARTS).join(format!("{}.{}.{short}", self.key, self.count))
    }

    fn file(&self, files: &Files, no: u32) -> PathBuf {
        self.folder(files).join(format!("{no}.gz"))
    }
}

/// Keeps a part on the disk; returns which are missing. Errors: `Storage`.
pub(in crate::forward::relay) fn keep(files: &Files, place: Place<'_>, part: Part, gz: &[u8]) -> Result<Vec<u32>> {
    let file = place.file(files, part.no);
    dir::make_dirs(&place.folder(files))?;
    dir::write_whole(&file, gz)?;
    Ok((1..=place.count).filter(|no| !place.file(files, *no).exists()).collect())
}

/// The lines of all parts, in order. Errors: `Invalid` with code `too_large`, `Storage`.
pub(in crate::forward::relay) fn join(files: &Files, place: Place<'_>, bytes_max: usize) -> Result<Vec<u8>> {
    let mut out = Vec::new();
    for no in 1..=place.count {
        let gz = dir::read_if_there(&place.file(files, no))?
            .ok_or_else(|| Error::storage(format!("part {no} of {} is gone", place.key)).code("part_gone"))?;
        out.extend(gzip::decompress(&gz, bytes_max.saturating_sub(out.len()))?);
        if out.last() != Some(&b'\n') {
            out.push(b'\n');
        }
    }
    Ok(out)
}

/// Removes the parts of a batch. Errors: `Storage`.
pub(in crate::forward::relay) fn discard(files: &Files, place: Place<'_>) -> Result<()> {
    for no in 1..=place.count {
        dir::remove(&place.file(files, no))?;
    }
    match std::fs::remove_dir(place.folder(files)) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            Err(crate::base::error::io(format_args!("removing parts of {}", place.key), e))
        }
        _ => Ok(()),
    }
}

/// Removes parts that do not make a batch: they are sent anew.
pub(in crate::forward::relay) fn forget(files: &Files, place: Place<'_>) {
    if let Err(error) = discard(files, place) {
        log::warn!("{error}");
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_says_which_of_how_many() {
        assert_eq!(Part::parse("1-of-2"), Some(Part { no: 1, count: 2 }));
        assert_eq!(Part::parse("1000-of-1000"), Some(Part { no: 1_000, count: 1_000 }));
        for bad in ["0-of-2", "3-of-2", "1-of-1001", "1of2", "+1-of-2", "", "1-of-", "-1-of-2"] {
            assert_eq!(Part::parse(bad), None, "{bad}");
        }
    }
}
