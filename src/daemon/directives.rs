//! Composes directives: what carries them out is the register of requests, as if the operator had asked on this machine.
//! Must never decide whether a directive is believed (`forward::directives`), nor who may have what (`subject`).

use std::sync::{Arc, Weak};

use crate::base::error::{Error, Result};
use crate::base::id::uuid_bytes;
use crate::config::Config;
use crate::daemon::{Care, rights};
use crate::domain::consent::Action as Decided;
use crate::domain::directive::{Action, Directive, Progress};
use crate::domain::request::{Channel, Kind, Level, State};
use crate::domain::site::Seat;
use crate::domain::token::Caller;
use crate::forward::Forwarder;
use crate::forward::directives::ask::Talk;
use crate::forward::directives::downstream::Downstream;
use crate::forward::directives::{Acted, Acts, Directives};
use crate::store::Store;
use crate::subject::people::Named;
use crate::subject::rectify::Term;
use crate::subject::results::Form;
use crate::subject::view::RequestView;
use crate::subject::{Asked, Person, Subject};

/// Directives of this collector, and those it keeps for edges below; forwarding asks for more. Errors: `Config` (the centre's key).
pub(in crate::daemon) fn talking(
    config: &Config,
    store: &Arc<Store>,
    subject: &Arc<Subject>,
    care: &Care,
    seats: &[Seat],
) -> Result<(Arc<Directives>, Arc<Downstream>)> {
    let forwarder = Arc::downgrade(care.forwarder());
    let acts = ByRequests { store: Arc::clone(store), subject: Arc::clone(subject), seats: seats.to_vec(), forwarder };
    let centre = config.directives.key()?;
    let directives = Arc::new(Directives::new(Arc::clone(store), centre, Box::new(acts)));
    let downstream = Arc::new(Downstream::new(Arc::clone(store), Arc::clone(care.relay()), centre));
    let talk = Talk::new(Arc::clone(&directives), Arc::clone(&downstream), config.directives.ask_seconds);
    care.forwarder().talk(talk);
    Ok((directives, downstream))
}

struct ByRequests {
    store: Arc<Store>,
    subject: Arc<Subject>,
    seats: Vec<Seat>,
    /// Weak: forwarding asks for directives, and holds who carries them out.
    forwarder: Weak<Forwarder>,
}

impl ByRequests {
    /// Whom it names, as far as they are known here.
    fn people(&self, directive: &Directive) -> Result<Vec<Person>> {
        let (site, visitor, identity) =
            (directive.site.clone(), directive.visitor_ref.clone(), directive.identity.clone());
        match self.subject.find(&Named { site, visitor, identity, values: Vec::new() }) {
            Err(error) if error.code == "unknown_site" => Ok(Vec::new()), // another branch's
            found => found,
        }
    }

    fn withdraw(&self, people: Vec<Person>) -> Result<Acted> {
        let seats = self.seats.clone();
        let done = self
            .store
            .pen()
            .call(move |tx| rights::decide(tx, &seats, Decided::Withdraw, (&people, Some(Level::Operator))))?;
        Ok(Acted { state: Progress::Done, what: done.answer, request_id: None, copy: None })
    }

    fn ask(&self, kind: Kind, people: Vec<Person>, directive: &Directive) -> Result<RequestView> {
        let known = Some((Level::Operator, format!("directive {} of the centre, signed", directive.id)));
        let asked = Asked { kind, channel: Channel::Operator, known, people };
        if kind != Kind::Rectify {
            return self.subject.ask(&asked, &Caller::Operator);
        }
        let view = self.subject.register(&asked, &Caller::Operator)?;
        let term = |c: &crate::domain::directive::Correction| Term {
            by: None,
            field: c.field.clone(),
            existing: c.existing.clone(),
            updated: c.updated.clone(),
        };
        let terms: Vec<Term> = directive.corrections.iter().map(term).collect();
        self.subject.run(&number(&view)?, None, &terms, &Caller::Operator)
    }
}

impl ByRequests {
    /// Begins a new epoch, if this is the database that is meant: the one that sealed that batch.
    fn renew(&self, directive: &Directive) -> Result<Acted> {
        let named = directive.renew.as_ref().ok_or_else(|| Error::invalid("it names no batch"))?;
        let forwarder = self.forwarder.upgrade().ok_or_else(|| Error::busy("stopping"))?;
        let acted = |state, what| Acted { state, what, request_id: None, copy: None };
        if !forwarder.has_sealed(named)? {
            return Ok(acted(Progress::NothingFound, "another database of this edge is meant".to_owned()));
        }
        let voided = match forwarder.give_way(None) {
            Err(error) if error.code == "no_fork" => {
                // what the other side refuses shows only once it was met again, and tells what both have
                forwarder.meet_anew();
                return Err(Error::busy("the receiver has not refused anything of this database yet"));
            }
            voided => voided?,
        };
        let what = format!("epoch {} goes on, {} batches go out afresh", voided.epoch, voided.batches.len());
        Ok(acted(Progress::Done, what))
    }
}

impl Acts for ByRequests {
    fn act(&self, directive: &Directive) -> Result<Acted> {
        if directive.action == Action::Renew {
            return self.renew(directive); // names nobody
        }
        let people = self.people(directive)?;
        if people.is_empty() {
            let what = "nothing is kept here of whom it names".to_owned();
            return Ok(Acted { state: Progress::NothingFound, what, request_id: None, copy: None });
        }
        let kind = match directive.action {
            Action::Withdraw => return self.withdraw(people),
            Action::Renew => return self.renew(directive),
            Action::Erase => Kind::Erase,
            Action::Restrict => Kind::Restrict,
            Action::Object => Kind::Object,
            Action::Rectify => Kind::Rectify,
            Action::Access => {
                // before anything is put into the register: without a key nobody could be answered
                crate::base::age::Recipient::parse(directive.reply_to.as_deref().unwrap_or_default())?;
                Kind::Access
            }
        };
        let view = self.ask(kind, people, directive)?;
        let id = number(&view)?;
        let copy =
            (kind == Kind::Access).then(|| self.subject.result(&id, Form::Json, &Caller::Operator)).transpose()?;
        let (state, what) = progress(&view);
        Ok(Acted { state, what, request_id: Some(id), copy })
    }

    fn look(&self, request_id: &[u8; 16]) -> Result<Option<(Progress, String)>> {
        match self.subject.show(request_id) {
            Ok(view) => Ok(Some(progress(&view))),
            Err(error) if error.code == "no_request" => Ok(None), // gone by age
            Err(error) => Err(error),
        }
    }
}

fn number(view: &RequestView) -> Result<[u8; 16]> {
    uuid_bytes(&view.id).ok_or_else(|| Error::storage("a request has no number"))
}

fn progress(view: &RequestView) -> (Progress, String) {
    let what = view.answer.clone().unwrap_or_default();
    match State::parse(view.state) {
        Some(State::Answered) => (Progress::Done, what),
        Some(State::Refused | State::Unidentifiable) => (Progress::Refused, what),
        _ => (Progress::Waiting, format!("{}, due {}", view.state, view.due_at)),
    }
}
