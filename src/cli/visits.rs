//! `wayside visits`: stored visits, many or one with its pages, sessions and events. Must never query: `history` does.
//! Invariant: reading needs no daemon and changes nothing.

use clap::Subcommand;

use crate::base::error::Result;
use crate::cli::Context;
use crate::cli::events::{fields, table as event_table};
use crate::cli::output::{span_text, time_text};
use crate::cli::pick::{Pick, Stretch};
use crate::cli::table::{Table, pairs};
use crate::history::list::VisitDetail;
use crate::history::view::VisitView;

const AFTER: &str = "Example:
  wayside visits list --robot no
  wayside visits show 42";

/// Flags of `visits`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List visits, newest first.
    #[command(after_help = "Example:\n  wayside visits list --visitor demo --limit 5")]
    List(List),
    /// Show one visit by its id or its number: visitor, pages, sessions, events.
    #[command(after_help = "Example:\n  wayside visits show 42 --json")]
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct List {
    #[command(flatten)]
    pick: Pick,
    #[command(flatten)]
    stretch: Stretch,
    /// Print one JSON object: items and next.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The visit's id, or its number (seq).
    visit: String,
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
    let page = context.history()?.visits(&args.stretch.of(args.pick.filter()))?;
    if args.json {
        context.output.json(&page)?;
        return Ok(0);
    }
    if page.items.is_empty() {
        context.output.note("no visits")?;
        return Ok(0);
    }
    context.output.lines(table(&page.items).lines())?;
    if let Some(next) = &page.next {
        context.output.note(&args.stretch.hint(next))?;
    }
    Ok(0)
}

fn table(visits: &[VisitView]) -> Table {
    let mut table = Table::new(&[
        ">seq", "=started", ">length", "site", ">pages", ">events", "state", "entry", "device", "=visitor",
    ]);
    for v in visits {
        let robot = v.robot.as_ref().map(|rule| format!("robot: {rule}"));
        table.row([
            v.seq.to_string(),
            time_text(&v.started_at),
            span_text(v.duration_ms),
            v.site.clone(),
            (v.page_count + v.screen_count).to_string(),
            v.event_count.to_string(),
            v.end_reason.unwrap_or(v.state).to_owned(),
            v.entry_page.clone().unwrap_or_default(),
            robot.or_else(|| v.device.as_ref().map(|d| d.summary.clone())).unwrap_or_default(),
            v.visitor_ref.chars().take(8).collect(),
        ]);
    }
    table.without_constant("site")
}

fn show(args: &Show, context: &mut Context) -> Result<u8> {
    let visit = context.history()?.visit(&args.visit)?;
    if !visit.visitor.personal.is_empty() {
        context.noted("personal_read", "the personal fields of one visitor")?;
    }
    if args.json {
        context.output.json(&visit)?;
        return Ok(0);
    }
    context.output.lines(lines(&visit))?;
    Ok(0)
}

fn lines(detail: &VisitDetail) -> Vec<String> {
    let view = serde_json::to_value(&detail.visit).unwrap_or_default();
    let mut out = pairs("", &fields(&view, &[]));
    let mut section = |title: &str, lines: Vec<String>| {
        if lines.len() > 1 || (title == "visitor" && !lines.is_empty()) {
            out.extend([String::new(), title.to_owned()]);
            out.extend(lines.into_iter().map(|line| format!("  {line}")));
        }
    };
    let visitor = serde_json::to_value(&detail.visitor).unwrap_or_default();
    section("visitor", pairs("", &fields(&visitor, &["visitor_ref"])));
    let mut identities = Table::new(&["=since", "as", "name"]);
    for i in &detail.identities {
        identities.row([
            time_text(&i.at),
            i.association.clone(),
            i.key.clone().unwrap_or_else(|| "(sealed)".to_owned()),
        ]);
    }
    section("identities", identities.lines());
    let mut sessions = Table::new(&[">seq", "=signed in", "=signed out", "session_id"]);
    for s in &detail.sessions {
        let ended = s.ended_at.as_deref().map_or_else(|| "-".to_owned(), time_text);
        sessions.row([s.seq.to_string(), time_text(&s.started_at), ended, s.session_id.clone()]);
    }
    section("sessions", sessions.lines());
    let mut pages = Table::new(&[">seq", "=entered", ">spent", "page", "title"]);
    for p in &detail.pages {
        let page = p.url.as_ref().or(p.screen.as_ref()).cloned().unwrap_or_default();
        let spent = p.dwell_ms.map_or_else(|| "-".to_owned(), span_text);
        pages.row([p.seq.to_string(), time_text(&p.entered_at), spent, page, p.title.clone().unwrap_or_default()]);
    }
    section("pages", pages.lines());
    section("events", event_table(&detail.events).lines());
    if detail.more {
        out.push("there is more: `wayside events list --visit`, `wayside export`".to_owned());
    }
    out
}
