//! The search of every file of the data directory for what a person was known by, `.gz` files inside too.
//! Must never say what was found, only where. Invariant: a file is read to its end, or named as not looked into.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

use serde::Serialize;

use crate::base::error::Result;
use crate::base::gzip;
use crate::domain::erasure::{Marks, Search};
use crate::store::traces::walk;

/// Bytes of a file looked through at once.
const PIECE: usize = 1 << 20;
/// What a `.gz` file may become at the most, bytes; a longer one is named.
const INSIDE_BYTES_MAX: usize = 512 << 20;

/// What the search came to. Kept with the erasure; its digest goes into the ledger.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Found {
    /// Files searched.
    pub files: u64,
    /// Their bytes, as they lie on the disk.
    pub bytes: u64,
    /// Forms of ids looked for.
    pub marks: u64,
    /// Places that hold one.
    pub hits: u64,
    /// Files with such places, relative to the data directory.
    pub places: Vec<String>,
    /// Files that could not be looked into.
    pub unread: Vec<String>,
}

/// Searches every file below the data directory. Errors: `Storage` where a folder cannot be listed.
pub fn search(data_dir: &Path, marks: &Marks) -> Result<Found> {
    let mut found = Found { marks: marks.len() as u64, ..Found::default() };
    let search = Search::of(marks);
    walk(data_dir, &mut |path| {
        let name = path.strip_prefix(data_dir).unwrap_or(path).to_string_lossy().into_owned();
        match file(path, &search, marks.longest()) {
            Ok((bytes, hits)) => {
                found.files += 1;
                found.bytes += bytes;
                found.hits += hits;
                if hits > 0 {
                    found.places.push(name);
                }
            }
            Err(e) if e.kind() == ErrorKind::NotFound => {} // gone while we looked
            Err(_) => found.unread.push(name),
        }
    })?;
    Ok(found)
}

/// Length of a file, and how many places in it hold a mark.
fn file(path: &Path, search: &Search<'_>, longest: usize) -> std::io::Result<(u64, u64)> {
    let mut input = File::open(path)?;
    let is_gz = path.extension().is_some_and(|ending| ending == "gz");
    if is_gz {
        let mut packed = Vec::new();
        input.read_to_end(&mut packed)?;
        let inside = gzip::decompress(&packed, INSIDE_BYTES_MAX).map_err(|e| std::io::Error::other(e.to_string()))?;
        return Ok((packed.len() as u64, search.count(&inside, usize::MAX)));
    }
    let overlap = longest.max(2);
    let (mut buffer, mut kept, mut bytes, mut hits) = (vec![0; PIECE + overlap], 0, 0u64, 0);
    loop {
        let mut end = kept;
        while end < buffer.len() {
            match input.read(&mut buffer[end..])? {
                0 => break,
                n => end += n,
            }
        }
        bytes += (end - kept) as u64;
        if end < buffer.len() {
            return Ok((bytes, hits + search.count(&buffer[..end], usize::MAX)));
        }
        // what begins in the last bytes may end behind them: those are looked at again with the next piece
        let until = end - overlap;
        hits += search.count(&buffer[..end], until);
        buffer.copy_within(until..end, 0);
        kept = end - until;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_found_in_every_file_across_pieces_and_inside_gz() {
        let dir = tempfile::tempdir().unwrap();
        let mut marks = Marks::default();
        marks.add(b"0123456789abcdef");
        for at in [0, PIECE - 8, PIECE, PIECE + 8, 2 * PIECE + 3] {
            let mut bytes = vec![b'.'; 3 * PIECE];
            bytes[at..at + 16].copy_from_slice(b"0123456789abcdef");
            std::fs::write(dir.path().join(format!("at-{at}")), bytes).unwrap();
        }
        std::fs::create_dir(dir.path().join("deep")).unwrap();
        let inside = gzip::compress(b"x 0123456789abcdef y", 6);
        std::fs::write(dir.path().join("deep/a.ndjson.gz"), inside).unwrap();
        std::fs::write(dir.path().join("clean"), b"0123456789abcde").unwrap();
        std::fs::write(dir.path().join("broken.gz"), b"no gzip").unwrap();
        let found = search(dir.path(), &marks).unwrap();
        assert_eq!((found.files, found.hits, found.places.len()), (7, 6, 6), "{found:?}");
        assert!(found.places.contains(&"deep/a.ndjson.gz".to_owned()));
        assert_eq!(found.unread, ["broken.gz"]);
        assert!(!serde_json::to_string(&found).unwrap().contains("0123456789abcdef"));
    }
}
