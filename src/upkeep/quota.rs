//! The disk budget (contract 7): decided at first start, measured often, published as a percentage that the doors obey.
//! Owns what happens at each level. Must never remove a row that was not delivered, unless `when_full = "drop_fine"`.
//! Invariant: what is removed goes oldest first, in steps, and is counted.

use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::{DAY_MS, Millis};
use crate::domain::event::Lane;
use crate::domain::line::HoleReason;
use crate::domain::visit::Visit;
use crate::store::{events, grace, meta, space};
use crate::upkeep::ballast::{self, Act};
use crate::upkeep::options::{UpkeepOptions, WhenFull};
use crate::upkeep::removal::{Delivered, Removal, slot};
use crate::upkeep::{OFTEN_SECONDS, Report, Round, batches_old, loss, visits_old};

/// From this percentage on rows are sealed early.
pub const SEAL_EARLY: u8 = 70;
/// From this percentage on delivered rows go.
pub const DROP_DELIVERED: u8 = 85;
/// From this percentage on events of the lane `fine` are refused.
pub const REFUSE_FINE: u8 = 90;
/// From this percentage on everything but decisions is refused.
pub const REFUSE_ALL: u8 = 95;

/// The budget where none is configured, bytes: this, or half the free space if that is less.
const BUDGET_BYTES_MAX: u64 = 10_000_000_000;
/// Seconds between two looks while anything is refused.
const WHILE_REFUSING_SECONDS: u32 = 2;
/// Steps in one round while the file system itself is nearly full: space comes back only after them.
const STEPS_WHILE_DISK_FULL: u32 = 20;

/// What was measured.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Measure {
    /// What the database holds, bytes. (Free pages inside its file are used again first; its log is short-lived.)
    pub database: u64,
    /// All other files of the data directory, bytes.
    pub files: u64,
    /// The budget, bytes.
    pub budget: u64,
    /// Free on the file system, bytes.
    pub disk_free: u64,
    /// All of the file system, bytes.
    pub disk_total: u64,
    /// Of what is free: what the ballast gave up for upkeep and decisions, and takes again once there is room, bytes.
    pub reserved: u64,
}

impl Measure {
    /// Used of the budget, bytes.
    pub fn used(&self) -> u64 {
        self.database.saturating_add(self.files)
    }

    /// How much of the budget is used, percent.
    pub fn budget_percent(&self) -> u8 {
        u8::try_from(u128::from(self.used()) * 100 / u128::from(self.budget.max(1))).unwrap_or(u8::MAX)
    }

    /// Is less than 2 % of the file system free? Somebody else may have filled it.
    pub fn disk_full(&self) -> bool {
        u128::from(self.disk_free.saturating_sub(self.reserved)) * 50 < u128::from(self.disk_total)
    }

    /// What the doors obey, percent.
    pub fn pressure(&self) -> u8 {
        if self.disk_full() { self.budget_percent().max(REFUSE_ALL) } else { self.budget_percent() }
    }
}

/// The budget for a file system with that much free space at first start, bytes.
pub fn first_budget(free: u64) -> u64 {
    BUDGET_BYTES_MAX.min(free / 2)
}

/// Between two looks: seldom, but while anything is refused, whoever sends waits for it.
pub(in crate::upkeep) fn every_seconds(options: &UpkeepOptions, percent: u8) -> u32 {
    let usual = options.retention_every_seconds.min(OFTEN_SECONDS);
    if percent >= REFUSE_FINE { usual.min(WHILE_REFUSING_SECONDS) } else { usual }
}

pub(in crate::upkeep) fn run(round: &Round<'_>) -> Result<Report> {
    let done = levels(round);
    if round.is_live() {
        tend_ballast(round, done.as_ref().is_err_and(|error| error.code == "disk_full"));
    }
    done
}

/// The ballast is made, or gives way. That it cannot be made is no failure.
fn tend_ballast(round: &Round<'_>, failed: bool) {
    let dir = round.up.store().data_dir();
    let wanted = round.up.plan().quota.ballast_bytes;
    let tended = space::free_bytes(dir).and_then(|(free, total)| {
        match ballast::decide(free, total, ballast::length(dir), wanted, failed) {
            Act::Leave => Ok(()),
            Act::Make => ballast::make(dir, wanted).inspect(|()| round.up.gave_way(false)),
            Act::Free => {
                round.up.gave_way(wanted > 0);
                log::warn!("the disk is full: the ballast of {wanted} bytes gives way, so that upkeep can go on");
                ballast::free(dir)
            }
        }
    });
    if let Err(error) = tended {
        log::debug!("{error}");
    }
}

fn levels(round: &Round<'_>) -> Result<Report> {
    let mut report = Report::default();
    let measured = measure(round)?;
    note_delivered(round)?;
    let before = publish(round, measured);
    if before >= SEAL_EARLY {
        (round.up.hooks().kick_forward)();
    }
    let quota = &round.up.plan().quota;
    // the disk knows no clock: only a start or a step a moment ago is waited out
    if before < DROP_DELIVERED || !round.up.settled() {
        return Ok(report);
    }
    let mut gone = 0;
    if !quota.keep_delivered {
        gone += delivered(round, measured)?;
    }
    if quota.when_full == WhenFull::DropFine && publish(round, again(round, measured)?) >= REFUSE_ALL {
        gone += fine(round, measured)?;
    }
    if gone > 0 {
        if round.up.store().read(loss::untold)? {
            round.step(|tx, _| loss::tell(tx))?;
        }
        round.give_back()?;
        publish(round, measure(round)?);
        report.rows = u64::try_from(gone).unwrap_or(0);
        report.note = format!("{before} % of the disk budget was used: {gone} rows were removed");
    }
    Ok(report)
}

fn publish(round: &Round<'_>, measured: Measure) -> u8 {
    let percent = measured.pressure();
    round.up.store().set_pressure(percent);
    round.up.measured(measured);
    percent
}

/// Measures; the budget is decided if that was not done yet.
fn measure(round: &Round<'_>) -> Result<Measure> {
    let store = round.up.store();
    let (disk_free, disk_total) = space::free_bytes(store.data_dir())?;
    let (known, (database, _)) = store.read(|tx| Ok((meta::disk_budget(tx)?, space::database_bytes(tx)?)))?;
    let budget = match (round.up.plan().quota.disk_budget_bytes, known) {
        (Some(bytes), _) | (None, Some(bytes)) => bytes,
        (None, None) => {
            let bytes = first_budget(disk_free);
            round.step(move |tx, _| meta::set_disk_budget(tx, bytes))?;
            bytes
        }
    };
    let files = space::beside_bytes(store.data_dir())?.saturating_sub(ballast::length(store.data_dir()));
    let reserved = if round.up.has_given_way() { round.up.plan().quota.ballast_bytes } else { 0 };
    Ok(Measure { database, files, budget, disk_free, disk_total, reserved })
}

/// Notes how far everything is delivered, once the day has changed or more has been delivered since.
fn note_delivered(round: &Round<'_>) -> Result<()> {
    let delivered = round.delivered()?;
    let now = round.up.store().now();
    let keep_ms = (i64::from(round.up.plan().quota.grace_days) + 2) * DAY_MS;
    let mut due = Vec::new();
    for lane in Lane::ALL {
        let Some(upto) = delivered.required_upto(lane).filter(|upto| *upto > Seq(0)) else { continue };
        if round.up.store().read(|tx| grace::newest(tx, lane))? != Some((now.day(), upto)) {
            due.push((lane, upto));
        }
    }
    if due.is_empty() {
        return Ok(());
    }
    round.step(move |tx, _| {
        for (lane, upto) in &due {
            grace::note(tx, *lane, *upto, now)?;
            grace::forget_before(tx, *lane, now.plus(-keep_ms))?;
        }
        Ok(())
    })
}

/// What has been delivered for long enough to go.
fn graced(round: &Round<'_>, delivered: Delivered) -> Result<Delivered> {
    let days = i64::from(round.up.plan().quota.grace_days);
    if days == 0 {
        return Ok(delivered);
    }
    // a mark stands for all that was delivered by the end of its day
    let until = round.up.store().now().plus(-(days + 1) * DAY_MS);
    let mut upto = [Seq(0); 4];
    for lane in Lane::ALL {
        upto[slot(lane)] = round.up.store().read(|tx| grace::upto(tx, lane, until))?;
    }
    Ok(delivered.cut(upto))
}

/// The same files, with what the database holds now.
fn again(round: &Round<'_>, before: Measure) -> Result<Measure> {
    let (database, _) = round.up.store().read(space::database_bytes)?;
    Ok(Measure { database, ..before })
}

/// Is the level still reached, and is there still leave to go on?
fn goes_on(round: &Round<'_>, before: Measure, level: u8, steps: &mut u32) -> Result<bool> {
    *steps += 1;
    if before.disk_full() && *steps > STEPS_WHILE_DISK_FULL {
        return Ok(false);
    }
    let now = again(round, before)?;
    Ok(round.go_on() && (now.disk_full() || now.budget_percent() >= level))
}

/// Rows that every required target has acknowledged, oldest first.
fn delivered(round: &Round<'_>, before: Measure) -> Result<i64> {
    let (mut after, mut sum, mut steps) = (Seq(0), 0, 0);
    while goes_on(round, before, DROP_DELIVERED, &mut steps)? {
        let (delivered, rows) = (round.delivered()?, round.rows());
        let old = graced(round, delivered)?;
        let Some(end) = Lane::ALL.into_iter().filter_map(|lane| old.required_upto(lane)).max() else { break };
        let page = round.up.store().read(|tx| events::oldest(tx, after, rows))?;
        let Some(last) = page.last().map(|e| e.seq).filter(|_| after < end) else { break };
        let due: Vec<_> = page.into_iter().filter(|e| old.holds(e.lane, e.seq)).collect();
        if due.is_empty() {
            after = last;
            continue;
        }
        let (gone, done) = round.step(move |tx, rows| {
            let mut removal = Removal::begin(tx, HoleReason::Quota, delivered, rows)?;
            let mut done = true;
            for event in &due {
                done = done && removal.event(event)?;
            }
            Ok((removal.finish("quota_delivered")?, done))
        })?;
        sum += gone.sum();
        if done {
            after = last;
        }
    }
    if sum > 0 {
        let delivered: Delivered = graced(round, round.delivered()?)?;
        let told = |v: &Visit| v.snapshot_seq >= v.last_seq && delivered.holds(Lane::Visits, v.snapshot_seq);
        sum += visits_old::bare_visits(round, HoleReason::Quota, "quota_delivered", told)?;
    }
    // what is left for a target that is not required, and has not come for it, must not fill the disk: it is told of the gap
    let optional = round.up.plan().targets.len() > round.up.plan().required.len();
    if optional && goes_on(round, before, DROP_DELIVERED, &mut steps)? {
        sum += batches_old::clear(round, Millis(i64::MAX))?;
    }
    Ok(sum)
}

/// Events of the lane `fine` that were not delivered, oldest first: each a hole where it was sealed, and on record as lost.
fn fine(round: &Round<'_>, before: Measure) -> Result<i64> {
    let (mut sum, mut steps) = (0, 0);
    while goes_on(round, before, REFUSE_ALL, &mut steps)? {
        let delivered = round.delivered()?;
        let after = delivered.required_upto(Lane::Fine).unwrap_or_default();
        let gone = round.step(move |tx, rows| {
            let mut removal = Removal::begin(tx, HoleReason::Quota, delivered, rows)?;
            for event in &events::oldest_of_lane(tx, Lane::Fine, after, rows)? {
                if !removal.event(event)? {
                    break;
                }
            }
            removal.finish("quota_fine")
        })?;
        sum += gone.sum();
        if gone.sum() == 0 {
            break;
        }
    }
    Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(files: u64, disk_free: u64) -> Measure {
        Measure {
            database: files / 2,
            files: files - files / 2,
            budget: 1_000,
            disk_free,
            disk_total: 10_000,
            reserved: 0,
        }
    }

    #[test]
    fn pressure_is_the_used_share_of_the_budget() {
        for (files, percent) in [(0, 0), (699, 69), (700, 70), (949, 94), (950, 95), (1_000, 100), (9_999, 255)] {
            assert_eq!(of(files, 5_000).pressure(), percent, "{files}");
        }
        assert_eq!(Measure::default().pressure(), 0, "nothing measured yet");
    }

    #[test]
    fn a_nearly_full_file_system_counts_as_ninety_five() {
        assert_eq!(of(100, 200).pressure(), 10);
        assert_eq!(of(100, 199).pressure(), REFUSE_ALL);
        assert_eq!(of(970, 199).pressure(), 97);
        let after = |free| Measure { reserved: 1_000, ..of(100, free) }.pressure();
        assert_eq!((after(1_199), after(1_200)), (REFUSE_ALL, 10), "what the ballast gave up is not for events");
    }

    #[test]
    fn the_first_budget_is_half_the_free_space_up_to_ten_gigabytes() {
        assert_eq!(first_budget(8_000_000_000), 4_000_000_000);
        assert_eq!(first_budget(1 << 40), BUDGET_BYTES_MAX);
    }
}
