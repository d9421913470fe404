//! Removes what has grown too old, kind by kind (contract 7). Must never run before the clock guard says so.
//! Owns the table of kinds: how long each stays, how old its oldest row is, and how it is removed.
//! Invariants: rows stay exactly as long as configured and are removed oldest first; what was not delivered leaves a hole
//! where it lies in a batch, and is told as a loss.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::{DAY_MS, Millis};
use crate::domain::event::Lane;
use crate::domain::line::HoleReason;
use crate::store::ages::Range;
use crate::store::{
    ReadTx, ages, attempts, audit, counts, departed, erasures, identities, imports, meta, refusals, requests, sites,
    suppressed,
};
use crate::upkeep::guard::{Allowance, Verdict, confirmed};
use crate::upkeep::options::RetentionOptions;
use crate::upkeep::removal::{Gone, Removal};
use crate::upkeep::{CONFIRMED, Report, Round, batches_old, folders, loss, ranges, visits_old};

/// Days that attempts to send stay.
const ATTEMPTS_DAYS: u32 = 90;
/// Days that names of spool files taken in stay.
const SPOOLED_DAYS: u32 = 7;

/// How long something stays.
pub(in crate::upkeep) enum Keep {
    Months(u32),
    Days(u32),
}

impl Keep {
    /// Received before this: too old.
    fn cut(&self, now: Millis) -> Millis {
        match self {
            Keep::Months(n) => now.months_earlier(*n),
            Keep::Days(n) => now.plus(-DAY_MS * i64::from(*n)),
        }
    }
}

/// One kind of row.
pub(in crate::upkeep) struct Kind {
    pub what: &'static str,
    pub keep: fn(&RetentionOptions) -> Keep,
    pub oldest: Oldest,
    /// Removes rows older than the time; returns how many.
    pub clear: fn(&Round<'_>, Millis) -> Result<i64>,
}

/// Where the oldest one is looked up.
pub(in crate::upkeep) enum Oldest {
    Rows(fn(&ReadTx<'_>) -> Result<Option<Millis>>),
    Files(&'static [&'static str]),
    /// Depends on what the targets have.
    Delivered(fn(&Round<'_>) -> Result<Option<Millis>>),
}

const KINDS: [Kind; 19] = [
    Kind {
        what: "personal",
        keep: |o| Keep::Days(o.personal_days),
        oldest: Oldest::Rows(ages::personal),
        clear: personal,
    },
    Kind {
        what: "identities",
        keep: |o| Keep::Days(o.personal_days),
        oldest: Oldest::Rows(ages::identities),
        clear: identities,
    },
    Kind {
        what: "visits",
        keep: |o| Keep::Months(o.visits_months),
        oldest: Oldest::Rows(visits_old::oldest),
        clear: visits_old::clear,
    },
    Kind {
        what: "counts",
        keep: |o| Keep::Months(o.counts_months),
        oldest: Oldest::Rows(ages::counts),
        clear: counters,
    },
    Kind {
        what: "count_lines",
        keep: |o| Keep::Months(o.counts_months),
        oldest: Oldest::Rows(|tx| oldest_line(tx, Lane::Visits)),
        clear: |round, cut| lines(round, Lane::Visits, cut),
    },
    Kind {
        what: "ledger_lines",
        keep: |o| Keep::Months(o.ledger_months),
        oldest: Oldest::Rows(|tx| oldest_line(tx, Lane::Consent)),
        clear: |round, cut| lines(round, Lane::Consent, cut),
    },
    Kind {
        what: "decisions",
        keep: |o| Keep::Months(o.ledger_months),
        oldest: Oldest::Rows(ages::departed),
        clear: ledger,
    },
    Kind {
        what: "refusals",
        keep: |o| Keep::Months(o.ledger_months),
        oldest: Oldest::Rows(ages::refusals),
        clear: |round, cut| plainly(round, cut, refusals::delete_before),
    },
    Kind {
        what: "suppressed",
        keep: |o| Keep::Months(o.suppression_months),
        oldest: Oldest::Rows(suppressed::oldest),
        clear: |round, cut| plainly(round, cut, suppressed::delete_before),
    },
    Kind {
        what: "erasures",
        keep: |o| Keep::Months(o.ledger_months),
        oldest: Oldest::Rows(erasures::oldest_done),
        clear: |round, cut| plainly(round, cut, erasures::delete_before),
    },
    Kind {
        what: "audit",
        keep: |o| Keep::Months(o.ledger_months),
        oldest: Oldest::Rows(ages::audit),
        clear: |round, cut| plainly(round, cut, audit::delete_before),
    },
    Kind {
        what: "batches",
        keep: |o| Keep::Months(o.ledger_months),
        oldest: Oldest::Delivered(batches_old::oldest),
        clear: batches_old::clear,
    },
    Kind {
        what: "requests",
        keep: |o| Keep::Months(o.ledger_months),
        oldest: Oldest::Rows(requests::oldest_closed),
        clear: |round, cut| plainly(round, cut, requests::delete_before),
    },
    Kind {
        what: "results",
        keep: |o| Keep::Days(o.results_days),
        oldest: Oldest::Files(&folders::RESULTS),
        clear: |round, cut| folders::clear(round, &folders::RESULTS, cut),
    },
    Kind {
        what: "attempts",
        keep: |_| Keep::Days(ATTEMPTS_DAYS),
        oldest: Oldest::Rows(ages::attempts),
        clear: |round, cut| plainly(round, cut, attempts::delete_before),
    },
    Kind {
        what: "imports",
        keep: |o| Keep::Months(o.visits_months),
        oldest: Oldest::Rows(ages::imports),
        clear: |round, cut| plainly(round, cut, |tx, cut, n| imports::delete_before(tx, cut, NEVER, n)),
    },
    Kind {
        what: "spooled",
        keep: |_| Keep::Days(SPOOLED_DAYS),
        oldest: Oldest::Rows(ages::spooled),
        clear: |round, cut| plainly(round, cut, |tx, cut, n| imports::delete_before(tx, NEVER, cut, n)),
    },
    Kind {
        what: "rejected",
        keep: |o| Keep::Days(o.rejected_days),
        oldest: Oldest::Files(&folders::REJECTED),
        clear: |round, cut| folders::clear(round, &folders::REJECTED, cut),
    },
    Kind {
        what: "snapshots",
        keep: |o| Keep::Days(o.snapshots_days),
        oldest: Oldest::Files(&folders::ASIDE),
        clear: |round, cut| folders::clear(round, &folders::ASIDE, cut),
    },
];

/// Nothing is older than this.
const NEVER: Millis = Millis(i64::MIN);

pub(in crate::upkeep) fn run(round: &Round<'_>) -> Result<Report> {
    let (verdict, given) = round.up.verdict()?;
    if verdict != Verdict::Go {
        return Ok(Report { rows: 0, note: verdict.why().to_owned() });
    }
    let now = round.up.store().now();
    let mut report = Report::default();
    let mut held_back = Vec::new();
    for kind in &KINDS {
        if !round.go_on() {
            break;
        }
        let (gone, more) = one(round, kind, now, confirmed(now, given))?;
        report.rows += u64::try_from(gone).unwrap_or(0);
        if more {
            held_back.push(kind.what);
        }
    }
    report.rows += u64::try_from(batches_old::strangers(round)?).unwrap_or(0);
    let expired = (round.up.hooks().expire_files)(now)?;
    if expired > 0 {
        log::warn!("{expired} batches in folders of targets grew too old before they were acknowledged");
    }
    if round.up.store().read(loss::untold)? {
        round.step(|tx, _| loss::tell(tx))?;
    }
    if report.rows > 0 {
        round.give_back()?;
    }
    if !held_back.is_empty() {
        report.note = format!(
            "more than two days' worth of {} is due; the rest waits for the next day, or for `wayside upkeep --confirm`",
            held_back.join(", ")
        );
    }
    Ok(report)
}

/// One kind of row: how many were removed, and whether more are due than one day may remove.
pub(in crate::upkeep) fn one(round: &Round<'_>, kind: &Kind, now: Millis, confirmed: bool) -> Result<(i64, bool)> {
    let wanted = (kind.keep)(&round.up.plan().retention).cut(now);
    let Some(oldest) = oldest(round, kind)?.filter(|oldest| *oldest < wanted) else { return Ok((0, false)) };
    let allowance = allowance(round, kind.what, now, oldest)?;
    let (cut, capped) = allowance.cut(wanted, confirmed);
    let gone = (kind.clear)(round, cut)?;
    let more = capped && self::oldest(round, kind)?.is_some_and(|oldest| oldest < wanted);
    Ok((gone, more))
}

fn oldest(round: &Round<'_>, kind: &Kind) -> Result<Option<Millis>> {
    match kind.oldest {
        Oldest::Rows(find) => round.up.store().read(find),
        Oldest::Files(folders) => folders::oldest(round.up.store().data_dir(), folders),
        Oldest::Delivered(find) => find(round),
    }
}

/// What this kind may lose today; begun on the first row that is due, and kept across restarts.
fn allowance(round: &Round<'_>, what: &str, now: Millis, oldest: Millis) -> Result<Allowance> {
    let keys = [format!("retention.{what}.day_at"), format!("retention.{what}.limit")];
    let [day, limit] = round.up.store().read(|tx| Ok([meta::fact(tx, &keys[0])?, meta::fact(tx, &keys[1])?]))?;
    let before = day.zip(limit).map(|(day, limit)| Allowance { day_at: Millis(day), limit: Millis(limit) });
    let allowance = Allowance::at(now, before, oldest);
    if before != Some(allowance) {
        round.step(move |tx, _| {
            meta::set_fact(tx, &keys[0], allowance.day_at.0)?;
            meta::set_fact(tx, &keys[1], allowance.limit.0)
        })?;
    }
    Ok(allowance)
}

/// Repeats a step until it removes nothing more.
pub(in crate::upkeep) fn repeat(round: &Round<'_>, mut step: impl FnMut() -> Result<Gone>) -> Result<i64> {
    let mut sum = 0;
    while round.go_on() {
        let gone = step()?.sum();
        sum += gone;
        if gone == 0 {
            break;
        }
    }
    Ok(sum)
}

type Delete = fn(&crate::store::WriteTx<'_>, Millis, i64) -> Result<usize>;

/// Rows nothing hangs on and no line shows.
fn plainly(round: &Round<'_>, cut: Millis, delete: Delete) -> Result<i64> {
    repeat(round, || {
        let n = round.step(move |tx, rows| delete(tx, cut, rows))?;
        Ok(Gone { others: i64::try_from(n).unwrap_or(i64::MAX), ..Gone::default() })
    })
}

fn counters(round: &Round<'_>, cut: Millis) -> Result<i64> {
    let mut sum = 0;
    for (site_id, _) in round.up.store().read(sites::all)? {
        sum += repeat(round, || {
            let n = round.step(move |tx, rows| counts::delete_before(tx, site_id, cut, rows))?;
            Ok(Gone { others: i64::try_from(n).unwrap_or(i64::MAX), ..Gone::default() })
        })?;
    }
    Ok(sum)
}

/// Personal fields of visitors who have not been here since.
fn personal(round: &Round<'_>, cut: Millis) -> Result<i64> {
    repeat(round, || {
        let due = round.up.store().read(|tx| crate::store::personal::unseen_since(tx, cut, round.rows()))?;
        let delivered = round.delivered()?;
        round.step(move |tx, rows| {
            let mut removal = Removal::begin(tx, HoleReason::Retention, delivered, rows)?;
            for visitor_id in &due {
                let back = crate::store::visitors::get(tx, *visitor_id)?.is_some_and(|v| v.last_seen >= cut);
                if !back && !removal.fields(*visitor_id, Seq(i64::MAX))? {
                    break;
                }
            }
            removal.finish("personal")
        })
    })
}

/// Identities that have not been seen since, with their ties.
fn identities(round: &Round<'_>, cut: Millis) -> Result<i64> {
    repeat(round, || {
        let due = round.up.store().read(|tx| identities::unseen_since(tx, cut, round.rows()))?;
        let delivered = round.delivered()?;
        round.step(move |tx, rows| {
            let mut removal = Removal::begin(tx, HoleReason::Retention, delivered, rows)?;
            for identity_id in &due {
                if !removal.identity(*identity_id, cut)? {
                    break;
                }
            }
            removal.finish("identities")
        })
    })
}

fn oldest_line(tx: &ReadTx<'_>, lane: Lane) -> Result<Option<Millis>> {
    ranges::earliest(tx, |range| {
        let first = ages::frozen(tx, lane, range, 1)?;
        Ok(first.first().map(|line| line.received))
    })
}

/// Frozen lines of a lane, but for the snapshots of visits, which go with their visit.
fn lines(round: &Round<'_>, lane: Lane, cut: Millis) -> Result<i64> {
    let mut sum = 0;
    for range in round.up.store().read(ranges::all)? {
        sum += lines_of(round, lane, range, cut)?;
    }
    Ok(sum)
}

fn lines_of(round: &Round<'_>, lane: Lane, range: Range, cut: Millis) -> Result<i64> {
    let mut after = range.after;
    let mut sum = 0;
    while round.go_on() {
        let page = round.up.store().read(|tx| ages::frozen(tx, lane, Range { after, ..range }, round.rows()))?;
        let old: Vec<_> = page.into_iter().filter(|line| line.received < cut).collect();
        let Some(last) = old.last().map(|line| line.seq) else { break };
        let delivered = round.delivered()?;
        let (gone, done) = round.step(move |tx, rows| {
            let mut removal = Removal::begin(tx, HoleReason::Retention, delivered, rows)?;
            let mut done = true;
            for line in old.iter().filter(|line| !line.visit) {
                done = done && removal.line(line)?;
            }
            Ok((removal.finish("lines")?, done))
        })?;
        sum += gone.sum();
        if done {
            after = last;
        }
    }
    Ok(sum)
}

/// Decisions of people whose last event is that old.
fn ledger(round: &Round<'_>, cut: Millis) -> Result<i64> {
    repeat(round, || {
        let due = round.up.store().read(|tx| departed::before(tx, cut, round.rows()))?;
        round.step(move |tx, rows| {
            let others = i64::try_from(departed::delete(tx, &due, rows)?).unwrap_or(i64::MAX);
            Ok(Gone { others, ..Gone::default() })
        })
    })
}

/// When somebody last said that the clock is right.
pub(in crate::upkeep) fn confirmed_at(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    Ok(meta::fact(tx, CONFIRMED)?.map(Millis))
}
