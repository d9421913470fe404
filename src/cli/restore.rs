//! `wayside restore`: a backup in place of a database that is gone. Must never restore itself: the composed program does.
//! Invariant: it overwrites nothing, and beside a running daemon it refuses.

use std::path::PathBuf;

use crate::base::error::Result;
use crate::cli::Context;
use crate::cli::context::RestoreRequest;

const AFTER: &str = "Example:
  wayside restore /backup/wayside-2026-11-21.db --to /var/lib/wayside

The log of rights in the directory, the one beside the backup and every --rights FILE are replayed: what was withdrawn,
refused, objected to or erased after the backup stays so. Bring edge.json and edge.key back first, else a new edge begins.
Personal fields open again with keys.db (or its companion copy) and the root key.";

/// Flags of `restore`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// The copy, as `wayside backup` made it.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The data directory; no database may be in it.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// A further log of rights; may be given again.
    #[arg(long, value_name = "FILE")]
    rights: Vec<PathBuf>,
    /// Go without a log from after the backup; which is written down. Else all consent in the backup gets a floor then.
    #[arg(long)]
    without_rights_log: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Restores.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let request = RestoreRequest {
        file: args.file.clone(),
        to: args.to.clone(),
        rights: args.rights.clone(),
        without_log: args.without_rights_log,
    };
    let done = (context.restore)(&request)?;
    if args.json {
        context.output.json(&done)?;
        return Ok(0);
    }
    context.output.line(&format!(
        "restored what was committed until {}; {} rights replayed, {} person(s) erased, epoch {}",
        done.backup_at, done.rights, done.erased, done.epoch
    ))?;
    if done.floored > 0 {
        context.output.note(&format!(
            "no log of rights from after the backup was found: the consent of {} person(s) counts as withdrawn until it is \
             given anew; name a log with --rights, or restore again elsewhere with --without-rights-log",
            done.floored
        ))?;
    }
    for waiting in &done.waiting {
        context.output.note(&format!("erasure open: {waiting}"))?;
    }
    Ok(0)
}
