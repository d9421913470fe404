//! `wayside events`: stored events, many or one. Must never query: `history` does.
//! Invariant: reading needs no daemon and changes nothing.

use clap::Subcommand;
use serde_json::Value;

use crate::base::error::Result;
use crate::cli::Context;
use crate::cli::output::{shown, time_text};
use crate::cli::pick::{Pick, Stretch};
use crate::cli::table::{Table, pairs};
use crate::history::Filter;
use crate::history::view::EventView;

const AFTER: &str = "Example:
  wayside events list --limit 1
  wayside events show 42";

/// Flags of `events`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List events, newest first.
    #[command(after_help = "Example:\n  wayside events list --site default --since 2026-11-21 --robot no --limit 50")]
    List(List),
    /// Show one event by its number or its id.
    #[command(after_help = "Example:\n  wayside events show 42 --json")]
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    pick: Pick,
    /// Only events of this name.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Only events of this visit: its id or its number.
    #[arg(long, value_name = "VISIT")]
    visit: Option<String>,
    #[command(flatten)]
    stretch: Stretch,
    /// Print one JSON object: items and next.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The event's number (seq) or its id.
    event: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Lists or shows.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    match &args.what {
        What::List(args) => list(args, context),
        What::Show(args) => show(args, context),
    }
}

fn list(args: &List, context: &mut Context) -> Result<u8> {
    let filter = Filter { name: args.name.clone(), visit: args.visit.clone(), ..args.pick.filter() };
    let page = context.history()?.events(&args.stretch.of(filter))?;
    if args.json {
        context.output.json(&page)?;
        return Ok(0);
    }
    if page.items.is_empty() {
        context.output.note("no events; `wayside tail` shows why some are not stored")?;
        return Ok(0);
    }
    context.output.lines(table(&page.items).lines())?;
    if let Some(next) = &page.next {
        context.output.note(&args.stretch.hint(next))?;
    }
    Ok(0)
}

/// The columns of a list of events.
pub(in crate::cli) fn table(events: &[EventView]) -> Table {
    let mut table = Table::new(&[">seq", "=received", "site", "name", "page", "=visitor", "purposes"]);
    for e in events {
        let page = e.url.as_ref().or(e.screen.as_ref()).cloned().unwrap_or_default();
        let robot = if e.robot.is_some() { " (robot)" } else { "" };
        table.row([
            e.seq.to_string(),
            time_text(&e.received_at),
            e.site.clone(),
            format!("{}{robot}", e.name),
            page,
            e.visitor_ref.chars().take(8).collect(),
            e.rights.purposes.join(" "),
        ]);
    }
    table.without_constant("site")
}

fn show(args: &Show, context: &mut Context) -> Result<u8> {
    let event = context.history()?.event(&args.event)?;
    if args.json {
        context.output.json(&event)?;
    } else {
        context.output.lines(pairs("", &fields(&serde_json::to_value(&event).unwrap_or_default(), &[])))?;
    }
    Ok(0)
}

/// The fields of a view that are there, as they are shown; objects one level deep as `name.key`.
pub(in crate::cli) fn fields(view: &Value, without: &[&str]) -> Vec<(String, String)> {
    let mut list = Vec::new();
    for (name, value) in view.as_object().into_iter().flatten() {
        match value {
            _ if without.contains(&name.as_str()) => {}
            Value::Null => {}
            Value::Array(parts) if parts.is_empty() => {}
            Value::Object(inner) => {
                let inner = inner.iter().filter(|(_, value)| !value.is_null());
                list.extend(inner.map(|(key, value)| (format!("{name}.{key}"), shown(key, value))));
            }
            _ => list.push((name.clone(), shown(name, value))),
        }
    }
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_leave_out_what_is_not_there() {
        let view =
            serde_json::json!({"seq": 4, "url": null, "withheld": [], "attributes": {"a": "1"}, "exempt": false});
        let shown: Vec<String> = fields(&view, &["seq"]).into_iter().map(|(k, v)| format!("{k}={v}")).collect();
        assert_eq!(shown, ["attributes.a=1", "exempt=no"]);
    }
}
