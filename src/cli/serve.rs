//! `wayside serve`: the collector. Must never hold what it does: the composed program is handed in.
//! Invariant: the words of welcome go to standard output, the log to standard error.

use crate::base::error::Result;
use crate::cli::Context;

const AFTER: &str = "Example:
  wayside serve                                       built-in defaults, data in ./wayside-data
  wayside serve --config /etc/wayside/config.toml";

/// Flags of `serve`; everything else is configuration.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {}

/// Serves until stopped.
pub fn run(_args: &Args, context: &mut Context) -> Result<u8> {
    (context.serve)(&mut *context.output.out)?;
    Ok(0)
}
