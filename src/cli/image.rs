//! `wayside prepare-image`: makes a machine ready to be copied. Must never remove anything itself: the composed program does.
//! Invariant: without `--yes` nothing goes.

use serde_json::json;

use crate::base::error::Result;
use crate::cli::Context;

const AFTER: &str = "Example:
  systemctl stop wayside
  wayside prepare-image --yes         then copy the disk

Every copy mints its own edge, epoch and keys at its first start. The configuration and a join file stay.";

/// Flags of `prepare-image`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Remove identity, keys and data. Without it, only what would go is listed.
    #[arg(long)]
    yes: bool,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Prepares.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let done = (context.prepare_image)(args.yes)?;
    if args.json {
        let told = json!({"removed": args.yes, "gone": done.gone, "stays": done.stays, "elsewhere": done.elsewhere});
        context.output.json(&told)?;
        return Ok(0);
    }
    let word = if args.yes { "removed" } else { "would be removed" };
    for name in &done.gone {
        context.output.line(&format!("{word}: {name}"))?;
    }
    for name in &done.stays {
        context.output.line(&format!("stays, not of wayside: {name}"))?;
    }
    for path in &done.elsewhere {
        context.output.note(&format!("keys lie outside the data directory too, see to them yourself: {path}"))?;
    }
    if !args.yes && !done.gone.is_empty() {
        context.output.note("nothing was removed; add --yes to do it, it cannot be undone")?;
    }
    Ok(0)
}
