//! Asking upstream for directives: on the connection that batches go by, after a turn in which it said that some wait, and at a slow
//! pace else. Must never hold batches up: what fails is tried again later. Invariant: a report leaves after what it tells of is
//! committed, and nothing is remembered here of what was reported: the other side knows what it still waits for.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use crate::base::error::Result;
use crate::base::time::Millis;
use crate::domain::directive::{ALL, DIRECTIVE, Directive};
use crate::domain::signed::Signed;
use crate::forward::Forwarder;
use crate::forward::directives::Directives;
use crate::forward::directives::downstream::Downstream;
use crate::forward::target::Target;

/// Longest report that travels, bytes of its text.
const REPORT_BYTES_MAX: usize = 14 << 20;
/// Pages asked for in one turn.
const PAGES_MAX: usize = 50;
/// Shortest between two turns that are not asked for by hand, ms.
const SOON_MS: i64 = 10_000;
/// While something was begun and its end is to be told, or after a failure, ms.
const AGAIN_MS: i64 = 60_000;
/// A receiver without directives is asked again after this, ms.
const WITHOUT_MS: i64 = 6 * 3_600_000;

/// Who takes directives in here, and who keeps them for others.
pub struct Talk {
    pub(in crate::forward::directives) directives: Arc<Directives>,
    pub(in crate::forward::directives) downstream: Arc<Downstream>,
    every_ms: i64,
    /// When each target was asked last and is to be asked next.
    turns: Mutex<HashMap<String, (i64, i64)>>,
}

impl Talk {
    /// Asks each target over the network at least every `every_seconds`.
    pub fn new(directives: Arc<Directives>, downstream: Arc<Downstream>, every_seconds: u32) -> Self {
        let every_ms = i64::from(every_seconds.max(1)) * 1_000;
        Talk { directives, downstream, every_ms, turns: Mutex::default() }
    }

    fn is_due(&self, target: &str, now_ms: i64, beckoned: bool) -> bool {
        let turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((last, next)) = turns.get(target) else { return true };
        now_ms >= *next || (beckoned && now_ms >= last + SOON_MS)
    }

    fn asked(&self, target: &str, now_ms: i64, wait_ms: i64) {
        let mut turns = self.turns.lock().unwrap_or_else(PoisonError::into_inner);
        turns.insert(target.to_owned(), (now_ms, now_ms + wait_ms));
    }
}

impl Forwarder {
    /// Names who takes directives in; the first one stays.
    pub fn talk(&self, talk: Talk) {
        self.talk.get_or_init(|| talk);
    }

    /// Asks a target for directives, where that is due; `force` = whether it is or not.
    pub(in crate::forward) fn converse(&self, target: &dyn Target, force: bool) {
        let Some(talk) = self.talk.get().filter(|_| target.is_remote()) else { return };
        let now_ms = (self.uptime_ms)();
        // one that is held for another reason is asked all the same: a directive may be what mends it
        let down = self.pace(target).is_down();
        if down || !(force || talk.is_due(target.name(), now_ms, target.beckons())) {
            return;
        }
        let wait_ms = match self.conversation(target, talk) {
            Ok(Some(true)) => AGAIN_MS.min(talk.every_ms),
            Ok(Some(false)) => talk.every_ms,
            Ok(None) => WITHOUT_MS,
            Err(error) => {
                log::info!("asking {} for directives: {error}", target.name());
                AGAIN_MS
            }
        };
        talk.asked(target.name(), now_ms, wait_ms);
    }

    /// Every target over the network is met anew: it says how far it is, and what it refuses.
    pub fn meet_anew(&self) {
        for target in self.targets.iter().filter(|target| target.is_remote()) {
            self.pace(target.as_ref()).begin_anew();
        }
        self.bell.ring(false);
    }

    /// In words: edges below that will miss the due day of a directive. Errors: `Busy`, `Storage`.
    pub fn late_edges(&self) -> Result<Vec<String>> {
        self.talk.get().map_or_else(|| Ok(Vec::new()), |talk| talk.downstream.late())
    }

    /// Drops what of directives for edges below is needed no more. Errors: `Busy`, `Storage`.
    pub fn sweep_directives(&self, now: Millis) -> Result<()> {
        self.talk.get().map_or(Ok(()), |talk| talk.downstream.sweep(now))
    }

    /// `None` where the target has no such thing; else whether the end of something is still to be told.
    fn conversation(&self, target: &dyn Target, talk: &Talk) -> Result<Option<bool>> {
        let edge = self.store.identity().edge.id;
        let (mut after, mut waits) = (0, false);
        for _ in 0..PAGES_MAX {
            if self.bell.stopped() {
                return Ok(Some(true));
            }
            let Some(page) = target.directives(edge, after)? else { return Ok(None) };
            for signed in &page.directives {
                match self.heed_one(target, talk, signed) {
                    Ok(None) => {}
                    Ok(Some(report)) => {
                        waits |= report.text.contains("\"state\":\"waiting\"");
                        self.tell(target, talk, report)?;
                    }
                    // not now: it is handed over again, and holds up no other
                    Err(error) => {
                        log::info!("a directive waits: {error}");
                        waits = true;
                    }
                }
            }
            let finished = talk.directives.finished(&page.waiting)?;
            waits |= finished.len() < page.waiting.len();
            for report in finished {
                self.tell(target, talk, report)?;
            }
            if !page.more || page.next <= after {
                break;
            }
            after = page.next;
        }
        talk.downstream.pass_up(target)?;
        Ok(Some(waits))
    }

    /// Takes one in, or keeps it for an edge below; the report where it was for this edge.
    fn heed_one(&self, target: &dyn Target, talk: &Talk, signed: &Signed) -> Result<Option<Signed>> {
        let named = signed.open::<Directive>(DIRECTIVE, None).map(|directive| directive.edge);
        let own = self.store.identity().edge.id.to_string();
        let for_others = named.as_ref().is_ok_and(|edge| *edge != own);
        if for_others
            && talk.downstream.is_on()
            && let Err(error) = talk.downstream.keep(signed, Some(target.name()), None)
        {
            log::warn!("a directive for edges below is not kept: {error}");
        }
        if for_others && named.is_ok_and(|edge| edge != ALL) {
            return Ok(None);
        }
        talk.directives.take_one(signed)
    }

    fn tell(&self, target: &dyn Target, talk: &Talk, report: Signed) -> Result<()> {
        let edge = self.store.identity().edge.id;
        let report = match report.text.len() {
            0..=REPORT_BYTES_MAX => Some(report),
            _ => talk.directives.too_long(&report)?,
        };
        match report.map_or(Ok(()), |report| target.report(edge, &report)) {
            Err(error) if error.code == "report_refused" => {
                log::warn!("{error}");
                Ok(())
            }
            told => told,
        }
    }
}
