//! `wayside tail`: every event as it comes, with its outcome, reason and remedy.
//! Must never show a visitor: the daemon tells none. Invariant: it ends at once when told to.

use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

use serde_json::Value;

use crate::base::error::{Error, Result};
use crate::cli::output::time_text;
use crate::cli::{Context, desk};

/// Between two looks.
const PAUSE: Duration = Duration::from_millis(300);

const AFTER: &str = "Example:
  wayside tail
  wayside tail --json | jq 'select(.outcome != \"accepted\")'

Ctrl-C ends it.";

/// Flags of `tail`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Begin with the newest events the daemon remembers.
    #[arg(long)]
    all: bool,
    /// Only this site.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// End after this many events.
    #[arg(long, value_name = "N")]
    count: Option<u64>,
    /// Print each event as one line of JSON.
    #[arg(long)]
    json: bool,
}

/// Prints fates until told to stop.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let mut desk = desk::daemon(&context.control_socket)?.ok_or_else(|| {
        Error::not_found(format!("no daemon runs on {}", context.data_dir.display()))
            .code("no_daemon")
            .remedy("start one with `wayside serve`, or name its data directory with --data-dir")
    })?;
    let mut after: Option<u64> = args.all.then_some(0);
    let mut left = args.count.unwrap_or(u64::MAX);
    if after.is_none() && context.interactive && !args.json {
        context.output.note("waiting for events; Ctrl-C ends")?;
    }
    loop {
        let place = after.map(|after| after.to_string());
        let target = desk::target("/v1/tail", &[("after", place.as_deref())]);
        let answer = desk::ask(&mut *desk, &context.stop, "GET", &target, &Value::Null)?;
        let next = answer["next"].as_u64().unwrap_or(0);
        // a daemon that was started anew counts anew
        let restarted = after.is_some_and(|after| next < after);
        after = Some(if restarted { 0 } else { next });
        for fate in answer["fates"].as_array().into_iter().flatten() {
            if args.site.as_deref().is_some_and(|site| fate["site"].as_str() != Some(site)) {
                continue;
            }
            if args.json {
                context.output.json(fate)?;
            } else {
                context.output.line(&line(fate))?;
            }
            left -= 1;
            if left == 0 {
                return Ok(0);
            }
        }
        if context.stop.recv_timeout(PAUSE) != Err(RecvTimeoutError::Timeout) {
            return Ok(0);
        }
    }
}

/// `2026-11-21 10:00:00Z  shop  page_viewed  counted: no_decision -> record a decision first`.
fn line(fate: &Value) -> String {
    let text = |key: &str| fate[key].as_str().unwrap_or_default();
    let mut out = format!("{}  {:<10}  {:<20}  {}", time_text(text("at")), text("site"), text("name"), text("outcome"));
    if let Some(seq) = fate["seq"].as_i64() {
        out.push_str(&format!(" {seq}"));
    }
    if !text("reason").is_empty() {
        out.push_str(&format!(": {}", text("reason")));
    }
    if !text("remedy").is_empty() {
        out.push_str(&format!(" -> {}", text("remedy")));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fate_is_one_line() {
        let fate = serde_json::json!({"at": "2026-11-21T10:00:00.000Z", "site": "shop", "name": "page_viewed",
            "outcome": "counted", "reason": "no_decision", "remedy": "record a decision first", "seq": null});
        assert_eq!(
            line(&fate),
            "2026-11-21 10:00:00Z  shop        page_viewed           counted: no_decision -> record a decision first"
        );
    }
}
