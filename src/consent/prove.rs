//! Proving an event: the decision that allowed it, its place in the ledger, the notice it refers to, and the checkpoint that
//! covers it. Must never show what the event holds. Invariant: what is shown of a decision is what the ledger hashed.

use std::path::Path;

use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::base::id::ClientId;
use crate::base::text::hex;
use crate::domain::purpose::PurposeBook;
use crate::store::{ReadTx, Reading, bases, checkpoints, decisions, events, sites};

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
    /// The lawful bases in force that are no consent, as JSON; null where consent alone carries everything.
    pub bases: Option<String>,
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
    let covering = match &decision {
        Some(d) => checkpoints::covering(tx, d.ledger_no)?,
        None => None,
    };
    let all = bases::all(tx)?;
    Ok(Proof {
        site: name_of(row.site_id).to_owned(),
        event_id: row.event_id.to_string(),
        seq: row.seq.0,
        received_at: row.received.rfc3339(),
        purposes: rights.flags.names(&book),
        allowed_by,
        bases: all.into_iter().find(|(basis_id, _, _)| *basis_id == rights.basis_id).map(|(_, _, text)| text),
        decision: decision.map(|d| ProvenDecision {
            seq: d.seq.0,
            decision_id: d.decision_id.to_string(),
            visitor_ref: d.subject_ref.to_string(),
            action: d.action,
            purposes: d.purposes.names(&book),
            before: d.before.names(&book),
            after: d.after.names(&book),
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
            checkpoint_no: covering,
        }),
    })
}
