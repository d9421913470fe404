//! An edge, a receiver and a stick for the tests of carrying.
//! Must never hold a rule of carrying. Invariant: edges and receivers here are real ones, but for the daemon between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tempfile::TempDir;

use crate::base::age::Identity;
use crate::base::digest::sha256;
use crate::base::error::Result;
use crate::base::text::hex;
use crate::domain::consent::Action;
use crate::domain::delivery::SignedAck;
use crate::domain::event::Lane;
use crate::domain::signed::Signed;
use crate::forward::carry::dir::{Folder, signing};
use crate::forward::carry::out::{AcksTaken, DueBatch, Edge, Given, Landed, Order, Outcome, carry_out};
use crate::forward::carry::serve::Carry;
use crate::forward::carry::stick::{Index, Place};
use crate::forward::carry::take::{Report, carry_in};
use crate::forward::options::{Encryption, ForwardOptions, TargetKind, TargetOptions};
use crate::forward::target::Key;
use crate::forward::tests::support::{MEASURE, World};
use crate::store::cursors::Cursor;
use crate::store::{cursors, epochs};

pub const TARGET: &str = "centre";

/// The options of a target that is reached by sticks.
pub fn target(to: Option<&Identity>) -> TargetOptions {
    TargetOptions {
        name: TARGET.to_owned(),
        kind: TargetKind::Carry,
        encrypt_to: to.map(|to| to.recipient().to_string()),
        encrypt: to.is_none().then_some(Encryption::None),
        receiver_key: to.map(|to| hex(&signing(to).public())),
        ..TargetOptions::default()
    }
}

/// An edge with a collector, and what its `carry` target says.
pub struct Branch {
    pub world: World,
    pub carry: Carry,
}

impl Branch {
    pub fn new(to: Option<&Identity>) -> Branch {
        Branch::with(World::new(), to)
    }

    /// Batches of 10 rows at the most.
    pub fn with(world: World, to: Option<&Identity>) -> Branch {
        let options = ForwardOptions { seal_rows_max: 10, ..ForwardOptions::default() };
        let target = target(to);
        let forwarder = Arc::new(world.forwarder_with(&options, std::slice::from_ref(&target)));
        Branch { carry: Carry::new(forwarder, &[target]).unwrap(), world }
    }

    pub fn edge(&self) -> String {
        self.carry.edge().to_string()
    }

    /// Its folder on a stick.
    pub fn place(&self, stick: &Path) -> Place {
        Place::of(stick, &self.edge(), TARGET).unwrap()
    }

    pub fn index(&self, stick: &Path) -> Index {
        self.place(stick).index((&self.edge(), TARGET), None).unwrap().unwrap().0
    }

    pub fn out(&self, stick: &Path) -> Outcome {
        self.out_with(stick, None, &mut |_| Ok(())).unwrap()
    }

    /// Carries out; `before` is asked before each batch is rendered.
    pub fn out_with(
        &self,
        stick: &Path,
        bytes_max: Option<u64>,
        before: &mut dyn FnMut(Key) -> Result<()>,
    ) -> Result<Outcome> {
        let to = self.carry.target(TARGET).unwrap().to;
        let mut edge = Direct { carry: &self.carry, before };
        carry_out(&mut edge, stick, Order { target: TARGET, to: to.as_ref(), bytes_max }, &mut |_| ())
    }

    /// How far the target is in a lane of the current epoch.
    pub fn cursor(&self, lane: Lane) -> Cursor {
        let read = |tx: &crate::store::ReadTx<'_>| {
            let epoch = epochs::all(tx)?.pop().unwrap();
            cursors::get(tx, TARGET, epoch.id, lane)
        };
        self.world.store.read(read).unwrap()
    }

    /// A visitor who has given consent: their decision goes before their first row.
    pub fn visitor(&self, key: &str) -> i64 {
        let id = self.world.visitor(key, MEASURE);
        self.world.decide(key, Action::Give, MEASURE);
        id
    }

    /// `count` page views of a visitor.
    pub fn pages(&self, visitor: i64, count: usize) {
        for _ in 0..count {
            self.world.page(visitor);
        }
    }
}

struct Direct<'a> {
    carry: &'a Carry,
    before: &'a mut dyn FnMut(Key) -> Result<()>,
}

impl Edge for Direct<'_> {
    fn edge(&self) -> String {
        self.carry.edge().to_string()
    }

    fn public_key(&self) -> Option<[u8; 32]> {
        Some(self.carry.public_key())
    }

    fn due(&mut self, lane: Lane, after: Option<Key>) -> Result<Vec<DueBatch>> {
        self.carry.due(TARGET, lane, after)
    }

    fn give(&mut self, key: Key) -> Result<Given> {
        (self.before)(key)?;
        self.carry.give(TARGET, key)
    }

    fn landed(&mut self, landed: &[Landed]) -> Result<()> {
        self.carry.landed(TARGET, landed)
    }

    fn acks(&mut self, acks: Vec<SignedAck>) -> Result<AcksTaken> {
        self.carry.acks(TARGET, &acks)
    }

    fn sign(&mut self, index: &Index) -> Result<Signed> {
        self.carry.sign(index.clone())
    }
}

/// Where sticks arrive.
pub struct Centre {
    pub dir: TempDir,
    pub key: Identity,
}

impl Centre {
    pub fn new() -> Centre {
        Centre { dir: tempfile::tempdir().unwrap(), key: Identity::mint() }
    }

    pub fn take(&self, stick: &Path) -> Report {
        let clock = crate::base::time::ManualClock::at(crate::forward::tests::support::START);
        let mut folder = Folder::new(self.dir.path(), Some(&self.key), Vec::new(), &clock);
        carry_in(&mut folder, stick, std::slice::from_ref(&self.key), None, &mut |_| ()).unwrap()
    }

    /// Batches here that verify, and every line that is no hole by its number.
    pub fn lines(&self) -> BTreeMap<(String, i64), serde_json::Value> {
        let mut out = BTreeMap::new();
        for path in files(self.dir.path()).into_iter().filter(|path| path.to_string_lossy().ends_with(".ndjson.gz")) {
            for line in crate::forward::tests::support::lines_of(&path) {
                if line["kind"] != "hole" {
                    let origin = line["epoch"].as_str().unwrap().to_owned();
                    assert!(out.insert((origin, line["seq"].as_i64().unwrap()), line).is_none(), "twice");
                }
            }
        }
        out
    }

    /// Every batch here holds, one by one.
    pub fn verify(&self) -> i64 {
        let how = crate::forward::verify::Looking { only: Default::default(), progress: &|_| () };
        let found = crate::forward::verify::folder(self.dir.path(), None, how).unwrap();
        assert_eq!(found.problems, Vec::new());
        found.files
    }
}

/// All files below a folder, sorted.
pub fn files(folder: &Path) -> Vec<PathBuf> {
    let mut out = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap()) {
        if entry.file_type().unwrap().is_dir() {
            out.extend(files(&entry.path()));
        } else {
            out.push(entry.path());
        }
    }
    out.sort();
    out
}

/// What is in each carried file: one that is written again is another, because no two encryptions are alike.
pub fn prints(folder: &Path) -> BTreeMap<PathBuf, String> {
    let carried = files(folder).into_iter().filter(|path| {
        let name = path.to_string_lossy();
        name.ends_with(".age") || name.ends_with(".wayside")
    });
    carried.map(|path| (path.clone(), hex(&sha256(&std::fs::read(&path).unwrap())))).collect()
}
