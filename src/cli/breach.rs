//! `wayside breach`: whom and what a breach concerns. Reads the file and needs no daemon.
//! Must never count anything itself (`records/breach.rs`), nor name anybody.

use crate::base::error::Result;
use crate::base::time::Millis;
use crate::cli::Context;
use crate::cli::pick::time;

const AFTER: &str = "Example:
  wayside breach --since 2026-11-20T22:00:00Z --until 2026-11-21T06:00:00Z
  wayside breach --since 2026-11-20 --until 2026-11-21 --json | jq .held.people";

/// Flags of `breach`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// When it began (RFC 3339, or a date).
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Millis,
    /// When it was over.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Millis,
    /// Print one JSON object instead of Markdown.
    #[arg(long)]
    json: bool,
}

/// Prints the extent.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let breach = context.records()?.breach(args.since, args.until)?;
    if args.json {
        context.output.json(&breach)?;
    } else {
        context.output.lines(breach.markdown().lines().map(str::to_owned))?;
    }
    Ok(0)
}
