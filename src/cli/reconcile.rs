//! `wayside reconcile --upstream`: what was sealed here against what a receiver has. Must never compare anything itself.
//! Invariant: the exit code says what the table says.

use crate::base::error::Result;
use crate::cli::Context;
use crate::cli::output::time_text;
use crate::cli::table::Table;
use crate::forward::reconcile::{Reconciled, Row, State};

const AFTER: &str = "Example:
  wayside reconcile --upstream centre

Per epoch and lane: batches and lines sealed here, batches and lines there, lines that went as holes, lines still to come.
Exit codes: 0 everything is there, 10 something is still to come, 65 something does not fit, 69 the receiver does not answer.";

/// Flags of `reconcile`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Compare with this target; without a name with the only one over the network.
    #[arg(long, value_name = "TARGET", num_args = 0..=1, default_missing_value = "", required = true)]
    upstream: String,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Compares.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let name = Some(args.upstream.as_str()).filter(|name| !name.is_empty());
    let found = (context.reconcile)(name)?;
    if args.json {
        context.output.json(&found)?;
    } else {
        context.output.lines(told(&found))?;
    }
    Ok(match () {
        () if found.is_wrong() => 65,
        () if !found.is_whole() => 10,
        () => 0,
    })
}

fn told(found: &Reconciled) -> Vec<String> {
    let mut table = Table::new(&[
        "epoch",
        "lane",
        "=state",
        ">sealed",
        ">there",
        ">lines",
        ">there",
        ">holes",
        ">to come",
        "=received from",
        "until",
    ]);
    for row in &found.rows {
        let (from, to) = row.coming_received.clone().unwrap_or_default();
        table.row([
            row.epoch.chars().take(8).collect(),
            row.lane.to_owned(),
            word(row).to_owned(),
            row.sealed_no.to_string(),
            row.there_no.to_string(),
            row.sealed_lines.to_string(),
            row.there_lines.to_string(),
            row.there_holes.to_string(),
            row.coming_lines.to_string(),
            time_text(&from),
            time_text(&to),
        ]);
    }
    let mut lines = if table.is_empty() { vec!["nothing was sealed yet".to_owned()] } else { table.lines() };
    for (lane, n) in found.unsealed.iter().filter(|(_, n)| *n > 0) {
        lines.push(format!("{n} rows of the lane {lane} are not sealed yet"));
    }
    for (name, n) in &found.dropped {
        lines.push(format!("{n} rows were removed before they were delivered ({name})"));
    }
    for row in &found.rows {
        let epoch: String = row.epoch.chars().take(8).collect();
        for (why, n) in &row.refused {
            lines.push(format!("{n} lines of {epoch}/{} were refused there for good ({why})", row.lane));
        }
        for (reason, n) in &row.holes_now {
            lines.push(format!("{n} lines of {epoch}/{} that are there are holes here by now ({reason})", row.lane));
        }
    }
    lines
}

fn word(row: &Row) -> &'static str {
    match row.state {
        State::Same => "same",
        State::Behind => "behind",
        State::Lost => "lost there",
        State::Ahead => "ahead",
        State::Fork => "fork",
    }
}
