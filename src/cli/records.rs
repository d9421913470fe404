//! `wayside records`: the record of processing activities. Reads the file and needs no daemon.
//! Must never count or judge anything itself (`records/article30.rs`).

use crate::base::error::Result;
use crate::cli::Context;

const AFTER: &str = "Example:
  wayside records --config wayside.toml | tee record-of-processing.md
  wayside records --json | jq -r '.open[]'

The same configuration and the same rows give the same page. The last section names what only you can fill in.";

/// Flags of `records`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Print one JSON object instead of Markdown.
    #[arg(long)]
    json: bool,
}

/// Prints the record.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let record = context.records()?.record()?;
    if args.json {
        context.output.json(&record)?;
    } else {
        context.output.lines(record.markdown().lines().map(str::to_owned))?;
    }
    Ok(0)
}
