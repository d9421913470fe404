//! Where a person can be in the data directory, and how each place is rid of one: the table that says so, and the trait
//! that whoever owns files there implements; and the same for copies of the database and for answers to requests.
//! Must never decide whom to look for. Invariant: every file a running collector leaves stands in [`PLACES`].

use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use rusqlite::{Connection, OpenFlags};

use crate::base::error::{Result, io};
use crate::base::id::VisitorRef;
use crate::domain::erasure::{Marks, Search};
use crate::store::{damage, files, migrate};

/// One place in the data directory.
#[derive(Clone, Copy, Debug)]
pub struct PlaceRow {
    /// The file, or the folder with all below it (ends in `/`); `*` at the end stands for any ending.
    pub path: &'static str,
    /// Who owns it: a module of this program.
    pub owner: &'static str,
    /// What of a person it can hold; empty = nobody.
    pub holds: &'static str,
    /// How a person is erased from it.
    pub erased: &'static str,
}

const fn place(path: &'static str, owner: &'static str, holds: &'static str, erased: &'static str) -> PlaceRow {
    PlaceRow { path, owner, holds, erased }
}

/// Every place in the data directory. The map in `lib.rs` shows the same table; tests compare both, and compare it with what
/// a full run leaves behind.
pub const PLACES: &[PlaceRow] = &[
    place(
        "wayside.db*",
        "store",
        "pseudonymous rows, sealed personal cells",
        "rows deleted in steps, freed pages overwritten, the log emptied",
    ),
    place(
        "keys.db*",
        "store::keys",
        "a key per person, nobody's name",
        "the key is deleted, the others are wrapped anew",
    ),
    place("root.key*", "store::root", "", ""),
    place("edge.json*", "store::edge", "", ""),
    place("edge.key*", "store::edge", "", ""),
    place("rights.log", "store::rights_log", "`visitor_ref` and a keyed hash of the id", "never: it keeps the erasure"),
    place("erasing/", "store::erasures", "keys of what is being looked for", "overwritten when the erasure is done"),
    place("spool/", "ingest::spool", "what the writing program put there", "lines that name the id are removed"),
    place("spool/rejected/", "ingest::spool", "the shape of bad lines, values masked", "removed whole"),
    place("outbox/", "forward", "pseudonymous lines", "holes in what is not taken yet; what is taken is the taker's"),
    place(
        "relay/",
        "forward::relay",
        "pseudonymous lines of other edges",
        "holes, as their edges say; a file that names the person is written anew",
    ),
    place("upstream.*", "config::upstream", "", ""),
    place("join.json", "daemon::join", "", ""),
    place("results/", "store::traces", "answers to requests for access", "removed whole"),
    place("snapshots/", "store::traces", "as the database", "a copy that holds the person is removed"),
    place("damaged/", "store::traces", "as the database", "a copy that may hold the person keeps the erasure open"),
    place("ballast", "upkeep::ballast", "", ""),
    place("lock", "store::open", "", ""),
    place("running*", "store::damage", "", ""),
    place("first-start*", "store::damage", "", ""),
    place("control.sock", "http::local", "", ""),
];

/// The place a file belongs to, by its path below the data directory; the longest that fits.
pub fn place_of(relative: &str) -> Option<&'static PlaceRow> {
    let fits = |row: &&PlaceRow| match (row.path.strip_suffix('*'), row.path.strip_suffix('/')) {
        (Some(stem), _) => relative.starts_with(stem) && !relative[stem.len()..].contains('/'),
        (_, Some(_)) => relative.starts_with(row.path),
        _ => relative == row.path,
    };
    PLACES.iter().filter(fits).max_by_key(|row| row.path.len())
}

/// Whom to look for.
#[derive(Clone, Debug, Default)]
pub struct Sought {
    /// Their ids as files may have them.
    pub marks: Marks,
    /// Their references.
    pub refs: Vec<VisitorRef>,
    /// Rows of visitors who stay went too: their references are not among `refs`.
    pub others: bool,
    /// References of those who stay, as far as they are known.
    pub stay: Vec<VisitorRef>,
    /// Customers whose ties went.
    pub identities: Vec<i64>,
}

impl Sought {
    /// Every reference that a copy or an answer must not name.
    fn named(&self) -> impl Iterator<Item = &VisitorRef> {
        self.refs.iter().chain(&self.stay)
    }
}

/// What came of looking in one owner's files.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Erased {
    /// Files changed or removed.
    pub changed: u64,
    /// Files that may hold the person and could not be looked into.
    pub unreachable: Vec<PathBuf>,
}

impl Erased {
    /// Both together.
    pub fn and(mut self, other: Erased) -> Erased {
        self.changed += other.changed;
        self.unreachable.extend(other.unreachable);
        self
    }
}

/// Whoever owns files that can hold a person.
pub trait Traces: Send + Sync {
    /// The places it answers for, as in [`PLACES`].
    fn places(&self) -> &'static [&'static str];

    /// Files that hold, or may hold, one of them. Errors: `Storage`.
    fn find(&self, sought: &Sought) -> Result<Vec<PathBuf>>;

    /// Removes them from every file. A file that cannot be looked into is named, not left out. Errors: `Busy`, `Storage`;
    /// it is tried again then.
    fn erase(&self, sought: &Sought) -> Result<Erased>;
}

/// Copies of the database that nobody serves from.
#[derive(Debug)]
pub struct Copies {
    data_dir: PathBuf,
}

/// What looking into a copy came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Look {
    Absent,
    Present,
    Unknown,
}

impl Copies {
    /// Those of this data directory.
    pub fn of(data_dir: impl Into<PathBuf>) -> Self {
        Copies { data_dir: data_dir.into() }
    }

    fn files(&self, folder: &str) -> Result<Vec<PathBuf>> {
        let mut out = Vec::new();
        walk(&self.data_dir.join(folder), &mut |path| out.push(path.to_owned()))?;
        Ok(out)
    }
}

impl Traces for Copies {
    fn places(&self) -> &'static [&'static str] {
        &["snapshots/", "damaged/"]
    }

    fn find(&self, sought: &Sought) -> Result<Vec<PathBuf>> {
        let mut out = self.files(migrate::SNAPSHOTS)?;
        out.extend(self.files(damage::DAMAGED)?);
        out.retain(|path| is_main(path) && look(path, sought) != Look::Absent);
        Ok(out)
    }

    fn erase(&self, sought: &Sought) -> Result<Erased> {
        let mut done = Erased::default();
        for path in self.files(migrate::SNAPSHOTS)?.into_iter().filter(|path| is_main(path)) {
            match look(&path, sought) {
                Look::Absent => {}
                Look::Present => {
                    files::remove_database(&path)?;
                    log::info!("the snapshot {} held a person who is being erased; it is removed", path.display());
                    done.changed += 1;
                }
                Look::Unknown => done.unreachable.push(path),
            }
        }
        // evidence of damage is the operator's: it is kept as it is, and named
        for path in self.files(damage::DAMAGED)?.into_iter().filter(|path| is_main(path)) {
            if look(&path, sought) != Look::Absent {
                done.unreachable.push(path);
            }
        }
        Ok(done)
    }
}

/// Answers to requests of data subjects: a file that names somebody goes as a whole.
#[derive(Debug)]
pub struct Answers {
    folder: PathBuf,
}

impl Answers {
    /// Those of this data directory.
    pub fn of(data_dir: impl Into<PathBuf>) -> Self {
        Answers { folder: data_dir.into().join("results") }
    }
}

impl Traces for Answers {
    fn places(&self) -> &'static [&'static str] {
        &["results/"]
    }

    fn find(&self, sought: &Sought) -> Result<Vec<PathBuf>> {
        let mut marks = sought.marks.clone();
        sought.named().for_each(|one| marks.add(one.to_string().as_bytes()));
        let search = Search::of(&marks);
        let mut out = Vec::new();
        walk(&self.folder, &mut |path| {
            // one that cannot be read may hold anybody
            if std::fs::read(path).map_or(true, |bytes| search.count(&bytes, usize::MAX) > 0) {
                out.push(path.to_owned());
            }
        })?;
        Ok(out)
    }

    fn erase(&self, sought: &Sought) -> Result<Erased> {
        let mut done = Erased::default();
        for path in self.find(sought)? {
            files::remove_database(&path)?;
            done.changed += 1;
        }
        Ok(done)
    }
}

/// Is it a database, not what SQLite keeps beside one?
fn is_main(path: &Path) -> bool {
    let name = path.to_string_lossy();
    !["-wal", "-shm", "-journal"].iter().any(|tail| name.ends_with(tail))
}

/// Does a copy hold one of these visitors or customers? It is opened as it lies, read-only; beside its log it may not be changed, so one
/// with a log counts as unknown.
fn look(path: &Path, sought: &Sought) -> Look {
    if files::length(&files::beside(path, "-wal")).map_or(true, |bytes| bytes > 0) {
        return Look::Unknown;
    }
    let ask = || -> rusqlite::Result<bool> {
        let uri = format!("file:{}?immutable=1", uri_path(path));
        let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX | OpenFlags::SQLITE_OPEN_URI;
        let conn = Connection::open_with_flags(uri, flags)?;
        let sound: String = conn.query_row("PRAGMA quick_check(1)", [], |r| r.get(0))?;
        if sound != "ok" {
            return Err(rusqlite::Error::InvalidQuery);
        }
        let mut one = conn.prepare("SELECT EXISTS (SELECT 1 FROM visitors WHERE visitor_ref = ?1)")?;
        for visitor_ref in sought.named() {
            if one.query_row([visitor_ref], |r| r.get(0))? {
                return Ok(true);
            }
        }
        let mut customer = conn.prepare("SELECT EXISTS (SELECT 1 FROM identities WHERE identity_id = ?1)")?;
        for id in &sought.identities {
            if customer.query_row([id], |r| r.get(0))? {
                return Ok(true);
            }
        }
        Ok(false)
    };
    match ask() {
        Ok(true) => Look::Present,
        Ok(false) => Look::Absent,
        Err(error) => {
            log::debug!("{} cannot be looked into: {error}", path.display());
            Look::Unknown
        }
    }
}

/// A path as part of a `file:` address.
fn uri_path(path: &Path) -> String {
    let mut out = String::new();
    for byte in path.to_string_lossy().bytes() {
        if byte.is_ascii_alphanumeric() || b"/._-".contains(&byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02x}"));
        }
    }
    out
}

/// Every regular file below a folder, in order; links are not followed. Errors: `Storage`.
pub fn walk(folder: &Path, visit: &mut dyn FnMut(&Path)) -> Result<()> {
    let failed = |e| io(format_args!("listing {}", folder.display()), e);
    let entries = match std::fs::read_dir(folder) {
        Ok(entries) => entries,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(()),
        Err(e) => return Err(failed(e)),
    };
    let mut paths = Vec::new();
    for entry in entries {
        let entry = entry.map_err(failed)?;
        if let Ok(kind) = entry.file_type() {
            paths.push((entry.path(), kind));
        }
    }
    paths.sort_by(|a, b| a.0.cmp(&b.0));
    for (path, kind) in paths {
        if kind.is_dir() {
            walk(&path, visit)?;
        } else if kind.is_file() {
            visit(&path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
