//! Correction (Art. 16). A personal field is overwritten in place; a value that lies in a line is superseded: a new row with
//! `replaces` takes the place of the old one, which becomes a hole `rectified` where it was not delivered yet, and a
//! `rectification` line tells upstream. Must never keep the old value, nor touch a row outside the scope.
//! Invariant: a corrected row has no right the old one had lost: what a floor covers stays covered under the new number.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use crate::base::error::Result;
use crate::base::id::{Salt, Seq};
use crate::base::time::Millis;
use crate::domain::body::RectificationBody;
use crate::domain::correction;
use crate::domain::event::Lane;
use crate::domain::line::{HoleReason, LineKind};
use crate::domain::visitor::{Rights, Visitor};
use crate::store::events::Successor;
use crate::store::frozen::FrozenRow;
use crate::store::personal::{Field, Of};
use crate::store::queries::FoundEvent;
use crate::store::{Store, WriteTx, ages, events, floors, frozen, holes, personal, visits};
use crate::subject::people::By;
use crate::subject::scope::Scope;

/// Rows changed in one transaction.
const STEP: usize = 300;

/// One value that is wrong, and what is right.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Term {
    /// Where it stands; `None` = wherever the value stands.
    pub by: Option<By>,
    /// Only in this field or attribute.
    pub field: Option<String>,
    /// The wrong value.
    pub existing: String,
    /// The right one.
    pub updated: String,
}

/// What was corrected.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Corrected {
    /// Personal fields overwritten.
    pub fields: usize,
    /// Events superseded.
    pub events: usize,
    /// The newest line that tells of it.
    pub told: Option<Seq>,
}

impl Term {
    fn matches(&self, value: &str) -> bool {
        correction::same(value, &self.existing)
    }

    fn of_field(&self, field: &Field) -> bool {
        let placed = match (&self.field, self.by) {
            (Some(name), _) => *name == field.name || field.name.strip_prefix("trait.") == Some(name),
            (None, Some(by)) => by.fields().contains(&field.name.as_str()),
            (None, None) => true,
        };
        placed && field.value.as_deref().is_some_and(|value| self.matches(value))
    }

    fn of_attribute(&self, name: &str, value: &str) -> bool {
        self.field.as_ref().is_none_or(|field| field == name) && self.matches(value)
    }
}

/// The attributes with the right values; `None` where none was wrong.
fn corrected(attributes: &str, terms: &[Term]) -> Option<String> {
    let mut map: Map<String, Value> = serde_json::from_str(attributes).ok()?;
    let mut changed = false;
    for (name, value) in &mut map {
        let Some(text) = value.as_str() else { continue };
        if let Some(term) = terms.iter().find(|term| term.of_attribute(name, text)) {
            *value = Value::String(term.updated.clone());
            changed = true;
        }
    }
    changed.then(|| Value::Object(map).to_string())
}

/// What an event is to show instead; `None` = as before.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Anew {
    attributes: Option<String>,
    url: Option<String>,
    title: Option<String>,
    search_query: Option<String>,
}

impl Anew {
    fn of(found: &FoundEvent, terms: &[Term]) -> Anew {
        let event = &found.event;
        // of the event that entered a page the page's address and title are its own
        let entered = event.page_id == Some(event.seq.0);
        let own = |of_event: &Option<String>, of_page: &Option<String>| {
            if entered { of_page.clone() } else { of_event.clone() }
        };
        let (url, title) = (own(&event.url, &found.page_url), own(&event.title, &found.page_title));
        Anew {
            attributes: event.attributes.as_deref().and_then(|kept| corrected(kept, terms)),
            url: url.and_then(|url| each(&url, "url", terms, correction::in_url)),
            title: title.and_then(|title| each(&title, "title", terms, correction::in_text)),
            search_query: event
                .search_query
                .as_deref()
                .and_then(|q| each(q, "searchQuery", terms, correction::in_text)),
        }
    }

    fn is_any(&self) -> bool {
        *self != Anew::default()
    }

    /// Does it change what its visit shows?
    fn is_shown_by_visit(&self) -> bool {
        self.url.is_some() || self.title.is_some() || self.search_query.is_some()
    }
}

/// A text with every term in it corrected, as `place` finds them; `None` where none was wrong.
fn each(text: &str, field: &str, terms: &[Term], place: fn(&str, &str, &str) -> Option<String>) -> Option<String> {
    let mut out: Option<String> = None;
    for term in terms.iter().filter(|term| term.field.as_ref().is_none_or(|only| only == field)) {
        out = place(out.as_deref().unwrap_or(text), &term.existing, &term.updated).or(out);
    }
    out
}

/// The searches of a visit with the right values; `None` where none was wrong.
fn searches(kept: &str, terms: &[Term]) -> Option<String> {
    let mut list: Vec<String> = serde_json::from_str(kept).ok()?;
    let mut changed = false;
    for one in &mut list {
        if let Some(new) = each(one, "searchQuery", terms, correction::in_text) {
            *one = new;
            changed = true;
        }
    }
    changed.then(|| Value::from(list).to_string())
}

/// Corrects every value the terms name within the scope. Errors: `Busy`, `Storage`; what was corrected by then stays so, and a
/// second run goes on.
pub fn run(store: &Store, scope: &Scope, terms: &[Term]) -> Result<Corrected> {
    let mut sum = Corrected::default();
    for of in &scope.visitors {
        let wrong: Vec<(Of, String, String)> = of
            .fields
            .iter()
            .filter_map(|field| {
                let term = terms.iter().find(|term| term.of_field(field))?;
                let of = Of { seq: field.seq, site_id: of.visitor.site_id, visitor_id: of.visitor.id, at: field.at };
                Some((of, field.name.clone(), term.updated.clone()))
            })
            .collect();
        for step in wrong.chunks(STEP) {
            let step = step.to_vec();
            sum.fields += store.pen().call(move |tx| {
                let mut n = 0;
                for (of, field, value) in &step {
                    n += usize::from(personal::overwrite(tx, *of, field, value)?);
                }
                Ok(n)
            })?;
        }
        // what a floor or a restriction covers has no new number: under it, it would leave and be read again
        let open = |found: &&FoundEvent| {
            let above = found.event.seq > of.visitor.measure_floor && found.event.visit_id > of.visitor.measure_floor.0;
            above && !of.visitor.standing.restricted
        };
        let lines = of.visits.iter().flat_map(|visit| &visit.events).filter(open).filter_map(|found| {
            let anew = Anew::of(found, terms);
            anew.is_any().then_some((found.event.seq, anew))
        });
        let lines: Vec<(Seq, Anew)> = lines.collect();
        for step in lines.chunks(STEP) {
            let (step, visitor, terms) = (step.to_vec(), of.visitor.clone(), terms.to_vec());
            let (n, told) = store.pen().call(move |tx| supersede(tx, &visitor, &step, &terms))?;
            sum.events += n;
            sum.told = sum.told.max(told);
        }
    }
    Ok(sum)
}

/// Puts a corrected row in the place of each of these.
fn supersede(
    tx: &WriteTx<'_>,
    visitor: &Visitor,
    wrong: &[(Seq, Anew)],
    terms: &[Term],
) -> Result<(usize, Option<Seq>)> {
    tx.settle()?;
    let floors = floors::of_visitor(tx, visitor.id)?;
    let (mut superseded, mut shown_by) = (Vec::new(), BTreeSet::new());
    for (seq, anew) in wrong {
        let Some(old) = events::get(tx, *seq)? else { continue };
        holes::before_delete(tx, old.lane, old.seq, HoleReason::Rectified)?;
        let flags = old.rights.flags.without(floors::covering(&floors, old.seq));
        let Anew { attributes, url, title, search_query } = anew.clone();
        let new = Successor { seq: tx.next_seq(), attributes, url, title, search_query, flags, salt: Salt::mint() };
        events::supersede(tx, old.seq, &new)?;
        visits::page_moved(tx, old.visit_id, old.seq, new.seq)?;
        let of = Of { seq: *seq, site_id: visitor.site_id, visitor_id: visitor.id, at: old.received };
        personal::carry(tx, of, new.seq)?;
        superseded.push(seq.0);
        if anew.is_shown_by_visit() {
            shown_by.insert(old.visit_id);
        }
    }
    let n = superseded.len();
    for visit_id in shown_by {
        forget_snapshots(tx, visitor, visit_id, terms, &mut superseded)?;
    }
    let told = if n > 0 && visitor.disclosed { Some(tell(tx, visitor, superseded)?) } else { None };
    Ok((n, told))
}

/// The snapshots of a visit show its first and its last page: they go, and the visit is told again.
fn forget_snapshots(
    tx: &WriteTx<'_>,
    visitor: &Visitor,
    visit_id: i64,
    terms: &[Term],
    superseded: &mut Vec<i64>,
) -> Result<()> {
    tx.settle()?;
    for line in ages::snapshots(tx, visitor.id, visit_id, i64::MAX)? {
        holes::before_delete(tx, line.lane, line.seq, HoleReason::Rectified)?;
        frozen::delete(tx, line.seq)?;
        superseded.push(line.seq.0);
    }
    let kept = visits::get(tx, visit_id)?.and_then(|visit| visit.searches);
    visits::corrected(tx, visit_id, kept.and_then(|kept| searches(&kept, terms)).as_deref())
}

/// The line that tells targets to forget the old rows.
fn tell(tx: &WriteTx<'_>, visitor: &Visitor, superseded: Vec<i64>) -> Result<Seq> {
    let body = RectificationBody { visitor_ref: visitor.visitor_ref.to_string(), superseded };
    let (seq, now): (Seq, Millis) = (tx.next_seq(), tx.now());
    frozen::insert(
        tx,
        &FrozenRow {
            seq,
            lane: Lane::Consent,
            kind: LineKind::Rectification,
            epoch_id: tx.identity().epoch_id,
            site_id: Some(visitor.site_id),
            visitor_id: Some(visitor.id),
            first_seq: seq,
            received: now,
            corrected: now,
            rights: Rights { exempt: false, ..visitor.rights },
            salt: Salt::mint(),
            body: serde_json::to_string(&body).expect("invariant: a body has string keys"),
        },
    )?;
    Ok(seq)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn term(field: Option<&str>, by: Option<By>) -> Term {
        Term { by, field: field.map(str::to_owned), existing: " Old@X.example".into(), updated: "new@x.example".into() }
    }

    #[test]
    fn only_values_that_are_named_are_corrected() {
        let attributes = r#"{"mail":"old@x.example","note":"about old@x.example","n":"3"}"#;
        let new = corrected(attributes, &[term(None, None)]).unwrap();
        let new: Value = serde_json::from_str(&new).unwrap();
        assert_eq!((&new["mail"], &new["note"]), (&"new@x.example".into(), &"about old@x.example".into()));
        assert_eq!(corrected(attributes, &[term(Some("note"), None)]), None);
        assert_eq!(corrected("{}", &[term(None, None)]), None);
    }

    #[test]
    fn a_field_is_found_by_its_name_or_by_what_it_is() {
        let field = |name: &str| Field {
            name: name.to_owned(),
            value: Some("old@x.example".to_owned()),
            data_type: "STRING".to_owned(),
            seq: Seq(1),
            at: Millis(0),
        };
        assert!(term(None, Some(By::Email)).of_field(&field("trait.email")));
        assert!(!term(None, Some(By::Phone)).of_field(&field("trait.email")));
        assert!(term(Some("email"), None).of_field(&field("trait.email")));
        assert!(!term(Some("email"), None).of_field(&field("trait.name")));
        assert!(term(None, None).of_field(&field("external_id")));
    }
}
