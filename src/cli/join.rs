//! `wayside join`: makes this edge known to its upstream. Must never speak to it itself: the composed program does.
//! Invariant: what it got is written before it says so.

use crate::base::error::Result;
use crate::cli::Context;
use crate::cli::context::JoinRequest;

const AFTER: &str = "Example:
  wayside join https://centre.example:8787 --code 7KQ2M-XN4PD-9AWTB-C3HRE --label branch-12

The token and the target `upstream` are written into the data directory (upstream.token, upstream.toml) and hold from the
next start on. A file join.json there, with url, code, label and ca_file, is taken at the next start of `wayside serve`.";

/// Flags of `join`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// The upstream's address.
    #[arg(value_name = "URL")]
    url: String,
    /// The code its operator gave you.
    #[arg(long, value_name = "CODE")]
    code: String,
    /// How the upstream shall call this edge; the label of the configuration where none is given.
    #[arg(long, value_name = "NAME")]
    label: Option<String>,
    /// A PEM file with the authority that signed its certificate; without one those this system trusts.
    #[arg(long, value_name = "FILE")]
    ca: Option<std::path::PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Joins.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let request = JoinRequest {
        url: args.url.clone(),
        code: args.code.clone(),
        label: args.label.clone(),
        ca_file: args.ca.clone(),
    };
    let done = (context.join)(&request)?;
    if args.json {
        context.output.json(&done)?;
        return Ok(0);
    }
    context.output.line(&format!("edge {} has joined {}", done.edge, done.url))?;
    if done.waits {
        context.output.note("it waits for the operator there to say yes: wayside edge approve")?;
    }
    context
        .output
        .note(&format!("the target `upstream` stands in {}; restart wayside to begin", done.file.display()))?;
    Ok(0)
}
