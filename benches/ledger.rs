//! Entries of the ledger per second: appended (a refusal each, in groups of one commit) and verified.
//! Owns nothing; must never judge a figure. `cargo bench --bench ledger`.

#![allow(clippy::unwrap_used)] // a failed step is a failed measurement

use std::sync::Arc;
use std::time::Instant;

use wayside::base::id::random_bytes;
use wayside::base::time::SystemClock;
use wayside::consent::verify;
use wayside::domain::consent::{Action, BasisTable, Decision, Evidence, Method, Purposes, Signals, Standing, decide};
use wayside::store::decisions::{self, Actor, Circumstances};
use wayside::store::{Store, StoreOptions, WriteTx, checkpoints, sites};

/// Entries of each row of the table; `WAYSIDE_BENCH_ENTRIES` instead.
const ENTRIES: u64 = 50_000;
/// Times the ledger is verified; the fastest counts.
const ROUNDS: usize = 5;

/// A refusal of somebody never seen: the row, its entry, what its keyed hash remembers, and a line of the rights log.
fn refuse(tx: &WriteTx<'_>) -> wayside::base::error::Result<()> {
    let decision = Decision {
        id: None,
        action: Action::Refuse,
        purposes: Purposes::MEASURE,
        method: Method::BannerRefuse,
        notice: "none".to_owned(),
        notice_digest: None,
        evidence: Evidence::default(),
        language: Some("en".to_owned()),
        signal_shown: false,
        client_at: None,
        sent_at: None,
    };
    let change = decide(&decision, tx.now(), &Standing::default(), &[], &BasisTable::default())?;
    let circumstances = Circumstances {
        site_id: sites::intern(tx, "shop")?,
        site: "shop".to_owned(),
        id_hash: random_bytes(),
        at: tx.now(),
        received: tx.now(),
        actor: Actor::Subject,
        signals: Signals::default(),
        basis_id: 0,
        notice_digest: None,
        expires: None,
        evidence: None,
    };
    decisions::append(tx, &decision, &change, None, &circumstances).map(|_| ())
}

fn rate(n: u64, began: Instant) -> f64 {
    f64::from(u32::try_from(n).unwrap()) / began.elapsed().as_secs_f64()
}

fn main() {
    let entries = std::env::var("WAYSIDE_BENCH_ENTRIES").map_or(ENTRIES, |n| n.parse().unwrap());
    let dir = tempfile::tempdir().unwrap();
    let store = Store::open(&StoreOptions::at(dir.path()), Arc::new(SystemClock)).unwrap();
    for group in [1, 20, 200] {
        // one by one every append waits for the disk: fewer tell as much
        let n = if group == 1 { entries / 10 } else { entries } / group * group;
        let began = Instant::now();
        for _ in 0..n / group {
            store.pen().call(move |tx| (0..group).try_for_each(|_| refuse(tx))).unwrap();
        }
        println!("append, {group:>3} to a commit: {:>8.0} entries/s", rate(n, began));
    }
    store.pen().call(|tx| checkpoints::take(tx, true)).unwrap();
    store.close().unwrap();
    let mut fastest = 0f64;
    for _ in 0..ROUNDS {
        let began = Instant::now();
        let verified = verify::beside(dir.path(), 30_000, None, &mut |_, _| ()).unwrap();
        assert_eq!(verified.fault_count, 0, "{:?}", verified.faults);
        fastest = fastest.max(rate(u64::try_from(verified.entries).unwrap(), began));
    }
    println!("verify, chain, contents and signatures: {fastest:>8.0} entries/s");
}
