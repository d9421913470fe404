//! Eight clients at once: single events, batches, decisions, refusals, and all of it again.
//! Must never overlook an answer. Invariant: only a kill may cost an answer, and what it cost is sent again.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;

use serde_json::json;

use crate::book::{Book, Decided, Sent};
use crate::client::{Answer, Client};
use crate::support::Dice;

/// Clients of one load.
const CLIENTS: u64 = 8;
/// Events of one batch.
const BATCH: u64 = 20;

/// Numbers of ids: no two of a run are alike.
static NUMBERS: AtomicU64 = AtomicU64::new(1);

/// A load that runs.
pub struct Load {
    killed: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Result<(), String>>>,
}

impl Load {
    /// Begins it.
    pub fn begin(address: SocketAddr, book: &Arc<Book>, turn: u64) -> Load {
        let killed = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS).map(|n| {
            let (book, killed) = (Arc::clone(book), Arc::clone(&killed));
            std::thread::spawn(move || {
                let dice = Dice::new(turn * 1_000 + n);
                Visitor { n, client: Client::of(address), book, dice, mine: Vec::new() }.play(&killed)
            })
        });
        Load { clients: clients.collect(), killed }
    }

    /// From now on an answer may be missing: the daemon is about to be killed.
    pub fn expect_the_end(&self) {
        self.killed.store(true, Ordering::SeqCst);
    }

    /// Waits for the clients. Panics with what was answered wrongly.
    #[track_caller]
    pub fn end(self) {
        self.expect_the_end();
        let said: Vec<_> = self.clients.into_iter().map(|client| client.join()).collect();
        let wrong: Vec<String> = said.into_iter().filter_map(|end| end.unwrap().err()).collect();
        assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    }
}

/// Sends again whatever was never acknowledged, until all of it is.
#[track_caller]
pub fn settle(address: SocketAddr, book: &Arc<Book>) {
    let mut last = Visitor {
        n: CLIENTS,
        client: Client::of(address),
        book: Arc::clone(book),
        dice: Dice::new(0),
        mine: Vec::new(),
    };
    book.open().turn_page();
    loop {
        match last.pending() {
            Ok(()) => {}
            Err(End::Wrong(why) | End::Silence(why)) => panic!("{why}"),
        }
        let entries = book.open();
        if entries.pending_events.is_empty() && entries.pending_decisions.is_empty() {
            return;
        }
    }
}

/// Why a client ends.
enum End {
    /// No answer came.
    Silence(String),
    /// An answer that must not be.
    Wrong(String),
}

type Step = Result<(), End>;

struct Visitor {
    n: u64,
    client: Client,
    book: Arc<Book>,
    dice: Dice,
    /// Acknowledged events of this client, to be sent again.
    mine: Vec<String>,
}

impl Visitor {
    fn play(mut self, killed: &AtomicBool) -> Result<(), String> {
        loop {
            match self.step() {
                Ok(()) if killed.load(Ordering::SeqCst) => return Ok(()),
                Ok(()) => {}
                Err(End::Silence(_)) if killed.load(Ordering::SeqCst) => return Ok(()),
                Err(End::Silence(why)) => return Err(format!("no answer, though the daemon lives: {why}")),
                Err(End::Wrong(what)) => return Err(what),
            }
        }
    }

    fn step(&mut self) -> Step {
        match self.dice.below(10) {
            0..=3 => {
                let id = self.write_down(None);
                self.send_events(&[id])
            }
            4..=5 => {
                let ids: Vec<String> = (0..BATCH).map(|_| self.write_down(None)).collect();
                self.send_events(&ids)
            }
            6 => self.again(),
            7 => self.pending(),
            8 => self.give(),
            _ => self.refuse(),
        }
    }

    fn number(&self) -> u64 {
        NUMBERS.fetch_add(1, Ordering::Relaxed)
    }

    /// A fresh id: a UUIDv7, or a text of the client's own.
    fn id(&mut self) -> String {
        let number = self.number();
        match self.dice.below(2) {
            0 => format!("018f{:04x}-{:04x}-7000-8000-{number:012x}", self.n, self.dice.below(0x1_0000)),
            _ => format!("event-{number}"),
        }
    }

    /// Invents an event; of nobody special, or of one who has refused.
    fn write_down(&mut self, refuser: Option<&str>) -> String {
        let id = self.id();
        let page = self.dice.below(3) > 0;
        let visitor = match (refuser, self.dice.below(10)) {
            (Some(visitor), _) => visitor.to_owned(),
            (None, 0) => format!("new-{}", self.number()),
            (None, 1..=3) => format!("shared-{}", self.dice.below(10)),
            (None, _) => format!("own-{}-{}", self.n, self.dice.below(20)),
        };
        let n = self.dice.below(50);
        let event = if page {
            json!({"visitor": visitor, "name": "page_viewed", "eventId": id, "url": format!("https://shop.example/p/{n}"), "title": "A page"})
        } else {
            json!({"visitor": visitor, "name": "button_clicked", "eventId": id, "attributes": {"which": n.to_string()}})
        };
        let sent = Sent { body: event.to_string(), page, refused: refuser.is_some(), acked: false, seq: None };
        self.book.open().events.insert(id.clone(), sent);
        id
    }

    fn send_events(&mut self, ids: &[String]) -> Step {
        let bodies: Vec<String> = {
            let entries = self.book.open();
            ids.iter().map(|id| entries.events[id].body.clone()).collect()
        };
        let body = if bodies.len() == 1 { bodies[0].clone() } else { format!("[{}]", bodies.join(",")) };
        let answer = self.post("/v1/events", &body)?;
        if answer.status == 503 {
            return Ok(()); // busy: nothing was acknowledged, it stays pending
        }
        if answer.status != 200 {
            return Err(End::Wrong(format!("{answer:?} to {body}")));
        }
        let results = answer.results();
        if results.len() != ids.len() {
            return Err(End::Wrong(format!("{} results to {} events: {answer:?}", results.len(), ids.len())));
        }
        let mut entries = self.book.open();
        for (id, result) in ids.iter().zip(&results) {
            entries.take(id, result).map_err(End::Wrong)?;
            if entries.events[id].acked {
                self.mine.push(id.clone());
            }
        }
        Ok(())
    }

    /// What was acknowledged, sent again: it must be known, under its number.
    fn again(&mut self) -> Step {
        if self.mine.is_empty() {
            return Ok(());
        }
        let most = self.mine.len() as u64;
        let ids: Vec<String> = (0..5).map(|_| self.mine[self.dice.below(most) as usize].clone()).collect();
        self.send_events(&ids)
    }

    /// What an earlier kill left unanswered.
    fn pending(&mut self) -> Step {
        let (events, decision) = {
            let mut entries = self.book.open();
            let keep = entries.pending_events.len().saturating_sub(BATCH as usize);
            (entries.pending_events.split_off(keep), entries.pending_decisions.pop())
        };
        if !events.is_empty() {
            self.send_events(&events)?;
        }
        decision.map_or(Ok(()), |id| self.decide(&id).map(drop))
    }

    /// A new visitor consents, and may take something back.
    fn give(&mut self) -> Step {
        let visitor = format!("giver-{}", self.number());
        let id = self.note_decision("give", &visitor, &["measure", "share"], None);
        let token = self.decide(&id)?;
        if self.dice.below(2) == 0 {
            let purpose = ["share", "measure"][self.dice.below(2) as usize];
            let id = self.note_decision("withdraw", &visitor, &[purpose], token);
            self.decide(&id)?;
        }
        Ok(())
    }

    /// A new visitor refuses, or one of before comes back: nothing of what follows may be stored.
    fn refuse(&mut self) -> Step {
        let back = {
            let entries = self.book.open();
            let most = entries.refusers.len() as u64;
            (most > 0 && self.dice.below(2) == 0).then(|| entries.refusers[self.dice.below(most) as usize].clone())
        };
        let visitor = match back {
            Some(visitor) => visitor,
            None => {
                let visitor = format!("refuser-{}", self.number());
                let id = self.note_decision("refuse", &visitor, &["measure"], None);
                self.decide(&id)?;
                self.book.open().refusers.push(visitor.clone());
                visitor
            }
        };
        let event = self.write_down(Some(&visitor));
        self.send_events(&[event])
    }

    fn note_decision(&self, action: &'static str, visitor: &str, purposes: &[&str], token: Option<String>) -> String {
        let id = format!("decision-{}", self.number());
        let mut body = json!({"visitor": visitor, "action": action, "purposes": purposes, "decisionId": id});
        if let Some(token) = token {
            body["visitorToken"] = token.into();
        }
        let decided = Decided { body: body.to_string(), action, acked: false };
        self.book.open().decisions.insert(id.clone(), decided);
        id
    }

    /// Sends a decision; returns the visitor's token.
    fn decide(&mut self, id: &str) -> Result<Option<String>, End> {
        let (body, acked) = {
            let entries = self.book.open();
            (entries.decisions[id].body.clone(), entries.decisions[id].acked)
        };
        let answer = self.post("/v1/consent", &body)?;
        let told = answer.json();
        match (answer.status, told["outcome"].as_str()) {
            (200, Some("recorded")) if acked => Err(End::Wrong(format!("{id} was acknowledged and is new again"))),
            (200, Some("recorded" | "duplicate")) => {
                if let Some(decided) = self.book.open().decisions.get_mut(id) {
                    decided.acked = true;
                }
                Ok(told["visitorToken"].as_str().map(str::to_owned))
            }
            _ => Err(End::Wrong(format!("{answer:?} to {body}"))),
        }
    }

    fn post(&mut self, target: &str, body: &str) -> Result<Answer, End> {
        self.client.post(target, body).map_err(|e| End::Silence(format!("{e} to {body:.200}")))
    }
}
