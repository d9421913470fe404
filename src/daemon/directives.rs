//! Composes directives: what carries them out is the register of requests, as if the operator had asked on this machine.
//! Must never decide whether a directive is believed (`forward::directives`), nor who may have what (`subject`).

use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::base::id::uuid_bytes;
use crate::config::Config;
use crate::daemon::rights;
use crate::domain::consent::Action as Decided;
use crate::domain::directive::{Action, Directive, Progress};
use crate::domain::request::{Channel, Kind, Level, State};
use crate::domain::site::Seat;
use crate::domain::token::Caller;
use crate::forward::directives::{Acted, Acts, Directives};
use crate::store::Store;
use crate::subject::people::Named;
use crate::subject::rectify::Term;
use crate::subject::results::Form;
use crate::subject::view::RequestView;
use crate::subject::{Asked, Person, Subject};

/// Directives of this collector. Errors: `Config` (the centre's key).
pub(in crate::daemon) fn directives(
    config: &Config,
    store: &Arc<Store>,
    subject: &Arc<Subject>,
    seats: &[Seat],
) -> Result<Directives> {
    let acts = ByRequests { store: Arc::clone(store), subject: Arc::clone(subject), seats: seats.to_vec() };
    Ok(Directives::new(Arc::clone(store), config.directives.key()?, Box::new(acts)))
}

struct ByRequests {
    store: Arc<Store>,
    subject: Arc<Subject>,
    seats: Vec<Seat>,
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

impl Acts for ByRequests {
    fn act(&self, directive: &Directive) -> Result<Acted> {
        let people = self.people(directive)?;
        if people.is_empty() {
            let what = "nothing is kept here of whom it names".to_owned();
            return Ok(Acted { state: Progress::NothingFound, what, request_id: None, copy: None });
        }
        let kind = match directive.action {
            Action::Withdraw => return self.withdraw(people),
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
