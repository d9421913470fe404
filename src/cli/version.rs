//! `wayside version`: the program, and the formats it reads and writes. Must never open anything.
//! Invariant: it works without configuration or data.

use serde_json::json;

use crate::base::error::Result;
use crate::cli::Context;
use crate::cli::status::section;
use crate::domain::{batch, line};
use crate::history::SCHEMA_VERSION;

const AFTER: &str = "Example:
  wayside version --json";

/// Flags of `version`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Prints.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let version = json!({
        "wayside": env!("CARGO_PKG_VERSION"),
        "database_schema": SCHEMA_VERSION,
        "line_schema": line::SCHEMA,
        "batch_format": batch::FORMAT,
        "target": format!("{}-{}", std::env::consts::ARCH, std::env::consts::OS),
        "build": if cfg!(debug_assertions) { "debug" } else { "release" },
    });
    if args.json {
        context.output.json(&version)?;
    } else {
        context.output.line(&format!("wayside {}", env!("CARGO_PKG_VERSION")))?;
        context.output.lines(section(&version).into_iter().filter(|line| !line.starts_with("wayside")))?;
    }
    Ok(0)
}
