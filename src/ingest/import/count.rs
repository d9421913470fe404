//! Counts visitors and visits where the store does not tell, by the windows of contract 3 and nothing else.
//! Must never outlive a run. Invariant: it holds ids of this run's key only; its size grows with the visitors of a run.

use std::collections::HashMap;

use super::Began;
use crate::base::id::ClientId;
use crate::base::time::Millis;
use crate::domain::placement::{Arrival, Placement, Window, place};
use crate::domain::visit::VisitOptions;

/// The visitors of a run and the windows of their visits.
#[derive(Default)]
pub(super) struct Visitors {
    windows: HashMap<ClientId, Vec<Window>>,
    options: VisitOptions,
}

impl Visitors {
    /// A page view of a visitor, in the order of the log; tells what it began.
    pub(super) fn meet(&mut self, visitor: ClientId, at: Millis) -> Began {
        let windows = self.windows.entry(visitor).or_default();
        let visitor = windows.is_empty();
        match place(windows, &Arrival { at, named: None, source: 0 }, &self.options) {
            Placement::Join(home) => {
                windows[home].start = windows[home].start.min(at);
                windows[home].last_active = windows[home].last_active.max(at);
                Began { visitor, visit: false }
            }
            Placement::Open { .. } => {
                windows.push(Window {
                    start: at,
                    last_active: at,
                    named: None,
                    end: None,
                    source: 0,
                    open_to_joins: true,
                });
                Began { visitor, visit: true }
            }
        }
    }
}
