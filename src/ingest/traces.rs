//! Erasure in what ingest owns outside the database: files waiting in the spool, rejected lines, the tail in memory.
//! Must never take a line in. Invariant: a line that names an erased id is gone from a waiting file, every other line of it is
//! as it was, and lines taken before are not taken twice.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::digest::sha256;
use crate::base::error::{Result, io};
use crate::domain::erasure::{Marks, Search};
use crate::ingest::Ingest;
use crate::ingest::spool::{prepare, write_spool_file};
use crate::store::imports;
use crate::store::traces::{Erased, Sought, Traces, walk};

/// Ingest's own files, for whoever erases.
pub struct SpoolTraces(pub Arc<Ingest>);

impl SpoolTraces {
    /// Files waiting to be taken in, and files of rejected lines.
    fn files(&self) -> Result<(Vec<PathBuf>, Vec<PathBuf>)> {
        let spool = prepare(self.0.store().data_dir())?;
        let rejected = spool.join("rejected");
        let (mut waiting, mut refused) = (Vec::new(), Vec::new());
        walk(&spool, &mut |path| {
            // a hidden file is being written by somebody else; what it names is looked for again when it is taken in
            let hidden = path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
            if hidden && !path.starts_with(&rejected) {
                return;
            }
            let list = if path.starts_with(&rejected) { &mut refused } else { &mut waiting };
            list.push(path.to_owned());
        })?;
        Ok((waiting, refused))
    }

    /// Takes the lines that name somebody out of a waiting file; false where none did.
    fn clear(&self, path: &Path, marks: &Marks) -> Result<bool> {
        let bytes = match fs::read(path) {
            Ok(bytes) => bytes,
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(false), // taken in meanwhile
            Err(e) => return Err(io("reading a spool file", e)),
        };
        let search = Search::of(marks);
        if search.count(&bytes, usize::MAX) == 0 {
            return Ok(false);
        }
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default().to_owned();
        let digest = sha256(&bytes);
        let before = self.0.store().read(|tx| imports::spooled(tx, &name, &digest))?;
        let mut kept = Vec::with_capacity(bytes.len());
        let (mut seen, mut taken) = (0, 0);
        for line in bytes.split_inclusive(|b| *b == b'\n') {
            let blank = line.iter().all(u8::is_ascii_whitespace);
            let stays = search.count(line, usize::MAX) == 0;
            if stays {
                kept.extend(line);
            }
            if !blank {
                seen += 1;
                taken += i64::from(stays && before.is_some_and(|before| seen <= before));
            }
        }
        if before.is_some() {
            // lines of it were taken before a stop: the file goes on under its new digest, not from its beginning
            let digest = sha256(&kept);
            self.0.store().pen().call(move |tx| imports::set_spooled(tx, &name, &digest, taken))?;
        }
        write_spool_file(path, &kept)?;
        Ok(true)
    }
}

impl Traces for SpoolTraces {
    fn places(&self) -> &'static [&'static str] {
        &["spool/", "spool/rejected/"]
    }

    fn find(&self, sought: &Sought) -> Result<Vec<PathBuf>> {
        let (waiting, refused) = self.files()?;
        let search = Search::of(&sought.marks);
        let holds = |path: &PathBuf| fs::read(path).is_ok_and(|bytes| search.count(&bytes, usize::MAX) > 0);
        Ok(waiting.into_iter().filter(holds).chain(refused).collect())
    }

    /// Values of rejected lines are masked, so nobody can tell whose they are: all of them go.
    fn erase(&self, sought: &Sought) -> Result<Erased> {
        let (waiting, refused) = self.files()?;
        let mut done = Erased::default();
        for path in waiting {
            done.changed += u64::from(self.clear(&path, &sought.marks)?);
        }
        for path in refused {
            match fs::remove_file(&path) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(io(format_args!("removing {}", path.display()), e));
                }
                _ => done.changed += 1,
            }
        }
        self.0.tail().forget();
        Ok(done)
    }
}
