//! What is looked for: the filter of every list, from flags or query parameters, and what it means in rows.
//! Must never hold SQL (`store/queries.rs`). Invariant: an unknown key or a limit out of bounds is refused, not ignored.

use crate::base::error::{Error, Result};
use crate::base::id::{ClientId, VisitorRef, uuid_bytes};
use crate::base::text::cut;
use crate::base::time::Millis;
use crate::history::cursor::Of;
use crate::store::queries::{self, Wanted};
use crate::store::{ReadTx, epochs, sites, visits};

/// Rows of one answer at the most.
pub const LIMIT_MAX: u32 = 1_000;
/// Rows of one answer where nothing is said.
pub const LIMIT_DEFAULT: u32 = 100;

/// What is looked for; every part that is given narrows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Filter {
    /// The site's id.
    pub site: Option<String>,
    /// The visitor: the client's id, or the visitor_ref of a batch.
    pub visitor: Option<String>,
    /// Event name; of visits, those with such an event are not looked for: it is refused.
    pub name: Option<String>,
    /// Received at or after; of a visit, its newest event.
    pub since: Option<Millis>,
    /// Received before.
    pub until: Option<Millis>,
    /// Only robots, or none.
    pub robot: Option<bool>,
    /// The visit: its id or its number.
    pub visit: Option<String>,
    /// A cursor.
    pub after: Option<String>,
    /// Rows at the most, 1 to [`LIMIT_MAX`]; [`LIMIT_DEFAULT`] where nothing is said.
    pub limit: Option<u32>,
    /// Highest number first.
    pub newest_first: bool,
}

impl Filter {
    /// A filter from query parameters: `site`, `visitor`, `name`, `since`, `until`, `robot` (yes, no), `visit`, `after`,
    /// `limit`, `order` (oldest, newest). Errors: `Invalid` with code `filter`.
    pub fn from_pairs(pairs: impl IntoIterator<Item = (String, String)>) -> Result<Filter> {
        let mut filter = Filter::default();
        for (key, value) in pairs {
            let bad = |what: &str| refused(&format!("{key} must be {what}, not {:?}", cut(&value, 80)));
            match key.as_str() {
                "site" => filter.site = Some(value),
                "visitor" => filter.visitor = Some(value),
                "name" => filter.name = Some(value),
                "visit" => filter.visit = Some(value),
                "after" => filter.after = Some(value),
                "since" => filter.since = Some(parse_time(&value).ok_or_else(|| bad("an RFC 3339 time or a date"))?),
                "until" => filter.until = Some(parse_time(&value).ok_or_else(|| bad("an RFC 3339 time or a date"))?),
                "robot" => filter.robot = Some(parse_yes(&value).ok_or_else(|| bad("yes or no"))?),
                "limit" => filter.limit = Some(value.parse().map_err(|_| bad("a number from 1 to 1000"))?),
                "order" if value == "newest" => filter.newest_first = true,
                "order" if value == "oldest" => filter.newest_first = false,
                "order" => return Err(bad("oldest or newest")),
                _ => return Err(refused(&format!("there is no filter {:?}", cut(&key, 40)))),
            }
        }
        filter.limit()?;
        Ok(filter)
    }

    /// Rows at the most. Errors: `Invalid` with code `filter` outside 1 to [`LIMIT_MAX`].
    pub fn limit(&self) -> Result<u32> {
        match self.limit {
            None => Ok(LIMIT_DEFAULT),
            Some(limit @ 1..=LIMIT_MAX) => Ok(limit),
            Some(other) => Err(refused(&format!("limit must be a number from 1 to {LIMIT_MAX}, not {other}"))),
        }
    }

    /// The filter in rows; `None` where nothing can match. One row more than the limit is asked for.
    /// Errors: `NotFound` for an unknown site, `Invalid` for a foreign cursor.
    pub(in crate::history) fn wanted(&self, tx: &ReadTx<'_>, list: &str) -> Result<Option<Wanted>> {
        let limit = self.limit()?;
        let mut wanted = Wanted {
            name: self.name.clone(),
            since: self.since,
            until: self.until,
            robot: self.robot,
            newest_first: self.newest_first,
            limit: i64::from(limit) + 1,
            ..Wanted::default()
        };
        if let Some(cursor) = &self.after {
            wanted.after = Some(self.cursors(tx, list)?.decode(cursor)?);
        }
        if let Some(site) = &self.site {
            wanted.site_id = Some(site_id(tx, site)?);
        }
        if let Some(visit) = &self.visit {
            let Some(id) = visit_id(tx, visit)? else { return Ok(None) };
            wanted.visit_id = Some(id);
        }
        if let Some(visitor) = &self.visitor {
            let ids = queries::visitor_ids(tx, &ClientId::new(visitor), VisitorRef::parse(visitor).ok())?;
            if ids.is_empty() {
                return Ok(None);
            }
            wanted.visitors = Some(ids);
        }
        Ok(Some(wanted))
    }

    /// The cursors of a list under this filter.
    pub(in crate::history) fn cursors<'a>(&self, tx: &ReadTx<'_>, list: &'a str) -> Result<Of<'a>> {
        let database = epochs::all(tx)?.first().map(|row| row.epoch);
        Ok(Of { list, newest_first: self.newest_first, database })
    }
}

fn refused(what: &str) -> Error {
    Error::invalid(what)
        .code("filter")
        .remedy("filters: site, visitor, name, since, until, robot, visit, after, limit, order")
}

/// An RFC 3339 time, or a date as its first moment in UTC.
pub fn parse_time(text: &str) -> Option<Millis> {
    if text.len() == 10 { Millis::parse(&format!("{text}T00:00:00Z")) } else { Millis::parse(text) }
}

/// `yes` or `no`, `true` or `false`.
pub fn parse_yes(text: &str) -> Option<bool> {
    match text {
        "yes" | "true" => Some(true),
        "no" | "false" => Some(false),
        _ => None,
    }
}

/// The row of a site. Errors: `NotFound` naming the known ones.
pub(in crate::history) fn site_id(tx: &ReadTx<'_>, name: &str) -> Result<i64> {
    if let Some(id) = sites::id(tx, name)? {
        return Ok(id);
    }
    let known: Vec<String> = sites::all(tx)?.into_iter().map(|(_, name)| name).collect();
    Err(Error::not_found(format!("no site {:?} was ever configured", cut(name, 64)))
        .code("site")
        .remedy(format!("known sites: {}", known.join(", "))))
}

/// The row of a visit, by its id or its number.
pub(in crate::history) fn visit_id(tx: &ReadTx<'_>, text: &str) -> Result<Option<i64>> {
    match (uuid_bytes(&text.to_ascii_lowercase()), text.parse()) {
        (Some(uuid), _) => Ok(visits::by_uuid(tx, &uuid)?.map(|visit| visit.id)),
        (None, Ok(number)) => Ok(Some(number)),
        (None, Err(_)) => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pairs(of: &[(&str, &str)]) -> Result<Filter> {
        Filter::from_pairs(of.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())))
    }

    #[test]
    fn parameters_become_a_filter() {
        let filter = pairs(&[
            ("site", "shop"),
            ("robot", "no"),
            ("since", "2026-11-21"),
            ("limit", "1000"),
            ("order", "newest"),
        ])
        .unwrap();
        assert_eq!((filter.site.as_deref(), filter.robot, filter.newest_first), (Some("shop"), Some(false), true));
        assert_eq!(filter.since, Millis::parse("2026-11-21T00:00:00Z"));
        assert_eq!(filter.limit().unwrap(), 1_000);
        assert_eq!(pairs(&[]).unwrap().limit().unwrap(), LIMIT_DEFAULT);
    }

    #[test]
    fn what_is_not_understood_is_refused() {
        let wrong = [
            ("limit", "0"),
            ("limit", "1001"),
            ("limit", "-1"),
            ("since", "yesterday"),
            ("robot", "maybe"),
            ("order", "random"),
            ("colour", "red"),
        ];
        for pair in wrong {
            assert_eq!(pairs(&[pair]).unwrap_err().code, "filter", "{pair:?}");
        }
    }
}
