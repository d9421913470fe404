//! Counters of events that were not kept, as they may be shown. Must never show a cell under five (contract 2).
//! Invariant: what is small is folded within its hour, so that no two answers can be subtracted from each other.

use serde::Serialize;

use crate::base::error::Result;
use crate::base::time::{HOUR_MS, Millis};
use crate::domain::count::{self, SMALL};
use crate::history::filter::{self, Filter};
use crate::history::{History, Page};
use crate::store::{sites, sums};

/// One site and hour.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CountView {
    /// The site.
    pub site: String,
    /// The hour's first moment, UTC.
    pub hour_at: String,
    /// Its cells, largest first; what is small stands last, folded.
    pub cells: Vec<CellView>,
}

/// One cell.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct CellView {
    /// Path template, or `__other__`.
    pub path: String,
    /// Device class.
    pub device: String,
    /// Referrer medium.
    pub medium: String,
    /// Robots?
    pub robot: bool,
    /// How many events; `None` for fewer than five.
    pub count: Option<i64>,
}

/// A number that is not told while it is small: `None` for fewer than five, but 0 is told.
pub fn discreet(n: i64) -> Option<i64> {
    (n == 0 || n >= SMALL).then_some(n)
}

impl History {
    /// Counters by site and hour, newest hour first. Of the filter count `site`, `since`, `until` (both as hours) and
    /// `limit` (hours per site); there is no cursor: go on with `until`. Errors: as [`History::events`].
    pub fn counts(&self, filter: &Filter) -> Result<Page<CountView>> {
        let limit = i64::from(filter.limit()?);
        let since = filter.since.unwrap_or(Millis(i64::MIN / 2)).hour();
        let until = filter.until.map_or(Millis(i64::MAX), |until| until.plus(HOUR_MS - 1).hour());
        self.read(|tx| {
            let only = filter.site.as_deref().map(|site| filter::site_id(tx, site)).transpose()?;
            let mut items = Vec::new();
            for (site_id, site) in sites::all(tx)?.into_iter().filter(|(id, _)| only.is_none_or(|only| only == *id)) {
                for hour in sums::counted_hours(tx, site_id, (since, until), limit)? {
                    let cells = count::fold(sums::counted_cells(tx, site_id, hour)?)
                        .into_iter()
                        .map(|(cell, count)| CellView {
                            path: cell.path,
                            device: cell.device,
                            medium: cell.medium,
                            robot: cell.robot,
                            count,
                        })
                        .collect();
                    items.push(CountView { site: site.clone(), hour_at: hour.rfc3339(), cells });
                }
            }
            Ok(Page { items, next: None })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_numbers_are_not_told() {
        assert_eq!([0, 1, 4, 5].map(discreet), [Some(0), None, None, Some(5)]);
    }
}
