//! One carried file: a head, batches one behind the other, an end; inside the encryption, where there is one.
//! Must never hold more than one batch in memory. Invariant: a file that was read to its end is as it was written, or is refused.
//!
//! The head and the end are lines of JSON; each batch is a line of JSON that names its bytes, and then those bytes.

use std::io::{BufRead, BufReader, Read, Write};

use serde::{Deserialize, Serialize};

use crate::base::age::{self, Identity, Recipient};
use crate::base::error::{Error, Result, io};
use crate::domain::batch::Manifest;
use crate::domain::signed::FORMAT;
use crate::forward::carry::{Carried, key_of};

/// What a head says it is.
const KIND: &str = "wayside_carry";
/// Longest line, bytes: a manifest and its key.
const LINE_BYTES_MAX: u64 = 64 << 10;
/// Most bytes of one batch, gzip.
const BATCH_BYTES_MAX: u64 = 256 << 20;
/// What every file of age begins with.
const AGE_STARTS: &[u8] = b"age-encryption.org/";

/// Whose batches a file holds.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Head {
    format: u32,
    kind: String,
    /// The edge that wrote it, 32 hex digits.
    pub edge: String,
    /// For which of its targets.
    pub target: String,
}

impl Head {
    /// The head of a file of this edge for one of its targets.
    pub fn new(edge: &str, target: &str) -> Self {
        Head { format: FORMAT, kind: KIND.to_owned(), edge: edge.to_owned(), target: target.to_owned() }
    }
}

/// A line between head and end.
#[derive(Serialize, Deserialize)]
#[serde(untagged)]
enum Line {
    Batch { batch: String, bytes: u64, manifest: Manifest },
    End { end: u64 },
}

enum Out<W: Write> {
    Age(age::Writer<W>),
    Plain(W),
}

/// Writes a file batch by batch.
pub struct FileWriter<W: Write> {
    out: Out<W>,
    count: u64,
}

fn writing(e: std::io::Error) -> Error {
    io("writing a carried file", e)
}

impl<W: Write> FileWriter<W> {
    /// Begins a file, encrypted to `to` where given. Errors: `Invalid` for a weak key; `Storage`.
    pub fn start(out: W, to: Option<&Recipient>, head: &Head) -> Result<Self> {
        let out = match to {
            Some(to) => Out::Age(age::Writer::start(out, &[*to])?),
            None => Out::Plain(out),
        };
        let mut file = FileWriter { out, count: 0 };
        file.line(head)?;
        Ok(file)
    }

    /// Writes the next batch. Errors: `Invalid` with code `bad_manifest`; `Storage`.
    pub fn put(&mut self, carried: &Carried) -> Result<()> {
        let manifest = crate::forward::inspect::parse(carried.manifest.as_bytes())?;
        let bytes = u64::try_from(carried.gz.len()).unwrap_or(u64::MAX);
        self.line(&Line::Batch { batch: carried.key.to_string(), bytes, manifest })?;
        self.bytes(&carried.gz)?;
        self.count += 1;
        Ok(())
    }

    /// Ends the file; returns what it was written to. Errors: `Storage`.
    pub fn finish(mut self) -> Result<W> {
        let end = self.count;
        self.line(&Line::End { end })?;
        match self.out {
            Out::Age(out) => out.finish(),
            Out::Plain(out) => Ok(out),
        }
    }

    fn line(&mut self, line: &impl Serialize) -> Result<()> {
        let mut text = serde_json::to_vec(line).expect("invariant: lines have string keys");
        text.push(b'\n');
        self.bytes(&text)
    }

    fn bytes(&mut self, bytes: &[u8]) -> Result<()> {
        match &mut self.out {
            Out::Age(out) => out.write_all(bytes),
            Out::Plain(out) => out.write_all(bytes),
        }
        .map_err(writing)
    }
}

/// Reads a file batch by batch.
pub struct FileReader<'r> {
    input: Box<dyn BufRead + 'r>,
    head: Head,
    count: u64,
    ended: bool,
}

impl<'r> FileReader<'r> {
    /// Opens a file, with one of these identities where it is encrypted. Errors: `Invalid` with code `not_carried`,
    /// `carry_truncated`, `carry_altered` or those of [`age::Reader`]; `Denied` with code `wrong_key`; `Storage`.
    pub fn open(mut input: impl BufRead + 'r, with: &[Identity]) -> Result<FileReader<'r>> {
        let start = input.fill_buf().map_err(|e| io("reading a carried file", e))?;
        let encrypted = start.starts_with(&AGE_STARTS[..AGE_STARTS.len().min(start.len())]) && !start.is_empty();
        if !encrypted && !start.starts_with(b"{") {
            return Err(if start.is_empty() { truncated() } else { not_carried() });
        }
        let mut input: Box<dyn BufRead + 'r> =
            if encrypted { Box::new(BufReader::new(age::Reader::open(input, with)?)) } else { Box::new(input) };
        let line = line_of(&mut *input)?;
        let head: Head = serde_json::from_slice(&line).map_err(|_| not_carried())?;
        if head.kind != KIND {
            return Err(not_carried());
        }
        if head.format != FORMAT {
            return Err(Error::invalid(format!("the file is of version {}; {FORMAT} is read here", head.format))
                .code("not_carried")
                .remedy("use a newer wayside to read it"));
        }
        Ok(FileReader { input, head, count: 0, ended: false })
    }

    /// Whose batches these are, as the file says.
    pub fn head(&self) -> &Head {
        &self.head
    }

    /// The next batch; `None` behind the last, when the file is known to be whole. Errors: as [`FileReader::open`].
    pub fn read_next(&mut self) -> Result<Option<Carried>> {
        if self.ended {
            return Ok(None);
        }
        let line = line_of(&mut *self.input)?;
        match serde_json::from_slice(&line).map_err(|e| altered(&e.to_string()))? {
            Line::End { end } => {
                if end != self.count || !self.fill()?.is_empty() {
                    return Err(altered("it does not end where it says"));
                }
                self.ended = true;
                Ok(None)
            }
            Line::Batch { batch, bytes, manifest } => {
                let key = key_of(&batch)?;
                if bytes > BATCH_BYTES_MAX {
                    return Err(altered("a batch is larger than any may be"));
                }
                let mut gz = Vec::new();
                (&mut self.input).take(bytes).read_to_end(&mut gz).map_err(reading)?;
                if u64::try_from(gz.len()).unwrap_or(u64::MAX) != bytes {
                    return Err(truncated());
                }
                self.count += 1;
                let manifest = serde_json::to_string(&manifest).expect("invariant: a manifest has string keys");
                Ok(Some(Carried { key, manifest, gz }))
            }
        }
    }

    fn fill(&mut self) -> Result<&[u8]> {
        self.input.fill_buf().map_err(reading)
    }
}

fn reading(e: std::io::Error) -> Error {
    age::reason("reading a carried file", e)
}

fn line_of(input: &mut dyn BufRead) -> Result<Vec<u8>> {
    let mut line = Vec::new();
    input.take(LINE_BYTES_MAX).read_until(b'\n', &mut line).map_err(reading)?;
    match line.pop_if(|byte| *byte == b'\n') {
        Some(_) => Ok(line),
        None if u64::try_from(line.len()).unwrap_or(u64::MAX) < LINE_BYTES_MAX => Err(truncated()),
        None => Err(altered("a line has no end")),
    }
}

fn not_carried() -> Error {
    Error::invalid("this is no file of `wayside carry out`").code("not_carried").remedy("move it off the stick")
}

fn truncated() -> Error {
    Error::invalid("the file ends too early: its copy was interrupted")
        .code("carry_truncated")
        .remedy("run `wayside carry out` again at the edge; it completes the stick")
}

fn altered(what: &str) -> Error {
    Error::invalid(format!("the file is not as it was written: {what}"))
        .code("carry_altered")
        .remedy("run `wayside carry out` again at the edge; it replaces what does not hold")
}
