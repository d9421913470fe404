//! `wayside batches`: what was sealed, whether it holds, and acknowledging it.
//! Must never render or verify a line itself. Invariant: acknowledging goes to whoever holds the store.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::json;

use crate::base::error::{Error, Result};
use crate::cli::cat::{self, Cat};
use crate::cli::context::VerifyRequest;
use crate::cli::events::fields;
use crate::cli::output::time_text;
use crate::cli::progress::{Progress, Unit};
use crate::cli::status::section;
use crate::cli::table::{Table, pairs};
use crate::cli::{Context, desk};
use crate::domain::event::Lane;
use crate::history::batches::{BatchFilter, LIMIT_MAX};

const AFTER: &str = "Example:
  wayside batches list
  wayside batches verify
  wayside batches ack --target outbox --upto pages/12";

/// Flags of `batches`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List sealed batches: the newest of each lane.
    #[command(after_help = "Example:\n  wayside batches list --lane pages --after 0 --limit 100")]
    List(List),
    /// Show one batch: what was signed, its holes, the attempts to send it.
    #[command(after_help = "Example:\n  wayside batches show pages/12")]
    Show(Show),
    /// Check line hashes, digests, the chain and signatures.
    #[command(after_help = "Example:\n  wayside batches verify --lane consent")]
    Verify(Verify),
    /// Acknowledge the batches of a lane up to a number: they were taken.
    #[command(after_help = "Example:\n  wayside batches ack --target outbox --upto pages/12")]
    Ack(Ack),
    /// Verify files of batches, from here or elsewhere, and print their lines.
    Cat(Cat),
}

fn lane(word: &str) -> Result<Lane, String> {
    Lane::parse(word).ok_or_else(|| "use consent, visits, pages or fine".to_owned())
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only this lane: consent, visits, pages or fine.
    #[arg(long, value_name = "LANE", value_parser = lane)]
    lane: Option<Lane>,
    /// Only this epoch.
    #[arg(long, value_name = "HEX")]
    epoch: Option<String>,
    /// Batches behind this number; without it the newest.
    #[arg(long, value_name = "NO")]
    after: Option<i64>,
    /// Batches of each lane at the most.
    #[arg(long, value_name = "N", default_value_t = 10, value_parser = clap::value_parser!(u32).range(1..=i64::from(LIMIT_MAX)))]
    limit: u32,
    /// Print a JSON list.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// LANE/NO of the current epoch, or the whole key.
    batch: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Verify {
    /// Only this lane.
    #[arg(long, value_name = "LANE", value_parser = lane)]
    lane: Option<Lane>,
    /// Only this epoch.
    #[arg(long, value_name = "HEX")]
    epoch: Option<String>,
    /// Verify the files in this folder instead of the database.
    #[arg(long, value_name = "DIR")]
    folder: Option<PathBuf>,
    /// Print one JSON object: batches, lines, holes, faults.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Ack {
    /// The target that has them.
    #[arg(long, value_name = "TARGET", default_value = "outbox")]
    target: String,
    /// The last batch that was taken, as LANE/NO.
    #[arg(long, value_name = "LANE/NO", value_parser = upto)]
    upto: (Lane, i64),
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

fn upto(text: &str) -> Result<(Lane, i64), String> {
    let parts = text.split_once('/').and_then(|(lane, no)| Some((Lane::parse(lane)?, no.parse().ok()?)));
    parts.filter(|(_, no)| *no > 0).ok_or_else(|| "write it as LANE/NO, for example pages/12".to_owned())
}

/// Lists, shows, verifies or acknowledges.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    match &args.what {
        What::List(args) => list(args, context),
        What::Show(args) => show(args, context),
        What::Verify(args) => verify(args, context),
        What::Ack(args) => ack(args, context),
        What::Cat(args) => cat::run(args, context),
    }
}

fn list(args: &List, context: &mut Context) -> Result<u8> {
    let filter = BatchFilter { lane: args.lane, epoch: args.epoch.clone(), after: args.after, limit: args.limit };
    let found = context.history()?.batches(&filter)?;
    if args.json {
        context.output.json(&found)?;
        return Ok(0);
    }
    if found.is_empty() {
        context.output.note("no batches yet; `wayside forward --once` seals what waits")?;
        return Ok(0);
    }
    let mut table =
        Table::new(&["batch", "epoch", ">lines", ">first seq", ">last seq", "=sealed", "=digest", "targets"]);
    for b in &found {
        let targets: Vec<String> = b.targets.iter().map(|t| format!("{} {}", t.target, t.state)).collect();
        table.row([
            format!("{}/{}", b.lane, b.batch_no),
            b.epoch.chars().take(8).collect(),
            b.line_count.to_string(),
            b.first_seq.to_string(),
            b.last_seq.to_string(),
            time_text(&b.sealed_at),
            b.digest.chars().take(12).collect(),
            targets.join(", "),
        ]);
    }
    context.output.lines(table.lines())?;
    Ok(0)
}

fn show(args: &Show, context: &mut Context) -> Result<u8> {
    let detail = context.history()?.batch(&args.batch)?;
    if args.json {
        context.output.json(&detail)?;
        return Ok(0);
    }
    let view = serde_json::to_value(&detail).unwrap_or_default();
    let parts = ["sealed", "holes", "attempts", "targets"];
    context.output.lines(pairs("", &fields(&view, &parts)))?;
    for part in parts {
        let lines = section(&view[part]);
        if !lines.is_empty() {
            context.output.line("")?;
            context.output.line(part)?;
            context.output.lines(lines.into_iter().map(|line| format!("  {line}")))?;
        }
    }
    Ok(0)
}

fn verify(args: &Verify, context: &mut Context) -> Result<u8> {
    let request = VerifyRequest {
        lane: args.lane.map(|lane| lane.word().to_owned()),
        epoch: args.epoch.clone(),
        folder: args.folder.clone(),
    };
    let mut progress = Progress::start("verify", Unit::Of("batches"), context.interactive);
    let err = &mut context.output.err;
    let verified = (context.verify)(&request, &mut |done, total| progress.at(done, total, &mut **err));
    progress.end();
    let verified = verified?;
    if args.json {
        context.output.json(&verified)?;
    } else {
        for fault in &verified.faults {
            context.output.line(&format!("{}: {}", fault.batch, fault.what))?;
        }
        let counted =
            format!("{} batches, {} lines, {} of them holes", verified.batches, verified.lines, verified.holes);
        context.output.line(&match verified.faults.len() {
            0 => format!("ok: {counted}"),
            n => format!("{n} faults in {counted}"),
        })?;
    }
    if verified.faults.is_empty() {
        return Ok(0);
    }
    Err(Error::invalid(format!("{} batches do not hold", verified.faults.len()))
        .code("unverified")
        .remedy("keep the files and the database as they are, and compare with what the upstream received"))
}

fn ack(args: &Ack, context: &mut Context) -> Result<u8> {
    let (lane, no) = args.upto;
    let body = json!({"target": args.target, "lane": lane.word(), "upto": no});
    let mut desk = context.desk()?;
    let answer = desk::ask(&mut *desk, &context.stop, "POST", "/v1/batches/ack", &body)?;
    if args.json {
        context.output.json(&answer)?;
    } else {
        context.output.line(&format!("acknowledged: {} has {}/{no} and all before it", args.target, lane.word()))?;
        context.output.lines(section(&answer))?;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_in_a_lane_is_read() {
        assert_eq!(upto("pages/12"), Ok((Lane::Pages, 12)));
        for wrong in ["pages", "pages/0", "pages/-1", "clouds/3", "pages/x", "/3"] {
            assert!(upto(wrong).is_err(), "{wrong}");
        }
    }
}
