//! A batch in parts, for a target that takes less at once than a batch is long: stretches of whole lines, each compressed.
//! Must never put anything. Invariant: all parts of one number come from one rendering; where a rendering differs from the
//! one before, the parts begin anew, so that what is put together is always one batch as it may be had.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::base::digest::{Hash, sha256};
use crate::base::error::{Error, Kind, Result};
use crate::base::gzip;
use crate::forward::Forwarder;
use crate::forward::encode::Rendered;
use crate::forward::target::{Key, Landed, Parcel, Part, Put, Says, Setback, Target};
use crate::store::limits::Limit;

/// How far each target has a batch in parts. Kept in memory: after a restart the parts are put again from the first.
#[derive(Debug, Default)]
pub(in crate::forward) struct Parts(Mutex<HashMap<String, Progress>>);

#[derive(Debug)]
struct Progress {
    key: Key,
    lines: Hash,
    bytes_max: u64,
    pieces: Vec<Vec<u8>>,
    done: usize,
}

/// The part that is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::forward) struct Piece {
    /// Which, from 1.
    pub k: usize,
    /// Of how many.
    pub n: usize,
    /// Its lines, gzip.
    pub gz: Vec<u8>,
}

impl Piece {
    /// As it is put.
    pub fn part(&self) -> Part<'_> {
        Part { k: self.k, n: self.n, gz: &self.gz }
    }
}

impl Parts {
    fn lock(&self) -> MutexGuard<'_, HashMap<String, Progress>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The part of a batch that a target needs next, at most `bytes_max` each where lines allow; `None` where it is short
    /// enough as a whole, or one line.
    pub fn next(&self, target: &str, key: Key, rendered: &Rendered, bytes_max: u64, level: u32) -> Option<Piece> {
        let mut all = self.lock();
        if rendered.gz.len() as u64 <= bytes_max {
            all.remove(target);
            return None;
        }
        let lines = sha256(&rendered.ndjson);
        let fits =
            |p: &Progress| p.key == key && p.lines == lines && p.bytes_max == bytes_max && p.done < p.pieces.len();
        if !all.get(target).is_some_and(fits) {
            let pieces = split(&rendered.ndjson, bytes_max, level);
            all.insert(target.to_owned(), Progress { key, lines, bytes_max, pieces, done: 0 });
        }
        let progress = all.get(target).filter(|p| p.pieces.len() > 1)?;
        let (k, n) = (progress.done + 1, progress.pieces.len());
        Some(Piece { k, n, gz: progress.pieces[progress.done].clone() })
    }

    /// A target has kept the part it was given last. Returns whether there are more.
    pub fn kept(&self, target: &str) -> bool {
        let mut all = self.lock();
        let more = all.get_mut(target).is_some_and(|progress| {
            progress.done += 1;
            progress.done < progress.pieces.len()
        });
        if !more {
            all.remove(target);
        }
        more
    }

    /// A target has the batch, or another way is gone.
    pub fn forget(&self, target: &str) {
        self.lock().remove(target);
    }
}

impl Forwarder {
    /// Puts a batch, or the part of it that is next where the target takes no more at once.
    pub(in crate::forward) fn put(
        &self,
        target: &dyn Target,
        key: Key,
        (rendered, again): (&Rendered, bool),
        limit: Option<Limit>,
    ) -> Result<Put, Setback> {
        let (name, bytes_max) = (target.name(), limit.map_or(u64::MAX, |limit| limit.body_bytes));
        let piece = self.parts.next(name, key, rendered, bytes_max, self.gzip_level);
        let parcel = Parcel { part: piece.as_ref().map(Piece::part), ..Parcel::whole(key, rendered, again) };
        self.pace(target).spend(parcel.body().len(), (self.uptime_ms)());
        let put = target.put(&parcel).map_err(|mut setback| {
            if matches!(setback.says, Some(Says::TooLarge { .. })) {
                setback.body = parcel.body().to_vec();
            }
            setback
        })?;
        match put.landed {
            Landed::Part if self.parts.kept(name) => Ok(put),
            Landed::Part => Err(Error::new(
                Kind::Upstream,
                "parts_missing",
                format!("{name} has all parts of {key} and says that some are missing"),
            )
            .into()),
            _ => {
                self.parts.forget(name);
                Ok(put)
            }
        }
    }
}

/// Lines cut into stretches of at most `bytes_max` compressed bytes each; one longer line is a stretch of its own.
pub(in crate::forward) fn split(ndjson: &[u8], bytes_max: u64, level: u32) -> Vec<Vec<u8>> {
    let mut out = Vec::new();
    cut(ndjson, bytes_max, level, &mut out);
    out
}

fn cut(ndjson: &[u8], bytes_max: u64, level: u32, out: &mut Vec<Vec<u8>>) {
    let gz = gzip::compress(ndjson, level);
    match half(ndjson) {
        Some(at) if gz.len() as u64 > bytes_max => {
            cut(&ndjson[..at], bytes_max, level, out);
            cut(&ndjson[at..], bytes_max, level, out);
        }
        _ => out.push(gz),
    }
}

/// Where the line ends that lies nearest behind the middle; `None` where there is only one line.
fn half(ndjson: &[u8]) -> Option<usize> {
    let last = ndjson.len().saturating_sub(1);
    let ends = |from: usize, to: usize| ndjson[from..to].iter().position(|byte| *byte == b'\n').map(|at| from + at + 1);
    let middle = last / 2;
    ends(middle, last).or_else(|| ndjson[..middle].iter().rposition(|byte| *byte == b'\n').map(|at| at + 1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::digest::sha256;
    use crate::base::id::{EdgeId, Epoch};
    use crate::domain::batch::Manifest;
    use crate::domain::event::Lane;

    /// Lines that hardly shrink.
    fn lines(n: usize) -> Vec<u8> {
        let hex = |n: usize| crate::base::text::hex(&sha256(&n.to_be_bytes()));
        (0..n).flat_map(|n| format!("{{\"n\":\"{}{}\"}}\n", hex(n), hex(n + 1_000_000)).into_bytes()).collect()
    }

    fn rendered(ndjson: Vec<u8>) -> Rendered {
        let text = String::new;
        let (sealed, signature, public_key, complete_until) = (text(), text(), text(), text());
        let manifest = Manifest { sealed, signature, public_key, holes: 0, complete_until, backlog_rows: 0 };
        Rendered { ndjson, gz: Vec::new(), manifest, holes: 0 }.compress(2)
    }

    fn key(batch_no: i64) -> Key {
        Key { edge: EdgeId([1; 16]), epoch: Epoch([2; 8]), lane: Lane::Pages, batch_no }
    }

    fn whole(pieces: &[Vec<u8>]) -> Vec<u8> {
        pieces.iter().flat_map(|gz| gzip::decompress(gz, 1 << 20).unwrap()).collect()
    }

    #[test]
    fn stretches_are_whole_lines_in_order_none_longer_than_allowed() {
        for (n, bytes_max) in [(1, 10), (2, 10), (3, 100), (100, 500), (100, 20), (257, 4_096)] {
            let all = lines(n);
            let pieces = split(&all, bytes_max, 2);
            assert_eq!(whole(&pieces), all, "{n} lines in pieces of {bytes_max}");
            for piece in &pieces {
                let text = gzip::decompress(piece, 1 << 20).unwrap();
                assert_eq!(text.last(), Some(&b'\n'));
                let count = text.iter().filter(|byte| **byte == b'\n').count();
                assert!(piece.len() as u64 <= bytes_max || count == 1, "{n} lines in pieces of {bytes_max}: {count}");
            }
        }
        assert_eq!(split(&lines(100), 20, 2).len(), 100, "where no two lines fit, each goes alone");
    }

    #[test]
    fn parts_follow_each_other_and_another_rendering_begins_anew() {
        let (parts, batch) = (Parts::default(), rendered(lines(40)));
        let next = |batch: &Rendered, no: i64, max| parts.next("a", key(no), batch, max, 2).map(|p| (p.k, p.n));
        assert_eq!(next(&batch, 1, batch.gz.len() as u64), None, "short enough");
        let bytes_max = batch.gz.len() as u64 - 1;
        assert_eq!(next(&batch, 1, bytes_max), Some((1, 2)));
        assert_eq!(next(&batch, 1, bytes_max), Some((1, 2)), "a part that failed is put again");
        assert!(parts.kept("a"));
        assert_eq!(next(&batch, 1, bytes_max), Some((2, 2)));
        let changed = rendered([lines(40), b"{}\n".to_vec()].concat());
        assert_eq!(next(&changed, 1, bytes_max).map(|(k, _)| k), Some(1), "other bytes: from the first");
        parts.kept("a");
        assert_eq!(next(&changed, 2, bytes_max).map(|(k, _)| k), Some(1), "another batch: from the first");
        parts.kept("a");
        assert_eq!(next(&changed, 2, bytes_max / 2).map(|(k, _)| k), Some(1), "a smaller limit: from the first");
        while parts.kept("a") {}
        assert!(!parts.kept("a") && parts.lock().is_empty());
        assert_eq!(next(&rendered(lines(1)), 1, 10), None, "one line has no parts");
    }
}
