//! How complete each edge is, and whether every branch has told everything of a day.
//! Must never count what is not on the disk. Invariant: an edge counts as complete when each of its lanes does.

use crate::base::error::Result;
use crate::base::id::EdgeId;
use crate::base::time::Millis;
use crate::domain::event::Lane;
use crate::domain::relay::EdgeState;
use crate::forward::relay::Relay;
use crate::forward::relay::clash::{self, Pair};
use crate::store::completeness::{self, Complete};
use crate::store::known_edges::{self, KnownEdge};
use crate::store::vouches;
pub use crate::store::vouches::Vouched;

/// An edge with all that is known of it.
#[derive(Clone, Debug)]
pub struct Seen {
    /// The edge.
    pub edge: KnownEdge,
    /// How complete its lanes are.
    pub lanes: Vec<Complete>,
    /// Pairs of batches that want one place.
    pub pairs: Vec<Pair>,
    /// What relays say of it.
    pub vouches: Vec<Vouched>,
}

impl Seen {
    /// Until when everything of it has come; `None` where nothing has.
    pub fn until(&self) -> Option<Millis> {
        self.lanes.iter().map(|lane| lane.until).min()
    }

    /// Batches of it that are missing between others.
    pub fn gaps(&self) -> i64 {
        self.lanes.iter().map(|lane| lane.gap_count).sum()
    }
}

/// How many edges are complete until a time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// Edges of which everything has come.
    pub complete: usize,
    /// Edges that are expected to send.
    pub edges: usize,
    /// Those that lack something: who, and until when they are complete.
    pub lacking: Vec<(EdgeId, String, Option<Millis>)>,
}

/// What an idle edge says of a lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Idle {
    /// The lane.
    pub lane: Lane,
    /// No row of it received there before this is unsent.
    pub until: Millis,
}

impl Relay {
    /// Every edge, by name. Errors: `Storage`.
    pub fn edges(&self) -> Result<Vec<Seen>> {
        self.store.read(|tx| {
            let all = completeness::list(tx)?;
            known_edges::list(tx)?
                .into_iter()
                .map(|edge| {
                    let lanes = all.iter().filter(|lane| lane.edge == edge.edge).copied().collect();
                    Ok(Seen {
                        pairs: clash::pairs(tx, edge.edge)?,
                        vouches: vouches::of_edge(tx, edge.edge)?,
                        lanes,
                        edge,
                    })
                })
                .collect()
        })
    }

    /// How many of the edges that are expected to send have sent everything received there before `until`.
    /// Errors: `Storage`.
    pub fn complete_until(&self, until: Millis) -> Result<Day> {
        let mut out = Day { complete: 0, edges: 0, lacking: Vec::new() };
        for seen in self.edges()?.into_iter().filter(|seen| seen.edge.state == EdgeState::Approved) {
            out.edges += 1;
            if seen.until().is_some_and(|told| told >= until) && seen.gaps() == 0 {
                out.complete += 1;
            } else {
                out.lacking.push((seen.edge.edge, seen.edge.label.clone(), seen.until()));
            }
        }
        Ok(out)
    }

    /// Notes that an edge with nothing to send is complete: it says so when it asks how far it was received.
    /// Errors: `Denied`, `Busy`, `Storage`.
    pub fn idle(&self, edge: EdgeId, by: Option<EdgeId>, said: Vec<Idle>) -> Result<()> {
        self.admitted(edge, by)?;
        self.store.pen().call(move |tx| {
            let all = completeness::list(tx)?;
            for Idle { lane, until } in &said {
                let before = all.iter().find(|one| one.edge == edge && one.lane == *lane);
                let gap_count = before.map_or(0, |one| one.gap_count);
                // a clock that is ahead there tells nothing of what is to come
                let (lane, until, told) = (*lane, (*until).min(tx.now()), tx.now());
                completeness::put(tx, &Complete { edge, lane, until, backlog_rows: 0, gap_count, told })?;
            }
            known_edges::seen(tx, edge, tx.now())
        })
    }
}
