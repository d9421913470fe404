//! `wayside edge`: what concerns an edge as a whole. Must never touch the store itself: whoever holds it does.
//! Invariant: what cannot be undone asks for its word first.

use clap::Subcommand;
use serde_json::json;

use crate::base::error::Result;
use crate::cli::status::section;
use crate::cli::{Context, desk, edges};

const AFTER: &str = "Example:
  wayside edge renew                  give way at the target that told of a fork
  wayside edge code --count 3         make codes that let edges send their batches here
  wayside edge list                   those that do, and how complete they are

An EDGE is its 32 digits, at least six of the first of them, or its label.";

/// Flags of `edge`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Give way: what another database of this edge has numbered too goes out afresh, under a new epoch.
    #[command(after_help = "Example:\n  wayside edge renew --target centre")]
    Renew(Renew),
    #[command(flatten)]
    Known(edges::What),
}

#[derive(Debug, clap::Args)]
struct Renew {
    /// The target that has the other database's batches; without it the one that told so.
    #[arg(long, value_name = "TARGET")]
    target: Option<String>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Runs it.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    match &args.what {
        What::Renew(args) => renew(args, context),
        What::Known(what) => edges::run(what, context),
    }
}

fn renew(args: &Renew, context: &mut Context) -> Result<u8> {
    let mut desk = context.desk()?;
    let body = json!({"target": args.target});
    let answer = desk::ask(&mut *desk, &context.stop, "POST", "/v1/edge/renew", &body)?;
    if args.json {
        context.output.json(&answer)?;
    } else {
        context.output.lines(section(&answer))?;
    }
    Ok(0)
}
