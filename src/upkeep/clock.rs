//! Looks at the clock of the day: tells upstream when it was set, and keeps the newest time known.
//! Must never decide what may be removed (`guard.rs`). Invariant: the newest known time follows a clock only once it has
//! stood the quiet minutes, so that a moment of a wrong year does not stop removal for a year.

use crate::base::error::Result;
use crate::base::time::{Millis, SECOND_MS};
use crate::store::{ReadTx, meta};
use crate::upkeep::guard::{Look, STEP_MS_MIN, Step};
use crate::upkeep::{CONFIRMED, Report, Round, Upkeep, loss};

/// Seconds since 1970 at which this program was built, where whoever built it said so.
const BUILT_S: Option<&str> = option_env!("SOURCE_DATE_EPOCH");

fn built() -> Millis {
    Millis(BUILT_S.and_then(|text| text.parse::<i64>().ok()).unwrap_or(0).saturating_mul(SECOND_MS))
}

/// The newest time known: of the last look, of the build, of the start of this epoch.
pub(in crate::upkeep) fn newest(tx: &ReadTx<'_>, up: &Upkeep) -> Result<Millis> {
    let known = meta::newest_at(tx)?;
    // a confirmation is later knowledge than the others
    let confirmed = meta::fact(tx, CONFIRMED)?.is_some();
    let epoch = if confirmed { Millis(0) } else { up.store().identity().edge.started_at };
    Ok(known.max(built()).max(epoch))
}

pub(in crate::upkeep) fn run(round: &Round<'_>) -> Result<Report> {
    let up = round.up;
    let known = up.store().read(meta::newest_at)?;
    let look = Look { now: up.store().now(), uptime_ms: up.uptime() };
    let (step, settled, first) = {
        let mut state = up.state();
        let first = state.last[0].at.is_none();
        (state.guard.look(look), state.guard.settled(), first)
    };
    // while nobody looked, only a step back can be told from time that passed
    let unseen = (first && look.now.plus(STEP_MS_MIN) < known).then_some(Step { from: known, to: look.now });
    let mut rows = 0;
    if let Some(step) = step.or(unseen) {
        log::warn!("the clock was set from {} to {}; nothing is removed by age for some minutes", step.from, step.to);
        round.step(move |tx, _| loss::clock_step(tx, step))?;
        rows += 1;
    }
    if settled && look.now > known {
        round.step(move |tx, _| meta::set_newest_at(tx, look.now))?;
        rows += 1;
    }
    Ok(Report { rows, note: String::new() })
}

/// The clock is right as it is: the newest known time is now, and a day's worth is not limited for a day.
pub(in crate::upkeep) fn confirm(up: &Upkeep) -> Result<()> {
    let now = up.store().now();
    up.store().pen().call(move |tx| {
        meta::set_newest_at(tx, now)?;
        meta::set_fact(tx, CONFIRMED, now.0)
    })?;
    up.state().guard.confirm();
    log::info!("the clock was confirmed as {now}: removal by age goes on");
    Ok(())
}
