//! `wayside audit`: what was done administratively with people's data: who, what, when.
//! Must never print a personal value; the table holds none.

use crate::base::error::Result;
use crate::cli::Context;
use crate::cli::output::time_text;
use crate::cli::table::Table;
use crate::history::audit::LIMIT_MAX;

const AFTER: &str = "Example:
  wayside audit
  wayside audit --about 0192f3a0-0000-7000-8000-000000000001 --json";

/// Flags of `audit`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Only what was done to this request, token or batch.
    #[arg(long, value_name = "ID")]
    about: Option<String>,
    /// Rows at the most, the newest first.
    #[arg(long, value_name = "N", default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(LIMIT_MAX)))]
    limit: u32,
    /// Print a JSON list.
    #[arg(long)]
    json: bool,
}

/// Lists what was done.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let rows = context.history()?.audit(args.about.as_deref(), args.limit)?;
    if args.json {
        context.output.json(&rows)?;
        return Ok(0);
    }
    if rows.is_empty() {
        context.output.note("nothing was done yet")?;
        return Ok(0);
    }
    let mut table = Table::new(&["=time", "who", "what", "=about", "note"]);
    for row in rows {
        let text = |value: Option<String>| value.unwrap_or_default();
        table.row([time_text(&row.at), row.who, row.what, text(row.about), text(row.note)]);
    }
    context.output.lines(table.lines())?;
    Ok(0)
}
