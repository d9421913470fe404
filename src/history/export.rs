//! Events and visits as a stream of NDJSON or CSV. Must never hold a snapshot longer than one page of rows.
//! Invariant: what was there when the export began is written once, in the order of the numbers, and an export ends even
//! while rows come in; rows that were withdrawn meanwhile are left out from then on.

use std::io::Write;

use serde::Serialize;
use serde_json::Value;

use crate::base::error::{Error, Result, io};
use crate::base::id::Seq;
use crate::history::view::{DeviceView, EventView, RightsView, VisitView};
use crate::history::{Filter, History};
use crate::store::{queries, sums};

/// Rows read in one snapshot.
const PAGE_ROWS: u32 = 1_000;
/// Numbers looked at in one snapshot, so that a filter that matches little keeps none for long.
const WINDOW_NUMBERS: i64 = 200_000;

/// What is exported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Events.
    Events,
    /// Visits.
    Visits,
}

/// How rows are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// One JSON object a line.
    Ndjson,
    /// RFC 4180, with a header line.
    Csv,
}

/// An order for an export.
#[derive(Clone, Debug)]
pub struct Export {
    /// What.
    pub kind: Kind,
    /// How.
    pub format: Format,
    /// Which; cursor, limit and order are not heeded.
    pub filter: Filter,
}

/// How far an export is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Rows written.
    pub rows: u64,
    /// The number it has come to.
    pub at: u64,
    /// The number it will end at.
    pub end: u64,
}

impl History {
    /// Writes rows to `out`; returns how many. Errors: those of the filter, `Busy`, and `Storage` where writing fails
    /// (code `broken_pipe` where the reader went away).
    pub fn export(&self, what: &Export, out: &mut dyn Write, progress: &mut dyn FnMut(Progress)) -> Result<u64> {
        let (events_end, visits_end) = self.read(sums::newest)?;
        let end = if what.kind == Kind::Events { events_end } else { visits_end };
        if what.kind == Kind::Visits && what.filter.name.is_some() {
            return Err(Error::invalid("visits cannot be filtered by the name of an event").code("filter"));
        }
        let mut filter = what.filter.clone();
        (filter.after, filter.limit, filter.newest_first) = (None, Some(PAGE_ROWS), false);
        let mut writer = Writer { out, format: what.format, line: Vec::new() };
        if what.format == Format::Csv {
            match what.kind {
                Kind::Events => writer.csv(EVENT_COLUMNS.iter().map(|(name, _)| (*name).to_owned()))?,
                Kind::Visits => writer.csv(VISIT_COLUMNS.iter().map(|(name, _)| (*name).to_owned()))?,
            }
        }
        let number = |seq: Seq| u64::try_from(seq.0).unwrap_or(0);
        let mut told = Progress { rows: 0, at: 0, end: number(end) };
        let (mut after, mut upto) = (Seq(0), Seq(end.0.min(WINDOW_NUMBERS)));
        while after < end {
            let last = match what.kind {
                Kind::Events => {
                    let views = self.events_between(&filter, after, upto)?;
                    writer.rows(&views, EVENT_COLUMNS, &mut told)?;
                    full(&views).map(|view| Seq(view.seq))
                }
                Kind::Visits => {
                    let views = self.visits_between(&filter, after, upto)?;
                    writer.rows(&views, VISIT_COLUMNS, &mut told)?;
                    full(&views).map(|view| Seq(view.seq))
                }
            };
            after = last.unwrap_or(upto);
            if after == upto {
                upto = Seq(end.0.min(upto.0.saturating_add(WINDOW_NUMBERS)));
            }
            told.at = number(after);
            progress(told);
        }
        writer.out.flush().map_err(|e| io("writing the export", e))?;
        Ok(told.rows)
    }

    fn events_between(&self, filter: &Filter, after: Seq, upto: Seq) -> Result<Vec<EventView>> {
        self.read(|tx| {
            let Some(mut wanted) = filter.wanted(tx, "events")? else { return Ok(Vec::new()) };
            (wanted.after, wanted.upto) = (Some(after), Some(upto));
            self.event_views(tx, queries::find_events(tx, &wanted)?)
        })
    }

    fn visits_between(&self, filter: &Filter, after: Seq, upto: Seq) -> Result<Vec<VisitView>> {
        self.read(|tx| {
            let Some(mut wanted) = filter.wanted(tx, "visits")? else { return Ok(Vec::new()) };
            (wanted.after, wanted.upto) = (Some(after), Some(upto));
            self.visit_views(tx, queries::find_visits(tx, &wanted)?)
        })
    }
}

/// The last of a page that was cut at its limit.
fn full<T>(views: &[T]) -> Option<&T> {
    views.last().filter(|_| u32::try_from(views.len()).is_ok_and(|len| len > PAGE_ROWS))
}

/// A column's name, and its cell in a row.
type Column<T> = (&'static str, fn(&T) -> String);

struct Writer<'a> {
    out: &'a mut dyn Write,
    format: Format,
    line: Vec<u8>,
}

impl Writer<'_> {
    fn rows<T: Serialize>(&mut self, rows: &[T], columns: &[Column<T>], told: &mut Progress) -> Result<()> {
        for row in rows {
            match self.format {
                Format::Csv => self.csv(columns.iter().map(|(_, cell)| cell(row)))?,
                Format::Ndjson => {
                    self.line.clear();
                    serde_json::to_writer(&mut self.line, row).expect("invariant: a view has string keys");
                    self.line.push(b'\n');
                    self.out.write_all(&self.line).map_err(|e| io("writing the export", e))?;
                }
            }
            told.rows += 1;
        }
        Ok(())
    }

    fn csv(&mut self, cells: impl Iterator<Item = String>) -> Result<()> {
        let line = cells.map(|cell| csv_cell(&cell)).collect::<Vec<_>>().join(",");
        self.out
            .write_all(line.as_bytes())
            .and_then(|()| self.out.write_all(b"\r\n"))
            .map_err(|e| io("writing the export", e))
    }
}

/// One cell by RFC 4180. What a spreadsheet would take for a formula gets an apostrophe before it.
pub fn csv_cell(text: &str) -> String {
    let formula = text.starts_with(['=', '+', '-', '@', '\t', '\r']);
    let text = if formula { format!("'{text}") } else { text.to_owned() };
    if text.contains(['"', ',', '\r', '\n']) { format!("\"{}\"", text.replace('"', "\"\"")) } else { text }
}

fn or_empty(text: &Option<String>) -> String {
    text.clone().unwrap_or_default()
}

fn json(value: &Option<Value>) -> String {
    value.as_ref().map(Value::to_string).unwrap_or_default()
}

fn number(n: Option<i64>) -> String {
    n.map(|n| n.to_string()).unwrap_or_default()
}

fn device(view: &Option<DeviceView>, part: fn(&DeviceView) -> Option<String>) -> String {
    view.as_ref().and_then(part).unwrap_or_default()
}

fn purposes(rights: &RightsView) -> String {
    rights.purposes.join(" ")
}

const EVENT_COLUMNS: &[Column<EventView>] = &[
    ("seq", |e| e.seq.to_string()),
    ("event_id", |e| e.event_id.clone()),
    ("site", |e| e.site.clone()),
    ("name", |e| e.name.clone()),
    ("event_type", |e| e.event_type.to_owned()),
    ("stream", |e| e.stream.clone()),
    ("visit_id", |e| e.visit_id.clone()),
    ("visitor_ref", |e| e.visitor_ref.clone()),
    ("page_seq", |e| number(e.page_seq)),
    ("session_id", |e| or_empty(&e.session_id)),
    ("received_at", |e| e.received_at.clone()),
    ("corrected_at", |e| e.corrected_at.clone()),
    ("clock_state", |e| e.clock_state.to_owned()),
    ("url", |e| or_empty(&e.url)),
    ("title", |e| or_empty(&e.title)),
    ("screen", |e| or_empty(&e.screen)),
    ("referrer", |e| json(&e.referrer)),
    ("search_query", |e| or_empty(&e.search_query)),
    ("attributes", |e| e.attributes.to_string()),
    ("conversation", |e| json(&e.conversation)),
    ("withheld", |e| e.withheld.join(" ")),
    ("device", |e| device(&e.device, |d| Some(d.category.clone()))),
    ("browser", |e| device(&e.device, |d| d.browser.clone())),
    ("os", |e| device(&e.device, |d| d.os.clone())),
    ("robot", |e| or_empty(&e.robot)),
    ("purposes", |e| purposes(&e.rights)),
    ("flags", |e| e.rights.flags.to_string()),
    ("basis_id", |e| e.rights.basis_id.to_string()),
    ("consent_seq", |e| e.rights.consent_seq.to_string()),
    ("epoch", |e| e.epoch.clone()),
];

const VISIT_COLUMNS: &[Column<VisitView>] = &[
    ("seq", |v| v.seq.to_string()),
    ("visit_id", |v| v.visit_id.clone()),
    ("site", |v| v.site.clone()),
    ("visitor_ref", |v| v.visitor_ref.clone()),
    ("stream", |v| v.stream.to_owned()),
    ("state", |v| v.state.to_owned()),
    ("started_at", |v| v.started_at.clone()),
    ("last_active_at", |v| v.last_active_at.clone()),
    ("ended_at", |v| or_empty(&v.ended_at)),
    ("end_reason", |v| v.end_reason.unwrap_or_default().to_owned()),
    ("duration_ms", |v| v.duration_ms.to_string()),
    ("entry_page", |v| or_empty(&v.entry_page)),
    ("last_page", |v| or_empty(&v.last_page)),
    ("page_count", |v| v.page_count.to_string()),
    ("screen_count", |v| v.screen_count.to_string()),
    ("event_count", |v| v.event_count.to_string()),
    ("authenticated", |v| v.authenticated.to_string()),
    ("referrer", |v| json(&v.referrer)),
    ("campaign", |v| json(&v.campaign)),
    ("searches", |v| v.searches.join(" | ")),
    ("place", |v| json(&v.place)),
    ("device_id", |v| or_empty(&v.device_id)),
    ("device", |v| device(&v.device, |d| Some(d.category.clone()))),
    ("browser", |v| device(&v.device, |d| d.browser.clone())),
    ("os", |v| device(&v.device, |d| d.os.clone())),
    ("robot", |v| or_empty(&v.robot)),
    ("purposes", |v| purposes(&v.rights)),
    ("flags", |v| v.rights.flags.to_string()),
    ("basis_id", |v| v.rights.basis_id.to_string()),
    ("consent_seq", |v| v.rights.consent_seq.to_string()),
    ("epoch", |v| v.epoch.clone()),
];

#[cfg(test)]
mod tests {
    use super::csv_cell;

    #[test]
    fn cells_are_quoted_by_rfc_4180() {
        assert_eq!(csv_cell("plain"), "plain");
        assert_eq!(csv_cell("a,b"), "\"a,b\"");
        assert_eq!(csv_cell("say \"hi\"\r\n"), "\"say \"\"hi\"\"\r\n\"");
        assert_eq!(csv_cell(""), "");
    }

    #[test]
    fn no_cell_is_taken_for_a_formula() {
        for text in ["=1+1", "+1", "-1", "@sum", "\tx"] {
            assert!(csv_cell(text).starts_with('\''), "{text}");
        }
        assert_eq!(csv_cell("\rx"), "\"'\rx\"");
        assert_eq!(csv_cell("=HYPERLINK(\"http://x\",\"y\")"), "\"'=HYPERLINK(\"\"http://x\"\",\"\"y\"\")\"");
        assert_eq!(csv_cell("a=1"), "a=1");
    }
}
