//! `wayside cookies`: what is kept in browsers. From the configuration alone.
//! Must never know a key itself (`records/cookies.rs`).

use crate::base::error::Result;
use crate::cli::Context;
use crate::records::cookies;

const AFTER: &str = "Example:
  wayside cookies --config wayside.toml | tee cookies.md";

/// Flags of `cookies`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Print one JSON object instead of Markdown.
    #[arg(long)]
    json: bool,
}

/// Prints the table.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let table = cookies::cookies(&context.setup);
    if args.json {
        context.output.json(&table)?;
    } else {
        context.output.lines(table.markdown().lines().map(str::to_owned))?;
    }
    Ok(0)
}
