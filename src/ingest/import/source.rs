//! Where lines come from: a plain file, a gzip file of any number of members, standard input, a file that grows.
//! Must never read a line. Invariant: what is handed on after the first bytes belongs to the file that began with them.
//!
//! A followed file is looked at again and again, which works on every file system. It has been replaced when another
//! file stands under its name and nothing came for one more look (servers write to the old one until they reopen), or
//! when it no longer begins with what was read from it (emptied and written anew).

use std::cell::Cell;
use std::fs::{File, Metadata};
use std::io::{self, BufReader, Read};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::rc::Rc;

use flate2::bufread::MultiGzDecoder;

use super::Source;
use crate::base::error::{self, Error, Result};

/// Bytes a source is known by, at most.
pub(super) const HEAD_BYTES_MAX: usize = 64 * 1024;

const CHUNK_BYTES: usize = 64 * 1024;
const GZIP_MAGIC: [u8; 2] = [0x1f, 0x8b];

/// What became of a followed file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Change {
    /// Nothing: it may grow.
    None,
    /// Another one stands in its place.
    Replaced,
}

/// A source being read, decompressed.
pub(super) struct Input {
    name: String,
    packed: bool,
    raw: Box<dyn Read>,
    raw_bytes: Rc<Cell<u64>>,
    /// The first bytes, decompressed.
    head: Vec<u8>,
    /// Bytes of the head already handed on.
    served: usize,
    /// What went wrong behind the head.
    failure: Option<io::Error>,
    watch: Option<Watch>,
}

/// What a followed file is watched by.
struct Watch {
    path: PathBuf,
    file: File,
    /// It no longer begins with its head.
    rewritten: bool,
    /// Another file had its name when so many bytes had been read.
    left_at: Option<u64>,
}

impl Input {
    /// Opens a source and reads its first 64 KiB. Errors: `NotFound`, `Storage`; `Invalid` where it cannot be followed.
    pub(super) fn open(source: &Source, follow: bool) -> Result<Self> {
        let Source::File(path) = source else {
            let name = "standard input";
            return if follow { Err(unfollowable(name)) } else { Self::over(name, Box::new(io::stdin().lock()), None) };
        };
        let name = path.display().to_string();
        let failed = |error| error::io(format!("open {name}"), error);
        let file = File::open(path).map_err(|error| missing(path, error))?;
        if !follow {
            return Self::over(&name, Box::new(file), None);
        }
        let about = file.metadata().map_err(failed)?;
        let other = file.try_clone().map_err(failed)?;
        let watch = Watch { path: path.clone(), file: other, rewritten: false, left_at: None };
        let input = Self::over(&name, Box::new(file), Some(watch))?;
        if input.packed || !about.is_file() { Err(unfollowable(&name)) } else { Ok(input) }
    }

    /// An input over any bytes. Errors: `Storage`.
    fn over(name: &str, raw: Box<dyn Read>, watch: Option<Watch>) -> Result<Self> {
        let raw_bytes = Rc::new(Cell::new(0));
        let mut raw = Counted { raw, bytes: Rc::clone(&raw_bytes) };
        let mut first = Vec::with_capacity(GZIP_MAGIC.len());
        let peeked = (&mut raw).take(GZIP_MAGIC.len() as u64).read_to_end(&mut first);
        peeked.map_err(|error| error::io(format!("read {name}"), error))?;
        let packed = first == GZIP_MAGIC;
        let bytes = io::Cursor::new(first).chain(raw);
        let raw: Box<dyn Read> = match packed {
            true => Box::new(MultiGzDecoder::new(BufReader::with_capacity(CHUNK_BYTES, bytes))),
            false => Box::new(bytes),
        };
        let head = Vec::new();
        let mut input = Input { name: name.to_owned(), packed, raw, raw_bytes, head, served: 0, failure: None, watch };
        let mut chunk = vec![0; CHUNK_BYTES];
        while input.head.len() < HEAD_BYTES_MAX {
            match input.fetch(&mut chunk[..HEAD_BYTES_MAX - input.head.len()]) {
                Ok(0) => break,
                Ok(_) => {}
                // Told of when reading comes to the damage: the lines before it are good.
                Err(error) => {
                    input.failure = Some(error);
                    break;
                }
            }
        }
        Ok(input)
    }

    /// The first 64 KiB, or as much of them as has been read.
    pub(super) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Bytes read from the disk or the pipe.
    pub(super) fn raw_bytes(&self) -> u64 {
        self.raw_bytes.get()
    }

    pub(super) fn is_followed(&self) -> bool {
        self.watch.is_some()
    }

    /// The error a failed reading stands for.
    pub(super) fn failed(&self, error: io::Error) -> Error {
        let damaged = self.packed
            && matches!(
                error.kind(),
                io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData | io::ErrorKind::UnexpectedEof
            );
        if damaged {
            return Error::invalid(format!("{} is not valid gzip to its end: {error}", self.name))
                .code("bad_gzip")
                .remedy("import it again when it is whole: what was taken is not taken twice");
        }
        error::io(format!("read {}", self.name), error)
    }

    /// What became of a followed file that has nothing more to read. Errors: `Storage`.
    pub(super) fn change(&mut self) -> Result<Change> {
        let read = self.raw_bytes();
        let Some(watch) = &mut self.watch else { return Ok(Change::None) };
        let failed = |error| error::io(format!("look at {}", watch.path.display()), error);
        let own = watch.file.metadata().map_err(failed)?;
        if watch.rewritten || own.len() < read || !begins_with(&watch.file, &self.head).map_err(failed)? {
            watch.rewritten = true;
            return Ok(Change::Replaced);
        }
        let moved = match watch.path.metadata() {
            Ok(there) => !same_file(&own, &there),
            // Renamed, and no new one yet.
            Err(error) if error.kind() == io::ErrorKind::NotFound => false,
            Err(error) => return Err(failed(error)),
        };
        let quiet = watch.left_at == Some(read);
        watch.left_at = moved.then_some(read);
        Ok(if moved && quiet { Change::Replaced } else { Change::None })
    }

    /// Reads on into the head, while it has room, or past it.
    fn fetch(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if let Some(error) = self.failure.take() {
            return Err(error);
        }
        if self.watch.as_ref().is_some_and(|watch| watch.rewritten) {
            return Ok(0);
        }
        let got = loop {
            match self.raw.read(into) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                other => break other?,
            }
        };
        if let Some(watch) = self.watch.as_mut().filter(|_| got > 0) {
            // Looked at after the reading: only then did these bytes surely stand behind this head.
            if !begins_with(&watch.file, &self.head)? {
                watch.rewritten = true;
                return Ok(0);
            }
        }
        let room = HEAD_BYTES_MAX - self.head.len();
        self.head.extend_from_slice(&into[..got.min(room)]);
        Ok(got)
    }
}

impl Read for Input {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        if self.served == self.head.len() {
            let got = self.fetch(into)?;
            self.served = self.head.len();
            return Ok(got);
        }
        let got = (&self.head[self.served..]).read(into)?;
        self.served += got;
        Ok(got)
    }
}

/// Bytes of all sources on disk; `None` where one of them cannot know. Errors: `NotFound`, `Storage`.
pub(super) fn total_bytes(sources: &[Source]) -> Result<Option<u64>> {
    let mut total = Some(0);
    for source in sources {
        let size = match source {
            Source::Stdin => None,
            Source::File(path) => {
                let about = path.metadata().map_err(|error| missing(path, error))?;
                about.is_file().then_some(about.len())
            }
        };
        total = total.zip(size).map(|(sum, more): (u64, u64)| sum.saturating_add(more));
    }
    Ok(total)
}

fn missing(path: &Path, error: io::Error) -> Error {
    match error.kind() {
        io::ErrorKind::NotFound => Error::not_found(format!("there is no file {}", path.display())),
        _ => error::io(format!("open {}", path.display()), error),
    }
}

fn unfollowable(name: &str) -> Error {
    Error::invalid(format!("{name} cannot be followed"))
        .code("import_follow")
        .remedy("follow a plain file, or leave --follow out")
}

fn same_file(a: &Metadata, b: &Metadata) -> bool {
    (a.dev(), a.ino()) == (b.dev(), b.ino())
}

fn begins_with(file: &File, head: &[u8]) -> io::Result<bool> {
    let mut now = vec![0; head.len()];
    match file.read_exact_at(&mut now, 0) {
        Ok(()) => Ok(now == head),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(false),
        Err(error) => Err(error),
    }
}

/// Counts what is read.
struct Counted {
    raw: Box<dyn Read>,
    bytes: Rc<Cell<u64>>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let got = self.raw.read(into)?;
        self.bytes.set(self.bytes.get() + got as u64);
        Ok(got)
    }
}
