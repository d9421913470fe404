//! Erasure in what lies here of other edges: a line that names an erased visitor becomes a hole.
//! Must never touch what was signed. Invariant: a file that cannot be looked into is named, not left out.

use std::path::PathBuf;
use std::sync::Arc;

use crate::base::error::Result;
use crate::base::gzip;
use crate::base::id::Epoch;
use crate::domain::relay::{Bound, BoundKind};
use crate::forward::dir;
use crate::forward::relay::bind::ALWAYS;
use crate::forward::relay::files::PARTS;
use crate::forward::relay::receive::DECODED_BYTES_MAX;
use crate::forward::relay::{Relay, held};
use crate::forward::target::Key;
use crate::store::bound;
use crate::store::traces::{Erased, Sought, Traces, walk};

/// The relay's files, for whoever erases.
pub struct RelayTraces(pub Arc<Relay>);

/// What a file says of somebody.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Names {
    Nobody,
    Somebody,
    /// It cannot be read back.
    Unknown,
}

fn names(gz: &[u8], refs: &[String]) -> Names {
    let Ok(lines) = gzip::decompress(gz, DECODED_BYTES_MAX) else { return Names::Unknown };
    // an erasure names the reference itself: that line is what remains
    let told = |line: &&[u8]| !line.starts_with(br#"{"kind":"erasure""#);
    let mut text = lines.split(|b| *b == b'\n').filter(told).map(String::from_utf8_lossy);
    if text.any(|line| refs.iter().any(|one| line.contains(one.as_str()))) { Names::Somebody } else { Names::Nobody }
}

impl RelayTraces {
    /// Batches and parts that name somebody.
    fn each(&self, sought: &Sought, mut take: impl FnMut(Option<Key>, PathBuf, Names) -> Result<()>) -> Result<()> {
        let refs: Vec<String> = sought.refs.iter().map(ToString::to_string).collect();
        if refs.is_empty() {
            return Ok(());
        }
        let files = self.0.files();
        for key in files.keys()? {
            let path = files.lines(key);
            let Some(gz) = dir::read_if_there(&path)? else { continue };
            match names(&gz, &refs) {
                Names::Nobody => {}
                found => take(Some(key), path, found)?,
            }
        }
        let mut parts = Vec::new();
        walk(&files.root().join(PARTS), &mut |path| parts.push(path.to_owned()))?;
        for path in parts {
            let Some(gz) = dir::read_if_there(&path)? else { continue };
            match names(&gz, &refs) {
                Names::Nobody => {}
                found => take(None, path, found)?,
            }
        }
        Ok(())
    }
}

impl Traces for RelayTraces {
    fn places(&self) -> &'static [&'static str] {
        &["relay/"]
    }

    fn find(&self, sought: &Sought) -> Result<Vec<PathBuf>> {
        let mut out = Vec::new();
        self.each(sought, |_, path, _| {
            out.push(path);
            Ok(())
        })?;
        Ok(out)
    }

    fn erase(&self, sought: &Sought) -> Result<Erased> {
        let relay = &self.0;
        let mut found = Vec::new();
        self.each(sought, |key, path, names| {
            found.push((key, path, names));
            Ok(())
        })?;
        let mut done = Erased::default();
        if found.is_empty() {
            return Ok(done);
        }
        // whatever of them comes late stays out as well
        let (refs, edge) = (sought.refs.clone(), relay.store.identity().edge.id);
        let epoch: Epoch = relay.store.identity().edge.epoch;
        relay.store.pen().call(move |tx| {
            for visitor in &refs {
                let (upto, until) = (crate::base::id::Seq(ALWAYS), crate::base::time::Millis(ALWAYS));
                let kind = BoundKind::Erased;
                bound::bind(tx, &Bound { visitor: *visitor, edge, epoch, kind, upto, until }, false)?;
            }
            Ok(())
        })?;
        for (key, path, names) in found {
            let row = key.map_or(Ok(None), |key| relay.store.read(|tx| held::find(tx, key)))?;
            match (names, row) {
                (Names::Somebody, Some(row)) => {
                    relay.follow(&row)?;
                    done.changed += 1;
                }
                // a part, or a file that never became a batch: the edge sends it again
                (Names::Somebody, None) => {
                    dir::remove(&path)?;
                    done.changed += 1;
                }
                _ => done.unreachable.push(path),
            }
        }
        Ok(done)
    }
}
