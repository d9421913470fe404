//! One batch, or a day of them, out of a file: verified first, then handed out line by line.
//! Must never hand out a line of what does not verify. Invariant: needs no database and no secret.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use crate::base::error::{Error, Result, io};
use crate::base::gzip;
use crate::domain::batch::SealedPart;
use crate::forward::dir::{DATA, MANIFEST, read_if_there};
use crate::forward::inspect;
use crate::forward::take::joined::{Entry, INDEX, entries, index_of};
use crate::forward::take::taken::Way;

/// A batch that verified.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sound {
    /// Its signed part.
    pub part: SealedPart,
    /// Lines that are holes.
    pub holes: i64,
    /// The lines.
    pub ndjson: Vec<u8>,
}

/// Takes one batch after the other.
pub type Take<'a> = dyn FnMut(Sound) -> Result<()> + 'a;

/// Lines and manifest as they are given, under `key` where one is. Errors: `Invalid`, those of [`inspect::batch`].
pub fn pair(manifest: &[u8], gz: &[u8], key: Option<&[u8; 32]>) -> Result<Sound> {
    let found = inspect::batch(manifest, gz, key)?;
    let ndjson = gzip::decompress(gz, inspect::LINES_BYTES_MAX)?;
    Ok(Sound { part: found.part, holes: found.holes, ndjson })
}

/// A file of lines with its manifest or its index beside it. Returns how many batches it held. Errors: `NotFound`, `Storage`;
/// `Invalid` for the first batch that does not verify.
pub fn file(path: &Path, manifest: Option<&Path>, key: Option<&[u8; 32]>, take: &mut Take<'_>) -> Result<u64> {
    let gone = || {
        Error::not_found(format!("{} is not there", path.display()))
            .remedy("name a file .ndjson.gz with its manifest or index beside it, or a batch's key with --folder")
    };
    let beside = manifest.map_or_else(|| sibling(path, MANIFEST), Path::to_owned);
    if let Some(manifest) = read_if_there(&beside)? {
        let gz = read_if_there(path)?.ok_or_else(gone)?;
        let sound = pair(&manifest, &gz, key).map_err(|e| e.context(path.display()))?;
        return take(sound).map(|()| 1);
    }
    let index = index_of(path);
    let Some((all, _)) = entries(&index)? else {
        return Err(if path.exists() {
            Error::not_found(format!("{} has neither manifest nor index beside it", path.display()))
                .remedy("name its manifest with --manifest")
        } else {
            gone()
        });
    };
    for entry in &all {
        take(member(path, entry, key)?)?;
    }
    Ok(all.len() as u64)
}

/// The batch of a key below a folder, in a file of its own or a joined one. Errors: as [`file()`].
pub fn keyed(folder: &Path, text: &str, key: Option<&[u8; 32]>) -> Result<Sound> {
    let (way, _) = Way::of_key(text)?;
    let alone = folder.join(format!("{text}{DATA}"));
    if alone.exists() {
        let mut found = None;
        file(&alone, None, key, &mut |sound| {
            found = Some(sound);
            Ok(())
        })?;
        return found.ok_or_else(|| nowhere(folder, text));
    }
    let lane = folder.join(&way.edge).join(&way.lane);
    let list = std::fs::read_dir(&lane).map_err(|_| nowhere(folder, text))?;
    for name in list.filter_map(|entry| entry.ok()?.file_name().into_string().ok()) {
        let Some(day) = name.strip_suffix(INDEX) else { continue };
        let Some((all, _)) = entries(&lane.join(&name))? else { continue };
        if let Some(entry) = all.iter().find(|entry| entry.key == text) {
            return member(&lane.join(format!("{day}{DATA}")), entry, key);
        }
    }
    Err(nowhere(folder, text))
}

fn nowhere(folder: &Path, key: &str) -> Error {
    Error::not_found(format!("no batch {key} lies below {}", folder.display())).remedy("name the folder with --folder")
}

fn member(data: &Path, entry: &Entry, key: Option<&[u8; 32]>) -> Result<Sound> {
    let doing = |e| io(format_args!("reading {}", data.display()), e);
    let mut gz = Vec::new();
    let mut from = File::open(data).map_err(doing)?;
    from.seek(SeekFrom::Start(entry.offset)).map_err(doing)?;
    from.take(entry.bytes).read_to_end(&mut gz).map_err(doing)?;
    let manifest = serde_json::to_vec(&entry.manifest).expect("invariant: a manifest has string keys");
    pair(&manifest, &gz, key).map_err(|e| e.context(&entry.key))
}

fn sibling(path: &Path, kind: &str) -> PathBuf {
    let text = path.display().to_string();
    PathBuf::from(format!("{}{kind}", text.strip_suffix(DATA).unwrap_or(&text)))
}
