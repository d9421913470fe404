//! Floor 3: what the operator answers for, written down from the configuration in force and the rows that are stored: the record
//! of processing, the impact assessment, the scope of a breach, what is kept in browsers, the proof of an exemption.
//! Must never write to the database, and never tell of one person: numbers and settings only. Invariant: the same configuration
//! and the same rows give the same page, byte for byte; no clock is read.
//!
//! | file | owns |
//! |---|---|
//! | `setup` | what must be known of the configuration |
//! | `article30` | the record of processing (GDPR Art. 30) |
//! | `dpia` | the impact assessment (Art. 35) |
//! | `breach` | whom and what a breach concerns (Art. 33, 34) |
//! | `fields` | what each column and field is, and whether it is sealed |
//! | `cookies` | what is kept in browsers |
//! | `exempt` | the proof of an exemption's settings |
//! | `paper` | Markdown |

use std::path::Path;

use crate::base::error::Result;
use crate::domain::consent::{LawfulBasis, Purposes};
use crate::domain::notice::Notice;
use crate::domain::site::Site;
use crate::store::notices::Body;
use crate::store::{ReadTx, Reading, census, notices, sites};

pub mod article30;
pub mod breach;
pub mod cookies;
pub mod dpia;
pub mod exempt;
pub mod fields;
mod paper;
pub mod setup;

pub use self::setup::Setup;

/// Longest a snapshot may live, ms. Counting looks at every row, so it gets longer than other reads; meanwhile the write-ahead
/// log cannot begin anew.
const READ_MS_MAX: u64 = 60_000;

/// The rows of one data directory, and the configuration in force.
pub struct Records {
    reading: Reading,
    setup: Setup,
}

/// What a site's people were told last.
struct Told {
    version: String,
    /// Our own, in one language; `None` where another tool has the text.
    notice: Option<Notice>,
}

/// One purpose of a site.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Use {
    purpose: Purposes,
    word: String,
    basis: LawfulBasis,
    assessment: Option<String>,
}

impl Records {
    /// Opens the database of a data directory for reading, whoever writes it.
    /// Errors: `NotFound` without one, `Config` for another schema version.
    pub fn open(data_dir: &Path, setup: Setup) -> Result<Records> {
        Ok(Records { reading: Reading::open(data_dir, READ_MS_MAX)?, setup })
    }

    fn read<T>(&self, work: impl FnOnce(&ReadTx<'_>) -> Result<T>) -> Result<T> {
        self.reading.read(work)
    }
}

/// The notice in force at the newest time the rows know of.
fn told(tx: &ReadTx<'_>, site: &Site) -> Result<Option<Told>> {
    let (Some(site_id), Some(at)) = (sites::id(tx, site.id())?, census::newest(tx)?) else { return Ok(None) };
    let rows = notices::in_force(tx, site_id, at)?;
    let Some(row) = notices::in_language(&rows, None) else { return Ok(None) };
    let notice = match &row.body {
        Body::Own(notice) => Some((**notice).clone()),
        Body::External(_) => None,
    };
    Ok(Some(Told { version: row.version.clone(), notice }))
}

/// The purposes of a site in the order of their bits: what is configured, what the notice describes, what rows carry.
fn uses(site: &Site, told: Option<&Told>, carried: Purposes) -> Vec<Use> {
    let configured =
        site.options.purposes.iter().filter_map(|p| site.book.find(&p.name)).fold(Purposes::MEASURE, Purposes::with);
    let described = told.and_then(|t| t.notice.as_ref()).map_or(Purposes::NONE, |notice| notice.described(&site.book));
    let all = configured.with(described).with(carried.and(Purposes::ALL));
    let one = |purpose: Purposes| {
        let word = purpose.names(&site.book).into_iter().next().unwrap_or_default();
        let set = site.options.purposes.iter().find(|p| p.name == word);
        let basis = set.map_or(LawfulBasis::Consent, |p| p.basis);
        Use { purpose, word, basis, assessment: set.and_then(|p| p.assessment.clone()) }
    };
    all.each().map(one).collect()
}
