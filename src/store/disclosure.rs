//! How decisions become lines of the consent lane: the first ones in the transaction that seals a visitor's first row,
//! later ones at once (contract 5). Owns no table. Must never disclose a visitor of whom nothing leaves.

use serde::Serialize;

use crate::base::error::Result;
use crate::base::id::{Salt, Seq, VisitorRef};
use crate::domain::body::{DecisionBody, WithdrawalBody};
use crate::domain::consent::Purposes;
use crate::domain::event::Lane;
use crate::domain::line::LineKind;
use crate::domain::visitor::{Rights, Visitor};
use crate::store::decisions::DecisionRow;
use crate::store::frozen::{self, FrozenRow};
use crate::store::{WriteTx, decisions, floors, visitors};

/// Decisions of one person told in one go.
const DECISIONS_MAX: i64 = 1_000;

/// Tells a decision upstream.
fn decision(tx: &WriteTx<'_>, d: &DecisionRow, visitor: &Visitor) -> Result<()> {
    let body = DecisionBody {
        decision_id: d.decision_id.to_string(),
        decision_seq: d.seq.0,
        visitor_ref: d.subject_ref.to_string(),
        action: &d.action,
        purposes: d.purposes.0,
        before: d.before.0,
        after: d.after.0,
        current: d.current,
        method: &d.method,
        actor: &d.actor,
        notice: &d.notice,
        language: d.language.as_deref(),
        gpc: d.gpc,
        dnt: d.dnt,
        client_at: d.client_at.map(|at| at.rfc3339()),
        basis_id: d.basis_id,
    };
    let line = about(tx, LineKind::Decision, d, (visitor.id, visitor.rights.flags), &body);
    frozen::insert(tx, &line)
}

/// Tells a withdrawal upstream: what rests on these purposes at or below the floor may be used no longer.
fn withdrawal(tx: &WriteTx<'_>, d: &DecisionRow, visitor: &Visitor, purposes: Purposes, floor: Seq) -> Result<()> {
    let body = WithdrawalBody {
        visitor_ref: d.subject_ref.to_string(),
        decision_seq: d.seq.0,
        purposes: purposes.0,
        floor_seq: floor.0,
    };
    let line = about(tx, LineKind::Withdrawal, d, (visitor.id, visitor.rights.flags), &body);
    frozen::insert(tx, &line)
}

/// `in_force` = the rights of the visitor's newest row: a right that rests on no decision is in neither set of one.
fn about(
    tx: &WriteTx<'_>,
    kind: LineKind,
    d: &DecisionRow,
    (visitor_id, in_force): (i64, Purposes),
    body: &impl Serialize,
) -> FrozenRow {
    let seq = tx.next_seq();
    FrozenRow {
        seq,
        lane: Lane::Consent,
        kind,
        epoch_id: tx.identity().epoch_id,
        site_id: Some(d.site_id),
        visitor_id: Some(visitor_id),
        first_seq: seq,
        received: d.received,
        corrected: d.corrected,
        // whoever had the right before must learn that it is gone
        rights: Rights {
            flags: d.before.with(d.after).with(in_force),
            basis_id: d.basis_id,
            consent_seq: d.seq,
            exempt: false,
        },
        salt: Salt::mint(),
        body: serde_json::to_string(body).expect("invariant: a body has string keys"),
    }
}

/// Before the first rows of these visitors leave: all their decisions enter the consent lane, and each floor that still
/// stands with the decision that set it.
pub fn disclose(tx: &WriteTx<'_>, undisclosed: &[(i64, VisitorRef)]) -> Result<()> {
    tx.settle()?;
    for (visitor_id, subject) in undisclosed {
        let decided = decisions::of_subject(tx, *subject, DECISIONS_MAX)?;
        if decided.is_empty() {
            continue;
        }
        let Some(visitor) = visitors::get(tx, *visitor_id)?.filter(|v| !v.disclosed) else { continue };
        let standing = floors::of_visitor(tx, *visitor_id)?;
        for row in decided {
            decision(tx, &row, &visitor)?;
            let floor = Seq(row.seq.0 - 1); // a decision sets its floors at the number before its own
            let set =
                standing.iter().filter(|(_, at)| *at == floor).fold(Purposes::NONE, |set, (one, _)| set.with(*one));
            if !set.is_none() {
                withdrawal(tx, &row, &visitor, set, floor)?;
            }
        }
    }
    let ids: Vec<i64> = undisclosed.iter().map(|(id, _)| *id).collect();
    visitors::set_disclosed(tx, &ids)
}

/// After a decision of a visitor of whom something has left: told at once, its withdrawal too.
pub fn tell(tx: &WriteTx<'_>, row: &DecisionRow, visitor: &Visitor, floors: Purposes, floor: Seq) -> Result<()> {
    if !visitor.disclosed {
        return Ok(());
    }
    decision(tx, row, visitor)?;
    if floors.is_none() { Ok(()) } else { withdrawal(tx, row, visitor, floors, floor) }
}

/// After a restore: what a log says was taken away is told anew, for nobody knows whether it had been told. The ledger has it as
/// part of the restore; the line names the newest decision known of the visitor.
pub fn tell_again(tx: &WriteTx<'_>, visitor: &Visitor, purposes: Purposes, floor: Seq) -> Result<()> {
    let body = WithdrawalBody {
        visitor_ref: visitor.visitor_ref.to_string(),
        decision_seq: visitor.rights.consent_seq.0,
        purposes: purposes.0,
        floor_seq: floor.0,
    };
    let seq = tx.next_seq();
    let line = FrozenRow {
        seq,
        lane: Lane::Consent,
        kind: LineKind::Withdrawal,
        epoch_id: tx.identity().epoch_id,
        site_id: Some(visitor.site_id),
        visitor_id: Some(visitor.id),
        first_seq: seq,
        received: tx.now(),
        corrected: tx.now(),
        rights: Rights { flags: visitor.rights.flags.with(purposes), exempt: false, ..visitor.rights },
        salt: Salt::mint(),
        body: serde_json::to_string(&body).expect("invariant: a body has string keys"),
    };
    frozen::insert(tx, &line)
}
