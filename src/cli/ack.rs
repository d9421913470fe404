//! `wayside ack`: acknowledges what `wayside pull --no-ack` has taken into a folder.
//! Must never acknowledge what the folder's job does not remember as taken.

use std::path::PathBuf;

use serde_json::json;

use crate::base::error::Result;
use crate::cli::Context;
use crate::cli::pull::{From, holder};
use crate::forward::take::shelf::Folder;
use crate::forward::take::{Job, JobOptions};

const AFTER: &str = "Example:
  wayside pull --from https://shop7.example:8787 --token-file token --to /srv/batches --no-ack
  wayside ack --from https://shop7.example:8787 --token-file token --to /srv/batches";

/// Flags of `ack`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(flatten)]
    from: From,
    /// The folder the batches were taken into.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Where the job remembers how far it is; without it the folder .pull in DIR.
    #[arg(long, value_name = "DIR")]
    state: Option<PathBuf>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

/// Acknowledges.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let own = args.state.clone().unwrap_or_else(|| args.to.join(".pull"));
    let options = JobOptions { cursor: args.from.cursor(), limit: 1, holder: holder(&own), ..JobOptions::default() };
    let mut job = Job::open(args.from.client(0)?, options, Box::new(Folder::at(&args.to)), &own)?;
    let news = job.acknowledge();
    if let Err(error) = job.end() {
        log::warn!("giving the lease back: {error}");
    }
    let news = news?;
    if args.json {
        context.output.json(&json!({"acknowledged": news}))?;
    } else {
        context.output.line(&format!("{news} batches acknowledged"))?;
    }
    Ok(0)
}
