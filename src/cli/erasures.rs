//! `wayside erasures`: how far each erasure is, here and at every target; statements for targets that cannot speak, and
//! their evidence. Must never erase itself: the daemon does, or the store opened here.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::base::digest::sha256;
use crate::base::error::{Error, Result, io};
use crate::base::text::hex;
use crate::cli::output::shown;
use crate::cli::table::Table;
use crate::cli::{Context, desk};

const AFTER: &str = "Example:
  wayside erasures --open
  wayside erasures --open --sql duckdb --table lake.wayside_lines
  wayside erasures ack 0192f3a0-0000-7000-8000-000000000001 --target warehouse --evidence result.txt
  wayside erasures begin --customer customer-42 --site shop";

/// Flags of `erasures`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    #[command(subcommand)]
    what: Option<What>,
    /// Only those open on this machine or at a target.
    #[arg(long)]
    open: bool,
    /// Print statements for a target that cannot speak: duckdb, postgres or clickhouse.
    #[arg(long, value_name = "DIALECT", value_parser = ["duckdb", "postgres", "clickhouse"])]
    sql: Option<String>,
    /// The table the lines were loaded into.
    #[arg(long, value_name = "TABLE", default_value = "wayside_lines", requires = "sql")]
    table: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Close an erasure at a target that cannot speak; the digest of the evidence is kept.
    #[command(after_help = "Example:\n  wayside erasures ack ID --target warehouse --evidence result.txt")]
    Ack(Ack),
    /// Erase somebody now, without a request in the register.
    #[command(after_help = "Example:\n  wayside erasures begin --visitor 0192f3a0-0000-7000-8000-000000000001")]
    Begin(Begin),
    /// Go on with what is not done.
    #[command(after_help = "Example:\n  wayside erasures run")]
    Run(Run),
}

#[derive(Debug, clap::Args)]
struct Ack {
    /// The erasure.
    id: String,
    /// One target; without it every open one.
    #[arg(long, value_name = "NAME")]
    target: Option<String>,
    /// A file that shows it, for example the output of the statements.
    #[arg(long, value_name = "FILE")]
    evidence: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
#[command(group(clap::ArgGroup::new("who").required(true).args(["visitor", "customer", "visitor_ref"])))]
struct Begin {
    /// The visitor's id.
    #[arg(long, value_name = "ID")]
    visitor: Option<String>,
    /// The site's own name for a customer.
    #[arg(long, value_name = "NAME")]
    customer: Option<String>,
    /// The reference under which the visitor's rows left.
    #[arg(long = "ref", value_name = "HEX")]
    visitor_ref: Option<String>,
    /// The site, where there are several.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Run {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Lists, acknowledges, begins or goes on.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let (method, target, body, json) = match &args.what {
        None => ("GET", listing(args), Value::Null, args.json),
        Some(What::Ack(ack)) => {
            let evidence =
                std::fs::read(&ack.evidence).map_err(|e| io(format_args!("reading {}", ack.evidence.display()), e))?;
            if evidence.is_empty() {
                return Err(Error::invalid(format!("{} is empty", ack.evidence.display()))
                    .code("evidence")
                    .remedy("keep what the target answered in a file, and name that"));
            }
            let body = json!({"id": ack.id, "target": ack.target, "evidence_sha256": hex(&sha256(&evidence))});
            ("POST", "/v1/erasures/ack".to_owned(), body, ack.json)
        }
        Some(What::Begin(b)) => {
            let body = json!({
                "site": b.site, "visitor": b.visitor, "customer": b.customer, "visitor_ref": b.visitor_ref
            });
            ("POST", "/v1/erasures".to_owned(), body, b.json)
        }
        Some(What::Run(run)) => ("POST", "/v1/erasures/run".to_owned(), Value::Null, run.json),
    };
    let mut desk = context.desk()?;
    let answer = desk::ask(&mut *desk, &context.stop, method, &target, &body)?;
    if json {
        context.output.json(&answer)?;
        return Ok(0);
    }
    match &args.what {
        None if args.sql.is_some() => statements(&answer["statements"], context)?,
        None => listed(&answer["erasures"], context)?,
        Some(What::Ack(_)) => {
            context.output.line(&format!("closed at {} target(s)", shown("closed", &answer["closed"])))?;
        }
        Some(What::Begin(_)) if answer["erasures"].as_array().is_some_and(Vec::is_empty) => {
            context.output.note("nobody is known under that; what comes under it from before now is not taken in")?;
        }
        Some(_) => progress(&answer, context)?,
    }
    Ok(0)
}

fn listing(args: &Args) -> String {
    let mut target = "/v1/erasures?".to_owned();
    if args.open {
        target.push_str("open=1&");
    }
    if let Some(dialect) = &args.sql {
        target.push_str(&format!("sql={dialect}&table={}", args.table));
    }
    target
}

fn progress(answer: &Value, context: &mut Context) -> Result<()> {
    context.output.line(&format!(
        "{} rows deleted, {} erasure(s) done on this machine",
        shown("rows", &answer["rows"]),
        shown("done", &answer["done"])
    ))?;
    for waiting in answer["waiting"].as_array().into_iter().flatten() {
        context.output.note(&format!("open: {}", shown("waiting", waiting)))?;
    }
    Ok(())
}

fn statements(list: &Value, context: &mut Context) -> Result<()> {
    let lines: Vec<String> =
        list.as_array().into_iter().flatten().filter_map(|line| line.as_str().map(str::to_owned)).collect();
    if lines.is_empty() {
        return context.output.note("nothing is to be erased at any target");
    }
    context.output.lines(lines)
}

fn listed(list: &Value, context: &mut Context) -> Result<()> {
    let Some(rows) = list.as_array().filter(|rows| !rows.is_empty()) else {
        return context.output.note("no erasures");
    };
    let mut table = Table::new(&["opened", "state", "rows", "open at", "=id"]);
    for row in rows {
        let open: Vec<String> = row["targets"]
            .as_array()
            .into_iter()
            .flatten()
            .filter(|target| target["acknowledged_at"].is_null())
            .map(|target| shown("target", &target["target"]))
            .collect();
        let cell = |key: &str| shown(key, &row[key]);
        let opened = cell("opened_at").chars().take(19).collect::<String>();
        table.row([opened, cell("state"), cell("rows"), open.join(", "), cell("erasure_id")]);
    }
    context.output.lines(table.lines())
}
