//! What was sent and what was acknowledged: the test's own memory, which no fault touches.
//! Must never learn from the database. Invariant: an id is written down before its first byte is sent.

use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// One event.
#[derive(Clone, Debug)]
pub struct Sent {
    /// As it is sent, each time the same.
    pub body: String,
    /// It enters a page.
    pub page: bool,
    /// Its visitor had refused before: it may be counted, never stored.
    pub refused: bool,
    /// It was answered `accepted` or `duplicate`.
    pub acked: bool,
    /// The number it was acknowledged under.
    pub seq: Option<i64>,
}

/// One decision.
#[derive(Clone, Debug)]
pub struct Decided {
    /// As it is sent, each time the same.
    pub body: String,
    /// give, refuse or withdraw.
    pub action: &'static str,
    /// It was answered `recorded` or `duplicate`.
    pub acked: bool,
}

/// All of it.
#[derive(Debug, Default)]
pub struct Entries {
    pub events: HashMap<String, Sent>,
    pub decisions: HashMap<String, Decided>,
    /// Sent, not acknowledged, and to be sent again.
    pub pending_events: Vec<String>,
    pub pending_decisions: Vec<String>,
    /// Visitors whose refusal was acknowledged.
    pub refusers: Vec<String>,
}

/// Shared by the threads of a load.
#[derive(Debug, Default)]
pub struct Book(Mutex<Entries>);

impl Book {
    pub fn open(&self) -> MutexGuard<'_, Entries> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Entries {
    /// Acknowledged events.
    pub fn acked(&self) -> usize {
        self.events.values().filter(|sent| sent.acked).count()
    }

    /// Takes the result of one event. `Err` says what must never be answered.
    pub fn take(&mut self, id: &str, result: &serde_json::Value) -> Result<(), String> {
        let sent = self.events.get_mut(id).ok_or_else(|| format!("an answer for {id}, which was never sent"))?;
        let word = result["outcome"].as_str().unwrap_or_default();
        let seq = result["seq"].as_i64();
        match (word, sent.refused) {
            ("counted", true) => Ok(()),
            ("accepted", false) if sent.acked => Err(format!("{id} was acknowledged, and is accepted again: {result}")),
            ("accepted" | "duplicate", false) => {
                if sent.seq.is_some() && seq.is_some() && sent.seq != seq {
                    return Err(format!("{id} had the number {:?} and now has {seq:?}", sent.seq));
                }
                sent.acked = true;
                sent.seq = sent.seq.or(seq);
                Ok(())
            }
            _ => Err(format!("{id} (refused: {}) is answered {result}; it was {}", sent.refused, sent.body)),
        }
    }

    /// What was not acknowledged is sent again.
    pub fn turn_page(&mut self) {
        let open = self.events.iter().filter(|(_, sent)| !sent.acked && !sent.refused);
        self.pending_events = open.map(|(id, _)| id.clone()).collect();
        let open = self.decisions.iter().filter(|(_, decided)| !decided.acked);
        self.pending_decisions = open.map(|(id, _)| id.clone()).collect();
    }
}
