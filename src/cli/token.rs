//! `wayside token`: who may ask from the network, and for what.
//! Must never keep a token: it is printed once, by the request that made it.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::base::error::Result;
use crate::cli::output::shown;
use crate::cli::table::{Table, pairs};
use crate::cli::{Context, desk};

const AFTER: &str = "Example:
  wayside token create shop-server --scopes ingest
  wayside token create privacy-desk --scopes subject --days 90
  wayside token list
  wayside token revoke shop-server";

/// Flags of `token`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make a token; it is shown once.
    #[command(after_help = "Example:\n  wayside token create reports --scopes read,sync --days 365")]
    Create(Create),
    /// List tokens: their scopes, their first six characters, whether they hold.
    #[command(after_help = "Example:\n  wayside token list --json")]
    List(List),
    /// Revoke a token by its name or id, at once.
    #[command(after_help = "Example:\n  wayside token revoke shop-server")]
    Revoke(Revoke),
}

#[derive(Debug, clap::Args)]
struct Create {
    /// What it is called, after the program that will use it.
    name: String,
    /// What it opens: ingest, read, subject, sync, admin.
    #[arg(long, value_name = "SCOPES", value_delimiter = ',', required = true)]
    scopes: Vec<String>,
    /// Days it holds; without them until it is revoked.
    #[arg(long, value_name = "N")]
    days: Option<i64>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Revoke {
    /// Its name or id.
    token: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Makes, lists or revokes.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let (method, target, body, json) = match &args.what {
        What::Create(c) => ("POST", "/v1/tokens", json!({"name": c.name, "scopes": c.scopes, "days": c.days}), c.json),
        What::List(list) => ("GET", "/v1/tokens", Value::Null, list.json),
        What::Revoke(revoke) => ("POST", "/v1/tokens/revoke", json!({"token": revoke.token}), revoke.json),
    };
    let mut desk = context.desk()?;
    let answer = desk::ask(&mut *desk, &context.stop, method, target, &body)?;
    if json {
        context.output.json(&answer)?;
        return Ok(0);
    }
    match &args.what {
        What::Create(_) => {
            let row = |key: &str, name: &str| (name.to_owned(), shown(key, &answer[key]));
            let list =
                [row("token", "token"), row("id", "client id"), row("scopes", "scopes"), row("expires_at", "expires")];
            context.output.lines(pairs("", &list))?;
            context.output.note("the token is shown this once; only a digest of it is kept")?;
        }
        What::Revoke(_) => context.output.line(&format!("revoked: {}", shown("name", &answer["name"])))?,
        What::List(_) => listed(&answer["tokens"], context)?,
    }
    Ok(0)
}

fn listed(tokens: &Value, context: &mut Context) -> Result<()> {
    let Some(rows) = tokens.as_array().filter(|rows| !rows.is_empty()) else {
        return context.output.note("no tokens; `wayside token create NAME --scopes read` makes one");
    };
    let mut table = Table::new(&["name", "scopes", "begins", "state", "expires", "last used", "=id"]);
    for row in rows {
        let cell = |key: &str| shown(key, &row[key]);
        let day = |key: &str| cell(key).chars().take(10).collect::<String>();
        let cells =
            [cell("name"), cell("scopes"), cell("prefix"), cell("state"), day("expires_at"), day("last_used_at")];
        table.row(cells.into_iter().chain([cell("id")]));
    }
    context.output.lines(table.lines())
}
