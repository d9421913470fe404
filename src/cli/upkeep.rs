//! `wayside upkeep --once`: the periodic care, now. Must never remove a row itself: whoever holds the store does.
//! Invariant: a large removal happens only with `--confirm`.

use serde_json::json;

use crate::base::error::Result;
use crate::cli::status::section;
use crate::cli::{Context, desk};

const AFTER: &str = "Example:
  wayside upkeep --once
  wayside upkeep --confirm            allow more than two days' worth to be removed, once

A running daemon takes care on its own.";

/// Flags of `upkeep`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Do it once and return.
    #[arg(long, required_unless_present = "confirm")]
    #[allow(dead_code)] // says in words what the command does
    once: bool,
    /// Allow a large removal, or one after the clock has jumped, this once.
    #[arg(long)]
    confirm: bool,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Takes care once.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let mut desk = context.desk()?;
    let answer = desk::ask(&mut *desk, &context.stop, "POST", "/v1/upkeep", &json!({"confirm": args.confirm}))?;
    if args.json {
        context.output.json(&answer)?;
        return Ok(0);
    }
    let lines = section(&answer);
    context.output.lines(if lines.is_empty() { vec!["done".to_owned()] } else { lines })?;
    Ok(0)
}
