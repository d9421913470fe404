//! `wayside keys`: a pair of keys for whoever is to recover personal fields, and the recovery. Must never print a secret.
//! Invariant: it overwrites nothing.

use std::path::PathBuf;

use serde_json::json;

use crate::base::error::Result;
use crate::cli::Context;
use crate::history::backup;

const AFTER: &str = "Example:
  wayside keys recipient recovery.key
  wayside backup wayside.db --keys-to RECIPIENT
  wayside keys recover wayside.db.keys --key recovery.key --to restored";

/// Flags of `keys`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, clap::Subcommand)]
enum What {
    /// Make a pair: the secret key into a file that must not exist, the public key (the recipient) is printed.
    #[command(after_help = "Example:\n  wayside keys recipient recovery.key\n\nKeep FILE away from this machine.")]
    Recipient(Recipient),
    /// Open what `backup --keys-to` sealed: puts keys.db and root.key into a folder that has neither.
    #[command(after_help = "Example:\n  wayside keys recover wayside.db.keys --key recovery.key --to restored")]
    Recover(Recover),
}

#[derive(Debug, clap::Args)]
struct Recipient {
    /// The file of the secret key; it must not exist.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Recover {
    /// What `backup --keys-to` wrote.
    #[arg(value_name = "SEALED")]
    sealed: PathBuf,
    /// The file of the recipient's secret key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Where keys.db and root.key go.
    #[arg(long, value_name = "DIR")]
    to: PathBuf,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Makes or recovers.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let out = &mut context.output;
    match &args.what {
        What::Recipient(args) => {
            let recipient = backup::new_recipient(&args.file)?;
            if args.json {
                out.json(&json!({"recipient": recipient, "key_file": args.file}))?;
            } else {
                out.line(&recipient)?;
            }
        }
        What::Recover(args) => {
            let (keys, root) = backup::recover_keys(&args.sealed, &args.key, &args.to)?;
            if args.json {
                out.json(&json!({"keys": keys, "root_key": root}))?;
            } else {
                out.line(&format!("{} and {}", keys.display(), root.display()))?;
            }
        }
    }
    Ok(0)
}
