//! Floor 5: composes the program, names and starts its threads, owns the order of stopping.
//! Must never hold a rule of the domain. Invariant: threads are joined before the store is closed, and the store last.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};

use crate::base::error::{Error, Result};
use crate::base::time::{Clock, SystemClock};
use crate::config::Config;
use crate::consent::{self, Consent};
use crate::domain::network::Networks;
use crate::domain::site::Site;
use crate::forward::carry::serve::Carry;
use crate::forward::directives::centre::Centre;
use crate::http::app::App;
use crate::http::server::{self, Door};
use crate::ingest::geo::Geo;
use crate::ingest::options::PersonalStore;
use crate::ingest::{Ingest, Parts};
use crate::store::{Note, Store};
use crate::tokens::Tokens;

mod care;
pub mod desk;
mod directives;
pub mod entry;
pub mod facts;
pub mod import;
pub mod join;
mod named;
mod rights;
pub mod setup;
mod welcome;

pub use self::care::Care;

/// Name of the control socket in the data directory.
pub const CONTROL_SOCKET: &str = "control.sock";

/// The control socket of a data directory.
pub fn control_socket(data_dir: &Path) -> PathBuf {
    data_dir.join(CONTROL_SOCKET)
}

/// The composed program: everything but the door and the threads.
pub struct House {
    /// The store.
    pub store: Arc<Store>,
    /// What requests are served with.
    pub app: Arc<App>,
    /// Forwarding and upkeep.
    pub care: Arc<Care>,
}

/// Opens the store and composes the work folders. Errors: `Conflict` (another process), `Config`, `Storage`.
pub fn compose(config: &Config, clock: Arc<dyn Clock>) -> Result<House> {
    let sites = config.sites.iter().cloned().map(Site::compile).collect::<Result<Vec<Site>>>()?;
    let trusted = Networks::parse(&config.trusted_proxies)?;
    let geo = config.geoip_file.as_deref().map_or_else(|| Ok(Geo::none()), Geo::open)?;
    let store = Arc::new(Store::open(&config.store_options(), Arc::clone(&clock))?);
    tell(store.notes());
    let tokens = Arc::new(Tokens::open(Arc::clone(&store), &config.ingest_token_files)?);
    let ingest = Ingest::open(
        Arc::clone(&store),
        Parts {
            sites,
            options: config.ingest.clone(),
            visits: config.visits.clone(),
            personal_sealed: config.personal.store == PersonalStore::Sealed,
            minor_age: config.personal.minor_age(),
            deny: config.personal.deny_list()?,
            geo,
            recorder: consent::record,
            grants: consent::lapse::grants,
        },
    )?;
    let ingest = Arc::new(ingest);
    let care = Arc::new(Care::new(config, Arc::clone(&store), Arc::clone(&ingest), Arc::clone(&clock)));
    let subject = Arc::new(rights::subject(config, &store, ingest.seats())?);
    subject.resume()?;
    let (directives, downstream) = directives::talking(config, &store, &subject, &care, ingest.seats())?;
    let centre = Centre::open(Arc::clone(&store), Arc::clone(&downstream), &config.directives)?;
    let app = Arc::new(App {
        ingest,
        consent: Arc::new(Consent::new(Arc::clone(&store), facts::of(config))),
        tokens,
        subject,
        directives,
        downstream,
        centre,
        carry: Carry::new(Arc::clone(care.forwarder()), &config.targets)?,
        trusted,
        pull: Arc::clone(care.pull()),
        erasure: Arc::clone(care.erasure()),
        relay: Arc::clone(care.relay()),
        operations: Arc::clone(&care) as Arc<dyn crate::http::app::Operations>,
        started: clock.now(),
    });
    Ok(House { store, app, care })
}

/// Logs what happened when the store was opened.
fn tell(notes: &[Note]) {
    for note in notes {
        match note {
            Note::Fresh => log::info!("made a fresh database"),
            Note::Damaged { aside, why, rights } => log::error!(
                "the database was damaged ({why}); it is kept untouched at {}; a fresh one serves, with {rights} rights taken \
                 over from rights.log; keep the damaged file for a rescue",
                aside.display()
            ),
            Note::OtherHardware => log::warn!(
                "this machine is another one: a new edge id and epoch were minted; set [edge] pin = true if the machine was \
                 only repaired"
            ),
            Note::KeysFromCopy { copy } => log::error!(
                "keys.db was gone or damaged; its companion copy {} was taken over; personal fields whose key was minted after \
                 that copy stay sealed",
                copy.display()
            ),
            Note::KeysLost { cells, aside } => log::error!(
                "keys.db was gone or damaged{}, and there is no companion copy: {cells} personal fields stay sealed unless you \
                 bring keys.db back; set [personal] keys_copy",
                aside.as_ref().map(|at| format!(" (kept at {})", at.display())).unwrap_or_default()
            ),
            Note::Migrated { from, snapshot } => {
                log::info!("migrated the database from schema {from}; a snapshot lies at {}", snapshot.display());
            }
        }
    }
}

/// Runs the collector until it is told to stop. `out` gets the words of welcome.
pub fn serve(config: &Config, out: &mut dyn Write) -> Result<()> {
    let clock: Arc<dyn Clock> = Arc::new(SystemClock);
    let house = compose(config, Arc::clone(&clock))?;
    let mut signals = signal_hook::iterator::Signals::new([SIGTERM, SIGINT, SIGHUP])
        .map_err(|e| crate::base::error::io("listening for signals", e))?;
    let socket = control_socket(&config.data_dir);
    let service = Arc::clone(&house.app) as Arc<dyn server::Service>;
    let door = server::start(&config.door, Some(&socket), clock, service)?;
    let threads = house.care.start()?;
    welcome::say(out, config, door.local_addr()).map_err(|e| crate::base::error::io("printing the welcome", e))?;
    while signals.forever().next() == Some(SIGHUP) {
        door.reload_tls();
    }
    log::info!("stopping");
    stop(house, door, threads, &socket)
}

/// Door, care, then the pen: what was acknowledged is committed before the process ends.
fn stop(house: House, door: Door, threads: care::Threads, socket: &Path) -> Result<()> {
    house.care.pull().stop(); // whoever waits for batches is answered, else the door would wait for them
    door.stop();
    house.care.stop(threads);
    if let Err(error) = std::fs::remove_file(socket) {
        log::debug!("removing the control socket: {error}");
    }
    house.close()
}

impl House {
    /// Closes the store once nobody holds it: drains the pen, checkpoints. Errors: `Storage`.
    pub fn close(self) -> Result<()> {
        let House { store, app, care } = self;
        drop((app, care));
        match Arc::try_unwrap(store) {
            Ok(store) => store.close(),
            Err(store) => {
                drop(store); // a handler still holds it; the pen drains when the last one lets go
                Err(Error::storage("the store was still in use when the door had closed"))
            }
        }
    }
}

#[cfg(test)]
mod tests;
