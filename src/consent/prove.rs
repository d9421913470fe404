//! Proving an event: the decision that allowed it, its place in the ledger, the notice it refers to, and the checkpoint that
//! covers it. Must never show what the event holds. Invariant: what is shown of a decision is what the ledger hashed.

use std::path::Path;

use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::base::id::ClientId;
use crate::base::text::hex;
use crate::domain::consent::{Action, Purposes};
use crate::domain::notice::{External, Notice};
use crate::domain::purpose::PurposeBook;
use crate::store::decisions::DecisionRow;
use crate::store::ledger::{self, Content};
use crate::store::notices::{self, Body};
use crate::store::{ReadTx, Reading, bases, checkpoints, decisions, events, sites};

/// Decisions of one person looked at.
const DECISIONS_MAX: i64 = 1_000;

/// What allowed an event.
#[derive(Clone, Debug, Serialize)]
pub struct Proof {
    /// The site.
    pub site: String,
    /// The event's id.
    pub event_id: String,
    /// Its number.
    pub seq: i64,
    /// When it was received.
    pub received_at: String,
    /// What it may be used for.
    pub purposes: Vec<String>,
    /// `decision`, `basis` or `exemption`.
    pub allowed_by: &'static str,
    /// The decision in force, where there was one.
    pub decision: Option<ProvenDecision>,
    /// Where that decision took something back: the yes before it, on which the rest still stands.
    pub grant: Option<ProvenDecision>,
    /// The lawful bases in force that are no consent, as JSON; null where consent alone carries everything.
    pub bases: Option<String>,
    /// What the person was shown, as it lies here; null where the decision names none.
    pub notice: Option<ProvenNotice>,
}

/// A notice in the language it was shown in.
#[derive(Clone, Debug, Serialize)]
pub struct ProvenNotice {
    /// Its version.
    pub version: String,
    /// The language it was shown in; `und` for another tool's.
    pub language: String,
    /// Its digest, made anew of the text below; of another tool's notice as that tool said it.
    pub sha256: String,
    /// Is that the digest the decision names?
    pub holds: bool,
    /// From when it was in force.
    pub valid_from: String,
    /// When it was published here.
    pub published_at: String,
    /// The whole notice.
    pub own: Option<Box<Notice>>,
    /// Another tool's: where it can be read.
    pub external: Option<External>,
}

/// A decision and its place in the ledger.
#[derive(Clone, Debug, Serialize)]
pub struct ProvenDecision {
    /// Its number of the one counter.
    pub seq: i64,
    /// Its id.
    pub decision_id: String,
    /// Reference of the person.
    pub visitor_ref: String,
    /// give, refuse, withdraw ...
    pub action: String,
    /// Purposes named.
    pub purposes: Vec<String>,
    /// Granted before.
    pub before: Vec<String>,
    /// Granted after.
    pub after: Vec<String>,
    /// How it was taken.
    pub method: String,
    /// Who took it.
    pub actor: String,
    /// Client clock.
    pub client_at: Option<String>,
    /// When it was received.
    pub received_at: String,
    /// When it ends.
    pub expires_at: Option<String>,
    /// The notice's version, or `none`.
    pub notice: String,
    /// Digest of that notice.
    pub notice_digest: Option<String>,
    /// Language shown.
    pub language: Option<String>,
    /// Its number in the ledger.
    pub ledger_no: i64,
    /// Hash of the entry before.
    pub prev: String,
    /// Hash of its entry.
    pub hash: String,
    /// Is what is shown here what the ledger hashed?
    pub holds: bool,
    /// The first checkpoint that covers it.
    pub checkpoint_no: Option<i64>,
}

/// Proves an event of a data directory; `book` names the purposes of a site.
/// Errors: `NotFound` without such an event, `Invalid` where several sites have it and none is named.
pub fn event(
    data_dir: &Path,
    read_ms_max: u64,
    site: Option<&str>,
    id: &str,
    book: &dyn Fn(&str) -> PurposeBook,
) -> Result<Proof> {
    Reading::open(data_dir, read_ms_max)?.read(|tx| prove(tx, site, id, book))
}

fn prove(tx: &ReadTx<'_>, site: Option<&str>, id: &str, book: &dyn Fn(&str) -> PurposeBook) -> Result<Proof> {
    let names = sites::all(tx)?;
    let name_of = |site_id: i64| names.iter().find(|(of, _)| *of == site_id).map_or("", |(_, name)| name.as_str());
    let mut found = Vec::new();
    for seq in events::seqs_of(tx, &ClientId::new(id))? {
        found.extend(events::get(tx, seq)?.filter(|row| site.is_none_or(|site| name_of(row.site_id) == site)));
    }
    let row = match found.as_slice() {
        [] => {
            return Err(Error::not_found("no event is kept under this id").code("no_event").remedy(
                "`wayside events list` shows the ids of what is kept; a removed event has no proof but the sealed one",
            ));
        }
        [row] => row,
        _ => return Err(Error::invalid("several sites have an event of this id").remedy("name the site with --site")),
    };
    let book = book(name_of(row.site_id));
    let rights = &row.rights;
    let decision = if rights.consent_seq.0 > 0 { decisions::get(tx, rights.consent_seq)? } else { None };
    let allowed_by = match &decision {
        _ if rights.exempt => "exemption",
        Some(_) => "decision",
        None if rights.consent_seq.0 > 0 => "decision", // its content was removed; the ledger still has its entry
        None => "basis",
    };
    let grant = match &decision {
        Some(d) if d.action != Action::Give.word() => yes_before(tx, d)?,
        _ => None,
    };
    let notice = match grant.as_ref().or(decision.as_ref()) {
        Some(d) => shown(tx, row.site_id, d)?,
        None => None,
    };
    let tell = |d: Option<DecisionRow>| d.map(|d| proven(tx, d, &book)).transpose();
    let all = bases::all(tx)?;
    Ok(Proof {
        site: name_of(row.site_id).to_owned(),
        event_id: row.event_id.to_string(),
        seq: row.seq.0,
        received_at: row.received.rfc3339(),
        purposes: rights.flags.names(&book),
        allowed_by,
        bases: all.into_iter().find(|(basis_id, _, _)| *basis_id == rights.basis_id).map(|(_, _, text)| text),
        notice,
        decision: tell(decision)?,
        grant: tell(grant)?,
    })
}

/// The yes to measuring that a later decision, which took something else back, left standing.
fn yes_before(tx: &ReadTx<'_>, d: &DecisionRow) -> Result<Option<DecisionRow>> {
    let all = decisions::of_subject(tx, d.subject_ref, DECISIONS_MAX)?;
    let yes = |row: &DecisionRow| {
        row.seq < d.seq && row.current && row.action == Action::Give.word() && row.purposes.has(Purposes::MEASURE)
    };
    Ok(all.into_iter().rev().find(yes))
}

fn proven(tx: &ReadTx<'_>, d: DecisionRow, book: &PurposeBook) -> Result<ProvenDecision> {
    Ok(ProvenDecision {
        holds: in_place(tx, &d)?,
        checkpoint_no: checkpoints::covering(tx, d.ledger_no)?,
        seq: d.seq.0,
        decision_id: d.decision_id.to_string(),
        visitor_ref: d.subject_ref.to_string(),
        action: d.action,
        purposes: d.purposes.names(book),
        before: d.before.names(book),
        after: d.after.names(book),
        method: d.method,
        actor: d.actor,
        client_at: d.client_at.map(|at| at.rfc3339()),
        received_at: d.received.rfc3339(),
        expires_at: d.expires.map(|at| at.rfc3339()),
        notice: d.notice,
        notice_digest: d.notice_digest.map(|digest| hex(&digest)),
        language: d.language,
        ledger_no: d.ledger_no,
        prev: hex(&d.prev),
        hash: hex(&d.hash),
    })
}

/// The content of the decision's entry, hashed anew.
fn in_place(tx: &ReadTx<'_>, d: &DecisionRow) -> Result<bool> {
    let found = ledger::page(tx, d.ledger_no - 1, 1)?;
    Ok(found.first().is_some_and(|found| {
        found.entry.no == d.ledger_no
            && found.content == Content::Has(found.entry.leaf)
            && found.entry.hash() == found.hash
    }))
}

/// The notice a decision names, in the language that was shown: known by its digest.
fn shown(tx: &ReadTx<'_>, site_id: i64, d: &DecisionRow) -> Result<Option<ProvenNotice>> {
    let rows = notices::version(tx, site_id, &d.notice)?;
    let by_digest = rows.iter().find(|row| Some(row.digest) == d.notice_digest);
    let Some(row) = by_digest.or_else(|| notices::in_language(&rows, d.language.as_deref())) else { return Ok(None) };
    let (digest, own, external) = match &row.body {
        Body::Own(own) => (own.digest(), Some(own.clone()), None),
        Body::External(external) => (row.digest, None, Some(external.clone())),
    };
    Ok(Some(ProvenNotice {
        version: row.version.clone(),
        language: row.language.clone(),
        sha256: hex(&digest),
        holds: d.notice_digest == Some(digest),
        valid_from: row.valid_from.rfc3339(),
        published_at: row.published.rfc3339(),
        own,
        external,
    }))
}
