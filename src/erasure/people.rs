//! Who is to be erased, and the transaction that begins it: found by id, reference, customer name or row; cut off from the
//! id, suppressed, logged. Must never delete a row. Invariant: when it is committed, nothing of the person is read, leaves
//! or is taken in any more, whatever happens to this process.

use std::path::Path;

use crate::base::error::{Error, Result};
use crate::base::id::{ClientId, Seq, VisitorRef};
use crate::domain::consent::Purposes;
use crate::domain::erasure::Marks;
use crate::domain::request::Level;
use crate::domain::visitor::{self, Visitor};
use crate::store::erasures::{self, ErasureRow, Part, Whose};
use crate::store::requests::Person;
use crate::store::rights_log::{self, Entry};
use crate::store::{ReadTx, WriteTx, codes, identities, refusals, sites, suppressed, visitors};

/// Rows of one person at the most that are looked for at once.
const PEOPLE_MAX: i64 = 10_000;
/// Codes of one visitor at the most that are taken out of use with it.
const CODES_MAX: i64 = 1_000;

/// Who is to be erased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Who {
    /// The visitor of that id at a site.
    Visitor {
        /// The site's name.
        site: String,
        /// The visitor's id.
        key: ClientId,
    },
    /// The visitor who leaves under that reference.
    Reference(VisitorRef),
    /// The customer of that name at a site: all that was tied to the name, and visitors tied to nobody else.
    Customer {
        /// The site's name.
        site: String,
        /// The site's own name for the customer.
        name: String,
    },
}

/// Who asked, and under which request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Who wrote it down.
    pub by: String,
    /// The request of the register.
    pub request_id: Option<[u8; 16]>,
}

fn site_name(tx: &ReadTx<'_>, site_id: i64) -> Result<String> {
    let found = sites::all(tx)?.into_iter().find(|(id, _)| *id == site_id);
    found.map(|(_, name)| name).ok_or_else(|| Error::storage(format!("site row {site_id} is missing")))
}

fn site_id(tx: &ReadTx<'_>, name: &str) -> Result<i64> {
    sites::id(tx, name)?.ok_or_else(|| {
        Error::invalid(format!("no site {:?} was ever configured here", crate::base::text::cut(name, 64)))
            .code("unknown_site")
            .remedy("name a site as in the configuration")
    })
}

/// Begins the erasure of everybody `who` means, in this transaction. Nobody found: an id is suppressed all the same, so that
/// who is unknown and who is erased look alike; the list is empty then.
pub(in crate::erasure) fn begin(tx: &WriteTx<'_>, data_dir: &Path, who: &Who, asked: &Asked) -> Result<Vec<[u8; 16]>> {
    tx.settle()?;
    match who {
        Who::Visitor { site, key } => {
            let id = site_id(tx, site)?;
            match visitors::find(tx, id, key)? {
                Some(visitor) => one(tx, data_dir, &visitor, asked).map(|id| vec![id]),
                None => suppress(tx, site, key, VisitorRef::mint()).map(|()| Vec::new()),
            }
        }
        Who::Reference(visitor_ref) => found(tx, data_dir, visitors::by_ref(tx, *visitor_ref)?, asked),
        Who::Customer { site, name } => {
            let site_id = site_id(tx, site)?;
            match identities::find_by_key(tx, site_id, name)? {
                Some(id) => customer(tx, data_dir, (id, site_id), asked),
                None => suppress_name(tx, site, name, None).map(|()| Vec::new()),
            }
        }
    }
}

/// Begins the erasure of what a request reaches (the identity ladder): of a customer all that was tied to the name; of a visitor
/// everything, where nobody else was known on that device, and else the visits in which nobody was known. Who is known by the
/// device alone reaches no customer, and no visit in which anybody signed in.
pub(in crate::erasure) fn of_request(
    tx: &WriteTx<'_>,
    data_dir: &Path,
    (people, level): (&[Person], Level),
    asked: &Asked,
) -> Result<Vec<[u8; 16]>> {
    tx.settle()?;
    let device = level == Level::Device;
    let own: Vec<i64> = people
        .iter()
        .filter_map(|person| match person {
            Person::Identity(id) if !device => Some(*id),
            _ => None,
        })
        .collect();
    let mut begun = Vec::new();
    for person in people {
        let Person::Visitor(id) = person else { continue };
        let Some(visitor) = visitors::get(tx, *id)? else { continue };
        if identities::known_others(tx, *id, &own, device)? {
            let part = if device { Part::Anonymous } else { Part::Unknown };
            begun.push(part_of(tx, data_dir, &visitor, part, asked)?);
        } else {
            begun.push(one(tx, data_dir, &visitor, asked)?);
        }
    }
    for id in own {
        if let Some(site_id) = identities::site_of(tx, id)? {
            begun.extend(customer(tx, data_dir, (id, site_id), asked)?);
        }
    }
    begun.sort_unstable();
    begun.dedup();
    Ok(begun)
}

fn found(tx: &WriteTx<'_>, data_dir: &Path, visitor: Option<Visitor>, asked: &Asked) -> Result<Vec<[u8; 16]>> {
    visitor.map_or_else(|| Ok(Vec::new()), |visitor| one(tx, data_dir, &visitor, asked).map(|id| vec![id]))
}

/// A customer's rows, and visitors nobody else was tied to; the name is suppressed, and logged.
fn customer(
    tx: &WriteTx<'_>,
    data_dir: &Path,
    (identity_id, site_id): (i64, i64),
    asked: &Asked,
) -> Result<Vec<[u8; 16]>> {
    let name = identities::name(tx, identity_id)?;
    let blind = identities::blind_of(tx, identity_id)?;
    suppress_name(tx, &site_name(tx, site_id)?, name.as_deref().unwrap_or_default(), blind)?;
    let mut begun = Vec::new();
    for visitor_id in identities::visitors_of(tx, identity_id, PEOPLE_MAX)? {
        let alone = identities::of_visitor(tx, visitor_id, 2)? == [identity_id];
        if let (true, Some(visitor)) = (alone, visitors::get(tx, visitor_id)?) {
            begun.push(one(tx, data_dir, &visitor, asked)?);
        }
    }
    let mut marks = Marks::default();
    if let Some(name) = name {
        marks.add(name.as_bytes());
    }
    let row = (VisitorRef::mint(), Whose::Identity(identity_id));
    begun.push(insert(tx, data_dir, site_id, row, &marks, asked)?);
    Ok(begun)
}

/// A customer whose erasure a restore wrote down, without the keys to open the name: it is looked for by it from now on.
pub(in crate::erasure) fn name_sought(tx: &WriteTx<'_>, data_dir: &Path, id: &[u8; 16]) -> Result<()> {
    let Some(e) = erasures::get(tx, id)? else { return Ok(()) };
    let Whose::Identity(identity_id) = e.whose else { return Ok(()) };
    if !erasures::marks(data_dir, &e)?.is_empty() {
        return Ok(());
    }
    let Some(name) = identities::name(tx, identity_id)? else { return Ok(()) };
    let mut marks = Marks::default();
    marks.add(name.as_bytes());
    let sealed = Some(erasures::seal_marks(data_dir, id, &marks)?);
    erasures::update(tx, &ErasureRow { marks: sealed, ..e })
}

/// One visitor: suppressed, logged, cut off, written down. One that is being erased already has its erasure; another request
/// gets one of its own beside it, which ends with the first.
fn one(tx: &WriteTx<'_>, data_dir: &Path, visitor: &Visitor, asked: &Asked) -> Result<[u8; 16]> {
    let mut running = erasures::unfinished(tx)?;
    running.retain(|e| e.whose == Whose::Visitor(visitor.id));
    if let Some(same) = running.iter().find(|e| asked.request_id.is_none_or(|id| e.request_id == Some(id))) {
        return Ok(same.id);
    }
    let whose = (visitor.visitor_ref, Whose::Visitor(visitor.id));
    if !running.is_empty() {
        return insert(tx, data_dir, visitor.site_id, whose, &Marks::default(), asked);
    }
    let site = site_name(tx, visitor.site_id)?;
    suppress(tx, &site, &visitor.key, visitor.visitor_ref)?;
    let mut marks = Marks::default();
    marks.add(visitor.key.to_string().as_bytes());
    marks.add(visitor.key.bytes());
    for id in identities::of_visitor(tx, visitor.id, PEOPLE_MAX)? {
        // a name that others are known by too is not looked for: it stays where it is theirs
        if identities::visitors_of(tx, id, 2)? == [visitor.id]
            && let Some(name) = identities::name(tx, id)?
        {
            marks.add(name.as_bytes());
        }
    }
    visitors::cut_off(tx, visitor.id)?;
    codes::delete_of_visitor(tx, visitor.id, CODES_MAX)?;
    insert(tx, data_dir, visitor.site_id, whose, &marks, asked)
}

/// Visits of a visitor who stays: what happened under the id until now is not taken in any more, for nobody can tell whose it
/// would be; what happens from now on is.
fn part_of(tx: &WriteTx<'_>, data_dir: &Path, visitor: &Visitor, part: Part, asked: &Asked) -> Result<[u8; 16]> {
    let site = site_name(tx, visitor.site_id)?;
    let id_hash = visitor::id_hash(&tx.identity().hash_key, &site, &visitor.key);
    suppressed::put(tx, &id_hash, tx.now())?;
    let entry = Entry {
        action: rights_log::ERASE_PART.to_owned(),
        purposes: Purposes::NONE,
        signed_in: part == Part::Unknown,
        ..erased(tx, &site, visitor.visitor_ref, id_hash)
    };
    rights_log::push(tx, entry);
    let whose = Whose::Part { visitor: visitor.id, part, upto: tx.last_seq() };
    insert(tx, data_dir, visitor.site_id, (visitor.visitor_ref, whose), &Marks::default(), asked)
}

fn insert(
    tx: &WriteTx<'_>,
    data_dir: &Path,
    site_id: i64,
    (subject_ref, whose): (VisitorRef, Whose),
    marks: &Marks,
    asked: &Asked,
) -> Result<[u8; 16]> {
    let when = (tx.now(), tx.now(), asked.by.as_str());
    let row = ErasureRow {
        request_id: asked.request_id,
        ..ErasureRow::new(data_dir, site_id, (subject_ref, whose), marks, when)?
    };
    let id = row.id;
    erasures::insert(tx, &row)?;
    Ok(id)
}

/// Nothing that happened under this id until now is taken in, and only a new yes opens it again.
fn suppress(tx: &WriteTx<'_>, site: &str, key: &ClientId, visitor_ref: VisitorRef) -> Result<()> {
    let id_hash = visitor::id_hash(&tx.identity().hash_key, site, key);
    suppressed::put(tx, &id_hash, tx.now())?;
    refusals::put(tx, &id_hash, Purposes::ALL, tx.now(), Seq(0))?;
    rights_log::push(tx, erased(tx, site, visitor_ref, id_hash));
    Ok(())
}

/// What happened until now is not tied to that customer any more. `name` is empty where no key is at hand to open it; `blind` =
/// how a backup knows the row.
fn suppress_name(tx: &WriteTx<'_>, site: &str, name: &str, blind: Option<[u8; 16]>) -> Result<()> {
    let hash = visitor::identity_hash(&tx.identity().hash_key, site, name);
    suppressed::put(tx, &hash, tx.now())?;
    let action = rights_log::ERASE_CUSTOMER.to_owned();
    let entry = erased(tx, site, VisitorRef::mint(), hash);
    rights_log::push(tx, Entry { action, purposes: Purposes::NONE, customer: blind, ..entry });
    Ok(())
}

fn erased(tx: &WriteTx<'_>, site: &str, visitor_ref: VisitorRef, id_hash: crate::base::digest::Hash) -> Entry {
    Entry {
        at: tx.now(),
        site: site.to_owned(),
        visitor_ref,
        id_hash,
        action: rights_log::ERASE.to_owned(),
        purposes: Purposes::ALL,
        customer: None,
        signed_in: false,
    }
}
