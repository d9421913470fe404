//! Tests of the relay: each edge is a real database whose batches a real forwarder sealed; each relay another one.

use std::fs;
use std::sync::Arc;

use super::Relay;
use super::bind::{self, For};
use super::clash::Word;
use super::enrol::{Codes, Joining};
use super::held;
use super::options::{Approve, RelayOptions};
use super::parts::Part;
use super::receive::{Incoming, LINE_BYTES_MAX, Refusal, Taken};
use super::traces::RelayTraces;
use crate::base::error::Kind;
use crate::base::gzip;
use crate::base::id::EdgeId;
use crate::base::text::hex;
use crate::base::time::{DAY_MS, Millis};
use crate::domain::batch::Manifest;
use crate::domain::consent::{Action, Purposes};
use crate::domain::event::Lane;
use crate::domain::relay::{BoundRows, EdgeState};
use crate::domain::token::Caller;
use crate::forward::dir;
use crate::forward::options::Recipient;
use crate::forward::target::Key;
use crate::forward::tests::support::{MEASURE, World, shared};
use crate::store::traces::{Sought, Traces};
use crate::store::{alarms, bound, known_edges, received};

mod behind;
mod binding;
mod onward;
mod taking;

/// A receiver.
struct Centre {
    world: World,
    relay: Relay,
}

impl Centre {
    fn new() -> Self {
        Centre::with(RelayOptions { enabled: true, ..RelayOptions::default() })
    }

    fn with(options: RelayOptions) -> Self {
        let world = World::new();
        let relay = Relay::new(Arc::clone(&world.store), &options);
        Centre { world, relay }
    }

    /// The same data directory, started again.
    fn again(self) -> Self {
        let Centre { world, relay } = self;
        let options = relay.options().clone();
        drop(relay);
        let relay = Relay::new(Arc::clone(&world.store), &options);
        Centre { world, relay }
    }

    fn code(&self) -> String {
        self.relay.codes(&Codes { count: 1, days: 30, ..Codes::default() }, &Caller::Operator).unwrap().pop().unwrap()
    }

    fn join(&self, edge: &World) -> bool {
        let own = &edge.store.identity().edge;
        let code = self.code();
        let joining = Joining { code: &code, edge: own.id, public_key: own.signing.public(), label: "Branch 12" };
        !self.relay.join(&joining).unwrap().waits
    }

    fn put(&self, batch: &Batch) -> Result<Taken, Refusal> {
        self.relay.put(&batch.incoming())
    }

    fn lines(&self, key: Key) -> String {
        let (gz, _) = self.relay.files().read(key).unwrap().unwrap();
        String::from_utf8(gzip::decompress(&gz, 1 << 26).unwrap()).unwrap()
    }

    fn leaving(&self, key: Key, recipient: Recipient) -> String {
        let wanted = held::Opening { recipient, refused: &[], gzip_level: 3 };
        let opened = self.world.store.read(|tx| held::open(tx, self.relay.files(), key, &wanted)).unwrap();
        crate::forward::inspect::batch(&serde_json::to_vec(&opened.manifest).unwrap(), &opened.gz, None).unwrap();
        String::from_utf8(opened.ndjson).unwrap()
    }
}

/// A batch as an edge sends it.
#[derive(Clone)]
struct Batch {
    key: Key,
    manifest: String,
    gz: Vec<u8>,
}

impl Batch {
    fn incoming(&self) -> Incoming<'_> {
        Incoming { key: self.key, part: None, manifest: &self.manifest, body: &self.gz, by: Some(self.key.edge) }
    }

    fn digest(&self) -> String {
        let manifest: Manifest = serde_json::from_str(&self.manifest).unwrap();
        manifest.open(None).unwrap().digest
    }
}

/// Everything an edge has sealed, lanes in order, as its outbox has it.
fn batches(edge: &World) -> Vec<Batch> {
    let root = edge.outbox();
    let mut all: Vec<Batch> = dir::keys(&root)
        .unwrap()
        .into_iter()
        .map(|key| Batch {
            key,
            manifest: fs::read_to_string(root.join(format!("{key}.manifest.json"))).unwrap().trim().to_owned(),
            gz: fs::read(root.join(format!("{key}.ndjson.gz"))).unwrap(),
        })
        .collect();
    all.sort_by_key(|batch| (batch.key.lane.code(), batch.key.batch_no));
    all
}

/// An edge with `count` batches in the lane `pages`, of two lines each, of one visitor.
fn edge_of(count: usize) -> (World, i64) {
    let edge = World::new();
    let forwarder = edge.forwarder();
    let visitor = edge.visitor("a", MEASURE);
    for _ in 0..count {
        edge.page(visitor);
        edge.page(visitor);
        edge.round(&forwarder);
    }
    (edge, visitor)
}

fn code_of(put: Result<Taken, Refusal>) -> &'static str {
    put.unwrap_err().error.code
}

/// Signs changed lines as the edge would.
fn resealed(edge: &World, batch: &Batch, schema: &str, lines: &[u8]) -> Batch {
    let manifest: Manifest = serde_json::from_str(&batch.manifest).unwrap();
    let mut part = manifest.open(None).unwrap();
    let read = crate::forward::inspect::lines(lines).unwrap();
    part.schema = schema.to_owned();
    part.digest = hex(&crate::domain::line::digest(&read.hashes));
    part.count = i64::try_from(read.hashes.len()).unwrap();
    (part.first_seq, part.last_seq) = read.ends.unwrap();
    let (sealed, signature) = part.sign(&edge.store.identity().edge.signing);
    let manifest = Manifest { sealed: String::from_utf8(sealed).unwrap(), signature: hex(&signature), ..manifest };
    Batch { key: batch.key, manifest: serde_json::to_string(&manifest).unwrap(), gz: gzip::compress(lines, 1) }
}
