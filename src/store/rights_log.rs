//! `rights.log`: every right exercised, one JSON object per line, on disk before the answer. A database that was lost
//! takes the noes over from here. Must never hold an id, only `visitor_ref` and a keyed hash of the id.
//! Invariant: append only; what the pen committed is in the log, what is in the log may not have been committed.

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rusqlite::Connection;
use serde::{Deserialize, Serialize};

use crate::base::digest::Hash;
use crate::base::error::{Error, Result, io};
use crate::base::id::VisitorRef;
use crate::base::text::{cut, hex, unhex};
use crate::base::time::Millis;
use crate::domain::consent::Purposes;
use crate::store::{WriteTx, files, refusals, suppressed};

/// Name of the log in the data directory.
pub const RIGHTS_LOG: &str = "rights.log";

/// The action of an erasure.
pub const ERASE: &str = "erase";

/// The action of an erasure of what was tied to one customer; `id_hash` is that of the customer's name.
pub const ERASE_CUSTOMER: &str = "erase_customer";

/// The action of an erasure of a visitor's visits in which nobody was known; the visitor stays.
pub const ERASE_PART: &str = "erase_part";

/// The log of a data directory.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join(RIGHTS_LOG)
}

/// One right exercised. Grants are not logged: after damage a no stays a no until the yes is given anew. The release of a
/// restriction is: else a restriction that is over would come back with every restore.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When it took effect here.
    pub at: Millis,
    /// The site's name.
    pub site: String,
    /// The visitor's name outside this machine.
    pub visitor_ref: VisitorRef,
    /// Keyed hash of the visitor's id, as in `refusals`.
    pub id_hash: Hash,
    /// Which right, as in `decisions`: `withdraw`, `refuse`, `object`, `restrict`, `release`, `erase`; and two more kinds of
    /// erasure, [`ERASE_CUSTOMER`] and [`ERASE_PART`].
    pub action: String,
    /// The purposes it takes away.
    pub purposes: Purposes,
    /// Of a customer's erasure: the keyed hash by which a backup knows the customer, where there was a row.
    pub customer: Option<[u8; 16]>,
    /// Of the erasure of a part: visits in which somebody signed in whose name was not kept went too.
    pub signed_in: bool,
}

/// An [`Entry`] as its line. Unknown keys are passed over, so that an older program reads a newer log.
#[derive(Serialize, Deserialize)]
struct Line {
    at: String,
    site: String,
    visitor_ref: String,
    id_hash: String,
    action: String,
    purposes: u32,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    customer: Option<String>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    signed_in: bool,
}

impl Entry {
    fn line(&self) -> Result<String> {
        let line = Line {
            at: self.at.rfc3339(),
            site: self.site.clone(),
            visitor_ref: self.visitor_ref.to_string(),
            id_hash: hex(&self.id_hash),
            action: self.action.clone(),
            purposes: self.purposes.0,
            customer: self.customer.map(|hash| hex(&hash)),
            signed_in: self.signed_in,
        };
        serde_json::to_string(&line).map_err(|e| Error::storage("writing a line of rights.log").source(e))
    }

    fn parse(text: &str) -> Result<Entry> {
        let line: Line =
            serde_json::from_str(text).map_err(|e| Error::invalid("not a line of rights.log").source(e))?;
        Ok(Entry {
            at: Millis::parse(&line.at).ok_or_else(|| Error::invalid("its time cannot be read"))?,
            site: line.site,
            visitor_ref: VisitorRef::parse(&line.visitor_ref)?,
            id_hash: unhex(&line.id_hash)?,
            action: line.action,
            purposes: Purposes(line.purposes),
            customer: line.customer.as_deref().map(unhex).transpose()?,
            signed_in: line.signed_in,
        })
    }
}

/// Logs a right together with this transaction: on disk before it is committed.
pub fn push(tx: &WriteTx<'_>, entry: Entry) {
    let mut held = tx.held().borrow_mut();
    held.writes += 1;
    held.rights.push(entry);
}

/// Appends what was pushed and brings it to the disk; the pen calls it right before COMMIT.
/// Errors: `Storage`, with code `disk_full` where there is no space; then the log is as it was.
pub(in crate::store) fn append(tx: &WriteTx<'_>, data_dir: &Path) -> Result<()> {
    let entries = std::mem::take(&mut tx.held().borrow_mut().rights);
    if entries.is_empty() {
        return Ok(());
    }
    append_to(&path(data_dir), &entries)
}

fn append_to(path: &Path, entries: &[Entry]) -> Result<()> {
    let mut text = String::new();
    for entry in entries {
        text.push_str(&entry.line()?);
        text.push('\n');
    }
    let failed = |e| io(format_args!("writing {}", path.display()), e);
    let fresh = !path.exists();
    let mut file =
        File::options().read(true).write(true).create(true).truncate(false).mode(0o600).open(path).map_err(failed)?;
    let end = whole_lines(&mut file).map_err(failed)?;
    let write = |file: &mut File| -> std::io::Result<()> {
        // what stands behind the last line end was never committed: the next line must not grow onto it
        if file.seek(SeekFrom::End(0))? != end {
            file.set_len(end)?;
            file.seek(SeekFrom::Start(end))?;
        }
        file.write_all(text.as_bytes())?;
        file.sync_data()
    };
    if let Err(error) = write(&mut file) {
        if let Err(again) = file.set_len(end) {
            log::warn!("{}: half a line stays behind until the next one is written: {again}", path.display());
        }
        return Err(failed(error));
    }
    if fresh { files::sync_dir(files::folder_of(path)) } else { Ok(()) }
}

/// Length of the file up to and with its last line end.
fn whole_lines(file: &mut File) -> std::io::Result<u64> {
    const STEP: u64 = 4096;
    let mut end = file.seek(SeekFrom::End(0))?;
    while end > 0 {
        let start = end.saturating_sub(STEP);
        let mut piece = vec![0; usize::try_from(end - start).unwrap_or(0)];
        file.seek(SeekFrom::Start(start))?;
        file.read_exact(&mut piece)?;
        if let Some(at) = piece.iter().rposition(|b| *b == b'\n') {
            return Ok(start + at as u64 + 1);
        }
        end = start;
    }
    Ok(0)
}

/// Replaces the log of a data directory by these entries, each once, in order of time. Errors: `Storage`.
pub(in crate::store) fn replace(data_dir: &Path, entries: &[Entry]) -> Result<()> {
    let mut text = String::new();
    for entry in entries {
        text.push_str(&entry.line()?);
        text.push('\n');
    }
    files::write_whole(&path(data_dir), text.as_bytes())
}

/// Everything logged, oldest first; nothing where there is no log. A last line without its end was never committed and is
/// passed over; any other line that cannot be read is passed over with an error in the log of the program.
/// Errors: `Storage`.
pub fn read(data_dir: &Path) -> Result<Vec<Entry>> {
    read_from(&path(data_dir))
}

/// The same of a log that lies elsewhere, beside a backup for example. Errors: `Storage`.
pub(in crate::store) fn read_from(path: &Path) -> Result<Vec<Entry>> {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => return Err(io(format_args!("reading {}", path.display()), e)),
    };
    let whole = bytes.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
    let text = String::from_utf8_lossy(&bytes[..whole]);
    let mut entries = Vec::new();
    for (at, line) in text.lines().enumerate() {
        match Entry::parse(line) {
            Ok(entry) => entries.push(entry),
            Err(e) => log::error!("{} line {}: passed over: {}", path.display(), at + 1, cut(&e.to_string(), 200)),
        }
    }
    Ok(entries)
}

/// Takes every no of the log over into a fresh database; returns how many lines counted.
pub(in crate::store) fn replay(conn: &Connection, data_dir: &Path) -> Result<usize> {
    let entries = read(data_dir)?;
    let mut taken = 0;
    for entry in &entries {
        match entry.action.as_str() {
            "restrict" | "release" => {
                refusals::replay_restriction(conn, &entry.id_hash, entry.action == "restrict", entry.at)?;
            }
            // what happened until then is not taken in any more; whoever comes anew may
            ERASE_CUSTOMER | ERASE_PART => suppressed::replay(conn, &entry.id_hash, entry.at)?,
            _ if entry.purposes.is_none() => continue,
            _ => refusals::replay(conn, &entry.id_hash, entry.purposes, entry.at)?,
        }
        if entry.action == ERASE && !entry.purposes.is_none() {
            suppressed::replay(conn, &entry.id_hash, entry.at)?;
        }
        taken += 1;
    }
    Ok(taken)
}

#[cfg(test)]
pub(in crate::store) mod tests;
