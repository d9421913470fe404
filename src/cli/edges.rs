//! `wayside edge code`, `list`, `approve` ...: the edges that send their batches here, and how complete they are.
//! Must never decide who may send: it asks. Invariant: a code is printed once, by the request that made it.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::base::error::{Error, Result};
use crate::cli::output::shown;
use crate::cli::table::Table;
use crate::cli::{Context, Desk, desk};

/// What concerns edges that send here.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Make codes, each of which lets one edge join.
    #[command(after_help = "Example:\n  wayside edge code --count 300 --days 30\n  wayside edge code --relay")]
    Code(Code),
    /// List edges: their state, until when they are complete, and batches that want one place.
    #[command(after_help = "Example:\n  wayside edge list --json")]
    List(List),
    /// Take an edge's batches.
    #[command(after_help = "Example:\n  wayside edge approve branch-12")]
    Approve(Approve),
    /// Give an edge another name.
    #[command(after_help = "Example:\n  wayside edge rename 0a1b2c branch-13")]
    Rename(Rename),
    /// Take an edge's batches no longer; what it sent stays.
    #[command(after_help = "Example:\n  wayside edge revoke branch-12")]
    Revoke(One),
    /// An edge is gone for good; another may send what it left behind.
    #[command(after_help = "Example:\n  wayside edge retire 0a1b2c --for 4d5e6f")]
    Retire(Retire),
    /// Say which of two databases under one edge goes on; the other begins a new epoch.
    #[command(after_help = "Example:\n  wayside edge resolve branch-12 --keep 8c1fd2 --renew 03ab99")]
    Resolve(Resolve),
}

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Code {
    /// How many.
    #[arg(long, value_name = "N", default_value_t = 1)]
    count: u32,
    /// Days they hold.
    #[arg(long, value_name = "N", default_value_t = 30)]
    days: u32,
    /// Whoever joins with one is a relay: it may speak for edges below it, and send their batches.
    #[arg(long, conflicts_with = "site")]
    relay: bool,
    /// Whoever joins with one may send rows of this site only.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Flags.
#[derive(Debug, clap::Args)]
pub struct List {
    /// How many have told everything of this day (UTC), for example 2026-01-31.
    #[arg(long, value_name = "DAY")]
    day: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Flags.
#[derive(Debug, clap::Args)]
pub struct One {
    /// The edge.
    edge: String,
}

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Approve {
    /// The edge.
    edge: String,
    /// It is a relay: it may speak for edges below it, and send their batches.
    #[arg(long)]
    relay: bool,
}

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Rename {
    /// The edge.
    edge: String,
    /// Its new name.
    label: String,
}

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Retire {
    /// The edge.
    edge: String,
    /// The edge that may send what it left behind.
    #[arg(long = "for", value_name = "EDGE")]
    successor: Option<String>,
}

/// Flags.
#[derive(Debug, clap::Args)]
pub struct Resolve {
    /// The edge.
    edge: String,
    /// The beginning of the digest of the batch whose database goes on.
    #[arg(long, value_name = "DIGEST")]
    keep: String,
    /// That of the one whose database begins a new epoch.
    #[arg(long, value_name = "DIGEST")]
    renew: String,
}

/// Asks.
pub fn run(what: &What, context: &mut Context) -> Result<u8> {
    let mut desk = context.desk()?;
    let desk = &mut *desk;
    match what {
        What::Code(code) => {
            let wanted = json!({"count": code.count, "days": code.days, "relay": code.relay, "site": code.site});
            let told = ask(desk, context, "POST", "/v1/edges/codes", wanted)?;
            if code.json {
                context.output.json(&told)?;
                return Ok(0);
            }
            let codes = told["codes"].as_array().into_iter().flatten();
            context.output.lines(codes.map(|code| shown("", code)))?;
            context
                .output
                .note("each lets one edge join, once, and is shown this once: wayside join URL --code CODE")?;
        }
        What::List(list) => {
            let told = match &list.day {
                None => ask(desk, context, "GET", "/v1/edges", Value::Null)?,
                Some(day) => ask(desk, context, "GET", &format!("/v1/completeness?day={day}"), Value::Null)?,
            };
            match (list.json, &list.day) {
                (true, _) => context.output.json(&told)?,
                (false, None) => edges(&told["edges"], context)?,
                (false, Some(_)) => day(&told, context)?,
            }
        }
        What::Approve(a) => change(desk, context, "approve", &a.edge, json!({"relay": a.relay}))?,
        What::Revoke(one) => change(desk, context, "revoke", &one.edge, json!({}))?,
        What::Rename(rename) => change(desk, context, "rename", &rename.edge, json!({"label": rename.label}))?,
        What::Retire(retire) => {
            let next = retire.successor.as_deref().map(|text| named(desk, context, text)).transpose()?;
            change(desk, context, "retire", &retire.edge, json!({"successor": next}))?;
        }
        What::Resolve(r) => {
            change(desk, context, "resolve", &r.edge, json!({"keep": r.keep, "renew": r.renew}))?;
        }
    }
    Ok(0)
}

fn ask(desk: &mut dyn Desk, context: &Context, method: &str, target: &str, body: Value) -> Result<Value> {
    desk::ask(desk, &context.stop, method, target, &body)
}

/// The edge that is meant: by its digits, the beginning of them, or its label.
fn named(desk: &mut dyn Desk, context: &Context, text: &str) -> Result<String> {
    let all = ask(desk, context, "GET", "/v1/edges", Value::Null)?;
    let rows = all["edges"].as_array().cloned().unwrap_or_default();
    let is = |row: &&Value| {
        let id = row["edge"].as_str().unwrap_or_default();
        row["label"] == text || (text.len() >= 6 && id.starts_with(&text.to_ascii_lowercase()))
    };
    let mut found = rows.iter().filter(is);
    match (found.next(), found.next()) {
        (Some(row), None) => Ok(row["edge"].as_str().unwrap_or_default().to_owned()),
        (Some(_), Some(_)) => {
            Err(Error::invalid(format!("{text:?} names more than one edge")).remedy("give more of its digits"))
        }
        (None, _) => Err(Error::not_found(format!("no edge {text:?} has joined here")).remedy("wayside edge list")),
    }
}

fn change(desk: &mut dyn Desk, context: &mut Context, what: &str, edge: &str, mut body: Value) -> Result<()> {
    body["edge"] = named(desk, context, edge)?.into();
    let told = ask(desk, context, "POST", &format!("/v1/edges/{what}"), body)?;
    let word = ["state", "label", "settled"].iter().find(|key| !told[**key].is_null()).copied().unwrap_or("state");
    context.output.line(&format!("{}: {word} {}", shown("edge", &told["edge"]), shown(word, &told[word])))
}

fn edges(rows: &Value, context: &mut Context) -> Result<()> {
    let Some(rows) = rows.as_array().filter(|rows| !rows.is_empty()) else {
        return context.output.note("no edge has joined; `wayside edge code` makes a code that lets one in");
    };
    let mut table = Table::new(&["label", "state", "through", "complete until", "missing", "last seen", "=edge"]);
    for row in rows {
        let cell = |key: &str| shown(key, &row[key]);
        table.row([
            cell("label"),
            cell("state"),
            through(row, rows),
            cell("complete_until"),
            cell("gap_count"),
            cell("last_seen_at"),
            cell("edge"),
        ]);
    }
    context.output.lines(table.lines())?;
    for row in rows {
        for fork in row["forks"].as_array().into_iter().flatten() {
            let cut = |key: &str| shown(key, &fork[key]).chars().take(12).collect::<String>();
            context.output.line(&format!(
                "two databases: {} batch {}/{}: here lies {}, refused was {}",
                shown("edge", &row["edge"]),
                shown("lane", &fork["lane"]),
                shown("batch_no", &fork["batch_no"]),
                cut("lies"),
                cut("refused"),
            ))?;
        }
    }
    Ok(())
}

/// The relays an edge comes through, by name; empty where it comes by itself alone.
fn through(row: &Value, all: &[Value]) -> String {
    let name = |word: &Value| {
        let relay = all.iter().find(|one| one["edge"] == word["relay"]);
        let label = relay.map_or_else(String::new, |relay| shown("label", &relay["label"]));
        let id = shown("relay", &word["relay"]);
        let name = if label.is_empty() { id.chars().take(8).collect() } else { label };
        if word["state"] == "approved" { name } else { format!("{name} ({} there)", shown("state", &word["state"])) }
    };
    let names: Vec<String> = row["vouched_by"].as_array().into_iter().flatten().map(name).collect();
    names.join(", ")
}

fn day(told: &Value, context: &mut Context) -> Result<()> {
    context.output.line(&format!(
        "{} of {} edges complete for {}",
        told["complete"],
        told["edges"],
        shown("day", &told["day"])
    ))?;
    for row in told["lacking"].as_array().into_iter().flatten() {
        let until = shown("complete_until", &row["complete_until"]);
        context.output.line(&format!(
            "  {} {}: complete until {until}",
            shown("edge", &row["edge"]),
            shown("label", &row["label"])
        ))?;
    }
    Ok(())
}
