//! Who is to be erased, and the transaction that begins it: found by id, reference, customer name or row; cut off from the
//! id, suppressed, logged. Must never delete a row. Invariant: when it is committed, nothing of the person is read, leaves
//! or is taken in any more, whatever happens to this process.

use std::path::Path;

use crate::base::error::{Error, Result};
use crate::base::id::{ClientId, Seq, VisitorRef, mint_uuid};
use crate::domain::consent::Purposes;
use crate::domain::erasure::{Marks, Step};
use crate::domain::visitor::{self, Visitor};
use crate::store::erasures::{self, ErasureRow, Whose};
use crate::store::rights_log::{self, Entry};
use crate::store::{ReadTx, WriteTx, identities, refusals, sites, suppressed, visitors};

/// Rows of one person at the most that are looked for at once.
const PEOPLE_MAX: i64 = 10_000;

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
    /// The visitor of that row.
    VisitorRow(i64),
    /// The identity of that row.
    IdentityRow(i64),
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
        Who::VisitorRow(id) => found(tx, data_dir, visitors::get(tx, *id)?, asked),
        Who::Customer { site, name } => {
            let site_id = site_id(tx, site)?;
            suppress_name(tx, site, name)?;
            match identities::find_by_key(tx, site_id, name)? {
                Some(id) => customer(tx, data_dir, (id, site_id), asked),
                None => Ok(Vec::new()),
            }
        }
        Who::IdentityRow(id) => match identities::site_of(tx, *id)? {
            Some(site_id) => {
                if let Some(name) = identities::name(tx, *id)? {
                    suppress_name(tx, &site_name(tx, site_id)?, &name)?;
                }
                customer(tx, data_dir, (*id, site_id), asked)
            }
            None => Ok(Vec::new()),
        },
    }
}

fn found(tx: &WriteTx<'_>, data_dir: &Path, visitor: Option<Visitor>, asked: &Asked) -> Result<Vec<[u8; 16]>> {
    visitor.map_or_else(|| Ok(Vec::new()), |visitor| one(tx, data_dir, &visitor, asked).map(|id| vec![id]))
}

/// A customer's rows, and visitors nobody else was tied to.
fn customer(
    tx: &WriteTx<'_>,
    data_dir: &Path,
    (identity_id, site_id): (i64, i64),
    asked: &Asked,
) -> Result<Vec<[u8; 16]>> {
    let mut begun = Vec::new();
    for visitor_id in identities::visitors_of(tx, identity_id, PEOPLE_MAX)? {
        let alone = identities::of_visitor(tx, visitor_id, 2)? == [identity_id];
        if let (true, Some(visitor)) = (alone, visitors::get(tx, visitor_id)?) {
            begun.push(one(tx, data_dir, &visitor, asked)?);
        }
    }
    let mut marks = Marks::default();
    if let Some(name) = identities::name(tx, identity_id)? {
        marks.add(name.as_bytes());
    }
    let row = (VisitorRef::mint(), Whose::Identity(identity_id));
    begun.push(insert(tx, data_dir, site_id, row, &marks, asked)?);
    Ok(begun)
}

/// One visitor: suppressed, logged, cut off, written down. One that is being erased already has its erasure.
fn one(tx: &WriteTx<'_>, data_dir: &Path, visitor: &Visitor, asked: &Asked) -> Result<[u8; 16]> {
    if let Some(running) = erasures::unfinished(tx)?.into_iter().find(|e| e.whose == Whose::Visitor(visitor.id)) {
        return Ok(running.id);
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
    insert(tx, data_dir, visitor.site_id, (visitor.visitor_ref, Whose::Visitor(visitor.id)), &marks, asked)
}

fn insert(
    tx: &WriteTx<'_>,
    data_dir: &Path,
    site_id: i64,
    (subject_ref, whose): (VisitorRef, Whose),
    marks: &Marks,
    asked: &Asked,
) -> Result<[u8; 16]> {
    let id = mint_uuid(tx.now());
    let row = ErasureRow {
        id,
        request_id: asked.request_id,
        site_id,
        subject_ref,
        whose,
        step: Step::Rows,
        marks: Some(erasures::seal_marks(data_dir, &id, marks)?),
        opened: tx.now(),
        opened_by: asked.by.clone(),
        done: None,
        row_count: 0,
        told_seq: None,
        waiting: None,
        unreachable: None,
        result: None,
        result_digest: None,
    };
    erasures::insert(tx, &row)?;
    Ok(id)
}

/// Nothing that happened under this id until now is taken in, and only a new yes opens it again.
fn suppress(tx: &WriteTx<'_>, site: &str, key: &ClientId, visitor_ref: VisitorRef) -> Result<()> {
    let id_hash = visitor::id_hash(&tx.identity().hash_key, site, key);
    suppressed::put(tx, &id_hash, tx.now())?;
    refusals::put(tx, &id_hash, Purposes::ALL, tx.now(), Seq(0))?;
    log(tx, site, visitor_ref, id_hash);
    Ok(())
}

/// What happened until now is not tied to that customer any more.
fn suppress_name(tx: &WriteTx<'_>, site: &str, name: &str) -> Result<()> {
    let hash = visitor::identity_hash(&tx.identity().hash_key, site, name);
    suppressed::put(tx, &hash, tx.now())?;
    log(tx, site, VisitorRef::mint(), hash);
    Ok(())
}

fn log(tx: &WriteTx<'_>, site: &str, visitor_ref: VisitorRef, id_hash: crate::base::digest::Hash) {
    let (site, action) = (site.to_owned(), rights_log::ERASE.to_owned());
    rights_log::push(tx, Entry { at: tx.now(), site, visitor_ref, id_hash, action, purposes: Purposes::ALL });
}
