//! The folder of one edge and target on a stick: files written whole or not at all, the signed index, acknowledgements.
//! Must never make the stick itself: a folder that is not there is a stick that is not mounted. Invariant: whatever has its own
//! name was on the disk before it got it; what an interruption leaves ends in `.part`.

use std::fs::{self, File, TryLockError};
use std::io::{BufReader, BufWriter, ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::digest::Hasher;
use crate::base::error::{Error, Result, io};
use crate::base::text::hex;
use crate::domain::delivery::SignedAck;
use crate::domain::signed::{FORMAT, Signed};
use crate::forward::carry::{ENCRYPTED, FOLDER, PLAIN};

/// Name of the index.
pub const INDEX: &str = "index.json";
/// What an index says it is.
pub const INDEX_KIND: &str = "carry_index";
/// Behind the name of a file that is being written.
pub const PART: &str = ".part";
/// Largest index or list of acknowledgements that is read, bytes.
const TEXT_BYTES_MAX: u64 = 256 << 20;

/// What lies on a stick for one target, as the edge says it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Index {
    /// Version of this shape.
    pub format: u32,
    /// [`INDEX_KIND`].
    pub kind: String,
    /// The edge, 32 hex digits.
    pub edge: String,
    /// Its target.
    pub target: String,
    /// When it was written.
    pub made_at: String,
    /// The command that wrote it went through to its end.
    pub complete: bool,
    /// Batches that wait at the edge and did not fit.
    pub waiting: u64,
    /// Every file, in the order to take them.
    pub files: Vec<IndexedFile>,
}

impl Index {
    /// An index of nothing.
    pub fn new(edge: &str, target: &str) -> Self {
        Index {
            format: FORMAT,
            kind: INDEX_KIND.to_owned(),
            edge: edge.to_owned(),
            target: target.to_owned(),
            made_at: String::new(),
            complete: false,
            waiting: 0,
            files: Vec::new(),
        }
    }
}

/// A file as the index has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedFile {
    /// Its path below the folder of edge and target.
    pub name: String,
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of it, 64 hex digits.
    pub sha256: String,
    /// Epoch of its batches.
    pub epoch: String,
    /// Their lane.
    pub lane: String,
    /// Its batches, in order.
    pub batches: Vec<IndexedBatch>,
}

/// A batch as the index has it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IndexedBatch {
    /// Its number.
    pub batch_no: i64,
    /// Its digest.
    pub digest: String,
    /// SHA-256 of its lines as they are in the file, holes included: other holes, other lines.
    pub lines_sha256: String,
}

/// Acknowledgements as a receiver leaves them.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct AckFile {
    /// Version of this shape.
    pub format: u32,
    /// One for each batch it has.
    pub acks: Vec<SignedAck>,
}

/// The folder of one edge and target.
#[derive(Clone, Debug)]
pub struct Place {
    root: PathBuf,
}

/// How a file came out.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Written {
    /// Its size.
    pub bytes: u64,
    /// SHA-256 of it, 64 hex digits.
    pub sha256: String,
}

/// The stick itself. Errors: `NotFound` with code `no_stick`.
pub fn there(stick: &Path) -> Result<()> {
    if stick.is_dir() {
        return Ok(());
    }
    Err(Error::not_found(format!("{} is no folder", stick.display()))
        .code("no_stick")
        .remedy("mount the stick, and name the folder it is mounted at"))
}

/// Keeps every other program of this machine from the stick until it is dropped. The folder itself is locked: nothing is left
/// behind. Errors: `NotFound` with code `no_stick`, `Busy` with code `stick_in_use`.
pub fn alone(stick: &Path) -> Result<File> {
    there(stick)?;
    let folder = File::open(stick).map_err(|e| io(format_args!("opening {}", stick.display()), e))?;
    match folder.try_lock() {
        Err(TryLockError::WouldBlock) => {
            Err(Error::busy(format!("another wayside works on the stick {}", stick.display()))
                .code("stick_in_use")
                .remedy("wait until it has ended"))
        }
        // a file system that knows no locks
        Ok(()) | Err(TryLockError::Error(_)) => Ok(folder),
    }
}

impl Place {
    /// The folder of an edge and target on a stick. Nothing is made before the first file. Errors: `NotFound` (`no_stick`).
    pub fn of(stick: &Path, edge: &str, target: &str) -> Result<Place> {
        there(stick)?;
        Ok(Place { root: stick.join(FOLDER).join(edge).join(target) })
    }

    /// Where a file of it lies.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Writes a file: under another name first, on the disk, then renamed. What fails leaves nothing behind. Errors: `Storage`,
    /// those of `fill`.
    pub fn write<T>(&self, name: &str, fill: impl FnOnce(&mut Sink) -> Result<T>) -> Result<(Written, T)> {
        let path = self.path(name);
        make_dirs(path.parent().unwrap_or(&self.root))?;
        let part = self.path(&format!("{name}{PART}"));
        let doing = |e| io(format_args!("writing {}", path.display()), e);
        let made = (|| {
            let file = File::create(&part).map_err(doing)?;
            let mut sink = Sink { file: BufWriter::with_capacity(1 << 17, file), hasher: Hasher::new(), bytes: 0 };
            let filled = fill(&mut sink)?;
            sink.file.flush().map_err(doing)?;
            sink.file.get_ref().sync_all().map_err(doing)?;
            fs::rename(&part, &path).map_err(doing)?;
            sync(path.parent().unwrap_or(&self.root))?;
            Ok((Written { bytes: sink.bytes, sha256: hex(&sink.hasher.finish()) }, filled))
        })();
        if made.is_err() {
            // best effort: what stays is overwritten by the next copy, and never read
            let _left = fs::remove_file(&part);
        }
        made
    }

    /// Size and digest of a file; `None` where there is none. Errors: `Storage`.
    pub fn measure(&self, name: &str) -> Result<Option<Written>> {
        let path = self.path(name);
        let doing = |e| io(format_args!("reading {}", path.display()), e);
        let mut file = match File::open(&path) {
            Ok(file) => file,
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(None),
            Err(e) => return Err(doing(e)),
        };
        let (mut hasher, mut bytes, mut piece) = (Hasher::new(), 0, vec![0; 1 << 17]);
        loop {
            match file.read(&mut piece) {
                Ok(0) => return Ok(Some(Written { bytes, sha256: hex(&hasher.finish()) })),
                Ok(count) => {
                    hasher.add(&piece[..count]);
                    bytes += u64::try_from(count).unwrap_or(0);
                }
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(doing(e)),
            }
        }
    }

    /// Opens a file for reading. Errors: `Storage`.
    pub fn open(&self, name: &str) -> Result<BufReader<File>> {
        let path = self.path(name);
        let file = File::open(&path).map_err(|e| io(format_args!("opening {}", path.display()), e))?;
        Ok(BufReader::with_capacity(1 << 17, file))
    }

    /// Removes a file, if it is there. Errors: `Storage`.
    pub fn remove(&self, name: &str) -> Result<()> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(e) if e.kind() != ErrorKind::NotFound => Err(io(format_args!("removing {}", path.display()), e)),
            _ => Ok(()),
        }
    }

    /// The index, if its signature holds (under `expected`, where given) and it is of this folder; `None` where there is none.
    /// Errors: `Invalid` with code `bad_signature` or `bad_statement`; `Storage`.
    pub fn index(&self, (edge, target): (&str, &str), expected: Option<&[u8; 32]>) -> Result<Option<(Index, Signed)>> {
        let Some(text) = self.text(INDEX)? else { return Ok(None) };
        let strange = |what: String| {
            Error::invalid(format!("{}: {what}", self.path(INDEX).display()))
                .code("bad_statement")
                .remedy("run `wayside carry out` again at the edge; it writes the index anew")
        };
        let signed: Signed = serde_json::from_slice(&text).map_err(|e| strange(e.to_string()))?;
        let index: Index = signed.open(INDEX_KIND, expected)?;
        if index.edge != edge || index.target != target {
            return Err(strange(format!("it is of edge {} and target {}", index.edge, index.target)));
        }
        if index.files.iter().any(|file| !is_name(&file.name)) {
            return Err(strange("it names a file outside its folder".to_owned()));
        }
        Ok(Some((index, signed)))
    }

    /// Puts a signed index in the place of the one that lies there. Errors: `Storage`.
    pub fn set_index(&self, index: &Signed) -> Result<()> {
        let text = serde_json::to_vec_pretty(index).expect("invariant: an index has string keys");
        self.write(INDEX, |sink| sink.put(&text)).map(|_| ())
    }

    /// What every receiver has left here, unread acknowledgements and those read before alike; a file that does not parse is
    /// passed over and told. Errors: `Storage`.
    pub fn acks(&self) -> Result<(Vec<SignedAck>, Vec<String>)> {
        let (mut acks, mut strange) = (Vec::new(), Vec::new());
        for name in names(&self.root)?.into_iter().filter(|name| name.starts_with("acks-") && name.ends_with(".json")) {
            let Some(text) = self.text(&name)? else { continue };
            match serde_json::from_slice::<AckFile>(&text) {
                Ok(file) if file.format == FORMAT => acks.extend(file.acks),
                Ok(file) => strange.push(format!("{name} is of version {}", file.format)),
                Err(e) => strange.push(format!("{name} does not parse: {e}")),
            }
        }
        Ok((acks, strange))
    }

    /// Leaves acknowledgements of a receiver, in the place of those it left before. Errors: `Storage`.
    pub fn set_acks(&self, receiver: &str, acks: Vec<SignedAck>) -> Result<()> {
        let text = serde_json::to_vec(&AckFile { format: FORMAT, acks }).expect("invariant: acks have string keys");
        self.write(&format!("acks-{receiver}.json"), |sink| sink.put(&text)).map(|_| ())
    }

    /// The carried files that lie here, sorted by name. Errors: `Storage`.
    pub fn files(&self) -> Result<Vec<String>> {
        let mut out = Vec::new();
        for epoch in names(&self.root)? {
            for lane in names(&self.root.join(&epoch))? {
                for file in names(&self.root.join(&epoch).join(&lane))? {
                    let name = format!("{epoch}/{lane}/{file}");
                    if is_name(&name) {
                        out.push(name);
                    }
                }
            }
        }
        Ok(out)
    }

    fn text(&self, name: &str) -> Result<Option<Vec<u8>>> {
        let path = self.path(name);
        let mut text = Vec::new();
        let doing = |e| io(format_args!("reading {}", path.display()), e);
        match File::open(&path) {
            Ok(file) => file.take(TEXT_BYTES_MAX).read_to_end(&mut text).map_err(doing).map(|_| Some(text)),
            Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => Ok(None),
            Err(e) => Err(doing(e)),
        }
    }
}

/// `<epoch>/<lane>/<number>.age` or `.wayside`: no other path is ever opened because a stick names it.
fn is_name(name: &str) -> bool {
    let parts: Vec<&str> = name.split('/').collect();
    let [epoch, lane, file] = parts[..] else { return false };
    let number = file.strip_suffix(ENCRYPTED).or_else(|| file.strip_suffix(PLAIN));
    crate::base::id::Epoch::parse(epoch).is_ok()
        && crate::domain::event::Lane::parse(lane).is_some()
        && number.is_some_and(|number| number.len() == 12 && number.bytes().all(|byte| byte.is_ascii_digit()))
}

/// What a folder holds, sorted; nothing where there is none.
pub fn names(folder: &Path) -> Result<Vec<String>> {
    let doing = |e| io(format_args!("listing {}", folder.display()), e);
    let list = match fs::read_dir(folder) {
        Ok(list) => list,
        Err(e) if matches!(e.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => return Ok(Vec::new()),
        Err(e) => return Err(doing(e)),
    };
    let mut out = Vec::new();
    for entry in list {
        out.extend(entry.map_err(doing)?.file_name().into_string());
    }
    out.sort();
    Ok(out)
}

/// A file being written: counted and hashed as it grows.
pub struct Sink {
    file: BufWriter<File>,
    hasher: Hasher,
    bytes: u64,
}

impl Sink {
    /// Writes bytes. Errors: `Storage`.
    pub fn put(&mut self, bytes: &[u8]) -> Result<()> {
        self.write_all(bytes).map_err(|e| io("writing to the stick", e))
    }
}

impl Write for Sink {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let count = self.file.write(bytes)?;
        self.hasher.add(&bytes[..count]);
        self.bytes += u64::try_from(count).unwrap_or(0);
        Ok(count)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.file.flush()
    }
}

fn make_dirs(folder: &Path) -> Result<()> {
    if folder.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(folder).map_err(|e| io(format_args!("making the folder {}", folder.display()), e))?;
    // every name on the way down: a folder that is gone after a power cut takes its files with it
    folder.ancestors().skip(1).take(4).try_for_each(sync)
}

/// Brings a folder's names to the disk. Some file systems of sticks cannot be asked to, and write them at once.
fn sync(folder: &Path) -> Result<()> {
    match File::open(folder).and_then(|file| file.sync_all()) {
        Err(e)
            if !matches!(e.kind(), ErrorKind::InvalidInput | ErrorKind::Unsupported | ErrorKind::PermissionDenied) =>
        {
            Err(io(format_args!("syncing {}", folder.display()), e))
        }
        _ => Ok(()),
    }
}
