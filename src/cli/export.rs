//! `wayside export`: events or visits as NDJSON or CSV, to a file or standard output.
//! Must never overwrite a file. Invariant: a file under the given name is whole, and readable by its owner only.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use clap::ValueEnum;

use crate::base::error::{Error, Result, io};
use crate::cli::Context;
use crate::cli::pick::Pick;
use crate::cli::progress::{Progress, Unit};
use crate::history::export::{Export, Format, Kind};
use crate::history::{Filter, History};

const AFTER: &str = "Example:
  wayside export events --format csv --since 2026-11-01 --output november.csv
  wayside export visits --robot no | jq .duration_ms

Exports hold pseudonymous personal data: a file is readable by its owner only.";

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum What {
    /// Events.
    Events,
    /// Visits.
    Visits,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum How {
    /// One JSON object a line.
    Ndjson,
    /// With a header line; cells that begin like a formula get an apostrophe.
    Csv,
}

/// Flags of `export`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// What to export.
    #[arg(value_enum)]
    what: What,
    /// How to write it.
    #[arg(long, value_enum, default_value = "ndjson")]
    format: How,
    /// The file; without one, or with `-`, standard output.
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    pick: Pick,
    /// Only events of this name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only this visit: its id or its number.
    #[arg(long, value_name = "VISIT")]
    visit: Option<String>,
}

/// Writes rows.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let export = Export {
        kind: if args.what == What::Events { Kind::Events } else { Kind::Visits },
        format: if args.format == How::Csv { Format::Csv } else { Format::Ndjson },
        filter: Filter { name: args.name.clone(), visit: args.visit.clone(), ..args.pick.filter() },
    };
    let history = context.history()?;
    context.noted("exported", if args.what == What::Events { "events" } else { "visits" })?;
    let mut progress = Progress::start("export", Unit::Of("numbers looked at"), context.interactive);
    let (out, err) = (&mut context.output.out, &mut context.output.err);
    let file = args.output.as_deref().filter(|path| *path != Path::new("-"));
    let done = match file {
        None => write(&history, &export, &mut BufWriter::new(out), &mut progress, &mut **err),
        Some(path) => to_file(path, |file| write(&history, &export, file, &mut progress, &mut **err)),
    };
    progress.end();
    let rows = done?;
    let place = file.map(|path| format!(" to {}", path.display())).unwrap_or_default();
    context.output.note(&format!("{rows} rows{place}"))?;
    Ok(0)
}

fn write(
    history: &History,
    export: &Export,
    out: &mut dyn Write,
    progress: &mut Progress,
    err: &mut dyn Write,
) -> Result<u64> {
    history.export(export, out, &mut |at| progress.at(at.at, Some(at.end), err))
}

/// Writes beside the file and renames: half an export never stands under its name.
fn to_file(path: &Path, work: impl FnOnce(&mut dyn Write) -> Result<u64>) -> Result<u64> {
    if path.symlink_metadata().is_ok() {
        return Err(Error::conflict(format!("{} is there already", path.display()))
            .code("exists")
            .remedy("name a file that does not exist; an export overwrites nothing"));
    }
    let mut part = path.as_os_str().to_owned();
    part.push(".part");
    let part = PathBuf::from(part);
    let fail = |e| io(format_args!("writing {}", part.display()), e);
    let file = File::options().write(true).create(true).truncate(true).mode(0o600).open(&part).map_err(fail)?;
    let mut buffer = BufWriter::with_capacity(256 * 1024, file);
    let done = work(&mut buffer).and_then(|rows| {
        let file = buffer.into_inner().map_err(|e| fail(e.into_error()))?;
        file.sync_all().and_then(|()| std::fs::rename(&part, path)).map_err(fail)?;
        Ok(rows)
    });
    if done.is_err()
        && let Err(error) = std::fs::remove_file(&part)
    {
        log::debug!("half an export stays behind as {}: {error}", part.display());
    }
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_whole_private_and_never_overwritten() {
        use std::os::unix::fs::PermissionsExt;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("x.csv");
        let broken = to_file(&path, |out| {
            out.write_all(b"half").unwrap();
            Err(Error::busy("no"))
        });
        assert!(broken.is_err() && std::fs::read_dir(folder.path()).unwrap().count() == 0);
        let whole = to_file(&path, |out| out.write_all(b"whole").map(|()| 1).map_err(|e| io("x", e)));
        assert_eq!((whole.unwrap(), std::fs::read(&path).unwrap()), (1, b"whole".to_vec()));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(to_file(&path, |_| Ok(0)).unwrap_err().code, "exists");
    }
}
