//! `carry in` at a receiver: reads what lies on a stick, hands batch by batch to whoever takes them, leaves acknowledgements.
//! Must never take a batch on the word of an index, nor end at the first file that does not hold. Invariant: what is
//! acknowledged was taken, and what was refused is told with its reason.

use std::collections::HashSet;
use std::path::Path;

use crate::base::age::Identity;
use crate::base::error::{Error, Kind, Result};
use crate::base::id::EdgeId;
use crate::base::text::unhex;
use crate::domain::delivery::SignedAck;
use crate::domain::event::Lane;
use crate::forward::carry::file::FileReader;
use crate::forward::carry::stick::{Index, IndexedFile, PART, Place, alone, names};
use crate::forward::carry::{Carried, FOLDER};

/// How a batch was taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Took {
    /// It is new here.
    Stored,
    /// It was here.
    Same,
    /// It was here with fewer holes.
    Renewed,
}

/// Whoever takes batches. When it returns, the batch survives a power cut.
pub trait Receiver {
    /// Verifies and keeps a batch; the acknowledgement, where it can sign one. Errors: what is wrong with this batch; `Storage` and
    /// `Busy` end the whole.
    fn take(&mut self, carried: &Carried) -> Result<(Took, Option<SignedAck>)>;
    /// Under which name its acknowledgements lie on a stick: letters and digits. `None` where it signs none.
    fn name(&self) -> Option<String>;
    /// Is this the key this receiver knows an edge by? What an edge that it does not know says of itself counts for nothing else.
    fn believes(&mut self, edge: EdgeId, public_key: &[u8; 32]) -> Result<bool>;
}

/// Something that was not taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NotTaken {
    /// The file, as a path below the stick; or the batch.
    pub place: String,
    /// Stable word.
    pub code: &'static str,
    /// What is wrong with it, and what to do.
    pub what: String,
}

/// What was done.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// Batches that are new here.
    pub stored: u64,
    /// Batches that were here.
    pub same: u64,
    /// Batches that were here with fewer holes.
    pub renewed: u64,
    /// Acknowledgements left on the stick.
    pub acks: u64,
    /// Files looked at.
    pub files: u64,
    /// Batches that wait at their edges, as the indexes say.
    pub waiting: u64,
    /// Everything that was not taken.
    pub refused: Vec<NotTaken>,
}

/// Takes everything on a stick but what is of `own`, the edge of this machine. `told` hears how many batches were looked at.
/// Errors: `NotFound` with code `no_stick` or `nothing_carried`; `Storage`, `Busy` of the receiver or the stick.
pub fn carry_in(
    receiver: &mut dyn Receiver,
    stick: &Path,
    identities: &[Identity],
    own: Option<EdgeId>,
    told: &mut dyn FnMut(u64),
) -> Result<Report> {
    let _alone = alone(stick)?;
    let mut taking = Taking { receiver, identities, told, looked: 0, report: Report::default() };
    let mut places = 0;
    for edge in names(&stick.join(FOLDER))? {
        let Ok(id) = EdgeId::parse(&edge) else { continue };
        for target in names(&stick.join(FOLDER).join(&edge))? {
            places += 1;
            if own != Some(id) {
                taking.place((id, &edge, &target), &Place::of(stick, &edge, &target)?)?;
            }
        }
    }
    if places == 0 {
        return Err(Error::not_found(format!("nothing was carried on {}", stick.display()))
            .code("nothing_carried")
            .remedy("name the folder that `wayside carry out` was given"));
    }
    Ok(taking.report)
}

struct Taking<'a> {
    receiver: &'a mut dyn Receiver,
    identities: &'a [Identity],
    told: &'a mut dyn FnMut(u64),
    looked: u64,
    report: Report,
}

impl Taking<'_> {
    /// One edge's files for one target.
    fn place(&mut self, (id, edge, target): (EdgeId, &str, &str), place: &Place) -> Result<()> {
        let at = |name: &str| format!("{FOLDER}/{edge}/{target}/{name}");
        let index = match place.index((edge, target), None) {
            Ok(Some((index, signed))) if self.receiver.believes(id, &unhex::<32>(&signed.public_key)?)? => index,
            Ok(Some(_)) => {
                let what = "the index is signed by another key than this edge is known by";
                self.refuse(at("index.json"), Error::invalid(what).code("bad_signature").remedy(COPY_AGAIN));
                Index::new(edge, target)
            }
            Ok(None) => {
                self.refuse(at("index.json"), Error::invalid("there is no index").code("no_index").remedy(COPY_AGAIN));
                Index::new(edge, target)
            }
            Err(error) if error.kind == Kind::Invalid => {
                self.refuse(at("index.json"), error);
                Index::new(edge, target)
            }
            Err(error) => return Err(error),
        };
        self.report.waiting += index.waiting;
        let mut acks = Vec::new();
        let named: HashSet<&str> = index.files.iter().map(|file| file.name.as_str()).collect();
        for file in &index.files {
            self.file(place, &file.name, &at(&file.name), Some(file), &mut acks)?;
        }
        // written behind the last index: each file speaks for itself
        let lane = |name: &String| name.split('/').nth(1).and_then(Lane::parse).map_or(i64::MAX, Lane::code);
        let mut strays: Vec<String> =
            place.files()?.into_iter().filter(|name| !named.contains(name.as_str())).collect();
        strays.sort_by_key(|name| (lane(name), name.clone()));
        for name in strays {
            self.file(place, &name, &at(&name), None, &mut acks)?;
        }
        if let Some(name) = self.receiver.name().filter(|_| !acks.is_empty()) {
            self.report.acks += u64::try_from(acks.len()).unwrap_or(0);
            place.set_acks(&name, acks)?;
        }
        Ok(())
    }

    fn refuse(&mut self, place: String, error: Error) {
        let what = if error.remedy.is_empty() { error.what } else { format!("{}; {}", error.what, error.remedy) };
        self.report.refused.push(NotTaken { place, code: error.code, what });
    }

    /// One file. Batches before a place where it does not hold were each verified by themselves and stay taken.
    fn file(
        &mut self,
        place: &Place,
        name: &str,
        at: &str,
        indexed: Option<&IndexedFile>,
        acks: &mut Vec<SignedAck>,
    ) -> Result<()> {
        self.report.files += 1;
        if !place.path(name).is_file() {
            let half = place.path(&format!("{name}{PART}")).exists();
            let what = if half { "only half of it was copied" } else { "the index names it, and it is not here" };
            let code = if half { "half_copied" } else { "missing" };
            self.refuse(at.to_owned(), Error::invalid(what).code(code).remedy(COPY_AGAIN));
            return Ok(());
        }
        match self.batches(place, name, at, acks) {
            Err(error) if ends_all(&error) => Err(error),
            Err(error) => {
                let error = if error.code == "wrong_key" { error } else { explain(place, name, indexed, error)? };
                self.refuse(at.to_owned(), error);
                Ok(())
            }
            Ok(()) => Ok(()),
        }
    }

    fn batches(&mut self, place: &Place, name: &str, at: &str, acks: &mut Vec<SignedAck>) -> Result<()> {
        let mut reader = FileReader::open(place.open(name)?, self.identities)?;
        while let Some(carried) = reader.read_next()? {
            self.looked += 1;
            (self.told)(self.looked);
            let edge = carried.key.edge.to_string();
            if edge != reader.head().edge {
                let what = format!("{} is of another edge than its file", carried.key);
                self.refuse(at.to_owned(), Error::invalid(what).code("other_edge"));
                continue;
            }
            match self.receiver.take(&carried) {
                Ok((took, ack)) => {
                    *match took {
                        Took::Stored => &mut self.report.stored,
                        Took::Same => &mut self.report.same,
                        Took::Renewed => &mut self.report.renewed,
                    } += 1;
                    acks.extend(ack);
                }
                Err(error) if ends_all(&error) => return Err(error),
                Err(error) => self.refuse(carried.key.to_string(), error),
            }
        }
        Ok(())
    }
}

const COPY_AGAIN: &str = "run `wayside carry out` again at the edge; it completes the stick";

/// Is it this machine or the collector that failed, and not what lies on the stick?
fn ends_all(error: &Error) -> bool {
    matches!(error.kind, Kind::Storage | Kind::Busy | Kind::Config) || error.code == "daemon_failed"
}

/// What the index adds to a reading that failed: was the file cut off, or altered?
fn explain(place: &Place, name: &str, indexed: Option<&IndexedFile>, error: Error) -> Result<Error> {
    let (Some(indexed), Some(found)) = (indexed, place.measure(name)?) else { return Ok(error) };
    let (code, what) = if found.bytes < indexed.bytes {
        ("half_copied", format!("{} of {} bytes are here", found.bytes, indexed.bytes))
    } else if found.sha256 != indexed.sha256 {
        ("altered", "it is not what the index names".to_owned())
    } else {
        return Ok(error);
    };
    Ok(error.context(what).code(code).remedy(COPY_AGAIN))
}
