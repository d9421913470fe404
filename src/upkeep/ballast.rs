//! The ballast: a file that takes room while there is some, and gives it back when the disk is really full, so that upkeep
//! can still write what it removes. Must never be the reason that a disk is full.
//! Invariant: it counts in no budget, and holds nothing.

use std::io::Write;
use std::path::{Path, PathBuf};

use crate::base::error::{Result, io};

/// Its name in the data directory.
pub const NAME: &str = "ballast";
/// Free bytes below which it is given back: less than what a step of upkeep may need.
const FREE_BYTES_MIN: u64 = 4 << 20;
/// It is made only where this many times its size stays free besides.
const ROOM_TIMES: u64 = 4;
/// Written at once.
const PIECE: usize = 1 << 16;

/// What is to be done about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Act {
    /// Nothing.
    Leave,
    /// Make it.
    Make,
    /// Give its room back.
    Free,
}

/// What is to be done, where the file system has `free` of `total` bytes left, the ballast is `there` bytes long and `wanted`
/// are configured. `failed` = something could not be written for want of room.
pub fn decide(free: u64, total: u64, there: u64, wanted: u64, failed: bool) -> Act {
    if there > 0 && (failed || free < FREE_BYTES_MIN || wanted == 0) {
        return Act::Free;
    }
    let left = free.saturating_add(there).saturating_sub(wanted);
    let roomy = left > wanted.saturating_mul(ROOM_TIMES) && u128::from(left) * 10 > u128::from(total);
    if wanted > 0 && there != wanted && roomy && !failed { Act::Make } else { Act::Leave }
}

/// Where it lies.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(NAME)
}

/// Its length in bytes; 0 where there is none.
pub fn length(data_dir: &Path) -> u64 {
    std::fs::symlink_metadata(path(data_dir)).map_or(0, |meta| meta.len())
}

/// Writes it, of bytes that no file system makes smaller. Errors: `Storage`; then it is gone.
pub fn make(data_dir: &Path, bytes: u64) -> Result<()> {
    let place = path(data_dir);
    let failed = |e| io(format_args!("writing {}", place.display()), e);
    let write = || -> std::io::Result<()> {
        let mut file = std::fs::File::create(&place)?;
        let mut piece = vec![0u8; PIECE];
        let (mut left, mut state) = (bytes, 0x9e37_79b9_7f4a_7c15_u64);
        while left > 0 {
            for eight in piece.chunks_exact_mut(8) {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                eight.copy_from_slice(&state.to_le_bytes());
            }
            let n = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
            file.write_all(&piece[..n])?;
            left -= n as u64;
        }
        file.sync_all()
    };
    write().map_err(|e| {
        let error = failed(e);
        if let Err(e) = std::fs::remove_file(&place) {
            log::debug!("removing what there is of the ballast: {e}");
        }
        error
    })
}

/// Gives its room back. Errors: `Storage`.
pub fn free(data_dir: &Path) -> Result<()> {
    let place = path(data_dir);
    match std::fs::remove_file(&place) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(io(format_args!("removing {}", place.display()), e)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    #[test]
    fn it_is_made_only_where_there_is_room_and_given_back_when_there_is_none() {
        let total = 10_000 * MIB;
        let at = |free, there, failed| decide(free * MIB, total, there * MIB, 64 * MIB, failed);
        assert_eq!(at(5_000, 0, false), Act::Make);
        assert_eq!(at(5_000, 64, false), Act::Leave);
        assert_eq!(at(5_000, 10, false), Act::Make, "another size is configured, or it was cut off");
        assert_eq!(at(300, 0, false), Act::Leave, "a disk that is nearly full is left alone");
        assert_eq!(at(1_064, 0, false), Act::Leave);
        assert_eq!(at(1_065, 0, false), Act::Make, "a tenth stays free");
        assert_eq!(at(3, 64, false), Act::Free);
        assert_eq!(at(4, 64, false), Act::Leave);
        assert_eq!(at(5_000, 64, true), Act::Free, "somebody could not write");
        assert_eq!(at(5_000, 0, true), Act::Leave, "and not made again at once");
        assert_eq!(decide(5_000 * MIB, total, 64 * MIB, 0, false), Act::Free, "not wanted any more");
        assert_eq!(decide(5_000 * MIB, total, 0, 0, false), Act::Leave);
    }

    #[test]
    fn it_takes_real_room_and_gives_it_back() {
        use std::os::unix::fs::MetadataExt;
        let dir = tempfile::tempdir().unwrap();
        make(dir.path(), 3 * MIB + 5).unwrap();
        assert_eq!(length(dir.path()), 3 * MIB + 5);
        assert!(std::fs::metadata(path(dir.path())).unwrap().blocks() * 512 >= 3 * MIB, "not a hole in the file");
        free(dir.path()).unwrap();
        free(dir.path()).unwrap();
        assert_eq!(length(dir.path()), 0);
        assert!(make(&dir.path().join("none"), 5).is_err());
    }
}
