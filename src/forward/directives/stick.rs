//! Directives and reports on a stick: `wayside-directives/all.json` and `<edge>.json` from the centre, `reports/<edge>.json` back.
//! Must never judge what lies there. Invariant: a file is written whole or not at all.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Write};
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result, io};
use crate::domain::directive::ALL;
use crate::domain::signed::{FORMAT, Signed};

/// Everything about directives on a stick lies below this.
pub const FOLDER: &str = "wayside-directives";
/// Where reports lie.
const REPORTS: &str = "reports";
/// Largest file that is read, bytes.
const FILE_BYTES_MAX: u64 = 256 << 20;

/// A file of signed statements.
#[derive(Default, Serialize, Deserialize)]
struct Statements {
    format: u32,
    statements: Vec<Signed>,
}

/// The directives on a stick for an edge: those for all, then its own. Errors: `Invalid` for a file that does not parse; `Storage`.
pub fn directives(stick: &Path, edge: &str) -> Result<Vec<Signed>> {
    let mut out = Vec::new();
    for name in [ALL, edge] {
        out.extend(read(&stick.join(FOLDER).join(format!("{name}.json")))?);
    }
    Ok(out)
}

/// Every directive on a stick, whoever it is for. Errors: as [`directives`].
pub fn every(stick: &Path) -> Result<Vec<Signed>> {
    let mut out = Vec::new();
    for name in crate::forward::carry::stick::names(&stick.join(FOLDER))?.iter().filter(|name| name.ends_with(".json"))
    {
        out.extend(read(&stick.join(FOLDER).join(name))?);
    }
    Ok(out)
}

/// Puts a directive beside those that lie there for its edge, or for all. Errors: as [`directives`].
pub fn add(stick: &Path, edge: &str, directive: Signed) -> Result<PathBuf> {
    let path = stick.join(FOLDER).join(format!("{edge}.json"));
    let mut statements = read(&path)?;
    if !statements.contains(&directive) {
        statements.push(directive);
    }
    write(&path, statements)?;
    Ok(path)
}

/// Leaves the reports of an edge, in the place of those it left before. Errors: `Storage`.
pub fn leave(stick: &Path, edge: &str, reports: Vec<Signed>) -> Result<()> {
    write(&stick.join(FOLDER).join(REPORTS).join(format!("{edge}.json")), reports)
}

/// The reports of every edge on a stick, by the name of the file. Errors: as [`directives`].
pub fn reports(stick: &Path) -> Result<Vec<(String, Vec<Signed>)>> {
    let folder = stick.join(FOLDER).join(REPORTS);
    let mut out = Vec::new();
    for name in crate::forward::carry::stick::names(&folder)? {
        if let Some(edge) = name.strip_suffix(".json") {
            out.push((edge.to_owned(), read(&folder.join(&name))?));
        }
    }
    Ok(out)
}

fn read(path: &Path) -> Result<Vec<Signed>> {
    let mut text = Vec::new();
    match File::open(path) {
        Ok(file) => file.take(FILE_BYTES_MAX).read_to_end(&mut text),
        Err(e) if e.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        Err(e) => Err(e),
    }
    .map_err(|e| io(format_args!("reading {}", path.display()), e))?;
    let strange = |what: String| {
        Error::invalid(format!("{}: {what}", path.display()))
            .code("bad_statement")
            .remedy("write it anew where it was made")
    };
    let read: Statements = serde_json::from_slice(&text).map_err(|e| strange(e.to_string()))?;
    if read.format != FORMAT {
        return Err(strange(format!("it is of version {}", read.format)));
    }
    Ok(read.statements)
}

fn write(path: &Path, statements: Vec<Signed>) -> Result<()> {
    let text = serde_json::to_vec_pretty(&Statements { format: FORMAT, statements }).expect("invariant: string keys");
    let folder = path.parent().unwrap_or(Path::new("."));
    let part = path.with_extension("part");
    let put = || -> std::io::Result<()> {
        fs::create_dir_all(folder)?;
        let mut file = File::create(&part)?;
        file.write_all(&text)?;
        file.sync_all()?;
        fs::rename(&part, path)
    };
    put().map_err(|e| io(format_args!("writing {}", path.display()), e))
}
