//! Floor 3: taking events in. `accept.rs` hands decoded bodies to the pen, `record.rs` is the one transaction,
//! `spool.rs` and `import.rs` are the doors without HTTP. Must never answer before the commit, nor know HTTP.
//! Invariant: one outcome per event, in order.

use std::sync::Arc;

use crate::base::digest::HashKey;
use crate::base::error::{Error, Result};
use crate::domain::consent::{BasisTable, Gate, LawfulBasis, Purposes};
use crate::domain::denied::DenyList;
use crate::domain::site::{Seat, Site};
use crate::domain::visit::VisitOptions;
use crate::store::decisions::{Grants, Recorder};
use crate::store::{Store, WriteTx, bases, sites, visits};

pub mod accept;
pub mod decode;
pub mod geo;
pub mod import;
pub mod journey;
pub mod limits;
pub mod options;
pub mod record;
pub mod shape;
pub mod sink;
pub mod spool;
pub mod stay;
pub mod tail;
pub mod traces;
pub mod vendor;
pub mod wire;

use self::geo::Geo;
use self::limits::Limits;
use self::options::IngestOptions;
use self::record::Rules;
use self::shape::Deriver;
use self::tail::Tail;

/// Visits of earlier epochs ended at start; upkeep ends the rest in steps of its own.
const ENDED_AT_START_MAX: i64 = 1_000;

/// What ingest is built from.
pub struct Parts {
    /// The sites, compiled.
    pub sites: Vec<Site>,
    /// Limits, ages, spool.
    pub options: IngestOptions,
    /// When visits end.
    pub visits: VisitOptions,
    /// Personal fields are kept, sealed.
    pub personal_sealed: bool,
    /// Age under which somebody is a minor; `None` = nobody is asked.
    pub minor_age: Option<u8>,
    /// Words of special categories of personal data.
    pub deny: DenyList,
    /// Geolocation, if there is a file.
    pub geo: Geo,
    /// Records a decision that came with an event.
    pub recorder: Recorder,
    /// Tells until when each yes of a person holds.
    pub grants: Grants,
}

/// Takes events in.
pub struct Ingest {
    store: Arc<Store>,
    hash_key: HashKey,
    seats: Vec<Seat>,
    rules: Rules,
    deriver: Deriver,
    geo: Geo,
    limits: Limits,
    native_age_ms: Option<i64>,
    journey_age_ms: Option<i64>,
    options: IngestOptions,
    tail: Arc<Tail>,
}

impl Ingest {
    /// Gives every site its rows, and begins to end the visits of earlier epochs. Errors: `Storage`.
    pub fn open(store: Arc<Store>, parts: Parts) -> Result<Ingest> {
        let sites: Vec<Arc<Site>> = parts.sites.into_iter().map(Arc::new).collect();
        let seats = store.pen().call(move |tx| {
            visits::end_earlier_epochs(tx, tx.identity().epoch_id, ENDED_AT_START_MAX)?;
            sites.iter().map(|site| seat(tx, site)).collect::<Result<Vec<Seat>>>()
        })?;
        let age = |minutes: u32| (minutes > 0).then(|| i64::from(minutes) * crate::base::time::MINUTE_MS);
        Ok(Ingest {
            hash_key: store.identity().hash_key.clone(),
            store,
            seats,
            rules: Rules {
                visits: parts.visits,
                personal_sealed: parts.personal_sealed,
                minor_age: parts.minor_age,
                recorder: parts.recorder,
                grants: parts.grants,
            },
            deriver: Deriver::with(parts.deny),
            geo: parts.geo,
            limits: parts.options.limits.clone(),
            native_age_ms: age(parts.options.event_age_minutes_max),
            journey_age_ms: age(parts.options.journey_event_age_minutes_max),
            options: parts.options,
            tail: Arc::new(Tail::default()),
        })
    }

    /// The site of that name or alias; the only one where none is named. Errors: `Invalid` with code `site`.
    pub fn seat(&self, name: Option<&str>) -> Result<&Seat> {
        let known = || self.seats.iter().map(|seat| seat.site.id()).collect::<Vec<_>>().join(", ");
        match (name, self.seats.as_slice()) {
            (Some(name), seats) => seats.iter().find(|seat| seat.site.answers_to(name)).ok_or_else(|| {
                Error::invalid(format!("unknown site {:?}", crate::base::text::cut(name, 64)))
                    .code("unknown_site")
                    .remedy("name a configured site with ?site= or in the envelope")
            }),
            (None, [only]) => Ok(only),
            (None, _) => Err(Error::invalid("the request names no site, and there are several")
                .code("unknown_site")
                .remedy(format!("add ?site= with one of: {}", known()))),
        }
    }

    /// Every site with its rows.
    pub fn seats(&self) -> &[Seat] {
        &self.seats
    }

    /// Body and field limits.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The newest fates.
    pub fn tail(&self) -> &Tail {
        &self.tail
    }

    /// The store it writes to.
    pub fn store(&self) -> &Arc<Store> {
        &self.store
    }

    /// The pen ended after an error it could not mend.
    pub fn store_broken(&self) -> bool {
        self.store.pen().status().broken
    }

    fn hash_key(&self) -> &HashKey {
        &self.hash_key
    }
}

/// A site's rows.
fn seat(tx: &WriteTx<'_>, site: &Arc<Site>) -> Result<Seat> {
    let id = sites::intern(tx, site.id())?;
    let basis_id = bases::intern(tx, id, &site.gate.bases.text(&site.book))?;
    Ok(Seat { site: Arc::clone(site), id, basis_id })
}

/// The same site under a basis stated for an import.
fn seat_on_basis(tx: &WriteTx<'_>, seat: &Seat, basis: LawfulBasis, purposes: Purposes) -> Result<Seat> {
    let mut table = BasisTable::default();
    table.set(purposes, basis);
    let basis_id = bases::intern(tx, seat.id, &table.text(&seat.site.book))?;
    let mut site = Site::clone(&seat.site);
    site.gate = Gate { bases: table, without_consent: site.gate.without_consent };
    Ok(Seat { site: Arc::new(site), id: seat.id, basis_id })
}
