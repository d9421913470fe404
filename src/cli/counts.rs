//! `wayside counts`: the counters of events that were not kept, by site and hour. Reads the file and needs no daemon.
//! Must never fold or unfold a cell itself (`history/counts.rs`). Invariant: what is small reads `<5`; as JSON, null.

use crate::base::error::Result;
use crate::base::time::Millis;
use crate::cli::Context;
use crate::cli::output::time_text;
use crate::cli::pick::time;
use crate::cli::table::Table;
use crate::history::Filter;
use crate::history::counts::CountView;
use crate::history::filter::LIMIT_MAX;

const AFTER: &str = "Example:
  wayside counts --since 2026-11-21
  wayside counts --json | jq -r '.items[].cells[] | [.path, .count // \"<5\"] | @tsv'

Counters are of events that were not kept; they name nobody. Cells under five are folded into __other__, which reads <5
(null as JSON) where it is small itself.";

/// Flags of `counts`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Only this site.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// From this hour on (RFC 3339, or a date).
    #[arg(long, value_name = "TIME", value_parser = time)]
    since: Option<Millis>,
    /// Up to this time; the whole hour it falls into.
    #[arg(long, value_name = "TIME", value_parser = time)]
    until: Option<Millis>,
    /// Hours of each site at the most, the newest.
    #[arg(long, value_name = "N", default_value_t = 24, value_parser = clap::value_parser!(u32).range(1..=i64::from(LIMIT_MAX)))]
    limit: u32,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Prints them, newest hour first.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let filter = Filter {
        site: args.site.clone(),
        since: args.since,
        until: args.until,
        limit: Some(args.limit),
        ..Filter::default()
    };
    let page = context.history()?.counts(&filter)?;
    if args.json {
        context.output.json(&page)?;
    } else if page.items.is_empty() {
        context.output.note("nothing was counted")?;
    } else {
        context.output.lines(table(&page.items).lines())?;
    }
    Ok(0)
}

fn table(hours: &[CountView]) -> Table {
    let mut table = Table::new(&["=hour", "site", ">events", "path", "device", "came from", "robot"]);
    for hour in hours {
        for cell in &hour.cells {
            table.row([
                time_text(&hour.hour_at),
                hour.site.clone(),
                cell.count.map_or_else(|| "<5".to_owned(), |n| n.to_string()),
                cell.path.clone(),
                cell.device.clone(),
                cell.medium.clone(),
                if cell.robot { "robot".to_owned() } else { String::new() },
            ]);
        }
    }
    table.without_constant("site").without_constant("robot")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::counts::CellView;

    #[test]
    fn a_small_rest_reads_under_five() {
        let cell = |path: &str, count| CellView {
            path: path.to_owned(),
            device: "mobile".to_owned(),
            medium: "search".to_owned(),
            robot: false,
            count,
        };
        let cells = vec![cell("/a", Some(12)), cell("__other__", None)];
        let hour = CountView { site: "shop".to_owned(), hour_at: "2026-11-21T10:00:00.000Z".to_owned(), cells };
        let lines = table(&[hour]).lines();
        let words = |at: usize| lines[at].split_whitespace().collect::<Vec<_>>();
        assert_eq!(words(1)[2..], ["12", "/a", "mobile", "search"]);
        assert_eq!(words(2)[2..4], ["<5", "__other__"]);
    }
}
