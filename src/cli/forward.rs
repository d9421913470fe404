//! `wayside forward --once`: seal and send what waits, now. Must never forward itself: whoever holds the store does.
//! Invariant: it returns when the attempt is over.

use serde_json::json;

use crate::base::error::Result;
use crate::cli::status::section;
use crate::cli::{Context, desk};

const AFTER: &str = "Example:
  wayside forward --once

A running daemon forwards on its own; this seals at once what would wait for more rows or for its time.";

/// Flags of `forward`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Do it once and return.
    #[arg(long, required = true)]
    once: bool,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Forwards once.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let mut desk = context.desk()?;
    let answer = desk::ask(&mut *desk, &context.stop, "POST", "/v1/forward", &json!({"force": args.once}))?;
    if args.json {
        context.output.json(&answer)?;
        return Ok(0);
    }
    let lines = section(&answer);
    context.output.lines(if lines.is_empty() { vec!["done".to_owned()] } else { lines })?;
    Ok(0)
}
