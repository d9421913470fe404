//! `wayside exempt-report`: the proof of an exemption's settings. Reads the file and needs no daemon.
//! Must never judge a condition itself (`records/exempt.rs`). Invariant: a condition that does not hold is an exit code.

use crate::base::error::Result;
use crate::cli::Context;

const AFTER: &str = "Example:
  wayside exempt-report --config wayside.toml
  wayside exempt-report --site shop --json | jq .sites[0].holds

The exit code is 65 where a condition does not hold, 66 where no site is measured under an exemption.";

/// Flags of `exempt-report`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Only this site.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Print one JSON object instead of Markdown.
    #[arg(long)]
    json: bool,
}

/// Prints the report.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let report = context.records()?.exempt(args.site.as_deref())?;
    if args.json {
        context.output.json(&report)?;
    } else {
        context.output.lines(report.markdown().lines().map(str::to_owned))?;
    }
    Ok(if report.holds() { 0 } else { 65 })
}
