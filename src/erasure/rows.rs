//! Deleting a person's rows in steps: events, visits, sessions, ties, personal cells, lines, decisions, the visitor.
//! Must never delete a row of somebody else on the same device. Invariants: what lies in a batch leaves a hole, whatever was
//! acknowledged (files not yet taken are rendered again); a step changes at most its number of rows.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::domain::event::Lane;
use crate::domain::line::HoleReason;
use crate::domain::visit::Visit;
use crate::domain::visitor::Visitor;
use crate::erasure::{TakeAway, tell};
use crate::store::erasures::{self, ErasureRow, Part as PartOf, Whose};
use crate::store::{
    WriteTx, ages, codes, denials, events, floors, frozen, holes, identities, personal, restrictions, sessions,
    visitors, visits,
};

/// Rows a step may change at the most.
pub(in crate::erasure) const STEP_MAX: i64 = 1_000;
/// Rows that one event needs at the most: itself, its page, its hole, its number.
const ONE: i64 = 5;
/// Floors of a visitor, one per purpose, its restriction, itself, its erasure, and the last line.
const FAREWELL: i64 = 50;

/// What one step came to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::erasure) struct Part {
    /// Rows deleted.
    pub rows: i64,
    /// Nothing is left.
    pub done: bool,
}

/// One step at an erasure's rows. With the last row goes the last line that tells upstream.
pub(in crate::erasure) fn step(
    tx: &WriteTx<'_>,
    e: &ErasureRow,
    targets: &[String],
    decisions: &TakeAway,
) -> Result<Part> {
    tx.settle()?;
    let mut removal = Removal { tx, e, targets, decisions, began: tx.changes(), rows: 0 };
    let done = match e.whose {
        Whose::Visitor(id) => removal.visitor(id)?,
        Whose::Identity(id) => removal.identity(id)?,
        Whose::Part { visitor, part, upto } => removal.part(visitor, part, upto)?,
    };
    Ok(Part { rows: removal.rows, done })
}

/// Deletes a limited number of a visit's rows; returns how many, 0 once none are left.
type Drain = fn(&WriteTx<'_>, i64, i64) -> Result<usize>;

struct Removal<'a, 'c> {
    tx: &'a WriteTx<'c>,
    e: &'a ErasureRow,
    targets: &'a [String],
    decisions: &'a TakeAway,
    began: u64,
    rows: i64,
}

impl Removal<'_, '_> {
    fn left(&self) -> i64 {
        STEP_MAX - i64::try_from(self.tx.changes() - self.began).unwrap_or(i64::MAX)
    }

    fn count(&mut self, rows: usize) -> usize {
        self.rows += i64::try_from(rows).unwrap_or(i64::MAX);
        rows
    }

    /// Everything of a visitor; false = no room left.
    fn visitor(&mut self, visitor_id: i64) -> Result<bool> {
        let tx = self.tx;
        let Some(visitor) = visitors::get(tx, visitor_id)? else { return Ok(true) };
        loop {
            let room = self.left() - ONE;
            if room < 1 {
                return Ok(false);
            }
            if self.count(personal::delete_upto(tx, visitor_id, Seq(i64::MAX), room)?) == 0 {
                break;
            }
        }
        for visit_id in visits::ids_upto(tx, visitor_id, Seq(i64::MAX), &[], self.left().max(1))? {
            let Some(visit) = visits::get(tx, visit_id)? else { continue };
            if !self.visit(&visit)? {
                return Ok(false);
            }
        }
        for (seq, lane) in frozen::of_visitor(tx, visitor_id, self.left().max(1))? {
            if !self.line(lane, seq)? {
                return Ok(false);
            }
        }
        for drain in [denials::delete_of_visitor, codes::delete_of_visitor] as [Drain; 2] {
            loop {
                let room = self.left() - FAREWELL;
                if room < 1 {
                    return Ok(false);
                }
                if self.count(drain(tx, visitor_id, room)?) == 0 {
                    break;
                }
            }
        }
        if !self.decided(&visitor)? || !self.told()? || self.left() < FAREWELL {
            return Ok(false);
        }
        if visitor.disclosed {
            tell::at_least_one(tx, self.e, self.targets)?;
        }
        let rows = floors::delete_of_visitor(tx, visitor_id)? + restrictions::delete(tx, visitor_id)?;
        self.count(rows + 1);
        visitors::delete(tx, visitor_id)?;
        Ok(true)
    }

    /// What the decisions say; their entries of the ledger stay, and one more says why the contents went. False = no room.
    fn decided(&mut self, visitor: &Visitor) -> Result<bool> {
        let room = self.left() - FAREWELL;
        if room < 4 {
            return Ok(false);
        }
        // each is three rows changed: the decision, its evidence, and why it went; the proof of all of them is one more
        let limit = room / 3;
        let gone = (self.decisions)(self.tx, visitor.visitor_ref, limit)?;
        self.rows += gone;
        Ok(gone < limit)
    }

    /// What an identity was tied to, and the identity; false = no room left.
    fn identity(&mut self, identity_id: i64) -> Result<bool> {
        let tx = self.tx;
        for visit_id in identities::visits_of(tx, identity_id, self.left().max(1))? {
            let done = match visits::get(tx, visit_id)? {
                Some(visit) if identities::is_shared(tx, visit_id, identity_id)? => {
                    self.share_of_visit(&visit, identity_id)?
                }
                Some(visit) => self.visit(&visit)?,
                None => self.left() >= ONE,
            };
            if !done {
                return Ok(false);
            }
            let rows = identities::untie_one(tx, identity_id, visit_id)?;
            self.count(rows);
        }
        if self.left() < FAREWELL || !identities::visits_of(tx, identity_id, 1)?.is_empty() || !self.told()? {
            return Ok(false);
        }
        let rows = identities::delete_untied(tx, identity_id)?;
        self.count(rows);
        Ok(true)
    }

    /// Visits of a visitor who stays, in which nobody was known; false = no room left.
    fn part(&mut self, visitor_id: i64, part: PartOf, upto: Seq) -> Result<bool> {
        let tx = self.tx;
        let signed_in = part == PartOf::Unknown;
        for visit_id in identities::unknown_visits(tx, visitor_id, signed_in, upto, self.left().max(1))? {
            let Some(visit) = visits::get(tx, visit_id)? else { continue };
            if !self.visit(&visit)? {
                return Ok(false);
            }
        }
        if self.left() < FAREWELL || !identities::unknown_visits(tx, visitor_id, signed_in, upto, 1)?.is_empty() {
            return Ok(false);
        }
        self.told()
    }

    /// Of a visit in which somebody else signed in too: only what lies in this identity's own sessions.
    fn share_of_visit(&mut self, visit: &Visit, identity_id: i64) -> Result<bool> {
        let tx = self.tx;
        let own: Vec<i64> = sessions::of_visit(tx, visit.id)?
            .into_iter()
            .filter(|session| session.identity_id == Some(identity_id))
            .map(|session| session.id)
            .collect();
        for event in events::of_visit(tx, visit.id, i64::MAX)? {
            let session = events::get(tx, event.seq)?.and_then(|row| row.session_id);
            if session.is_some_and(|id| own.contains(&id)) && !self.event(event.lane, event.seq)? {
                return Ok(false);
            }
        }
        let room = self.left() - ONE;
        if room < 1 {
            return Ok(false);
        }
        let rows = sessions::forget_identity(tx, visit.id, Some(identity_id), room)?;
        Ok(i64::try_from(self.count(rows)).unwrap_or(i64::MAX) < room)
    }

    /// All that hangs on a visit, then the visit; false = no room left.
    fn visit(&mut self, visit: &Visit) -> Result<bool> {
        let tx = self.tx;
        for event in events::of_visit(tx, visit.id, self.left().max(1))? {
            if !self.event(event.lane, event.seq)? {
                return Ok(false);
            }
        }
        for line in ages::snapshots(tx, visit.visitor_id, visit.id, self.left().max(1))? {
            if !self.line(line.lane, line.seq)? {
                return Ok(false);
            }
        }
        for drain in [identities::untie, sessions::delete_of_visit] as [Drain; 2] {
            loop {
                let room = self.left();
                if room < ONE {
                    return Ok(false);
                }
                if self.count(drain(tx, visit.id, room)?) == 0 {
                    break;
                }
            }
        }
        if events::any_of_visit(tx, visit.id)? || self.left() < ONE {
            return Ok(false);
        }
        visits::delete(tx, visit.id)?;
        self.rows += 1;
        Ok(true)
    }

    fn event(&mut self, lane: Lane, seq: Seq) -> Result<bool> {
        let room = self.left() - ONE;
        if room < 1 {
            return Ok(false);
        }
        let fields = personal::delete_of_event(self.tx, seq, room)?;
        if i64::try_from(self.count(fields)).unwrap_or(i64::MAX) >= room {
            return Ok(false);
        }
        self.hole(lane, seq)?;
        events::delete(self.tx, seq)?;
        self.rows += 1;
        Ok(true)
    }

    fn line(&mut self, lane: Lane, seq: Seq) -> Result<bool> {
        if self.left() < ONE {
            return Ok(false);
        }
        self.hole(lane, seq)?;
        frozen::delete(self.tx, seq)?;
        self.rows += 1;
        Ok(true)
    }

    /// A row that lies in a batch may have left: its number is told.
    fn hole(&mut self, lane: Lane, seq: Seq) -> Result<()> {
        if holes::before_delete(self.tx, lane, seq, HoleReason::Erased)? {
            for hole in holes::between(self.tx, lane, seq, seq)? {
                erasures::note_row(self.tx, &self.e.id, hole.epoch_id, seq)?;
            }
        }
        Ok(())
    }

    /// Tells the numbers upstream, a line's worth at a time; false = no room left.
    fn told(&mut self) -> Result<bool> {
        while self.left() > tell::RANGES_MAX + FAREWELL {
            if !tell::some(self.tx, self.e, self.targets)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
