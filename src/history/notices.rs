//! Notices that were published or registered, for reading.
//! Must never leave one out: what people were shown stays to be seen.

use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::base::text::{cut, hex};
use crate::base::time::Millis;
use crate::domain::notice::{External, Notice};
use crate::history::History;
use crate::store::notices::{self, Body, NoticeRow};
use crate::store::sites;

/// One language of a notice.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct NoticeView {
    /// The site.
    pub site: String,
    /// The version.
    pub version: String,
    /// The language; `und` for an external one.
    pub language: String,
    /// SHA-256, as hex.
    pub digest: String,
    /// From when it is in force.
    pub valid_from: String,
    /// When it came here.
    pub published_at: String,
    /// Is it in force now?
    pub in_force: bool,
    /// An own notice's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub notice: Option<Notice>,
    /// What is known of an external one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub external: Option<External>,
}

fn view(site: &str, row: NoticeRow, current: &[NoticeRow]) -> NoticeView {
    let in_force = current.iter().any(|now| now.id == row.id);
    let (notice, external) = match row.body {
        Body::Own(notice) => (Some(*notice), None),
        Body::External(external) => (None, Some(external)),
    };
    NoticeView {
        site: site.to_owned(),
        version: row.version,
        language: row.language,
        digest: hex(&row.digest),
        valid_from: row.valid_from.rfc3339(),
        published_at: row.published.rfc3339(),
        in_force,
        notice,
        external,
    }
}

impl History {
    /// Every notice, oldest first; of one site, of one version where asked. `now` tells which is in force.
    /// Errors: `NotFound` for a version that is asked for and not there.
    pub fn notices(&self, site: Option<&str>, version: Option<&str>, now: Millis) -> Result<Vec<NoticeView>> {
        let out = self.read(|tx| {
            let mut out = Vec::new();
            for (id, name) in sites::all(tx)?.into_iter().filter(|(_, name)| site.is_none_or(|wanted| wanted == name)) {
                let current = notices::in_force(tx, id, now)?;
                let rows = notices::of_site(tx, id)?.into_iter();
                let wanted = rows.filter(|row| version.is_none_or(|wanted| wanted == row.version));
                out.extend(wanted.map(|row| view(&name, row, &current)));
            }
            Ok(out)
        })?;
        match version {
            Some(version) if out.is_empty() => {
                Err(Error::not_found(format!("no notice {:?} is published", cut(version, 80)))
                    .remedy("wayside notice list shows those that are"))
            }
            _ => Ok(out),
        }
    }
}
