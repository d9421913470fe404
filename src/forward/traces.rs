//! Erasure in the files of targets that nobody has taken yet: each that names an erased visitor is put again, with holes.
//! Must never touch what was taken. Invariant: number, digest and signature of a file put again stay what they were.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::base::error::{Kind, Result, io};
use crate::base::gzip;
use crate::forward::Forwarder;
use crate::forward::dir::DATA;
use crate::forward::encode::{self, Order};
use crate::forward::inspect::LINES_BYTES_MAX;
use crate::forward::target::{Key, Parcel, Target};
use crate::store::traces::{Erased, Sought, Traces};
use crate::store::{attempts, batches, epochs};

/// The targets' own files, for whoever erases.
pub struct OutboxTraces(pub Arc<Forwarder>);

/// What a file of a target says of somebody.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Nobody,
    Somebody,
    /// It cannot be read back.
    Unknown,
}

fn names(path: &Path, sought: &Sought) -> Result<Names> {
    let packed = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Names::Nobody), // taken while we looked
        Err(e) => return Err(io(format_args!("reading {}", path.display()), e)),
    };
    let Ok(lines) = gzip::decompress(&packed, LINES_BYTES_MAX) else { return Ok(Names::Unknown) };
    if sought.others {
        return Ok(Names::Somebody);
    }
    let refs: Vec<String> = sought.refs.iter().map(ToString::to_string).collect();
    // an erasure names the reference itself: that line is what remains
    let told = |line: &[u8]| line.starts_with(br#"{"kind":"erasure""#);
    let text = lines.split(|b| *b == b'\n').filter(|line| !told(line));
    let mut names = text
        .map(|line| String::from_utf8_lossy(line))
        .flat_map(|line| refs.iter().map(|one| line.contains(one.as_str())).collect::<Vec<_>>());
    Ok(if names.any(|found| found) { Names::Somebody } else { Names::Nobody })
}

impl OutboxTraces {
    /// Files that name somebody, with their keys and whose they are.
    fn each(
        &self,
        sought: &Sought,
        mut take: impl FnMut(&dyn Target, Key, PathBuf, Names) -> Result<()>,
    ) -> Result<()> {
        for target in &self.0.targets {
            let Some(folder) = target.folder() else { continue };
            for held in target.held()? {
                let path = folder.join(format!("{}{DATA}", held.key));
                match names(&path, sought)? {
                    Names::Nobody => {}
                    found => take(target.as_ref(), held.key, path, found)?,
                }
            }
        }
        Ok(())
    }

    /// Puts a batch again as it may be had now; false where this database does not know it.
    fn renew(&self, target: &dyn Target, key: Key) -> Result<bool> {
        let forwarder = &self.0;
        let found = forwarder.store.read(|tx| {
            let epoch = epochs::all(tx)?.into_iter().find(|row| row.epoch == key.epoch && row.edge == key.edge);
            epoch.map_or(Ok(None), |epoch| batches::get(tx, epoch.id, key.lane, key.batch_no))
        })?;
        let Some(batch) = found else { return Ok(false) };
        let (name, epoch_id) = (target.name().to_owned(), batch.epoch_id);
        let _turn = forwarder.turn(target);
        let (attempt_id, began) = forwarder.store.pen().call(move |tx| {
            let (attempt_id, _) = attempts::begin(tx, &name, epoch_id, key.lane, key.batch_no)?;
            Ok((attempt_id, tx.now()))
        })?;
        let identity = forwarder.store.identity();
        let order = Order { recipient: target.recipient(), keys: &identity.edge.keys, began, refused: &[] };
        let rendered = match forwarder.store.read(|tx| encode::render(tx, &batch, &order)) {
            Ok(rendered) => rendered.compress(forwarder.gzip_level),
            Err(error) => {
                let code = error.code;
                forwarder.store.pen().call(move |tx| attempts::end(tx, attempt_id, code, 0))?;
                return if error.kind == Kind::NotFound { Ok(false) } else { Err(error) };
            }
        };
        let put = target.put(&Parcel::whole(key, &rendered, true)).map_err(|setback| setback.error)?;
        let holes = rendered.holes;
        forwarder.store.pen().call(move |tx| attempts::end(tx, attempt_id, put.landed.word(), holes))?;
        Ok(true)
    }
}

impl Traces for OutboxTraces {
    fn places(&self) -> &'static [&'static str] {
        &["outbox/"]
    }

    fn find(&self, sought: &Sought) -> Result<Vec<PathBuf>> {
        let mut out = Vec::new();
        self.each(sought, |_, _, path, _| {
            out.push(path);
            Ok(())
        })?;
        Ok(out)
    }

    fn erase(&self, sought: &Sought) -> Result<Erased> {
        let mut done = Erased::default();
        self.each(sought, |target, key, path, found| {
            if found == Names::Somebody && self.renew(target, key)? {
                done.changed += 1;
            } else if path.exists() {
                done.unreachable.push(path);
            }
            Ok(())
        })?;
        Ok(done)
    }
}
