//! What was done administratively with people's data, for reading.
//! Must never show a person: the rows name none.

use serde::Serialize;

use crate::base::error::Result;
use crate::history::History;
use crate::store::audit;

/// Most rows of one look.
pub const LIMIT_MAX: u32 = 10_000;

/// Something that was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct AuditView {
    /// Number of the row.
    pub id: i64,
    /// When, RFC 3339.
    pub at: String,
    /// By whom: `operator`, `token NAME`, `subject` or `system`.
    pub who: String,
    /// A stable word, for example `request_opened`.
    pub what: String,
    /// The request, token or batch it was done to.
    pub about: Option<String>,
    /// More words, without personal values.
    pub note: Option<String>,
}

impl History {
    /// The newest `limit` rows, newest first; with `about` only those about it. Errors: `Storage`.
    pub fn audit(&self, about: Option<&str>, limit: u32) -> Result<Vec<AuditView>> {
        let rows = self.read(|tx| audit::list(tx, about, i64::from(limit.min(LIMIT_MAX))))?;
        let view = |row: audit::AuditRow| AuditView {
            id: row.id,
            at: row.at.rfc3339(),
            who: row.who,
            what: row.what,
            about: row.about,
            note: row.note,
        };
        Ok(rows.into_iter().map(view).collect())
    }
}
