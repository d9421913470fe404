//! Where an event belongs: the visit windows of contract 3. Pure; must never merge or split a visit.
//! Invariant: an event joins the nearest window that contains it, or opens a visit of its own.

use crate::base::id::ClientId;
use crate::base::time::Millis;
use crate::domain::visit::{EndReason, Visit, VisitOptions};

/// One visit as placing an event sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Window {
    /// First activity, corrected time.
    pub start: Millis,
    /// Last activity, corrected time.
    pub last_active: Millis,
    /// The client's own id of the visit.
    pub named: Option<ClientId>,
    /// End and reason, once ended.
    pub end: Option<(Millis, EndReason)>,
    /// Campaign or referrer source it began with, as a hash; 0 = none.
    pub source: i64,
    /// False where nothing may join: an earlier epoch, or withdrawn.
    pub open_to_joins: bool,
}

/// One event as placing sees it.
#[derive(Clone, Copy, Debug)]
pub struct Arrival<'a> {
    /// Corrected time.
    pub at: Millis,
    /// The visit the client named.
    pub named: Option<&'a ClientId>,
    /// Its campaign or external referrer source, as a hash; 0 = none.
    pub source: i64,
}

/// Where an event belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Placement {
    /// In the window of this index.
    Join(usize),
    /// In a visit of its own; the window of this index, if any, ends now because of a new source.
    Open {
        /// The window a new source ends.
        ends: Option<usize>,
    },
}

impl Window {
    /// The window of a stored visit; `open_to_joins` is the caller's knowledge of epoch and floors.
    pub fn of(visit: &Visit, open_to_joins: bool) -> Self {
        Window {
            start: visit.started,
            last_active: visit.last_active,
            named: visit.client_visit.clone(),
            end: visit.end,
            source: visit.source,
            open_to_joins,
        }
    }
}

/// Places an event among a visitor's visits.
pub fn place(windows: &[Window], event: &Arrival<'_>, options: &VisitOptions) -> Placement {
    let reach = options.window_ms();
    let nearest = windows
        .iter()
        .enumerate()
        .filter(|(_, w)| w.open_to_joins && !closed_for(w, event.at) && within_its_day(w, event.at, options))
        .filter(|(_, w)| match event.named {
            Some(name) => w.named.as_ref() == Some(name),
            None => event.at > w.start.plus(-reach) && event.at < w.last_active.plus(reach),
        })
        .min_by_key(|(_, w)| (distance(w, event.at), w.start));
    match nearest {
        None => Placement::Open { ends: None },
        Some((i, _)) if event.named.is_some() => Placement::Join(i),
        Some((i, w)) if new_source(w, event) => Placement::Open { ends: w.end.is_none().then_some(i) },
        Some((i, _)) => Placement::Join(i),
    }
}

/// Is the window's end final for something that happened at `at`?
fn closed_for(w: &Window, at: Millis) -> bool {
    match w.end {
        Some((end, EndReason::NewSource)) => at >= end,
        Some((end, reason)) => reason.closes() && at > end,
        None => false,
    }
}

/// A visit that the client named spans less than its day, whoever joins it.
fn within_its_day(w: &Window, at: Millis, options: &VisitOptions) -> bool {
    w.named.is_none() || (at.since(w.start) < options.named_ms() && w.last_active.since(at) < options.named_ms())
}

/// An event in order with a source other than the visit's own.
fn new_source(w: &Window, event: &Arrival<'_>) -> bool {
    event.source != 0 && event.source != w.source && event.at >= w.last_active
}

/// From the stretch a visit is known to have lasted: up to its signal or the next source, where one ended it.
fn distance(w: &Window, at: Millis) -> i64 {
    use EndReason::{BrowserClosed, LeftSite, NewSource, NextPerson};
    let upto = match w.end {
        Some((end, BrowserClosed | LeftSite | NewSource | NextPerson)) => end.max(w.last_active),
        _ => w.last_active,
    };
    if at < w.start { w.start.since(at) } else { at.since(upto).max(0) }
}

#[cfg(test)]
mod tests;
