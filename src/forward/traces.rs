//! Erasure in the files of targets that nobody has taken yet: each that names an erased visitor is put again, with holes.
//! Must never touch what was taken. Invariant: number, digest and signature of a file put again stay what they were. A file
//! of a batch that this database does not know, because it was put back to an earlier state, gets its holes from its own lines.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;

use crate::base::error::{Error, Kind, Result, io};
use crate::base::gzip;
use crate::base::id::{EdgeId, Epoch, Seq};
use crate::domain::batch::Manifest;
use crate::domain::event::Lane;
use crate::domain::line::{HoleReason, line_hash, render_hole};
use crate::forward::Forwarder;
use crate::forward::dir::{DATA, MANIFEST, read_if_there};
use crate::forward::encode::{self, Order, Rendered};
use crate::forward::inspect::{self, LINES_BYTES_MAX};
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

/// Does a line name one of these? An erasure names the reference itself: that line is what remains.
fn says(line: &[u8], refs: &[String]) -> bool {
    let text = String::from_utf8_lossy(line);
    !text.starts_with(r#"{"kind":"erasure""#) && refs.iter().any(|one| text.contains(one.as_str()))
}

fn refs_of(sought: &Sought) -> Vec<String> {
    sought.refs.iter().map(ToString::to_string).collect()
}

fn names(path: &Path, sought: &Sought) -> Result<Names> {
    let packed = match fs::read(path) {
        Ok(bytes) => bytes,
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Names::Nobody), // taken while we looked
        Err(e) => return Err(io(format_args!("reading {}", path.display()), e)),
    };
    let Ok(lines) = gzip::decompress(&packed, LINES_BYTES_MAX) else { return Ok(Names::Unknown) };
    let refs = refs_of(sought);
    let named = sought.others || lines.split(|b| *b == b'\n').any(|line| says(line, &refs));
    Ok(if named { Names::Somebody } else { Names::Nobody })
}

/// Where a line was born, and its number.
#[derive(Deserialize)]
struct Stub<'a> {
    edge: &'a str,
    epoch: &'a str,
    seq: i64,
}

/// Lines with holes where they name one of these; how many became holes. Errors: `Invalid` with code `bad_line`.
fn cut(lines: &[u8], refs: &[String]) -> Result<(Vec<u8>, i64)> {
    let (mut out, mut fresh) = (Vec::with_capacity(lines.len()), 0);
    for line in lines.split(|b| *b == b'\n').filter(|line| !line.is_empty()) {
        if says(line, refs) {
            let stub: Stub<'_> = serde_json::from_slice(line)
                .map_err(|e| Error::invalid(format!("a line of a put batch does not parse: {e}")).code("bad_line"))?;
            let origin = (EdgeId::parse(stub.edge)?, Epoch::parse(stub.epoch)?);
            out.extend(render_hole(origin, Seq(stub.seq), HoleReason::Erased, &line_hash(line)));
            fresh += 1;
        } else {
            out.extend_from_slice(line);
        }
        out.push(b'\n');
    }
    Ok((out, fresh))
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

    /// Gives a file holes where its own lines name somebody; false where that cannot be seen from the lines: rows of those
    /// who stay name nobody who is sought. The consent lane has no such rows.
    fn cut(&self, target: &dyn Target, key: Key, sought: &Sought) -> Result<bool> {
        if sought.others && key.lane != Lane::Consent {
            return Ok(false);
        }
        let Some(folder) = target.folder() else { return Ok(false) };
        let _turn = self.0.turn(target);
        let read = |ending| read_if_there(&folder.join(format!("{key}{ending}")));
        let (Some(packed), Some(manifest)) = (read(DATA)?, read(MANIFEST)?) else { return Ok(false) };
        let manifest = inspect::parse(&manifest)?;
        let (ndjson, fresh) = cut(&gzip::decompress(&packed, LINES_BYTES_MAX)?, &refs_of(sought))?;
        if fresh > 0 {
            let holes = manifest.holes + fresh;
            let rendered = Rendered { ndjson, gz: Vec::new(), manifest: Manifest { holes, ..manifest }, holes };
            target.renew(&Parcel::whole(key, &rendered.compress(self.0.gzip_level), true))?;
        }
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
            if found == Names::Somebody && (self.renew(target, key)? || self.cut(target, key, sought)?) {
                done.changed += 1;
            } else if path.exists() {
                done.unreachable.push(path);
            }
            Ok(())
        })?;
        Ok(done)
    }
}
