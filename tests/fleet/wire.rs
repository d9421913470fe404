//! The network of the fleet: a target that loses, doubles and delays what is put, and stops its machine within a put.
//! Invariant: every attempt's bytes are looked at before anything becomes of them.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wayside::base::error::{Error, Kind, Result};
use wayside::base::id::EdgeId;
use wayside::domain::delivery::Watermark;
use wayside::forward::options::Recipient;
use wayside::forward::target::{Key, Landed, Parcel, Put, Says, Setback, Target};

use crate::Dice;
use crate::machine::copy;
use crate::upstream::{Taken, Upstream};

/// What goes wrong with one put of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// Nothing arrives.
    LosesRequest,
    /// It arrives, and nobody hears of it.
    LosesAnswer,
    /// It arrives twice.
    Twice,
    /// Nobody hears of it; it arrives some time later, behind others perhaps.
    Late,
    /// The machine stops before it leaves.
    StopsBefore,
    /// The machine stops when it has arrived, before the answer is noted.
    StopsAfter,
}

impl Fault {
    pub const ALL: [Fault; 8] = [
        Fault::None,
        Fault::None,
        Fault::LosesRequest,
        Fault::LosesAnswer,
        Fault::Twice,
        Fault::Late,
        Fault::StopsBefore,
        Fault::StopsAfter,
    ];
}

/// A request under way.
#[derive(Clone)]
pub struct Request {
    pub key: Key,
    pub manifest: Vec<u8>,
    pub gz: Vec<u8>,
}

/// Whoever requests arrive at.
pub trait Receiver: Send + Sync {
    fn take(&self, request: &Request) -> Result<Put, Setback>;
    fn watermarks(&self, edge: EdgeId) -> Result<Option<Vec<Watermark>>>;
    fn digest_of(&self, key: Key) -> Result<Option<String>>;
}

/// Looks at the lines of every attempt: key and bytes.
pub type Look = Arc<dyn Fn(&str, &[u8]) + Send + Sync>;

struct State {
    fault: Fault,
    /// Puts that go well before.
    after: u64,
    late: Vec<Request>,
    data_dir: PathBuf,
    frozen: Option<PathBuf>,
}

#[derive(Clone)]
pub struct Wire {
    to: Arc<dyn Receiver>,
    look: Look,
    state: Arc<Mutex<State>>,
}

impl Wire {
    pub fn new(to: Arc<dyn Receiver>, look: Look) -> Wire {
        let state = State { fault: Fault::None, after: 0, late: Vec::new(), data_dir: PathBuf::new(), frozen: None };
        Wire { to, look, state: Arc::new(Mutex::new(state)) }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where its machine's disk is.
    pub fn at(&self, data_dir: &Path) {
        self.state().data_dir = data_dir.to_owned();
    }

    /// The put after `after` good ones goes wrong like this.
    pub fn plan(&self, fault: Fault, after: u64) {
        let mut state = self.state();
        (state.fault, state.after) = (fault, after);
    }

    /// What lay on the disk when the machine stopped within a put.
    pub fn crashed(&self) -> Option<PathBuf> {
        self.state().frozen.take()
    }

    /// One of the late requests arrives, any of them.
    pub fn deliver_late(&self, dice: &mut Dice) {
        let mut state = self.state();
        if state.late.is_empty() {
            return;
        }
        let at = usize::try_from(dice.roll(state.late.len() as u64)).unwrap();
        let request = state.late.swap_remove(at);
        let _ = self.to.take(&request); // nobody hears the answer
    }
}

impl Receiver for Mutex<Upstream> {
    fn take(&self, request: &Request) -> Result<Put, Setback> {
        let mut upstream = self.lock().unwrap_or_else(PoisonError::into_inner);
        match upstream.take(&request.key.to_string(), &request.manifest, &request.gz) {
            Taken::New => Ok(Put { landed: Landed::New, acknowledged: true }),
            Taken::Same => Ok(Put { landed: Landed::Same, acknowledged: true }),
            Taken::Fork(digest) => {
                let error = Error::conflict(format!("under {} lies another batch", request.key)).code("fork");
                Err(Setback::from(error).says(Says::Fork { digest: Some(digest) }))
            }
        }
    }

    fn watermarks(&self, edge: EdgeId) -> Result<Option<Vec<Watermark>>> {
        let upstream = self.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(Some(upstream.watermarks(edge)))
    }

    fn digest_of(&self, key: Key) -> Result<Option<String>> {
        let upstream = self.lock().unwrap_or_else(PoisonError::into_inner);
        Ok(upstream.digest_of(&key.to_string()))
    }
}

pub fn down(what: &str) -> Setback {
    Error::new(Kind::Upstream, "upstream", what.to_owned()).into()
}

impl Target for Wire {
    fn name(&self) -> &str {
        "upstream"
    }

    fn recipient(&self) -> Recipient {
        Recipient::Own
    }

    fn put(&self, parcel: &Parcel<'_>) -> Result<Put, Setback> {
        (self.look)(&parcel.key.to_string(), &parcel.rendered.ndjson);
        let manifest = serde_json::to_vec(&parcel.rendered.manifest).unwrap();
        let request = Request { key: parcel.key, manifest, gz: parcel.rendered.gz.clone() };
        let mut state = self.state();
        if state.frozen.is_some() {
            return Err(down("this machine has stopped"));
        }
        if state.after > 0 {
            state.after -= 1;
            return self.to.take(&request);
        }
        match std::mem::replace(&mut state.fault, Fault::None) {
            Fault::None => self.to.take(&request),
            Fault::LosesRequest => Err(down("the request was lost")),
            Fault::LosesAnswer => self.to.take(&request).and(Err(down("the answer was lost"))),
            Fault::Twice => self.to.take(&request).and_then(|_| self.to.take(&request)),
            Fault::Late => {
                state.late.push(request);
                Err(down("no answer came in time"))
            }
            fault => {
                let to = state.data_dir.with_extension("frozen");
                copy(&state.data_dir, &to);
                state.frozen = Some(to);
                if fault == Fault::StopsAfter {
                    self.to.take(&request)?;
                }
                Err(down("this machine has stopped"))
            }
        }
    }

    fn is_remote(&self) -> bool {
        true
    }

    fn digest_of(&self, key: Key) -> Result<Option<String>> {
        self.to.digest_of(key)
    }

    fn watermark(&self, _of: Key, acked: i64, _put_no: i64) -> Result<i64> {
        Ok(acked)
    }

    fn watermarks(&self, edge: EdgeId) -> Result<Option<Vec<Watermark>>> {
        self.to.watermarks(edge)
    }
}
