//! The spool folder, for kiosks and old programs without HTTP: a program writes an NDJSON file elsewhere and renames it
//! into `spool/`; it is taken in once, and its bad lines go to `spool/rejected/` with the reason. Writing there is
//! authority: decision lines are recorded (contract 2). `SITE@name.ndjson` names the site; else it is the only one.
//! Must never delete a file before its lines are committed. Invariant: lines and how many were taken commit together.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::digest::{Hash, sha256};
use crate::base::error::{Error, Kind, Result, io};
use crate::base::text::hex;
use crate::base::time::Millis;
use crate::domain::consent::Signals;
use crate::domain::site::Seat;
use crate::ingest::Ingest;
use crate::ingest::accept::Part;
use crate::ingest::decode;
use crate::ingest::record::{From, Outcome};
use crate::ingest::shape::{Authority, Origin};
use crate::ingest::wire::Item;
use crate::store::decisions::Actor;
use crate::store::{imports, tallies};

/// Counts files whose name and content were taken before.
const REPEATED: &str = "spool.repeated_files";
/// Lines of one commit.
const LINES_PER_STEP: usize = 500;

/// What became of one spool file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Spooled {
    /// Lines in the file.
    pub lines: usize,
    /// Lines taken before (the daemon was stopped within the file).
    pub taken_before: usize,
    /// Lines moved to `rejected/`.
    pub rejected: usize,
}

/// Makes the folders. Errors: `Storage`.
pub fn prepare(data_dir: &Path) -> Result<PathBuf> {
    use std::os::unix::fs::DirBuilderExt;
    let spool = data_dir.join("spool");
    fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(spool.join("rejected"))
        .map_err(|e| io(format_args!("making {}", spool.display()), e))?;
    Ok(spool)
}

/// Replaces a waiting file as a whole; one without lines left goes.
pub(in crate::ingest) fn write_spool_file(path: &Path, bytes: &[u8]) -> Result<()> {
    use std::os::unix::fs::OpenOptionsExt;
    let failed = |e| io(format_args!("writing {}", path.display()), e);
    if bytes.is_empty() {
        return fs::remove_file(path).map_err(failed);
    }
    let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("spool file");
    let part = path.with_file_name(format!(".{name}.part"));
    let write = || -> std::io::Result<()> {
        let mut file = fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(&part)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    write().map_err(failed)
}

impl Ingest {
    /// Takes in every file waiting in the spool; returns how many. A file that cannot be taken now stays.
    pub fn take_spool(&self, now: Millis) -> Result<usize> {
        let spool = prepare(self.store.data_dir())?;
        let mut files: Vec<PathBuf> = Vec::new();
        for entry in fs::read_dir(&spool).map_err(|e| io("reading the spool", e))? {
            let entry = entry.map_err(|e| io("reading the spool", e))?;
            let hidden = entry.file_name().as_encoded_bytes().starts_with(b".");
            if !hidden && entry.file_type().is_ok_and(|t| t.is_file()) {
                files.push(entry.path());
            }
        }
        files.sort();
        let mut taken = 0;
        for file in files {
            match self.take_spool_file(&file, now) {
                Ok(done) => {
                    taken += 1;
                    log::info!("spool: {} lines of {} ({} rejected)", done.lines, file.display(), done.rejected);
                }
                Err(e) if e.kind == Kind::Busy => return Ok(taken),
                Err(e) => log::warn!("spool: {} stays: {e}", file.display()),
            }
        }
        Ok(taken)
    }

    /// Takes in one file. Errors: `Busy`, `Storage`, `Invalid` (too large, unknown site): the file stays.
    pub fn take_spool_file(&self, path: &Path, now: Millis) -> Result<Spooled> {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or("spool file").to_owned();
        let size = fs::metadata(path).map_err(|e| io(format_args!("reading {name}"), e))?.len();
        if size > self.options.spool.file_bytes_max {
            return Err(Error::invalid(format!(
                "{name} has {size} bytes; a spool file may have {}",
                self.options.spool.file_bytes_max
            ))
            .code("too_large")
            .remedy("split it into smaller files"));
        }
        let bytes = fs::read(path).map_err(|e| io(format_args!("reading {name}"), e))?;
        let digest = sha256(&bytes);
        let seat = self.seat(name.split_once('@').map(|(site, _)| site))?.clone();
        let blank = |line: &[u8]| line.iter().all(u8::is_ascii_whitespace);
        let (numbers, lines): (Vec<usize>, Vec<&[u8]>) =
            (1..).zip(bytes.split(|b| *b == b'\n')).filter(|(_, line)| !blank(line)).unzip();
        let before = self.store.read(|tx| imports::spooled(tx, &name, &digest))?.unwrap_or(0);
        if !lines.is_empty() && usize::try_from(before).is_ok_and(|before| before >= lines.len()) {
            // or it was stopped between commit and removal: then it is this very file, and nothing is missing
            log::warn!(
                "spool: all {before} lines of {name} were taken before, under the same name; nothing of it is taken again; \
                 give each file a name of its own, for example with the time in it"
            );
            self.store.pen().call(|tx| tallies::add(tx, REPEATED, 1))?;
        }
        let mut done = Spooled { lines: lines.len(), taken_before: usize::try_from(before).unwrap_or(0), rejected: 0 };
        let mut rejected = Vec::new();
        for (step, chunk) in lines.chunks(LINES_PER_STEP).enumerate() {
            let first = step * LINES_PER_STEP;
            let outcomes = self.take_chunk(&seat, chunk, now, (&name, digest, first, done.taken_before))?;
            for (i, outcome) in outcomes.iter().enumerate().filter(|(_, o)| o.problem.is_some()) {
                rejected.push(rejection(numbers[first + i], chunk[i], outcome));
            }
        }
        done.rejected = rejected.len();
        // by name and content: another file of that name must not write over what this one had rejected
        self.put_rejected(&format!("{name}.{}", hex(&digest[..4])), &rejected)?;
        fs::remove_file(path).map_err(|e| io(format_args!("removing {name}"), e))?;
        Ok(done)
    }

    /// One commit: the lines not taken before, and how many are taken now.
    fn take_chunk(
        &self,
        seat: &Seat,
        chunk: &[&[u8]],
        now: Millis,
        (name, digest, first, before): (&str, Hash, usize, usize),
    ) -> Result<Vec<Outcome>> {
        let parts: Arc<Vec<Part>> = Arc::new(chunk.iter().map(|line| self.spool_part(seat, line)).collect());
        let upto = first + chunk.len();
        if upto <= before {
            // committed before a stop: only what does not parse is told again
            return Ok(parts.iter().map(told_again).collect());
        }
        self.refuse_when_full(&parts)?;
        let from = From { received: now, signals: Signals::default(), actor: Actor::Operator, visit_told: false };
        let (seat, rules, name) = (seat.clone(), self.rules.clone(), name.to_owned());
        let (tail, site, told) = (Arc::clone(&self.tail), seat.site.id().to_owned(), Arc::clone(&parts));
        let outcomes = self.store.pen().call(move |tx| {
            let outcomes = parts
                .iter()
                .map(|part| crate::ingest::accept::one(tx, &seat, &rules, &from, part))
                .collect::<Result<Vec<_>>>()?;
            imports::set_spooled(tx, &name, &digest, i64::try_from(upto).unwrap_or(i64::MAX))?;
            Ok(outcomes)
        })?;
        tail.add(now, &site, told.iter().map(Part::name).zip(&outcomes));
        Ok(outcomes)
    }

    fn spool_part(&self, seat: &Seat, line: &[u8]) -> Part {
        let origin = Origin {
            site: &seat.site,
            user_agent: None,
            ip: None,
            place: None,
            sent_at: None,
            authority: Authority::Operator,
        };
        match decode::one_line(line, &self.limits) {
            Err(e) => Part::Invalid(decode::Invalid::new("line", e.what)),
            Ok(Err(problem)) => Part::Invalid(problem),
            Ok(Ok(Item::Decision(raw))) => self.decision_line(*raw, &origin),
            Ok(Ok(Item::Event(mut raw))) => {
                match self.deriver.shape(&mut raw, &origin, self.hash_key(), &self.limits) {
                    Ok(event) => Part::Event(event),
                    Err(problem) => Part::Invalid(problem),
                }
            }
        }
    }

    /// Writes the rejected lines of a file: atomically, before the file itself goes.
    fn put_rejected(&self, name: &str, rejected: &[String]) -> Result<()> {
        use std::os::unix::fs::OpenOptionsExt;
        if rejected.is_empty() {
            return Ok(());
        }
        let folder = prepare(self.store.data_dir())?.join("rejected");
        let (part, full) = (folder.join(format!(".{name}.part")), folder.join(format!("{name}.rejected.ndjson")));
        let write = || -> std::io::Result<()> {
            let mut file = fs::File::options().create(true).truncate(true).write(true).mode(0o600).open(&part)?;
            for line in rejected {
                writeln!(file, "{line}")?;
            }
            file.sync_all()?;
            fs::rename(&part, &full)
        };
        write().map_err(|e| io(format_args!("writing {}", full.display()), e))
    }
}

fn told_again(part: &Part) -> Outcome {
    match part {
        Part::Invalid(problem) => Outcome::invalid(problem.field.to_string(), problem.what.to_string()),
        _ => Outcome::of(crate::domain::event::Fate::Duplicate),
    }
}

/// A rejected line: its number, the reason, and its shape with every value masked (contract 7).
fn rejection(number: usize, line: &[u8], outcome: &Outcome) -> String {
    let (field, what) = outcome.problem.clone().unwrap_or_default();
    let shape = serde_json::from_slice(line).map_or(serde_json::Value::Null, masked);
    serde_json::json!({"line": number, "field": field, "what": what, "bytes": line.len(), "shape": shape}).to_string()
}

fn masked(value: serde_json::Value) -> serde_json::Value {
    use serde_json::Value;
    match value {
        Value::Object(map) => Value::Object(map.into_iter().map(|(key, v)| (key, masked(v))).collect()),
        Value::Array(list) => Value::Array(list.into_iter().map(masked).collect()),
        Value::String(_) => Value::from("<string>"),
        Value::Number(_) => Value::from("<number>"),
        Value::Bool(_) => Value::from("<boolean>"),
        Value::Null => Value::Null,
    }
}
