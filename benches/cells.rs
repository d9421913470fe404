//! Microseconds per sealed personal field: the cipher alone, and the pen's whole way with keys and rows.
//! Owns nothing; must never judge a figure. `cargo bench --bench cells`.

#![allow(clippy::unwrap_used)] // a failed step is a failed measurement

use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use wayside::base::cell::{Key, Place, open, seal};
use wayside::base::id::Seq;
use wayside::base::time::{ManualClock, Millis};
use wayside::domain::event::{Attribute, DataType};
use wayside::store::personal::{self, Of};
use wayside::store::{Store, StoreOptions};

/// Cells of one round.
const ROUND: i64 = 5_000;
/// Rounds; the fastest counts, since anything else on the machine only adds.
const ROUNDS: usize = 20;

/// Microseconds of one of `ROUND` turns, in the fastest round.
fn fastest(mut turn: impl FnMut(i64)) -> f64 {
    let round = |turn: &mut dyn FnMut(i64)| {
        let began = Instant::now();
        (0..ROUND).for_each(&mut *turn);
        began.elapsed().as_secs_f64() * 1e6 / f64::from(u32::try_from(ROUND).unwrap())
    };
    (0..ROUNDS).map(|_| round(&mut turn)).fold(f64::MAX, f64::min)
}

fn cipher(bytes: usize) {
    let (key, value) = (Key::mint(), vec![b'a'; bytes]);
    let place = |row: i64| Place { table: "personal", column: "trait.email", row };
    let sealing = fastest(|row| drop(black_box(seal(&key, place(row), &value))));
    let cells: Vec<Vec<u8>> = (0..ROUND).map(|row| seal(&key, place(row), &value)).collect();
    let opening =
        fastest(|row| drop(black_box(open(&key, place(row), &cells[usize::try_from(row).unwrap()]).unwrap())));
    println!("{bytes:>5} bytes: seal {sealing:.2} us, open {opening:.2} us");
}

/// Four fields of an event each, in groups of 200 events, by the store's own pen.
fn pen(events_per_visitor: i64) {
    let dir = tempfile::tempdir().unwrap();
    let clock = Arc::new(ManualClock::at(Millis(1_700_000_000_000)));
    let store = Store::open(&StoreOptions::at(dir.path()), clock).unwrap();
    let text = |name: &str, value: &str| Attribute {
        name: name.to_owned(),
        value: value.to_owned(),
        data_type: DataType::String,
    };
    let fields = [
        text("trait.givenName", "Annabel"),
        text("trait.familyName", "Lee"),
        text("trait.email", "annabel.lee@example.org"),
        text("external_id.crm", "0051200000A1b2c"),
    ];
    let (groups, events) = (50, 200);
    let began = Instant::now();
    for group in 0..groups {
        let fields = fields.clone();
        store
            .pen()
            .call(move |tx| {
                (0..events).try_for_each(|n| {
                    let seq = group * events + n + 1;
                    let of = Of {
                        seq: Seq(seq),
                        site_id: 1,
                        visitor_id: seq / events_per_visitor,
                        at: Millis(1_700_000_000_000),
                    };
                    personal::insert(tx, of, &fields)
                })
            })
            .unwrap();
    }
    let all = f64::from(u32::try_from(groups * events).unwrap()) * 4.0;
    let each = began.elapsed().as_secs_f64() * 1e6 / all;
    println!("pen, {events_per_visitor:>2} events of a visitor: {each:.2} us per field, commits and keys included");
}

fn main() {
    [16, 48, 300, 1_024].into_iter().for_each(cipher);
    [1, 20].into_iter().for_each(pen);
}
