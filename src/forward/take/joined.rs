//! Batches of a day in one file: gzip members one after the other, with an index that says how far the good part goes.
//! Must never take a batch twice, nor believe bytes the index does not name. Invariant: data are on the disk before the index
//! names them; what lies behind is what a break left, and is cut off.

use std::fs::{self, File};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result, io};
use crate::domain::batch::{Manifest, SealedPart};
use crate::forward::dir::{DATA, make_dirs, read_if_there};
use crate::forward::take::fetch::Fetched;
use crate::forward::take::shelf::{Shelf, key_of, put_aside};

/// Behind the day: the index.
pub const INDEX: &str = ".index.ndjson";

/// A batch within a joined file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Entry {
    /// The batch's key.
    pub key: String,
    /// Where its member begins, bytes.
    pub offset: u64,
    /// How long it is, bytes.
    pub bytes: u64,
    /// Its manifest.
    pub manifest: Manifest,
}

/// `<root>/<edge>/<lane>/<day>.ndjson.gz`: the day (UTC) the batch's first row was received.
#[derive(Debug)]
pub struct Joined {
    root: PathBuf,
}

impl Joined {
    /// This folder. Nothing is made before the first batch.
    pub fn at(root: &Path) -> Self {
        Joined { root: root.to_owned() }
    }

    fn place(&self, part: &SealedPart) -> Result<PathBuf> {
        let day = part.min_received_at.get(..10).filter(|day| day.bytes().all(|b| b.is_ascii_digit() || b == b'-'));
        let day = day.ok_or_else(|| Error::invalid("a signed part without a day").code("bad_manifest"))?;
        Ok(self.root.join(&part.edge).join(&part.lane).join(format!("{day}{DATA}")))
    }
}

/// The index that belongs to a joined file.
pub fn index_of(data: &Path) -> PathBuf {
    let text = data.display().to_string();
    PathBuf::from(format!("{}{INDEX}", text.strip_suffix(DATA).unwrap_or(&text)))
}

/// The whole entries of an index, and how many bytes of it they are: a torn last line is none. Errors: `Storage`; `Invalid` with
/// code `damaged_index`.
pub fn entries(index: &Path) -> Result<Option<(Vec<Entry>, u64)>> {
    let Some(bytes) = read_if_there(index)? else { return Ok(None) };
    let (mut out, mut good): (Vec<Entry>, u64) = (Vec::new(), 0);
    for line in bytes.split_inclusive(|byte| *byte == b'\n').filter(|line| line.ends_with(b"\n")) {
        let entry: Entry = serde_json::from_slice(line).map_err(|e| damaged(index, &e.to_string()))?;
        if entry.offset != out.last().map_or(0, |last| last.offset + last.bytes) {
            return Err(damaged(index, "its entries do not follow each other"));
        }
        good += line.len() as u64;
        out.push(entry);
    }
    Ok(Some((out, good)))
}

fn damaged(index: &Path, what: &str) -> Error {
    Error::invalid(format!("{}: {what}", index.display()))
        .code("damaged_index")
        .remedy("move the index and its data file away together: what is not acknowledged comes again")
}

impl Shelf for Joined {
    fn put(&mut self, part: &SealedPart, fetched: &Fetched) -> Result<PathBuf> {
        let data = self.place(part)?;
        let index = index_of(&data);
        make_dirs(data.parent().unwrap_or(&self.root))?;
        let doing = |e| io(format_args!("appending to {}", data.display()), e);
        let open = |path: &Path| File::options().create(true).append(true).mode(0o600).open(path).map_err(doing);
        let length = |path: &Path| fs::metadata(path).map_or(0, |meta| meta.len());
        let (known, good) = match entries(&index)? {
            Some(read) => read,
            None if length(&data) > 0 => return Err(damaged(&index, "it is gone, and its data are not")),
            None => (Vec::new(), 0),
        };
        let key = key_of(part);
        if known.iter().any(|entry| entry.key == key) {
            return Ok(data);
        }
        let end = known.last().map_or(0, |last| last.offset + last.bytes);
        if length(&data) < end {
            return Err(damaged(&index, "its data are shorter than it says"));
        }
        let mut into = open(&index)?;
        into.set_len(good).and_then(|()| into.sync_all()).map_err(doing)?;
        let mut file = open(&data)?;
        let written = file.set_len(end).and_then(|()| file.write_all(&fetched.gz)).and_then(|()| file.sync_all());
        written.map_err(doing)?;
        let manifest = crate::forward::inspect::parse(fetched.manifest.as_bytes())?;
        let entry = Entry { key, offset: end, bytes: fetched.gz.len() as u64, manifest };
        let mut line = serde_json::to_vec(&entry).expect("invariant: an entry has string keys");
        line.push(b'\n');
        into.write_all(&line).and_then(|()| into.sync_all()).map_err(doing)?;
        if known.is_empty() {
            let folder = data.parent().unwrap_or(&self.root);
            File::open(folder)
                .and_then(|f| f.sync_all())
                .map_err(|e| io(format_args!("syncing {}", folder.display()), e))?;
        }
        Ok(data)
    }

    fn file(&self, part: &SealedPart) -> Result<PathBuf> {
        self.place(part)
    }

    fn put_aside(&mut self, key: &str, fetched: Option<&Fetched>, why: &str) -> Result<()> {
        put_aside(&self.root, key, fetched, why)
    }
}
