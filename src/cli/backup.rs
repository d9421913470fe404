//! `wayside backup`: the database as one file, while the collector goes on. Must never copy itself: `history` does.
//! Invariant: it needs no daemon, and overwrites nothing.

use std::path::PathBuf;

use crate::base::cell::Recipient;
use crate::base::error::Result;
use crate::base::text::bytes_text;
use crate::cli::Context;
use crate::cli::progress::{Progress, Unit};
use crate::history::backup::{backup, export_keys};

const AFTER: &str = "Example:
  wayside backup /backup/wayside-2026-11-21.db

Keep FILE.rights.log beside it: a restore replays every right exercised since. Without --keys-to the copy holds no key: personal
fields in it open with keys.db (or its companion copy) and the root key only.";

/// Flags of `backup`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// The copy; it must not exist.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Seal the keys of personal fields, root key included, to this public key, into FILE.keys (see `wayside keys`).
    #[arg(long, value_name = "RECIPIENT")]
    keys_to: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Copies.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    context.noted("backed_up", if args.keys_to.is_some() { "with its keys" } else { "without keys" })?;
    let mut progress = Progress::start("backup", Unit::Of("pages"), context.interactive);
    let err = &mut context.output.err;
    let recipient = args.keys_to.as_deref().map(Recipient::parse).transpose()?;
    let done = backup(&context.data_dir, &args.file, context.wal_bytes_max, &mut |done, all| {
        progress.at(done, Some(all), &mut **err);
    });
    progress.end();
    let mut done = done?;
    // after the database: every key of a cell in it was committed before the cell
    if let Some(recipient) = &recipient {
        let root = context.history.root_key_file.as_deref();
        done.keys = export_keys(&context.data_dir, root, &args.file, recipient)?;
    }
    if args.json {
        context.output.json(&done)?;
        return Ok(0);
    }
    let size = bytes_text(done.size_bytes);
    context.output.line(&format!("{} ({size}), and {}", done.file.display(), done.rights_log.display()))?;
    if let Some(keys) = &done.keys {
        context.output.line(&format!("{}, which the recipient alone can open", keys.display()))?;
    }
    Ok(0)
}
