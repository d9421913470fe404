//! `wayside dpia`: the template of an impact assessment. Reads the file and needs no daemon.
//! Must never count or judge anything itself (`records/dpia.rs`).

use crate::base::error::Result;
use crate::cli::Context;

const AFTER: &str = "Example:
  wayside dpia --config wayside.toml | tee impact-assessment.md
  wayside dpia --json | jq .required

It reads `required` where a profile is formed of anybody, or may be. It never says that no assessment is needed.";

/// Flags of `dpia`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Print one JSON object instead of Markdown.
    #[arg(long)]
    json: bool,
}

/// Prints the template.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let assessment = context.records()?.assessment()?;
    if args.json {
        context.output.json(&assessment)?;
    } else {
        context.output.lines(assessment.markdown().lines().map(str::to_owned))?;
    }
    Ok(0)
}
