//! Removing rows, children before parents: an event, a frozen line, a visit with all that hangs on it, a visitor.
//! Must never decide what goes. Invariants: what lies in a batch that some target has not acknowledged leaves a hole; what
//! no required target ever acknowledged is counted as lost; a step changes at most its number of rows.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::clock::ClockState;
use crate::domain::count::Cell;
use crate::domain::event::Lane;
use crate::domain::line::HoleReason;
use crate::domain::visit::Visit;
use crate::domain::visitor::Visitor;
use crate::store::ages::{self, FrozenAge};
use crate::store::events::Aged;
use crate::store::restrictions::Held;
use crate::store::{
    ReadTx, WriteTx, again, agents, codes, counts, cursors, decisions, denials, departed, events, floors, frozen,
    holes, identities, pages, personal, restrictions, sessions, tallies, visitors, visits,
};
use crate::upkeep::loss::Lost;

/// Rows of a step that are left for its records: totals and losses.
const RECORDS: i64 = 40;
/// Rows a step may change at the least: the rows of one visitor's floors must fit.
const STEP_MIN: i64 = 64;
/// Rows a step may change at the most, its records included.
pub(in crate::upkeep) const STEP_MAX: i64 = 1_000;
/// Rows that one event, line or tie needs at the most: itself, its hole or its identity, its page.
const ONE: i64 = 3;
/// Floors of a visitor, one per purpose, and the visitor itself, its restriction, and its note of departure.
const FAREWELL: i64 = 35;

/// How far everything has been acknowledged, per lane.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::upkeep) struct Delivered {
    /// By every target.
    all: [Seq; 4],
    /// By every required one; `None` where none is required, so that nobody waits for anything.
    required: Option<[Seq; 4]>,
}

impl Delivered {
    /// Reads how far `all` and `required` targets have acknowledged.
    pub(in crate::upkeep) fn read(tx: &ReadTx<'_>, all: &[String], required: &[String]) -> Result<Delivered> {
        let upto = |targets: &[String]| -> Result<[Seq; 4]> {
            let mut out = [Seq(0); 4];
            for lane in Lane::ALL {
                out[slot(lane)] = cursors::delivered_upto(tx, targets, lane)?;
            }
            Ok(out)
        };
        let required = if required.is_empty() { None } else { Some(upto(required)?) };
        Ok(Delivered { all: upto(all)?, required })
    }

    /// Have all required targets acknowledged the line? False where none is required: nothing was delivered then.
    pub(in crate::upkeep) fn holds(&self, lane: Lane, seq: Seq) -> bool {
        self.required.is_some_and(|upto| seq <= upto[slot(lane)])
    }

    /// Up to where the required targets have acknowledged; `None` where none is required.
    pub(in crate::upkeep) fn required_upto(&self, lane: Lane) -> Option<Seq> {
        self.required.map(|upto| upto[slot(lane)])
    }

    /// The same, with what the required targets have cut at `upto`: only that may go for want of space.
    pub(in crate::upkeep) fn cut(self, upto: [Seq; 4]) -> Delivered {
        let cut = |have: [Seq; 4]| std::array::from_fn(|at| have[at].min(upto[at]));
        Delivered { required: self.required.map(cut), ..self }
    }

    fn awaited(&self, lane: Lane, seq: Seq) -> bool {
        self.required.is_some_and(|upto| seq > upto[slot(lane)])
    }
}

pub(in crate::upkeep) fn slot(lane: Lane) -> usize {
    usize::try_from(lane.code()).unwrap_or(0)
}

/// What was removed, by kind of row.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(in crate::upkeep) struct Gone {
    pub(in crate::upkeep) events: i64,
    pub(in crate::upkeep) lines: i64,
    pub(in crate::upkeep) visits: i64,
    pub(in crate::upkeep) visitors: i64,
    /// Pages, sessions, ties, personal fields.
    pub(in crate::upkeep) others: i64,
}

impl Gone {
    /// All of them.
    pub(in crate::upkeep) fn sum(&self) -> i64 {
        self.events + self.lines + self.visits + self.visitors + self.others
    }
}

/// Removes rows of a visit, at most so many; returns how many, 0 once none are left.
type Drain = fn(&WriteTx<'_>, i64, i64) -> Result<usize>;

/// Where an event is counted: the hour and the cell that it would have raised if it had not been kept.
fn cell_of(tx: &ReadTx<'_>, visit: &Visit, seq: Seq) -> Result<(Millis, Cell)> {
    let event = events::get(tx, seq)?;
    let page = match event.as_ref().and_then(|e| e.page_id) {
        Some(id) => pages::read(tx, id)?,
        None => None,
    };
    let agent = match visit.agent_id {
        Some(id) => agents::get(tx, id)?,
        None => None,
    };
    let url = event.as_ref().and_then(|e| e.url.clone()).or_else(|| page.and_then(|p| p.url.or(p.screen)));
    // the first event of a visit tells its referrer there
    let of_visit = visit.referrer.as_deref().filter(|_| seq.0 == visit.id);
    let referrer = event.as_ref().and_then(|e| e.referrer.as_deref()).or(of_visit);
    let at = event.as_ref().map_or(visit.started, |e| match e.clock_state {
        ClockState::Imported => e.corrected,
        _ => e.received,
    });
    Ok((at, Cell::of_rows(url.as_deref().unwrap_or(""), agent.as_ref().map(|(_, agent)| agent), referrer)))
}

/// One step of removing.
pub(in crate::upkeep) struct Removal<'a, 'c> {
    tx: &'a WriteTx<'c>,
    reason: HoleReason,
    delivered: Delivered,
    began: u64,
    room: i64,
    gone: Gone,
    lost: Lost,
    /// What is removed of visits is counted where nobody is named.
    counted: bool,
    /// Only kept: neither age nor want of space nor a withdrawal removes what is under restriction (GDPR Art. 18(2)).
    held: Held,
}

impl<'a, 'c> Removal<'a, 'c> {
    /// Begins a step that changes at most `rows` rows (at least 64, at most 1,000).
    pub(in crate::upkeep) fn begin(
        tx: &'a WriteTx<'c>,
        reason: HoleReason,
        delivered: Delivered,
        rows: i64,
    ) -> Result<Self> {
        tx.settle()?;
        let room = rows.clamp(STEP_MIN, STEP_MAX - RECORDS);
        let held = if reason == HoleReason::Erased { Held::default() } else { restrictions::held(tx)? };
        let (gone, lost) = (Gone::default(), Lost::default());
        Ok(Removal { tx, reason, delivered, began: tx.changes(), room, gone, lost, counted: false, held })
    }

    /// Counts events of visits as it removes them: the counters name nobody.
    pub(in crate::upkeep) fn counting(self) -> Self {
        Removal { counted: true, ..self }
    }

    /// The transaction it removes in.
    pub(in crate::upkeep) fn tx(&self) -> &'a WriteTx<'c> {
        self.tx
    }

    /// Rows this step may still change.
    pub(in crate::upkeep) fn left(&self) -> i64 {
        self.room - i64::try_from(self.tx.changes() - self.began).unwrap_or(i64::MAX)
    }

    /// Is there room for one more?
    pub(in crate::upkeep) fn has_room(&self) -> bool {
        self.left() >= ONE
    }

    /// Removes an event and its personal fields; false = no room left, the event is still there.
    pub(in crate::upkeep) fn event(&mut self, e: &Aged) -> Result<bool> {
        if self.held.visits.contains(&e.visit_id) {
            return Ok(true);
        }
        let again = again::of_event(self.tx, e.seq)?;
        let room = self.left() - ONE - 2 * i64::try_from(again.len()).unwrap_or(STEP_MAX);
        if room < 1 {
            return Ok(false);
        }
        let fields = self.count(personal::delete_of_event(self.tx, e.seq, room)?);
        if fields >= room {
            return Ok(false);
        }
        self.hole(e.lane, e.seq)?;
        for (seq, lane) in &again {
            self.hole(*lane, *seq)?;
        }
        if !again.is_empty() {
            let numbers = again::delete_of(self.tx, e.seq)?;
            self.count(numbers);
        }
        if !e.exempt {
            self.miss(e.lane, again.last().map_or(e.seq, |(seq, _)| *seq), e.received);
        }
        events::delete(self.tx, e.seq)?;
        self.gone.events += 1;
        Ok(true)
    }

    /// Removes a frozen line; false = no room left.
    pub(in crate::upkeep) fn line(&mut self, line: &FrozenAge) -> Result<bool> {
        if !self.has_room() {
            return Ok(false);
        }
        self.hole(line.lane, line.seq)?;
        self.miss(line.lane, line.seq, line.received);
        frozen::delete(self.tx, line.seq)?;
        self.gone.lines += 1;
        Ok(true)
    }

    /// Removes all that hangs on a visit, then the visit; false = no room left, some of it is still there.
    pub(in crate::upkeep) fn visit(&mut self, visit: &Visit) -> Result<bool> {
        let tx = self.tx;
        if self.held.visits.contains(&visit.id) {
            return Ok(true);
        }
        for event in events::of_visit(tx, visit.id, self.left())? {
            let counted = if self.counted { Some(cell_of(tx, visit, event.seq)?) } else { None };
            if !self.event(&event)? {
                return Ok(false);
            }
            if let Some((at, cell)) = counted {
                counts::raise(tx, visit.site_id, at, cell)?;
            }
        }
        for line in ages::snapshots(tx, visit.visitor_id, visit.id, self.left())? {
            if !self.line(&line)? {
                return Ok(false);
            }
        }
        // the sessions after the events: lines of events show them
        for step in [identities::untie, sessions::delete_of_visit] as [Drain; 2] {
            if !self.drain(visit.id, step)? {
                return Ok(false);
            }
        }
        if events::any_of_visit(tx, visit.id)? || !self.has_room() {
            return Ok(false);
        }
        visits::delete(tx, visit.id)?;
        self.gone.visits += 1;
        Ok(true)
    }

    /// Takes the identities out of a visit; false = no room left.
    pub(in crate::upkeep) fn ties(&mut self, visit_id: i64) -> Result<bool> {
        let forget: Drain = |tx, visit_id, room| sessions::forget_identity(tx, visit_id, None, room);
        for step in [forget, identities::untie] {
            if !self.drain(visit_id, step)? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Repeats what removes a limited number of a visit's rows until it finds none; false = no room left.
    fn drain(&mut self, visit_id: i64, step: Drain) -> Result<bool> {
        loop {
            let room = self.left();
            if room < ONE {
                return Ok(false);
            }
            if self.count(step(self.tx, visit_id, room)?) == 0 {
                return Ok(true);
            }
        }
    }

    /// Removes an identity not seen since `before`, with its ties; false = no room left.
    pub(in crate::upkeep) fn identity(&mut self, identity_id: i64, before: Millis) -> Result<bool> {
        let tx = self.tx;
        if !identities::is_unseen_since(tx, identity_id, before)? {
            return Ok(true); // it came back
        }
        for visit_id in identities::visits_of(tx, identity_id, self.left())? {
            let room = self.left() - 2 * ONE;
            if room < 1 || self.count(sessions::forget_identity(tx, visit_id, Some(identity_id), room)?) >= room {
                return Ok(false);
            }
            self.count(identities::untie_one(tx, identity_id, visit_id)?);
        }
        if !self.has_room() {
            return Ok(false);
        }
        self.count(identities::delete_untied(tx, identity_id)?);
        Ok(true)
    }

    /// Removes personal fields of a visitor at or below a number; false = no room left.
    pub(in crate::upkeep) fn fields(&mut self, visitor_id: i64, upto: Seq) -> Result<bool> {
        if self.held.visitors.contains(&visitor_id) {
            return Ok(true);
        }
        let room = self.left();
        Ok(room > 0 && self.count(personal::delete_upto(self.tx, visitor_id, upto, room)?) < room)
    }

    /// Removes a visitor of whom no visit is left; the decisions stay. False = no room left.
    pub(in crate::upkeep) fn visitor(&mut self, visitor: &Visitor) -> Result<bool> {
        let tx = self.tx;
        if self.held.visitors.contains(&visitor.id) {
            return Ok(true);
        }
        if !self.fields(visitor.id, Seq(i64::MAX))? {
            return Ok(false);
        }
        let room = self.left() - FAREWELL;
        if room < 1 || self.count(denials::delete_of_visitor(tx, visitor.id, room)?) >= room {
            return Ok(false);
        }
        let room = self.left() - FAREWELL;
        if room < 1 || self.count(codes::delete_of_visitor(tx, visitor.id, room)?) >= room {
            return Ok(false);
        }
        if !decisions::of_subject(tx, visitor.visitor_ref, 1)?.is_empty() {
            departed::note(tx, visitor.visitor_ref, visitor.last_seen)?;
        }
        floors::delete_of_visitor(tx, visitor.id)?;
        restrictions::delete(tx, visitor.id)?;
        visitors::delete(tx, visitor.id)?;
        self.gone.visitors += 1;
        Ok(true)
    }

    /// Writes the step's records; what it removed is told under `name` in the running totals.
    pub(in crate::upkeep) fn finish(self, name: &str) -> Result<Gone> {
        let gone = self.gone;
        let kinds = [
            ("events", gone.events),
            ("lines", gone.lines),
            ("visits", gone.visits),
            ("visitors", gone.visitors),
            ("others", gone.others),
        ];
        for (kind, n) in kinds {
            tallies::add(self.tx, &format!("removed.{name}.{kind}"), n)?;
        }
        self.lost.keep(self.tx, self.reason)?;
        Ok(gone)
    }

    fn count(&mut self, rows: usize) -> i64 {
        let rows = i64::try_from(rows).unwrap_or(i64::MAX);
        self.gone.others += rows;
        rows
    }

    /// A row under a withdrawal always leaves its hole: files already written are rendered again from it.
    fn hole(&mut self, lane: Lane, seq: Seq) -> Result<()> {
        if self.reason == HoleReason::Withdrawn || seq > self.delivered.all[slot(lane)] {
            holes::before_delete(self.tx, lane, seq, self.reason)?;
        }
        Ok(())
    }

    fn miss(&mut self, lane: Lane, seq: Seq, received: Millis) {
        if self.reason != HoleReason::Withdrawn && self.delivered.awaited(lane, seq) {
            self.lost.add(lane, seq, received);
        }
    }
}
