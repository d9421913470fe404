//! The `dir` target: batches as files in a folder of this machine, for sites without a network and as the default.
//! Owns that folder except `taken/`; must never touch a file there: it belongs to the job that took it.
//! Invariant: a manifest under its own name means that the data beside it is whole and on the disk.

use std::collections::HashMap;
use std::fs::{self, DirBuilder, File};
use std::io::{ErrorKind, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use crate::base::error::{Error, Result, io};
use crate::base::gzip;
use crate::base::id::{EdgeId, Epoch};
use crate::base::text::hex;
use crate::base::time::Millis;
use crate::domain::batch::Manifest;
use crate::domain::event::Lane;
use crate::domain::line::digest;
use crate::forward::inspect;
use crate::forward::options::{Recipient, TargetOptions};
use crate::forward::target::{Held, Keep, Key, Landed, Parcel, Put, Setback, Target};

/// Where a job moves what it took.
pub const TAKEN: &str = "taken";
/// Behind the number: the lines.
pub const DATA: &str = ".ndjson.gz";
/// Behind the number: what goes beside them.
pub const MANIFEST: &str = ".manifest.json";
/// Folders below `taken/` that are looked into.
const TAKEN_DEPTH_MAX: usize = 6;

/// A folder that batches are put into.
#[derive(Debug)]
pub struct Dir {
    name: String,
    recipient: Recipient,
    root: PathBuf,
    keep: Keep,
}

impl Dir {
    /// The target of these options below the data directory. Nothing is made before the first batch.
    pub fn new(data_dir: &Path, options: &TargetOptions) -> Self {
        Dir {
            name: options.name.clone(),
            recipient: options.recipient,
            root: data_dir.join(&options.path),
            keep: Keep { days: options.keep_days, bytes: options.keep_bytes },
        }
    }

    fn place(&self, key: Key, kind: &str) -> PathBuf {
        self.root.join(format!("{key}{kind}"))
    }

    /// The manifest that lies under a key.
    fn manifest(&self, key: Key) -> Result<Option<Manifest>> {
        let path = self.place(key, MANIFEST);
        match fs::read(&path) {
            Ok(bytes) => inspect::parse(&bytes).map(Some).map_err(|e| fork(key, &e.to_string())),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io(format_args!("reading {}", path.display()), e)),
        }
    }

    /// The lines that lie under a key; `None` if there are none or they cannot be read back.
    fn lines(&self, key: Key, bytes_max: usize) -> Result<Option<Vec<u8>>> {
        let path = self.place(key, DATA);
        match fs::read(&path) {
            Ok(gz) => Ok(gzip::decompress(&gz, bytes_max).ok()),
            Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
            Err(e) => Err(io(format_args!("reading {}", path.display()), e)),
        }
    }

    fn write(&self, parcel: &Parcel<'_>) -> Result<()> {
        let data = self.place(parcel.key, DATA);
        make_dirs(data.parent().unwrap_or(&self.root))?;
        // a manifest beside other lines than its own would be a lie, however short
        remove(&self.place(parcel.key, MANIFEST))?;
        write_whole(&data, &parcel.rendered.gz)?;
        let mut manifest =
            serde_json::to_vec(&parcel.rendered.manifest).expect("invariant: a manifest has string keys");
        manifest.push(b'\n');
        write_whole(&self.place(parcel.key, MANIFEST), &manifest)
    }

    /// Was the batch moved into `taken/`, at any depth or flat, with its manifest or without?
    fn taken(&self, key: Key, names: &Names) -> Result<bool> {
        let relative = PathBuf::from(format!("{key}{DATA}"));
        for path in names.of(&format!("{:012}{DATA}", key.batch_no)) {
            if path.ends_with(&relative) || self.has_lines_of(key, path)? {
                return Ok(true);
            }
        }
        for path in names.of(&format!("{:012}{MANIFEST}", key.batch_no)) {
            if is_manifest_of(key, path)? {
                return Ok(true);
            }
        }
        Ok(false)
    }

    /// Are these lines those of the manifest that was left behind?
    fn has_lines_of(&self, key: Key, path: &Path) -> Result<bool> {
        let Some(manifest) = self.manifest(key)? else { return Ok(false) };
        let Some(gz) = read_if_there(path)? else { return Ok(false) };
        let expected = manifest.open(None)?.digest;
        let read = gzip::decompress(&gz, inspect::LINES_BYTES_MAX).and_then(|ndjson| inspect::lines(&ndjson));
        Ok(read.is_ok_and(|read| hex(&digest(&read.hashes)) == expected))
    }
}

impl Target for Dir {
    fn name(&self) -> &str {
        &self.name
    }

    fn recipient(&self) -> Recipient {
        self.recipient
    }

    fn put(&self, parcel: &Parcel<'_>) -> Result<Put, Setback> {
        let key = parcel.key;
        let there = self.manifest(key)?;
        if there.as_ref().is_some_and(|manifest| manifest.sealed != parcel.rendered.manifest.sealed) {
            return Err(fork(key, "a batch with another digest or seal").into());
        }
        let lines = self.lines(key, parcel.rendered.ndjson.len())?;
        let landed = match (&there, &lines) {
            (Some(_), Some(lines)) if *lines == parcel.rendered.ndjson => Landed::Same,
            // moved away between the put and its note in the database: the job has it
            (_, None) if parcel.again && self.taken(key, &Names::read(&self.root.join(TAKEN))?)? => Landed::Same,
            (Some(_), _) => Landed::Renewed,
            (None, _) => Landed::New,
        };
        if landed != Landed::Same {
            self.write(parcel)?;
        }
        Ok(Put { landed, acknowledged: false })
    }

    fn watermark(&self, of: Key, acked: i64, put_no: i64) -> Result<i64> {
        let (mut no, mut names) = (acked, None);
        while no < put_no {
            let key = of.at(no + 1);
            if self.place(key, DATA).exists() {
                break;
            }
            if names.is_none() {
                names = Some(Names::read(&self.root.join(TAKEN))?);
            }
            let Some(names) = &names else { break };
            if !self.taken(key, names)? {
                break;
            }
            no += 1;
        }
        Ok(no)
    }

    fn folder(&self) -> Option<PathBuf> {
        Some(self.root.clone())
    }

    fn keep(&self) -> Option<Keep> {
        Some(self.keep)
    }

    fn held(&self) -> Result<Vec<Held>> {
        let mut out = Vec::new();
        for key in keys(&self.root)? {
            let data = self.place(key, DATA);
            let Ok(meta) = fs::metadata(&data) else { continue }; // taken while we looked
            let manifest = fs::metadata(self.place(key, MANIFEST)).map_or(0, |meta| meta.len());
            let since = meta.modified().ok().and_then(|at| at.duration_since(UNIX_EPOCH).ok()).unwrap_or_default();
            let put_at = Millis(i64::try_from(since.as_millis()).unwrap_or(i64::MAX));
            out.push(Held { key, bytes: meta.len() + manifest, put_at });
        }
        Ok(out)
    }

    fn lies(&self, key: Key) -> bool {
        self.place(key, DATA).exists()
    }

    fn renew(&self, parcel: &Parcel<'_>) -> Result<Option<Put>> {
        let there = self.manifest(parcel.key)?;
        if there.as_ref().is_some_and(|manifest| manifest.sealed != parcel.rendered.manifest.sealed) {
            return Err(fork(parcel.key, "a batch with another digest or seal"));
        }
        // lines that cannot be read back are written anew; those that are gone were taken
        let lines = self.lines(parcel.key, inspect::LINES_BYTES_MAX)?;
        if !self.lies(parcel.key) {
            return Ok(None);
        }
        let same = there.is_some() && lines.as_ref() == Some(&parcel.rendered.ndjson);
        if !same {
            self.write(parcel)?;
        }
        Ok(Some(Put { landed: if same { Landed::Same } else { Landed::Renewed }, acknowledged: false }))
    }

    fn discard(&self, key: Key) -> Result<()> {
        for kind in [MANIFEST, DATA] {
            remove(&self.place(key, kind))?;
        }
        Ok(())
    }
}

pub(in crate::forward) fn remove(path: &Path) -> Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != ErrorKind::NotFound => Err(io(format_args!("removing {}", path.display()), e)),
        _ => Ok(()),
    }
}

fn fork(key: Key, what: &str) -> Error {
    Error::conflict(format!("under {key} there already lies something else: {what}")).code("fork").remedy(
        "two databases write under one edge and epoch, or the file was changed; move it away once you know which",
    )
}

/// Files below `taken/` by their name.
struct Names(HashMap<String, Vec<PathBuf>>);

impl Names {
    fn read(root: &Path) -> Result<Names> {
        let mut names = Names(HashMap::new());
        names.walk(root, TAKEN_DEPTH_MAX)?;
        Ok(names)
    }

    fn walk(&mut self, folder: &Path, depth: usize) -> Result<()> {
        for (path, is_dir) in entries(folder)? {
            if is_dir && depth > 0 {
                self.walk(&path, depth - 1)?;
            } else if let Some(name) = path.file_name().and_then(|name| name.to_str()) {
                self.0.entry(name.to_owned()).or_default().push(path.clone());
            }
        }
        Ok(())
    }

    fn of(&self, name: &str) -> &[PathBuf] {
        self.0.get(name).map_or(&[], Vec::as_slice)
    }
}

fn is_manifest_of(key: Key, path: &Path) -> Result<bool> {
    let Some(bytes) = read_if_there(path)? else { return Ok(false) };
    let part = inspect::parse(&bytes).and_then(|manifest| manifest.open(None));
    Ok(part.is_ok_and(|part| {
        part.edge == key.edge.to_string()
            && part.epoch == key.epoch.to_string()
            && part.lane == key.lane.word()
            && part.batch_no == key.batch_no
    }))
}

pub(in crate::forward) fn read_if_there(path: &Path) -> Result<Option<Vec<u8>>> {
    match fs::read(path) {
        Ok(bytes) => Ok(Some(bytes)),
        Err(e) if e.kind() == ErrorKind::NotFound => Ok(None),
        Err(e) => Err(io(format_args!("reading {}", path.display()), e)),
    }
}

/// Entries of a folder and whether each is one itself, sorted by name; none where it does not exist. Links are left alone.
fn entries(folder: &Path) -> Result<Vec<(PathBuf, bool)>> {
    let doing = |e| io(format_args!("listing {}", folder.display()), e);
    let list = match fs::read_dir(folder) {
        Ok(list) => list,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(doing(e)),
    };
    let mut out = Vec::new();
    for entry in list {
        let entry = entry.map_err(doing)?;
        let Ok(kind) = entry.file_type() else { continue }; // gone while we looked
        if !kind.is_symlink() {
            out.push((entry.path(), kind.is_dir()));
        }
    }
    out.sort();
    Ok(out)
}

/// The keys of all batches in a folder, by data file or manifest, sorted by edge, epoch, lane and number.
pub(in crate::forward) fn keys(root: &Path) -> Result<Vec<Key>> {
    let name = |path: &Path| path.file_name().and_then(|name| name.to_str()).unwrap_or_default().to_owned();
    let mut out: Vec<Key> = Vec::new();
    for (edge_dir, _) in entries(root)? {
        let Ok(edge) = EdgeId::parse(&name(&edge_dir)) else { continue };
        for (epoch_dir, _) in entries(&edge_dir)? {
            let Ok(epoch) = Epoch::parse(&name(&epoch_dir)) else { continue };
            for (lane_dir, _) in entries(&epoch_dir)? {
                let Some(lane) = Lane::parse(&name(&lane_dir)) else { continue };
                for (file, _) in entries(&lane_dir)? {
                    let name = name(&file);
                    let stem = name.strip_suffix(DATA).or_else(|| name.strip_suffix(MANIFEST));
                    let Some(batch_no) = stem.and_then(|stem| stem.parse().ok()) else { continue };
                    let key = Key { edge, epoch, lane, batch_no };
                    if out.last() != Some(&key) {
                        out.push(key);
                    }
                }
            }
        }
    }
    Ok(out)
}

/// Makes a folder and its parents, each for its owner alone and on the disk before the next.
pub(in crate::forward) fn make_dirs(folder: &Path) -> Result<()> {
    if folder.is_dir() || folder.as_os_str().is_empty() {
        return Ok(());
    }
    let parent = folder.parent().unwrap_or(Path::new(""));
    make_dirs(parent)?;
    match DirBuilder::new().mode(0o700).create(folder) {
        Ok(()) => sync(parent),
        Err(e) if e.kind() == ErrorKind::AlreadyExists => Ok(()),
        Err(e) => Err(io(format_args!("making the folder {}", folder.display()), e)),
    }
}

fn sync(folder: &Path) -> Result<()> {
    let folder = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
    File::open(folder).and_then(|f| f.sync_all()).map_err(|e| io(format_args!("syncing {}", folder.display()), e))
}

/// Writes a file whole: under another name, on the disk, then renamed.
pub(in crate::forward) fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let write = || -> std::io::Result<()> {
        let mut file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(|e| io(format_args!("writing {}", path.display()), e))?;
    sync(path.parent().unwrap_or(Path::new(".")))
}
