//! What each step costs: seal, render, compress, put into a folder. Calls the library as the forwarder does, one step
//! after the other, so that each can be timed alone. Must never judge a figure.

use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use wayside::base::time::SystemClock;
use wayside::domain::event::Lane;
use wayside::forward::dir::Dir;
use wayside::forward::encode::{self, Order};
use wayside::forward::options::{ForwardOptions, TargetOptions};
use wayside::forward::seal::{self, SealRules};
use wayside::forward::target::{Key, Parcel, Target};
use wayside::store::{Store, StoreOptions, batches, epochs};

use crate::{Result, cpu};

/// Sums over one lane, or over all.
#[derive(Clone, Copy, Debug, Default)]
pub struct Steps {
    pub batches: i64,
    pub lines: i64,
    pub plain_bytes: u64,
    pub wire_bytes: u64,
    pub seal_ns: u64,
    pub render_ns: u64,
    pub compress_ns: u64,
    pub put_ns: u64,
}

impl Steps {
    fn add(&mut self, other: &Steps) {
        self.batches += other.batches;
        self.lines += other.lines;
        self.plain_bytes += other.plain_bytes;
        self.wire_bytes += other.wire_bytes;
        self.seal_ns += other.seal_ns;
        self.render_ns += other.render_ns;
        self.compress_ns += other.compress_ns;
        self.put_ns += other.put_ns;
    }
}

/// Runs a step, adds its CPU time to `sum`.
fn timed<T>(sum: &mut u64, step: impl FnOnce() -> T) -> Result<T> {
    let from = cpu::process_ns()?;
    let out = step();
    *sum += cpu::process_ns()? - from;
    Ok(out)
}

/// All rows of a data directory through every step; by lane, and together last.
pub fn run(data_dir: &Path, level: u32) -> Result<Vec<(&'static str, Steps)>> {
    let store =
        Store::open(&StoreOptions { read_ms_max: 3_600_000, ..StoreOptions::at(data_dir) }, Arc::new(SystemClock))?;
    let rules = SealRules::new(&ForwardOptions::default(), "bench");
    let options = TargetOptions { path: "bench-outbox".into(), ..TargetOptions::default() };
    let target = Dir::new(data_dir, &options);
    let (mut out, mut all) = (Vec::new(), Steps::default());
    let began = Instant::now();
    for lane in Lane::ALL {
        let mut steps = Steps::default();
        let now = store.now();
        let sealing = || seal::step(&store, lane, &rules, now, true);
        while timed(&mut steps.seal_ns, sealing)??.is_some() {}
        deliver(&store, lane, level, &target, &mut steps)?;
        all.add(&steps);
        out.push((lane.word(), steps));
    }
    out.push(("all", all));
    eprintln!("  steps took {:.1} s", began.elapsed().as_secs_f64());
    store.close()?;
    Ok(out)
}

fn deliver(store: &Store, lane: Lane, level: u32, target: &Dir, steps: &mut Steps) -> Result<()> {
    let order =
        Order { recipient: target.recipient(), keys: &store.identity().edge.keys, began: store.now(), refused: &[] };
    for epoch in store.read(epochs::all)? {
        let mut after = 0;
        while let Some(batch) = store.read(|tx| batches::list(tx, epoch.id, lane, after, 1))?.pop() {
            after = batch.batch_no;
            let rendering = || store.read(|tx| encode::render(tx, &batch, &order));
            let rendered = timed(&mut steps.render_ns, rendering)??;
            let rendered = timed(&mut steps.compress_ns, || rendered.compress(level))?;
            let key = Key { edge: epoch.edge, epoch: epoch.epoch, lane, batch_no: batch.batch_no };
            let parcel = Parcel::whole(key, &rendered, false);
            timed(&mut steps.put_ns, || target.put(&parcel))?.map_err(|setback| setback.error)?;
            steps.batches += 1;
            steps.lines += batch.count;
            steps.plain_bytes += rendered.ndjson.len() as u64;
            steps.wire_bytes += rendered.gz.len() as u64;
            target.discard(key)?;
        }
    }
    Ok(())
}
