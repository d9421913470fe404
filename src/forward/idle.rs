//! What is told of lanes that have nothing to send: until when they are complete, so that "every branch has told everything of
//! a day" goes on where nobody came. Must never tell of a lane from which anything waits that is older. Invariant: it is told
//! only to a target that has said how far it is, and at most once in a while.

use crate::base::error::Result;
use crate::base::id::EdgeId;
use crate::base::time::{MINUTE_MS, Millis};
use crate::domain::event::Lane;
use crate::domain::relay::EdgeState;
use crate::forward::Forwarder;
use crate::forward::encode::WRITTEN_AFTER_MS;
use crate::forward::pace::Leave;
use crate::forward::relay::Relay;
use crate::forward::run::next_in_lane;
use crate::forward::target::Target;
use crate::store::{ReadTx, batches, completeness, known_edges, lines, onward, received, streams};

/// Between two times that a target is told, ms.
pub const TOLD_EVERY_MS: i64 = 5 * MINUTE_MS;

/// A lane, and until when nothing of it is missing at a target.
pub type Quiet = (Lane, Millis);

/// The lanes of this edge of which a target has every batch.
fn own(tx: &ReadTx<'_>, target: &str, now: Millis) -> Result<Vec<Quiet>> {
    let mut out = Vec::new();
    for lane in Lane::ALL {
        if next_in_lane(tx, target, lane)?.is_some() {
            continue;
        }
        let (_, waiting_at) = lines::backlog(tx, lane, batches::sealed_upto(tx, lane)?)?;
        let written = now.plus(-WRITTEN_AFTER_MS);
        out.push((lane, waiting_at.map_or(written, |at| at.min(written))));
    }
    Ok(out)
}

/// The lanes of edges below of which a target has every batch that came here, and until when those edges say that is all.
fn below(tx: &ReadTx<'_>, target: &str) -> Result<Vec<(EdgeId, Vec<Quiet>)>> {
    let mut out = Vec::new();
    let all = completeness::list(tx)?;
    for known in known_edges::list(tx)?.into_iter().filter(|known| known.state == EdgeState::Approved) {
        let mut behind = Vec::new();
        for stream in streams::of_edge(tx, known.edge)? {
            let cursor = onward::get(tx, target, stream.id)?;
            if !received::arrived(tx, stream.id, cursor.acked_no, 1)?.is_empty() {
                behind.push(stream.key.lane);
            }
        }
        let quiet = all.iter().filter(|one| one.edge == known.edge && !behind.contains(&one.lane));
        let quiet: Vec<Quiet> = quiet.map(|one| (one.lane, one.until)).collect();
        if !quiet.is_empty() {
            out.push((known.edge, quiet));
        }
    }
    Ok(out)
}

impl Forwarder {
    /// Tells a target over the network how complete lanes are that have nothing to send. What it answers is no matter: it is
    /// told again. Errors: `Storage`.
    pub(in crate::forward) fn tell_idle(&self, target: &dyn Target) -> Result<()> {
        let now_ms = (self.uptime_ms)();
        {
            let mut pace = self.pace(target);
            let due = target.is_remote() && pace.has_met() && pace.leave(now_ms) == Leave::Go;
            if !due || !pace.below().idle_due(now_ms, TOLD_EVERY_MS) {
                return Ok(());
            }
        }
        let (own_id, name) = (self.store.identity().edge.id, target.name());
        let quiet = self.store.read(|tx| own(tx, name, self.clock.now()))?;
        if !quiet.is_empty() {
            say(target, own_id, &quiet);
        }
        let passes_on = |relay: &&std::sync::Arc<Relay>| relay.passes_on_to(name);
        if self.relay.as_ref().filter(passes_on).is_none() {
            return Ok(());
        }
        for (edge, quiet) in self.store.read(|tx| below(tx, name))? {
            let news = self.pace(target).below().idle_news(edge, &quiet);
            if news && !self.bell.stopped() && say(target, edge, &quiet) {
                self.pace(target).below().idle_told(edge, quiet);
            }
        }
        Ok(())
    }
}

fn say(target: &dyn Target, edge: EdgeId, quiet: &[Quiet]) -> bool {
    match target.idle(edge, quiet) {
        Ok(()) => true,
        Err(error) => {
            log::debug!("telling {} how complete edge {edge} is: {error}", target.name());
            false
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::HOUR_MS;
    use crate::forward::tests::support::{MEASURE, World};

    #[test]
    fn nothing_is_told_of_a_lane_beyond_what_waits_in_it() {
        let world = World::new();
        let forwarder = world.forwarder();
        let told = || world.store.read(|tx| own(tx, "outbox", world.store.now())).unwrap();
        let until = |lane: Lane| told().into_iter().find(|(one, _)| *one == lane).map(|(_, until)| until);
        let visitor = world.visitor("a", MEASURE);
        world.clock.advance(HOUR_MS);
        world.page(visitor);
        let (came, late) = (world.store.now(), world.store.now().plus(HOUR_MS - 2 * MINUTE_MS));
        world.clock.advance(HOUR_MS);
        assert!(until(Lane::Pages).unwrap() <= came, "a row waits to be sealed");
        assert!(until(Lane::Fine).unwrap() > late);
        forwarder.seal_due(true).unwrap();
        assert_eq!(until(Lane::Pages), None, "a batch waits to be put");
        world.round(&forwarder);
        assert!(until(Lane::Pages).unwrap() > late);
    }
}
