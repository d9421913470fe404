//! Statements for targets that cannot speak: what a person runs where the lines were loaded into a table, and how to see
//! that nothing is left. Must never name anybody but by the reference or numbers that lie there.
//! Invariant: a statement touches the rows of that erasure alone, and may be run again.

use crate::base::error::{Error, Result};
use crate::base::id::uuid_text;
use crate::base::text::cut;
use crate::erasure::Told;
use crate::store::epochs::EpochRow;
use crate::store::erasures::{Range, Whose};

/// Whose language.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dialect {
    /// DuckDB.
    Duckdb,
    /// PostgreSQL.
    Postgres,
    /// ClickHouse.
    Clickhouse,
}

/// Where the lines lie: a table with a column per top-level key of a line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    /// Whose language.
    pub dialect: Dialect,
    /// The table, possibly `schema.table`.
    pub table: String,
}

/// Written for somebody else's database: no statement here is ever run on ours.
const DELETE: &str = "DELETE";

impl Order {
    /// Errors: `Invalid` for another language, or a table name that is more than letters, digits, `_` and one dot.
    pub fn parse(dialect: &str, table: &str) -> Result<Order> {
        let dialect = match dialect {
            "duckdb" => Dialect::Duckdb,
            "postgres" => Dialect::Postgres,
            "clickhouse" => Dialect::Clickhouse,
            other => {
                return Err(Error::invalid(format!("{:?} is no language of statements", cut(other, 32)))
                    .code("dialect")
                    .remedy("use duckdb, postgres or clickhouse"));
            }
        };
        let plain = |part: &str| {
            !part.is_empty()
                && !part.starts_with(|c: char| c.is_ascii_digit())
                && part.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'_')
        };
        if table.split('.').count() > 2 || !table.split('.').all(plain) {
            return Err(Error::invalid(format!("{:?} is no name of a table", cut(table, 64)))
                .code("table")
                .remedy("use letters, digits and _, and at most one dot: schema.table"));
        }
        Ok(Order { dialect, table: table.to_owned() })
    }

    fn delete(&self, which: &str) -> String {
        match self.dialect {
            Dialect::Duckdb | Dialect::Postgres => [DELETE, "FROM", &self.table, "WHERE", which].join(" ") + ";",
            Dialect::Clickhouse => {
                ["ALTER TABLE", &self.table, DELETE, "WHERE", which, "SETTINGS mutations_sync = 2;"].join(" ")
            }
        }
    }

    fn left(&self, which: &str) -> String {
        format!("SELECT count(*) AS rows_left FROM {} WHERE {which};", self.table)
    }

    /// What gives freed space back, so that deleted rows do not stay in the file.
    fn sweep(&self) -> String {
        match self.dialect {
            Dialect::Duckdb => "CHECKPOINT;".to_owned(),
            Dialect::Postgres => format!("VACUUM FULL {};", self.table),
            Dialect::Clickhouse => format!("OPTIMIZE TABLE {} FINAL;", self.table),
        }
    }
}

/// The rows of one erasure, as conditions.
fn conditions(told: &Told, ranges: &[Range], epochs: &[EpochRow]) -> Vec<String> {
    let mut out = Vec::new();
    if matches!(told.row.whose, Whose::Visitor(_)) {
        // the erasure line itself names the reference and tells that it is gone: it may stay
        out.push(format!("visitor_ref = '{}' AND kind <> 'erasure'", told.row.subject_ref));
        return out;
    }
    for epoch in epochs {
        let these: Vec<String> = ranges
            .iter()
            .filter(|range| range.epoch_id == epoch.id)
            .map(|range| format!("seq BETWEEN {} AND {}", range.first, range.last))
            .collect();
        for some in these.chunks(100) {
            out.push(format!("edge = '{}' AND epoch = '{}' AND ({})", epoch.edge, epoch.epoch, some.join(" OR ")));
        }
    }
    out
}

/// The statements of these erasures, each with a comment that says whose.
pub fn statements(order: &Order, erasures: &[(Told, Vec<Range>)], epochs: &[EpochRow]) -> Vec<String> {
    let mut out = Vec::new();
    for (told, ranges) in erasures {
        let conditions = conditions(told, ranges, epochs);
        if conditions.is_empty() {
            continue;
        }
        out.push(format!("-- erasure {}", uuid_text(&told.row.id)));
        out.extend(conditions.iter().map(|which| order.delete(which)));
        out.extend(conditions.iter().map(|which| order.left(which)));
    }
    if !out.is_empty() {
        out.push(order.sweep());
    }
    out
}
