//! Carrying requests out. A copy and a correction are made here, in several transactions; erasure, restriction and objection are
//! handed in and done, or begun, in the one transaction that writes it down. Must never run a request nobody verified.
//! Invariant: whatever a crash cuts off can be run again: a copy by itself at the next start, a correction by whoever knows the
//! right values, which are kept nowhere.

use serde_json::json;

use crate::base::digest::sha256;
use crate::base::error::{Error, Result};
use crate::base::id::{uuid_bytes, uuid_text};
use crate::base::time::DAY_MS;
use crate::domain::request::{Kind, Level, State};
use crate::domain::token::Caller;
use crate::store::requests::{self, Person, RequestRow};
use crate::store::{WriteTx, audit};
use crate::subject::rectify::Term;
use crate::subject::results::Form;
use crate::subject::view::RequestView;
use crate::subject::{Asked, Done, Hook, Subject, access, note, page, rectify, results, scope};

/// Who stands in the audit for what the program does by itself.
const BY_ITSELF: &str = "system";

impl Subject {
    /// Carries a request out, or begins to: an erasure goes on by itself, and the request stays `running` until it is done.
    /// `verified` = how the operator verified who asks, where that is not written down yet; `terms` = what is to be corrected.
    /// Errors: `Conflict` where its state forbids it, or nothing here can carry it out (it stays open); those of the work.
    pub fn run(&self, id: &[u8; 16], verified: Option<&str>, terms: &[Term], caller: &Caller) -> Result<RequestView> {
        let row = self.row(id)?;
        if row.kind == Kind::Erase && row.state == State::Running {
            return self.show(id); // it was begun
        }
        let hook = self.possible(&row, terms)?.cloned();
        let words = verified.map(note).transpose()?.map(str::to_owned);
        if let Some(hook) = hook {
            return self.hand_over(id, hook, words, caller);
        }
        self.change(id, caller, "request_run", words.clone().as_deref(), move |row, _| start(row, words.as_ref()))?;
        let row = self.row(id)?;
        match self.carry_out(&row, terms) {
            Ok((done, expires)) => self.answered(id, &caller.who(), done, expires)?,
            Err(error) => {
                self.change(id, caller, "request_failed", Some(error.code), |row, _| {
                    row.state = State::Verified; // what failed is tried again
                    Ok(())
                })?;
                return Err(error);
            }
        }
        self.show(id)
    }

    /// Asks, and has it carried out. Whoever asks again, also after a crash between the two, goes on with the request there is: one
    /// of the same kind and way about the same people, known as well. Errors: those of [`Subject::register`] and [`Subject::run`].
    pub fn ask(&self, asked: &Asked, caller: &Caller) -> Result<RequestView> {
        let mut people = asked.people.clone();
        people.sort_unstable();
        let level = asked.known.as_ref().map(|(level, _)| *level);
        let open = self.store.read(|tx| {
            let Some(first) = people.first() else { return Ok(None) };
            for row in requests::open_of(tx, *first, asked.kind)? {
                let mut of = requests::people(tx, &row.id)?;
                of.sort_unstable();
                if (row.channel, row.level) == (asked.channel, level) && of == people {
                    return Ok(Some(row));
                }
            }
            Ok(None)
        })?;
        let view = match open {
            Some(row) => self.show(&row.id)?,
            None => self.register(asked, caller)?,
        };
        if view.state != State::Verified.word() {
            return Ok(view);
        }
        let id = uuid_bytes(&view.id).ok_or_else(|| Error::storage("a request has no number"))?;
        self.run(&id, None, &[], caller)
    }

    /// Done by somebody else in one transaction: either all of it is written down, or nothing.
    fn hand_over(&self, id: &[u8; 16], hook: Hook, words: Option<String>, caller: &Caller) -> Result<RequestView> {
        let who = caller.who();
        self.change(id, caller, "request_run", words.clone().as_deref(), move |row, tx| {
            start(row, words.as_ref())?;
            let people = requests::people(tx, &row.id)?;
            let done = hook(tx, row, &people)?;
            if !done.begun {
                answer(tx, row, &who, done, None)?;
            }
            Ok(())
        })?;
        self.show(id)
    }

    /// What was running when the last process ended: a copy is made anew, a correction waits to be run again, with a line in
    /// the audit. Erasures go on by themselves. Errors: `Busy`, `Storage`; a copy that fails waits to be run again.
    pub fn resume(&self) -> Result<()> {
        for row in self.store.read(requests::running)? {
            let again = match row.kind {
                Kind::Erase => continue,
                Kind::Access | Kind::Portability => self.carry_out(&row, &[]),
                _ => Err(Error::conflict("what is right is kept nowhere").code("interrupted")),
            };
            let id = row.id;
            match again {
                Ok((done, expires)) => self.answered(&id, BY_ITSELF, done, expires)?,
                Err(error) => self.store.pen().call(move |tx| {
                    requests::update(tx, &RequestRow { state: State::Verified, ..row.clone() })?;
                    audit::insert(tx, BY_ITSELF, "request_interrupted", Some(&uuid_text(&row.id)), Some(error.code))
                })?,
            }
        }
        Ok(())
    }

    fn answered(&self, id: &[u8; 16], who: &str, done: Done, expires: Option<u32>) -> Result<()> {
        let (id, who) = (*id, who.to_owned());
        self.store.pen().call(move |tx| {
            let mut row = requests::get(tx, &id)?.ok_or_else(|| Error::not_found("the request is gone"))?;
            answer(tx, &mut row, &who, done.clone(), expires)?;
            requests::update(tx, &row)
        })
    }

    /// Can this be carried out at all, as it stands? With what was handed in for it, where that is not done here.
    fn possible(&self, row: &RequestRow, terms: &[Term]) -> Result<Option<&Hook>> {
        let hook = match row.kind {
            Kind::Erase => &self.hooks.erase,
            Kind::Restrict => &self.hooks.restrict,
            Kind::Object => &self.hooks.object,
            Kind::Rectify if terms.is_empty() => {
                return Err(Error::invalid("nothing is named to be corrected")
                    .code("no_terms")
                    .remedy("add --replace OLD=NEW, or the value of one field with --set FIELD=OLD=NEW"));
            }
            Kind::Access | Kind::Portability | Kind::Rectify => return Ok(None),
        };
        hook.as_ref().map(Some).ok_or_else(|| {
            Error::conflict(format!("nothing here carries out {}: the request stays open", row.kind.word()))
                .code("not_possible")
                .remedy("carry it out by hand, then: wayside subject close ID --as answered --note \"what was done\"")
        })
    }

    fn carry_out(&self, row: &RequestRow, terms: &[Term]) -> Result<(Done, Option<u32>)> {
        let people = self.store.read(|tx| requests::people(tx, &row.id))?;
        if row.kind != Kind::Rectify {
            return self.copy(row, &people).map(|done| (done, Some(self.about.stay.results_days)));
        }
        let scope = self.store.read(|tx| scope::gather(tx, &people, row.level.unwrap_or(Level::Device)))?;
        let done = rectify::run(&self.store, &scope, terms)?;
        let answer = format!("{} personal fields overwritten, {} events superseded", done.fields, done.events);
        Ok((Done { answer, told: done.told, ..Done::default() }, None))
    }

    /// Makes the files of an access or portability request.
    fn copy(&self, row: &RequestRow, people: &[Person]) -> Result<Done> {
        let level = row.level.unwrap_or(Level::Device);
        let heads = json!({
            "id": uuid_text(&row.id),
            "kind": row.kind.word(),
            "received_at": row.received.rfc3339(),
            "made_at": self.store.now().rfc3339(),
            "known_by": level.word(),
        });
        let (answer, scope) = self.store.read(|tx| {
            let scope = scope::gather(tx, people, level)?;
            let answer = match row.kind {
                Kind::Portability => access::portable(&scope, &self.about, heads.clone()),
                _ => access::answer(tx, &scope, &self.about, heads.clone())?,
            };
            Ok((answer, scope))
        })?;
        let json = serde_json::to_vec_pretty(&answer).expect("invariant: an answer has string keys");
        let dir = self.store.data_dir();
        results::write(dir, &row.id, Form::Json, &json)?;
        if row.kind == Kind::Access {
            results::write(dir, &row.id, Form::Html, page::page(&answer).as_bytes())?;
        }
        let events: usize = scope.visitors.iter().flat_map(|of| &of.visits).map(|visit| visit.events.len()).sum();
        let answer =
            format!("a copy of {} visitors, {events} events; {} visits left out", scope.visitors.len(), scope.left_out);
        Ok(Done { answer, digest: Some(sha256(&json)), ..Done::default() })
    }
}

/// It is being carried out, verified with these words where it was not before.
fn start(row: &mut RequestRow, words: Option<&String>) -> Result<()> {
    if let (State::Received, Some(words)) = (row.state, words) {
        (row.state, row.level, row.verification) = (State::Verified, Some(Level::Operator), Some(words.clone()));
    }
    row.state.goes_to(State::Running)?;
    row.state = State::Running;
    Ok(())
}

/// It is answered; whoever calls writes the row. `days` = how long the files of its result stay.
fn answer(tx: &WriteTx<'_>, row: &mut RequestRow, who: &str, done: Done, days: Option<u32>) -> Result<()> {
    audit::insert(tx, who, "request_answered", Some(&uuid_text(&row.id)), Some(&done.answer))?;
    (row.state, row.closed, row.answer) = (State::Answered, Some(tx.now()), Some(done.answer));
    (row.result_digest, row.told_seq) = (done.digest, done.told);
    row.result_expires = days.map(|days| tx.now().plus(i64::from(days) * DAY_MS));
    Ok(())
}
