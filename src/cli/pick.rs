//! The filter flags that lists and exports share. Must never decide what a filter means (`history/filter.rs`).
//! Invariant: a flag and the query parameter of the same name mean the same.

use crate::base::time::Millis;
use crate::history::Filter;
use crate::history::filter::{LIMIT_MAX, parse_time};

/// Which rows.
#[derive(Debug, Default, clap::Args)]
pub struct Pick {
    /// Only this site.
    #[arg(long, value_name = "SITE")]
    pub site: Option<String>,
    /// Only this visitor: the id the site gave it, or a visitor_ref.
    #[arg(long, value_name = "VISITOR")]
    pub visitor: Option<String>,
    /// Received at or after this time (RFC 3339, or a date).
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub since: Option<Millis>,
    /// Received before this time.
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub until: Option<Millis>,
    /// Only robots, or none of them.
    #[arg(long, value_name = "yes|no", value_parser = ["yes", "no"])]
    pub robot: Option<String>,
}

/// Which stretch of a list.
#[derive(Debug, clap::Args)]
pub struct Stretch {
    /// Rows at the most.
    #[arg(long, value_name = "N", default_value_t = 20, value_parser = clap::value_parser!(u32).range(1..=i64::from(LIMIT_MAX)))]
    pub limit: u32,
    /// Go on behind this cursor.
    #[arg(long, value_name = "CURSOR")]
    pub after: Option<String>,
    /// Oldest first; without it the newest come first.
    #[arg(long)]
    pub oldest: bool,
}

/// A time as these flags take it.
pub fn time(text: &str) -> Result<Millis, String> {
    parse_time(text).ok_or_else(|| "use RFC 3339 like 2026-11-21T10:00:00Z, or a date like 2026-11-21".to_owned())
}

impl Pick {
    /// The filter of these flags.
    pub fn filter(&self) -> Filter {
        Filter {
            site: self.site.clone(),
            visitor: self.visitor.clone(),
            since: self.since,
            until: self.until,
            robot: self.robot.as_deref().map(|word| word == "yes"),
            ..Filter::default()
        }
    }
}

impl Stretch {
    /// The filter with this stretch.
    pub fn of(&self, filter: Filter) -> Filter {
        Filter { limit: Some(self.limit), after: self.after.clone(), newest_first: !self.oldest, ..filter }
    }

    /// How to go on behind a page.
    pub fn hint(&self, next: &str) -> String {
        format!("there are more: add --after {next}")
    }
}
