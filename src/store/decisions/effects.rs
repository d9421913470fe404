//! What a decision changes beside its own row: the visitor, its floors, denials and restriction, what is kept under the keyed
//! hash of its id, and `rights.log`. Must never write the ledger (`decisions.rs`) nor decide what changes.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::domain::consent::{Action, Change, Decision, Denial, Purposes};
use crate::domain::visitor::{RESTRICTED, Visitor};
use crate::store::decisions::{Circumstances, DecisionRow};
use crate::store::{WriteTx, denials, floors, refusals, restrictions, rights_log, visitors};

/// What outlives the visitor: a no and a restriction under the keyed hash of the id, and the line of `rights.log`.
pub(super) fn remember(
    tx: &WriteTx<'_>,
    (decision, change): (&Decision, &Change),
    row: &DecisionRow,
    c: &Circumstances,
    known: bool,
) -> Result<()> {
    if decision.action.is_no() {
        refusals::put(tx, &c.id_hash, change.standing.denied, c.at, row.seq)?;
    }
    if decision.action.is_no() || !decision.action.is_choice() {
        let purposes = if decision.action.is_no() { change.standing.denied } else { Purposes::NONE };
        rights_log::push(
            tx,
            rights_log::Entry {
                at: c.received,
                site: c.site.clone(),
                visitor_ref: row.subject_ref,
                id_hash: c.id_hash,
                action: row.action.clone(),
                purposes,
                customer: None,
                signed_in: false,
            },
        );
    } else if decision.action == Action::Give && change.current {
        regrant(tx, change, c, row.seq)?;
    }
    if let Some(restricted) = change.restricts
        && (!known || !restricted)
    {
        refusals::restrict(tx, &c.id_hash, restricted, c.at, row.seq)?;
    }
    Ok(())
}

/// A grant narrows what the keyed hash of the id still refuses.
fn regrant(tx: &WriteTx<'_>, change: &Change, c: &Circumstances, seq: Seq) -> Result<()> {
    let Some(refusal) = refusals::get(tx, &c.id_hash)? else { return Ok(()) };
    refusals::narrow(tx, &c.id_hash, refusal.purposes.and(change.standing.denied), seq)
}

/// What the decision changes of its visitor: standing, floors, denials, restriction.
pub(super) fn apply(
    tx: &WriteTx<'_>,
    visitor: &mut Visitor,
    change: &Change,
    c: &Circumstances,
    seq: Seq,
    floor: Seq,
) -> Result<()> {
    visitor.standing = change.standing.clone();
    if change.current && change.restricts.is_none() {
        visitor.standing.consent_seq = seq;
    }
    if change.floors.has(Purposes::MEASURE) {
        visitor.measure_floor = floor;
    }
    visitor.floors = visitor.floors.with(change.floors);
    visitors::keep(tx, visitor.clone());
    if change.is_of_the_standing_only() {
        return Ok(()); // its row may wait for the group's end, as those of events do
    }
    tx.settle()?;
    if let Some(restricted) = change.restricts {
        restrictions::set(tx, visitor.id, restricted, floor)?;
        visitor.restricted_upto = if restricted { RESTRICTED } else { floor };
    }
    floors::raise(tx, visitor.id, change.floors, floor)?;
    if !change.lifted.is_none() {
        denials::lift(tx, visitor.id, change.lifted, c.at)?;
    }
    if !change.denied.is_none() {
        denials::insert(tx, visitor.id, &Denial { purposes: change.denied, from: c.at, until: None })?;
    }
    Ok(())
}
