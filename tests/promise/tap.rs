//! A target in memory that keeps what it got, looks into every byte when it comes, and fails in the ways targets fail.
//! Must never know why a marker is forbidden: the book tells it (`book.rs`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use wayside::base::error::{Error, Kind, Result};
use wayside::forward::inspect;
use wayside::forward::options::Recipient;
use wayside::forward::target::{Held, Keep, Key, Landed, Parcel, Put, Setback, Target};

use crate::book::{Book, markers};

/// What becomes of the next puts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// Put, and acknowledged at once.
    Acknowledges,
    /// Put; taken later.
    Keeps,
    /// It has the batch, and the answer is lost.
    LosesAnswer,
    /// Nothing arrives.
    Refuses,
}

/// Work done while bytes are under way.
pub type Between = Box<dyn FnOnce() + Send>;

pub struct State {
    pub mode: Mode,
    /// Runs inside the next put, after its bytes were looked at.
    pub between: Option<Between>,
    /// Lines that lie there, by key.
    lying: BTreeMap<String, Vec<u8>>,
    taken: BTreeSet<String>,
    pub puts: u64,
    pub renewed: u64,
}

/// One target.
#[derive(Clone)]
pub struct Tap {
    pub name: &'static str,
    pub recipient: Recipient,
    book: Arc<Mutex<Book>>,
    state: Arc<Mutex<State>>,
}

impl Tap {
    pub fn new(name: &'static str, recipient: Recipient, book: Arc<Mutex<Book>>) -> Tap {
        let state = State {
            mode: Mode::Keeps,
            between: None,
            lying: BTreeMap::new(),
            taken: BTreeSet::new(),
            puts: 0,
            renewed: 0,
        };
        Tap { name, recipient, book, state: Arc::new(Mutex::new(state)) }
    }

    pub fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn third_party(&self) -> bool {
        self.recipient == Recipient::ThirdParty
    }

    /// A job takes what lies there.
    pub fn take(&self) {
        let mut state = self.state();
        let all: Vec<String> = state.lying.keys().cloned().collect();
        state.taken.extend(all);
    }

    /// Every marker that ever arrived and still lies there or was taken.
    pub fn arrived(&self) -> BTreeSet<String> {
        self.state().lying.values().flat_map(|bytes| markers(bytes)).collect()
    }

    /// What lies there and is not taken must hold nothing forbidden.
    pub fn look(&self) {
        let state = self.state();
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        for (key, bytes) in state.lying.iter().filter(|(key, _)| !state.taken.contains(*key)) {
            book.expect_none_forbidden(bytes, self.third_party(), &format!("{key} lies at {}", self.name));
        }
    }

    /// The promise, and the format, on one attempt's bytes.
    fn inspect(&self, parcel: &Parcel<'_>) {
        let mut manifest = serde_json::to_vec(&parcel.rendered.manifest).unwrap();
        manifest.push(b'\n');
        let inspected = inspect::batch(&manifest, &parcel.rendered.gz, None).unwrap();
        assert_eq!(inspected.part.batch_no, parcel.key.batch_no);
        let book = self.book.lock().unwrap_or_else(PoisonError::into_inner);
        let place = format!("{} put to {}", parcel.key, self.name);
        book.expect_none_forbidden(&parcel.rendered.ndjson, self.third_party(), &place);
    }
}

impl Target for Tap {
    fn name(&self) -> &str {
        self.name
    }

    fn recipient(&self) -> Recipient {
        self.recipient
    }

    fn put(&self, parcel: &Parcel<'_>) -> Result<Put, Setback> {
        self.inspect(parcel);
        let (mode, between) = {
            let mut state = self.state();
            state.puts += 1;
            (state.mode, state.between.take())
        };
        if let Some(between) = between {
            between();
        }
        if mode == Mode::Refuses {
            return Err(Error::new(Kind::Upstream, "upstream", "the line is down").into());
        }
        let key = parcel.key.to_string();
        let mut state = self.state();
        let before =
            if state.taken.contains(&key) { None } else { state.lying.insert(key, parcel.rendered.ndjson.clone()) };
        if mode == Mode::LosesAnswer {
            return Err(Error::new(Kind::Upstream, "upstream", "the answer was lost").into());
        }
        let landed = if before.is_some() { Landed::Renewed } else { Landed::New };
        Ok(Put { landed, acknowledged: mode == Mode::Acknowledges })
    }

    fn watermark(&self, of: Key, acked: i64, put_no: i64) -> Result<i64> {
        let state = self.state();
        let mut no = acked;
        while no < put_no && state.taken.contains(&of.at(no + 1).to_string()) {
            no += 1;
        }
        Ok(no)
    }

    fn keep(&self) -> Option<Keep> {
        Some(Keep { days: 30, bytes: u64::MAX })
    }

    fn held(&self) -> Result<Vec<Held>> {
        Ok(Vec::new())
    }

    fn folder(&self) -> Option<PathBuf> {
        None
    }

    fn lies(&self, key: Key) -> bool {
        let state = self.state();
        let key = key.to_string();
        state.lying.contains_key(&key) && !state.taken.contains(&key)
    }

    fn renew(&self, parcel: &Parcel<'_>) -> Result<Option<Put>> {
        self.inspect(parcel);
        if !self.lies(parcel.key) {
            return Ok(None);
        }
        let mut state = self.state();
        state.renewed += 1;
        let before = state.lying.insert(parcel.key.to_string(), parcel.rendered.ndjson.clone());
        let same = before.as_ref() == Some(&parcel.rendered.ndjson);
        Ok(Some(Put { landed: if same { Landed::Same } else { Landed::Renewed }, acknowledged: false }))
    }

    fn discard(&self, _key: Key) -> Result<()> {
        Ok(())
    }
}
