//! `wayside batch cat`: verifies batches and prints their lines.
//! Must never print a line of a batch that does not verify. Invariant: needs no database: files, or standard input.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::base::error::{Error, Result, io};
use crate::base::text::unhex;
use crate::cli::Context;
use crate::forward::take::cat::{Sound, file, keyed, pair};
use crate::forward::take::taken::Way;

const AFTER: &str = "Example:
  wayside batch cat /srv/batches/EDGE/pages/2026-11-22.ndjson.gz | jq -c 'select(.kind == \"event\")'
  wayside batch cat EDGE/EPOCH/pages/000000000001 --folder /srv/batches
  curl ... | wayside batch cat - --manifest manifest.json";

/// Longest standard input, bytes.
const INPUT_BYTES_MAX: u64 = 256 << 20;

/// Flags of `batch cat`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Cat {
    /// Files of lines (.ndjson.gz) with their manifest or index beside them, keys of batches, or - for standard input.
    #[arg(required = true, value_name = "FILE|KEY")]
    what: Vec<String>,
    /// The manifest, where it does not lie beside.
    #[arg(long, value_name = "FILE")]
    manifest: Option<PathBuf>,
    /// Where the batches of keys lie; without it the folder outbox of the data directory.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// The only public key that may have signed.
    #[arg(long, value_name = "HEX")]
    key: Option<String>,
    /// Print how many lines there are instead of them.
    #[arg(long)]
    check: bool,
}

/// Verifies and prints.
pub fn run(args: &Cat, context: &mut Context) -> Result<u8> {
    let key = args.key.as_deref().map(unhex::<32>).transpose()?;
    if args.manifest.is_some() && args.what.len() > 1 {
        return Err(Error::invalid("one manifest is of one batch").remedy("name one file with --manifest"));
    }
    let folder = args.folder.clone().unwrap_or_else(|| context.data_dir.join("outbox"));
    for what in &args.what {
        let mut print = |sound: Sound| show(args.check, &sound, context);
        if what == "-" {
            let sound = piped(args.manifest.as_deref(), key.as_ref())?;
            print(sound)?;
        } else if Way::of_key(what).is_ok() && !Path::new(what).exists() {
            print(keyed(&folder, what, key.as_ref())?)?;
        } else {
            file(Path::new(what), args.manifest.as_deref(), key.as_ref(), &mut print)?;
        }
    }
    Ok(0)
}

fn piped(manifest: Option<&Path>, key: Option<&[u8; 32]>) -> Result<Sound> {
    let manifest = manifest.ok_or_else(|| {
        Error::invalid("standard input has no manifest beside it").remedy("name the manifest with --manifest FILE")
    })?;
    let manifest = std::fs::read(manifest).map_err(|e| io(format_args!("reading {}", manifest.display()), e))?;
    let mut gz = Vec::new();
    std::io::stdin().lock().take(INPUT_BYTES_MAX).read_to_end(&mut gz).map_err(|e| io("reading standard input", e))?;
    pair(&manifest, &gz, key)
}

fn show(check: bool, sound: &Sound, context: &mut Context) -> Result<()> {
    let part = &sound.part;
    if check {
        let key = format!("{}/{}/{}/{:012}", part.edge, part.epoch, part.lane, part.batch_no);
        return context.output.line(&format!("ok: {key}: {} lines, {} of them holes", part.count, sound.holes));
    }
    // as they are: their hashes are over these very bytes
    context.output.out.write_all(&sound.ndjson).map_err(|e| io("printing", e))
}
