//! Correction (Art. 16). A personal field is overwritten in place; a value that lies in a line is superseded: a new row with
//! `replaces` takes the place of the old one, which becomes a hole `rectified` where it was not delivered yet, and a
//! `rectification` line tells upstream. Must never keep the old value, nor touch a row outside the scope.
//! Invariant: a corrected row has no right the old one had lost: what a floor covers stays covered under the new number.

use serde_json::{Map, Value};

use crate::base::error::Result;
use crate::base::id::{Salt, Seq};
use crate::base::time::Millis;
use crate::domain::body::RectificationBody;
use crate::domain::event::Lane;
use crate::domain::line::{HoleReason, LineKind};
use crate::domain::visitor::{Rights, Visitor};
use crate::store::events::Successor;
use crate::store::frozen::FrozenRow;
use crate::store::personal::{Field, Of};
use crate::store::{Store, WriteTx, events, floors, frozen, holes, personal, visits};
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
        value.trim().to_lowercase() == self.existing.trim().to_lowercase()
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
        let lines = of.visits.iter().flat_map(|visit| &visit.events).filter_map(|found| {
            corrected(found.event.attributes.as_deref()?, terms).map(|attributes| (found.event.seq, attributes))
        });
        let lines: Vec<(Seq, String)> = lines.collect();
        for step in lines.chunks(STEP) {
            let (step, visitor) = (step.to_vec(), of.visitor.clone());
            let (n, told) = store.pen().call(move |tx| supersede(tx, &visitor, &step))?;
            sum.events += n;
            sum.told = sum.told.max(told);
        }
    }
    Ok(sum)
}

/// Puts a corrected row in the place of each of these.
fn supersede(tx: &WriteTx<'_>, visitor: &Visitor, wrong: &[(Seq, String)]) -> Result<(usize, Option<Seq>)> {
    tx.settle()?;
    let floors = floors::of_visitor(tx, visitor.id)?;
    let mut superseded = Vec::new();
    for (seq, attributes) in wrong {
        let Some(old) = events::get(tx, *seq)? else { continue };
        holes::before_delete(tx, old.lane, old.seq, HoleReason::Rectified)?;
        let flags = old.rights.flags.without(floors::covering(&floors, old.seq));
        let new = Successor { seq: tx.next_seq(), attributes: Some(attributes.clone()), flags, salt: Salt::mint() };
        events::supersede(tx, old.seq, &new)?;
        visits::page_moved(tx, old.visit_id, old.seq, new.seq)?;
        let of = Of { seq: *seq, site_id: visitor.site_id, visitor_id: visitor.id, at: old.received };
        personal::carry(tx, of, new.seq)?;
        superseded.push(seq.0);
    }
    let n = superseded.len();
    let told = if n > 0 && visitor.disclosed { Some(tell(tx, visitor, superseded)?) } else { None };
    Ok((n, told))
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
