//! What an object of a body turns out to be: an event, a decision of its own, or (the outermost only) an envelope of both.
//! Must never look at values, only at which keys were there. Invariant: an object that mixes two of them is refused.

use crate::ingest::wire::{Invalid, Item, RawDecision, RawEvent, Slot, Table, Target, Text};

/// The items of a request, and how many more there were than may be.
#[derive(Debug, Default)]
pub(crate) struct Items<'a> {
    pub list: Vec<std::result::Result<Item<'a>, Invalid>>,
    pub overflow: usize,
}

/// An item while it is read: what it is shows only at its end, and the outermost one may be an envelope.
#[derive(Debug, Default)]
pub(crate) struct RawItem<'a> {
    pub event: Box<RawEvent<'a>>,
    pub decision: RawDecision<'a>,
    /// Does it hold a key that only an event has?
    pub of_event: bool,
    /// The first key that only a decision has.
    pub of_decision: Option<&'static str>,
    /// May it be an envelope?
    pub outermost: bool,
    pub site: Option<Text<'a>>,
    pub items: Option<Items<'a>>,
}

/// Keys that a decision line has and an event has not.
const DECISION_KEYS: [&str; 12] = [
    "action",
    "purposes",
    "method",
    "notice",
    "noticeDigest",
    "language",
    "signalShown",
    "decisionId",
    "pageUrl",
    "bannerDigest",
    "toolRecord",
    "kioskId",
];
/// Keys that both have.
const SHARED_KEYS: [&str; 8] =
    ["visitor", "globalVisitId", "globalVisitID", "customerCookieId", "time", "timestamp", "createdDate", "sentAt"];

impl<'a> Target<'a> for RawItem<'a> {
    fn slot<'e>(&'e mut self, table: Table, key: &str) -> Option<Slot<'e, 'a>> {
        if table == Table::Whole {
            if self.outermost && key == "site" {
                return Some(Slot::Text(&mut self.site));
            }
            if self.outermost && key == "events" {
                return Some(Slot::Items(&mut self.items));
            }
            if let Some(own) = DECISION_KEYS.iter().find(|own| **own == key) {
                self.of_decision.get_or_insert(own);
                return self.decision.slot(table, key);
            }
            if key != "decision" && !SHARED_KEYS.contains(&key) {
                self.of_event = true;
            }
        }
        self.event.slot(table, key)
    }
}

impl<'a> RawItem<'a> {
    /// What it turned out to be. Errors: the first problem noted, or that it is neither event nor decision.
    pub fn finish(self, problem: Option<Invalid>) -> std::result::Result<Item<'a>, Invalid> {
        let RawItem { event, mut decision, of_event, of_decision, .. } = self;
        if let Some(problem) = problem {
            return Err(problem);
        }
        match of_decision {
            None if event.name.is_none() => Err(Invalid::new("name", "is missing")),
            None => Ok(Item::Event(event)),
            Some(_) if !of_event && event.decision.is_none() => {
                let RawEvent { visitor, time, sent_at, .. } = *event;
                (decision.visitor, decision.time, decision.sent_at) = (visitor, time, sent_at);
                Ok(Item::Decision(Box::new(decision)))
            }
            Some(key) => Err(Invalid::new(
                key,
                "is no field of an event: a decision that comes with one stands in \"decision\", one of its own has no name",
            )),
        }
    }
}
