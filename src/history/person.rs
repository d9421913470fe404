//! One visitor: what is known, and what was decided. The only place that shows personal fields.
//! Must never tell of personal fields at or below their floor. Invariant: a withdrawn visitor shows decisions and nothing else.

use std::collections::BTreeMap;

use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::base::id::{ClientId, VisitorRef};
use crate::base::text::cut;
use crate::domain::consent::Purposes;
use crate::domain::visitor::{self, Visitor};
use crate::history::History;
use crate::history::list::floor_of;
use crate::history::view::Floors;
use crate::store::decisions::{self, DecisionRow};
use crate::store::personal::Field;
use crate::store::{ReadTx, floors, personal, queries, refusals, sites, visitors};

/// Decisions of one visitor shown at the most.
const DECISIONS_MAX: i64 = 1_000;

/// A visitor.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct VisitorView {
    /// The client's id.
    pub visitor: String,
    /// Its only name outside this machine.
    pub visitor_ref: String,
    /// First sight.
    pub first_seen_at: String,
    /// Newest event received.
    pub last_seen_at: String,
    /// Visits so far; not told once measuring was withdrawn.
    pub visit_count: Option<i64>,
    /// Pages so far.
    pub page_count: Option<i64>,
    /// Events so far.
    pub event_count: Option<i64>,
    /// Granted and not taken back.
    pub granted: Vec<String>,
    /// Refused, withdrawn or objected to.
    pub denied: Vec<String>,
    /// Newest value of each personal field, and of third parties' ids every value; null where the root key is not at hand.
    pub personal: BTreeMap<String, Option<String>>,
}

/// What a visitor's decisions amount to, and each of them.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct ConsentView {
    /// The site.
    pub site: String,
    /// The id that was asked for.
    pub visitor: String,
    /// The reference in batches; `None` where only a no is kept, without the id.
    pub visitor_ref: Option<String>,
    /// Granted and not taken back.
    pub granted: Vec<String>,
    /// Refused, withdrawn or objected to.
    pub denied: Vec<String>,
    /// Processing is restricted.
    pub restricted: bool,
    /// Since when a no without the id is kept.
    pub denied_at: Option<String>,
    /// Numbers at or below which a purpose is withdrawn, by purpose.
    pub floors: BTreeMap<String, i64>,
    /// Each decision, oldest first.
    pub decisions: Vec<DecisionView>,
}

/// One decision.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct DecisionView {
    /// Its number in the ledger.
    pub seq: i64,
    /// Its id.
    pub decision_id: String,
    /// give, refuse, withdraw ...
    pub action: String,
    /// What it named.
    pub purposes: Vec<String>,
    /// Granted before.
    pub before: Vec<String>,
    /// Granted after.
    pub after: Vec<String>,
    /// Did it change what stands?
    pub current: bool,
    /// How it was taken.
    pub method: String,
    /// Who took it.
    pub actor: String,
    /// The notice version shown, or none.
    pub notice: String,
    /// Language shown.
    pub language: Option<String>,
    /// `Sec-GPC` was sent.
    pub gpc: bool,
    /// `DNT` was sent.
    pub dnt: bool,
    /// Received.
    pub received_at: String,
    /// When it was taken, as far as can be told.
    pub corrected_at: String,
}

impl History {
    /// A visitor with its personal fields, as far as no withdrawal covers them.
    pub(in crate::history) fn visitor_view(
        &self,
        tx: &ReadTx<'_>,
        site: &str,
        v: &Visitor,
        floors: &Floors,
    ) -> Result<VisitorView> {
        let untouched = v.measure_floor.0 == 0;
        let floor = floor_of(floors, Purposes::PERSONAL).max(v.measure_floor);
        Ok(VisitorView {
            visitor: v.key.to_string(),
            visitor_ref: v.visitor_ref.to_string(),
            first_seen_at: v.first_seen.rfc3339(),
            last_seen_at: v.last_seen.rfc3339(),
            visit_count: untouched.then_some(v.visit_count),
            page_count: untouched.then_some(v.page_count),
            event_count: untouched.then_some(v.event_count),
            granted: self.words(site, v.standing.granted),
            denied: self.words(site, v.standing.denied),
            personal: fields_view(personal::of_visitor(tx, v.id, floor)?),
        })
    }

    /// The decisions of a visitor on a site, or on every site. `which` = the client's id, or the visitor_ref of a batch.
    /// Errors: `NotFound` where neither a decision nor a no is kept.
    pub fn consent(&self, site: Option<&str>, which: &str) -> Result<Vec<ConsentView>> {
        let hash_key = self.hash_key()?;
        let key = ClientId::new(which);
        self.read(|tx| {
            let sites: Vec<(i64, String)> =
                sites::all(tx)?.into_iter().filter(|(_, name)| site.is_none_or(|wanted| wanted == name)).collect();
            let mut out = Vec::new();
            for id in queries::visitor_ids(tx, &key, VisitorRef::parse(which).ok())? {
                let Some(v) = visitors::get(tx, id)? else { continue };
                if let Some((_, name)) = sites.iter().find(|(row, _)| *row == v.site_id) {
                    out.push(self.consent_view(tx, name, &v)?);
                }
            }
            let unseen = sites.iter().filter(|(_, name)| !out.iter().any(|view: &ConsentView| view.site == *name));
            let mut kept = Vec::new();
            for ((_, name), hash_key) in unseen.zip(hash_key.iter().cycle()) {
                if let Some(no) = refusals::get(tx, &visitor::id_hash(hash_key, name, &key))? {
                    kept.push(ConsentView {
                        site: name.clone(),
                        visitor: which.to_owned(),
                        visitor_ref: None,
                        granted: Vec::new(),
                        denied: self.words(name, no.purposes),
                        restricted: no.restricted,
                        denied_at: Some(no.decided_at.rfc3339()),
                        floors: BTreeMap::new(),
                        decisions: Vec::new(),
                    });
                }
            }
            out.append(&mut kept);
            if out.is_empty() {
                return Err(Error::not_found(format!("no decision of visitor {:?} is kept", cut(which, 80)))
                    .remedy("check the id and the site; without a decision only the site's lawful bases count"));
            }
            Ok(out)
        })
    }

    fn consent_view(&self, tx: &ReadTx<'_>, site: &str, v: &Visitor) -> Result<ConsentView> {
        let floors = floors::of_visitor(tx, v.id)?;
        Ok(ConsentView {
            site: site.to_owned(),
            visitor: v.key.to_string(),
            visitor_ref: Some(v.visitor_ref.to_string()),
            granted: self.words(site, v.standing.granted),
            denied: self.words(site, v.standing.denied),
            restricted: v.standing.restricted,
            denied_at: None,
            floors: floors.iter().map(|(one, seq)| (self.words(site, *one).concat(), seq.0)).collect(),
            decisions: decisions::of_subject(tx, v.visitor_ref, DECISIONS_MAX)?
                .into_iter()
                .map(|row| self.decision_view(site, row))
                .collect(),
        })
    }

    fn decision_view(&self, site: &str, d: DecisionRow) -> DecisionView {
        DecisionView {
            seq: d.seq.0,
            decision_id: d.decision_id.to_string(),
            action: d.action,
            purposes: self.words(site, d.purposes),
            before: self.words(site, d.before),
            after: self.words(site, d.after),
            current: d.current,
            method: d.method,
            actor: d.actor,
            notice: d.notice,
            language: d.language,
            gpc: d.gpc,
            dnt: d.dnt,
            received_at: d.received.rfc3339(),
            corrected_at: d.corrected.rfc3339(),
        }
    }
}

/// Fields by name; several values of one name, newest first, are joined by commas.
fn fields_view(fields: Vec<Field>) -> BTreeMap<String, Option<String>> {
    let mut out: BTreeMap<String, Option<String>> = BTreeMap::new();
    for field in fields {
        match out.get_mut(&field.name) {
            Some(Some(values)) => values.extend([", ", field.value.as_deref().unwrap_or_default()]),
            _ => {
                out.insert(field.name, field.value);
            }
        }
    }
    out
}
