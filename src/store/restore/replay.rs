//! Rights exercised since a backup, taken over into the database made of it, in the order in which they were exercised. Must never
//! delete a row: who was erased is cut off, and written down for the pipeline. Invariant: what a log says was taken away is away
//! before the file gets its name; what began under the same id later stays.

use std::collections::{HashMap, HashSet};
use std::path::Path;

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::id::{Seq, VisitorRef};
use crate::base::time::Millis;
use crate::domain::consent::{Action, Denial, Purposes};
use crate::domain::erasure::Marks;
use crate::domain::visitor::{Visitor, id_hash};
use crate::store::erasures::{self, ErasureRow, Part, Whose};
use crate::store::rights_log::{ERASE, ERASE_CUSTOMER, ERASE_PART, Entry};
use crate::store::{
    WriteTx, ages, codes, decisions, denials, disclosure, floors, identities, refusals, restrictions, sites,
    suppressed, visitors,
};

/// Codes of one visitor at the most that are taken out of use with it.
const CODES_MAX: i64 = 1_000;

/// Who is behind a reference, or a keyed hash of an id.
struct People {
    by_ref: HashMap<VisitorRef, i64>,
    by_hash: HashMap<Hash, i64>,
}

impl People {
    fn of(tx: &WriteTx<'_>) -> Result<People> {
        let names: HashMap<i64, String> = sites::all(tx)?.into_iter().collect();
        let (mut by_ref, mut by_hash) = (HashMap::new(), HashMap::new());
        let key = &tx.identity().hash_key;
        visitors::each(tx, |id, site_id, visitor, visitor_ref| {
            by_ref.insert(visitor_ref, id);
            if let Some(site) = names.get(&site_id) {
                by_hash.insert(id_hash(key, site, &visitor), id);
            }
        })?;
        Ok(People { by_ref, by_hash })
    }

    fn meant(&self, entry: &Entry) -> Option<i64> {
        self.by_ref.get(&entry.visitor_ref).or_else(|| self.by_hash.get(&entry.id_hash)).copied()
    }
}

/// What was taken over.
struct Replay<'a, 'c> {
    tx: &'a WriteTx<'c>,
    data_dir: &'a Path,
    people: People,
    /// Visitors and customers whose erasure was written down.
    erased: HashSet<i64>,
    rights: usize,
}

/// Takes over what the backup does not know yet; returns how many rights, and how many erased persons it still held.
pub(super) fn run(tx: &WriteTx<'_>, data_dir: &Path, log: &[Entry]) -> Result<(usize, usize)> {
    let mut replay = Replay { tx, data_dir, people: People::of(tx)?, erased: HashSet::new(), rights: 0 };
    for entry in log {
        replay.entry(entry)?;
    }
    Ok((replay.rights, replay.erased.len()))
}

impl Replay<'_, '_> {
    fn entry(&mut self, entry: &Entry) -> Result<()> {
        let tx = self.tx;
        let visitor = match self.people.meant(entry) {
            Some(id) => visitors::get(tx, id)?.filter(|v| !self.erased.contains(&v.id)),
            None => None,
        };
        match entry.action.as_str() {
            ERASE => return self.erase(entry, visitor),
            ERASE_CUSTOMER => return self.erase_customer(entry),
            ERASE_PART => return self.erase_part(entry, visitor),
            _ if known(tx, entry)? => return Ok(()),
            _ => self.rights += 1,
        }
        if let Some(on) = restricts(&entry.action) {
            if visitor.is_none() || !on {
                refusals::restrict(tx, &entry.id_hash, on, entry.at, Seq(0))?;
            }
            return visitor.map_or(Ok(()), |v| restrictions::set(tx, v.id, on, tx.last_seq()));
        }
        if !entry.purposes.is_none() {
            refusals::put(tx, &entry.id_hash, entry.purposes, entry.at, Seq(0))?;
        }
        visitor.map_or(Ok(()), |v| take_away(tx, v, entry.purposes, entry.at))
    }

    /// Nothing of the person is read or leaves any more; the pipeline deletes the rows at the next start.
    fn erase(&mut self, entry: &Entry, visitor: Option<Visitor>) -> Result<()> {
        let tx = self.tx;
        suppressed::put(tx, &entry.id_hash, entry.at)?;
        refusals::put(tx, &entry.id_hash, Purposes::ALL, entry.at, Seq(0))?;
        // one of a later time began anew, under the same id
        let Some(visitor) = visitor.filter(|v| v.first_seen <= entry.at) else { return Ok(()) };
        let mut marks = Marks::default();
        marks.add(visitor.key.to_string().as_bytes());
        marks.add(visitor.key.bytes());
        visitors::cut_off(tx, visitor.id)?;
        codes::delete_of_visitor(tx, visitor.id, CODES_MAX)?;
        self.begin(entry, visitor.site_id, (visitor.visitor_ref, Whose::Visitor(visitor.id)), &marks)?;
        self.erased.insert(visitor.id);
        self.rights += 1;
        Ok(())
    }

    /// What was tied to a customer whom the backup still knows. The name opens only once
    /// the keys are at hand: the pipeline looks for it then.
    fn erase_customer(&mut self, entry: &Entry) -> Result<()> {
        let tx = self.tx;
        suppressed::put(tx, &entry.id_hash, entry.at)?;
        let (Some(blind), Some(site_id)) = (entry.customer, sites::id(tx, &entry.site)?) else { return Ok(()) };
        let Some(id) = identities::find_by_blind(tx, site_id, blind, entry.at)? else { return Ok(()) };
        if self.erased.insert(id) {
            let mut marks = Marks::default();
            if let Some(name) = identities::name(tx, id)? {
                marks.add(name.as_bytes());
            }
            self.begin(entry, site_id, (VisitorRef::mint(), Whose::Identity(id)), &marks)?;
            self.rights += 1;
        }
        Ok(())
    }

    /// Visits begun until then in which nobody was known, of a visitor who stays.
    fn erase_part(&mut self, entry: &Entry, visitor: Option<Visitor>) -> Result<()> {
        let tx = self.tx;
        suppressed::put(tx, &entry.id_hash, entry.at)?;
        let Some(visitor) = visitor else { return Ok(()) };
        let upto = ages::begun_by(tx, visitor.id, entry.at)?;
        if identities::unknown_visits(tx, visitor.id, entry.signed_in, upto, 1)?.is_empty() {
            return Ok(());
        }
        let part = if entry.signed_in { Part::Unknown } else { Part::Anonymous };
        let whose = Whose::Part { visitor: visitor.id, part, upto };
        self.begin(entry, visitor.site_id, (visitor.visitor_ref, whose), &Marks::default())?;
        self.rights += 1;
        Ok(())
    }

    fn begin(&self, entry: &Entry, site_id: i64, whose: (VisitorRef, Whose), marks: &Marks) -> Result<()> {
        let when = (self.tx.now(), entry.at, "restore");
        let row = ErasureRow::new(self.data_dir, site_id, whose, marks, when)?;
        erasures::insert(self.tx, &row)
    }
}

/// Does a restriction begin (true) or end (false) with it?
fn restricts(action: &str) -> Option<bool> {
    match action {
        _ if action == Action::Restrict.word() => Some(true),
        _ if action == Action::Release.word() => Some(false),
        _ => None,
    }
}

/// Was it exercised before the backup? Then what followed it is in the backup too.
fn known(tx: &WriteTx<'_>, entry: &Entry) -> Result<bool> {
    let all = decisions::of_subject(tx, entry.visitor_ref, i64::MAX)?;
    Ok(all.iter().any(|row| row.received == entry.at && row.action == entry.action))
}

/// A no becomes a floor over all restored rows.
fn take_away(tx: &WriteTx<'_>, mut visitor: Visitor, purposes: Purposes, at: Millis) -> Result<()> {
    let floor = tx.last_seq();
    let fresh = purposes.without(visitor.standing.denied);
    visitor.standing.granted = visitor.standing.granted.without(purposes);
    visitor.standing.denied = visitor.standing.denied.with(purposes);
    visitor.floors = visitor.floors.with(purposes);
    if purposes.has(Purposes::MEASURE) {
        visitor.measure_floor = visitor.measure_floor.max(floor);
    }
    let id = visitor.id;
    visitors::keep_row(tx, &visitor)?;
    floors::raise(tx, id, purposes, floor)?;
    if !purposes.is_none() {
        disclosure::tell_again(tx, &visitor, purposes, floor)?;
    }
    if !fresh.is_none() {
        denials::insert(tx, id, &Denial { purposes: fresh, from: at, until: None })?;
    }
    Ok(())
}

/// Nobody knows what was withdrawn since: every right that rests on consent gets a floor, until it is given anew.
pub(super) fn floor_all(tx: &WriteTx<'_>) -> Result<usize> {
    let mut ids = Vec::new();
    visitors::each(tx, |id, _, _, _| ids.push(id))?;
    let mut floored = 0;
    for id in ids {
        let Some(visitor) = visitors::get(tx, id)?.filter(|v| !v.standing.granted.is_none()) else { continue };
        let granted = visitor.standing.granted;
        take_away(tx, visitor, granted, tx.now())?;
        floored += 1;
    }
    Ok(floored)
}
