//! Every row of a person: visitors, visits, sessions, pages, events, personal fields, decisions. Counters name nobody and are
//! no one's. What a withdrawal or a restriction only hides is theirs as well, as long as it is kept (GDPR Art. 15). Must never
//! reach another person on the same device.
//! Invariant (shared devices): what happened while another identity was signed in, or in a visit that only others are tied
//! to, is left out and counted; who is known by a device token reaches visits in which nobody was known at all.

use std::collections::BTreeSet;

use crate::base::error::{Error, Result};
use crate::base::id::Seq;
use crate::domain::request::Level;
use crate::domain::stored::{PageRow, SessionRow};
use crate::domain::visitor::Visitor;
use crate::store::decisions::DecisionRow;
use crate::store::identities::Tie;
use crate::store::personal::Field;
use crate::store::queries::{FoundEvent, FoundVisit, Wanted};
use crate::store::requests::Person;
use crate::store::{ReadTx, decisions, identities, pages, personal, queries, sessions, sites, visitors};

/// Events of one answer at the most.
const EVENTS_MAX: usize = 200_000;
/// Visits of one answer at the most.
const VISITS_MAX: usize = 20_000;
/// Decisions of one visitor at the most.
const DECISIONS_MAX: i64 = 10_000;
/// Pages of one visit at the most.
const PAGES_MAX: i64 = 10_000;

/// What belongs to a person.
#[derive(Debug, Default)]
pub struct Scope {
    /// By visitor.
    pub visitors: Vec<OfVisitor>,
    /// Rows of the person's own identities.
    pub identities: Vec<i64>,
    /// Visits left out because another identity is tied to them, in whole or in part.
    pub left_out: usize,
}

/// What belongs to a person of one visitor.
#[derive(Debug)]
pub struct OfVisitor {
    /// The visitor.
    pub visitor: Visitor,
    /// The site's name.
    pub site: String,
    /// Its visits, oldest first.
    pub visits: Vec<OfVisit>,
    /// Personal fields told in them, newest first.
    pub fields: Vec<Field>,
    /// Its decisions, oldest first.
    pub decisions: Vec<DecisionRow>,
}

/// What belongs to a person of one visit.
#[derive(Debug)]
pub struct OfVisit {
    /// The visit.
    pub visit: FoundVisit,
    /// Pages entered.
    pub pages: Vec<PageRow>,
    /// Sessions.
    pub sessions: Vec<SessionRow>,
    /// Events.
    pub events: Vec<FoundEvent>,
    /// The site's names of who was known, and how; own ones only.
    pub known: Vec<(String, String)>,
}

/// How much of a visit is a person's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Share {
    Whole,
    /// But for sessions of others.
    Part,
    Nothing,
}

/// What of a visit is the person's: who is tied to it, whether its visitor was named, and how the person is known.
fn share(tied: &[i64], own: &BTreeSet<i64>, named: bool, level: Level, signed_in: bool) -> Share {
    let (mine, others) = (tied.iter().any(|id| own.contains(id)), tied.iter().any(|id| !own.contains(id)));
    match (mine, others) {
        (false, false) if level == Level::Device && signed_in => Share::Nothing,
        (false, false) if named => Share::Whole,
        (true, false) => Share::Whole,
        (true, true) => Share::Part,
        (false, _) => Share::Nothing,
    }
}

/// Gathers every row of these people. Errors: `Invalid` with code `too_large` beyond the limits.
pub fn gather(tx: &ReadTx<'_>, people: &[Person], level: Level) -> Result<Scope> {
    let own: BTreeSet<i64> = people
        .iter()
        .filter_map(|person| match person {
            Person::Identity(id) if level != Level::Device => Some(*id),
            _ => None,
        })
        .collect();
    let named: BTreeSet<i64> = people
        .iter()
        .filter_map(|person| match person {
            Person::Visitor(id) => Some(*id),
            Person::Identity(_) => None,
        })
        .collect();
    let mut all = named.clone();
    for id in &own {
        all.extend(identities::ties_of_identity(tx, *id)?.iter().map(|tie| tie.visitor_id));
    }
    let names = sites::all(tx)?;
    let mut scope = Scope { identities: own.iter().copied().collect(), ..Scope::default() };
    let mut room = EVENTS_MAX;
    for id in all {
        let Some(visitor) = visitors::get(tx, id)? else { continue };
        let site = names.iter().find(|(row, _)| *row == visitor.site_id).map(|(_, name)| name.clone());
        let gathering = Gathering { tx, own: &own, named: named.contains(&id), level };
        let of = gathering.visitor(visitor, site.unwrap_or_default(), &mut room, &mut scope.left_out)?;
        scope.visitors.push(of);
    }
    Ok(scope)
}

struct Gathering<'a, 'c> {
    tx: &'a ReadTx<'c>,
    own: &'a BTreeSet<i64>,
    named: bool,
    level: Level,
}

impl Gathering<'_, '_> {
    fn visitor(&self, visitor: Visitor, site: String, room: &mut usize, left_out: &mut usize) -> Result<OfVisitor> {
        let tx = self.tx;
        let ties = identities::ties_of_visitor(tx, visitor.id)?;
        let limit = i64::try_from(VISITS_MAX).unwrap_or(i64::MAX) + 1;
        let wanted = Wanted { visitors: Some(vec![visitor.id]), hidden_too: true, limit, ..Wanted::default() };
        let found = queries::find_visits(tx, &wanted)?;
        if found.len() > VISITS_MAX {
            return Err(too_large());
        }
        let mut visits = Vec::new();
        for visit in found {
            if let Some(of) = self.visit(visit, &ties, room, left_out)? {
                visits.push(of);
            }
        }
        let seqs: BTreeSet<Seq> = visits.iter().flat_map(|v: &OfVisit| v.events.iter().map(|e| e.event.seq)).collect();
        let mut fields = match self.level {
            Level::Device => Vec::new(), // who holds the device is not who told them
            _ => personal::history_of_visitor(tx, visitor.id, Seq(0))?,
        };
        fields.retain(|field| seqs.contains(&field.seq));
        let decisions = decisions::of_subject(tx, visitor.visitor_ref, DECISIONS_MAX)?;
        Ok(OfVisitor { visitor, site, visits, fields, decisions })
    }

    fn visit(
        &self,
        visit: FoundVisit,
        ties: &[Tie],
        room: &mut usize,
        left_out: &mut usize,
    ) -> Result<Option<OfVisit>> {
        let tx = self.tx;
        let id = visit.visit.id;
        let tied: Vec<i64> = ties.iter().filter(|tie| tie.visit_id == id).map(|tie| tie.identity_id).collect();
        let mut sessions = sessions::of_visit(tx, id)?;
        let share = share(&tied, self.own, self.named, self.level, !sessions.is_empty());
        if share != Share::Whole {
            *left_out += 1;
        }
        if share == Share::Nothing {
            return Ok(None);
        }
        let limit = i64::try_from(*room).unwrap_or(i64::MAX) + 1;
        let wanted = Wanted { visit_id: Some(id), hidden_too: true, limit, ..Wanted::default() };
        let mut events = queries::find_events(tx, &wanted)?;
        if events.len() > *room {
            return Err(too_large());
        }
        *room -= events.len();
        let mut pages = pages::of_visit(tx, id, PAGES_MAX)?;
        if share == Share::Part {
            // what happened while somebody else was signed in is theirs; a session of nobody known is nobody's here
            sessions.retain(|session| session.identity_id.is_some_and(|id| self.own.contains(&id)));
            let mine = |id: Option<i64>| id.is_none_or(|id| sessions.iter().any(|session| session.id == id));
            events.retain(|event| mine(event.event.session_id));
            let entered: BTreeSet<i64> = events.iter().filter_map(|event| event.event.page_id).collect();
            pages.retain(|page| entered.contains(&page.id));
        }
        let known = match share {
            Share::Whole => identities::of_visit(tx, id)?,
            _ => Vec::new(), // the names of others stand among them
        };
        let known = known.into_iter().filter_map(|(name, how)| Some((name?, how))).collect();
        Ok(Some(OfVisit { visit, pages, sessions, events, known }))
    }
}

fn too_large() -> Error {
    Error::invalid(format!("more than {EVENTS_MAX} events or {VISITS_MAX} visits belong to this person"))
        .code("too_large")
        .remedy("answer site by site: open one request for each with --site")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_visit_is_shared_out_by_who_was_known_in_it() {
        let own = BTreeSet::from([1]);
        let operator = |tied: &[i64], named| share(tied, &own, named, Level::Operator, true);
        assert_eq!(operator(&[], true), Share::Whole);
        assert_eq!(operator(&[], false), Share::Nothing, "anonymous visits of a device are not the identity's");
        assert_eq!(operator(&[1], false), Share::Whole);
        assert_eq!(operator(&[1, 2], true), Share::Part);
        assert_eq!(operator(&[2], true), Share::Nothing);
        let device = |tied: &[i64], signed_in| share(tied, &BTreeSet::new(), true, Level::Device, signed_in);
        assert_eq!(device(&[], false), Share::Whole);
        assert_eq!(device(&[], true), Share::Nothing, "somebody was signed in, whoever it was");
        assert_eq!(device(&[1], true), Share::Nothing);
    }
}
