//! The `alarms` table: what needs a person, one row for each word and what it is about, while it lasts.
//! Must never decide what is alarming, nor what to do about it (`domain/alarm.rs`).
//! Invariant: raised again it counts up and keeps when it began; cleared it is gone.

use crate::base::error::Result;
use crate::base::time::Millis;
use crate::domain::alarm::Alarm;
use crate::store::{ReadTx, WriteTx, open};

/// Bytes kept of what happened.
const WHAT_BYTES_MAX: usize = 500;

/// Raises an alarm, or raises it again: the first time stays, the newest `what` counts.
pub fn raise(tx: &WriteTx<'_>, code: &str, about: &str, what: &str) -> Result<()> {
    let what = &what[..what.floor_char_boundary(WHAT_BYTES_MAX)];
    tx.execute(
        "INSERT INTO alarms (code, about, what, first_at, last_at, times) VALUES (?1, ?2, ?3, ?4, ?4, 1) \
         ON CONFLICT DO UPDATE SET what = excluded.what, last_at = excluded.last_at, times = times + 1",
        (code, about, what, tx.now()),
    )
    .map(|_| ())
}

/// What an alarm told of is well again. Returns whether it was raised.
pub fn clear(tx: &WriteTx<'_>, code: &str, about: &str) -> Result<bool> {
    tx.execute("DELETE FROM alarms WHERE code = ?1 AND about = ?2", (code, about)).map(|gone| gone > 0)
}

/// As [`clear`], where it was raised last before `before`.
pub fn clear_before(tx: &WriteTx<'_>, code: &str, about: &str, before: Millis) -> Result<bool> {
    tx.execute("DELETE FROM alarms WHERE code = ?1 AND about = ?2 AND last_at < ?3", (code, about, before))
        .map(|n| n > 0)
}

/// Everything that lasts, the longest first.
pub fn list(tx: &ReadTx<'_>) -> Result<Vec<Alarm>> {
    tx.conn()
        .prepare_cached("SELECT code, about, what, first_at, last_at, times FROM alarms ORDER BY first_at, code, about")
        .and_then(|mut s| {
            s.query_map([], |r| {
                Ok(Alarm {
                    code: r.get(0)?,
                    about: r.get(1)?,
                    what: r.get(2)?,
                    first: r.get(3)?,
                    last: r.get(4)?,
                    times: r.get(5)?,
                })
            })?
            .collect()
        })
        .map_err(|e| open::error("listing alarms", e))
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::time::ManualClock;
    use crate::store::{Store, StoreOptions};

    #[test]
    fn an_alarm_counts_up_keeps_its_beginning_and_goes_when_it_is_cleared() {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Millis(1_780_000_000_000));
        let store = Store::open(&StoreOptions::at(dir.path()), Arc::new(clock.clone())).unwrap();
        let raise = |about: &'static str, what: &'static str| {
            store.pen().call(move |tx| raise(tx, "fork", about, what)).unwrap();
        };
        raise("centre", "first");
        clock.advance(1_000);
        raise("centre", "second");
        raise("other", "\u{e4}");
        let told: Vec<_> = store.read(list).unwrap().into_iter().map(|a| (a.about, a.what, a.times, a.first)).collect();
        let (start, row) = (Millis(1_780_000_000_000), |a: &str, w: &str, n, at| (a.to_owned(), w.to_owned(), n, at));
        assert_eq!(told, [row("centre", "second", 2, start), row("other", "\u{e4}", 1, start.plus(1_000))]);
        let gone = |about: &'static str| store.pen().call(move |tx| clear(tx, "fork", about)).unwrap();
        assert!(gone("centre") && !gone("centre"));
        assert_eq!(store.read(list).unwrap().len(), 1);
    }

    #[test]
    fn what_happened_is_kept_up_to_its_limit_and_no_letter_is_cut() {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Millis(1_780_000_000_000));
        let store = Store::open(&StoreOptions::at(dir.path()), Arc::new(clock)).unwrap();
        for (what, kept) in
            [("x".repeat(500), 500), ("x".repeat(501), 500), (format!("{}\u{e4}", "x".repeat(499)), 499)]
        {
            store.pen().call(move |tx| raise(tx, "tls", "centre", &what)).unwrap();
            assert_eq!(store.read(list).unwrap()[0].what.len(), kept);
        }
    }
}
