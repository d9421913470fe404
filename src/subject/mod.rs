//! Floor 3: requests of data subjects. The register, and carrying out what a person asks for.
//! Must never tell one person of another, nor keep what somebody was looked for by. What erases and restricts is handed in.
//!
//! | file | owns |
//! |---|---|
//! | `carry` | carrying a request out, each kind in its own way; going on after a crash |
//! | `people` | from what was named to the rows of people |
//! | `scope` | every row of a person, and of nobody else on the same device |
//! | `circumstances` | what Art. 15 wants said besides the data |
//! | `access`, `page` | the copy, as JSON and for reading; what is portable |
//! | `rectify` | correction in place, and in lines |
//! | `results` | the files of answers |
//! | `assertion` | what the host site says of who is signed in |
//! | `view` | how a request is shown |
//!
//! Invariant: a request is run only once who asks was verified, and each step is in the audit.

use std::sync::Arc;

use serde_json::{Value, json};

use crate::base::digest::Hash;
use crate::base::error::{Error, Result};
use crate::base::id::{ClientId, Seq, mint_uuid, uuid_text};
use crate::base::time::DAY_MS;
use crate::domain::request::{self, Channel, Kind, Level, State};
use crate::domain::site::Seat;
use crate::domain::token::Caller;
use crate::domain::visitor;
pub use crate::store::requests::Person;
pub use crate::store::requests::Wanted as RequestsWanted;
use crate::store::requests::{self, RequestRow, Wanted};
use crate::store::{Store, WriteTx, audit, visitors};

pub mod access;
pub mod assertion;
mod carry;
pub mod circumstances;
pub mod options;
pub mod page;
pub mod people;
pub mod rectify;
pub mod results;
pub mod scope;
pub mod view;

use self::assertion::Assertions;
use self::circumstances::Circumstances;
use self::options::SubjectOptions;
use self::people::Named;
use self::results::Form;
use self::view::RequestView;

/// Longest reason or note, bytes.
const NOTE_BYTES_MAX: usize = 1_000;

/// The rows of who is meant.
pub type People = Vec<Person>;

/// What a hook that was handed in has done.
#[derive(Clone, Debug, Default)]
pub struct Done {
    /// In words and numbers, without personal values.
    pub answer: String,
    /// The newest line that tells targets.
    pub told: Option<Seq>,
    /// SHA-256 of a result, where there is one.
    pub digest: Option<Hash>,
    /// It was begun only: whoever finishes it answers the request.
    pub begun: bool,
}

/// Carries out one kind of request for these people, or begins to, in the transaction that writes it down. It must not hold the
/// store: the pen may be the last to let go of it.
pub type Hook = Arc<dyn Fn(&WriteTx<'_>, &RequestRow, &[Person]) -> Result<Done> + Send + Sync>;

/// What other folders do for a request; without a hook such a request waits in the register.
#[derive(Clone, Default)]
pub struct Hooks {
    /// Erases.
    pub erase: Option<Hook>,
    /// Restricts.
    pub restrict: Option<Hook>,
    /// Ends what rests on an interest.
    pub object: Option<Hook>,
}

/// A request as it comes.
#[derive(Clone, Debug)]
pub struct Asked {
    /// What is asked for.
    pub kind: Kind,
    /// Which way it came.
    pub channel: Channel,
    /// How who asks is known, and the operator's words for it; `None` = not verified yet.
    pub known: Option<(Level, String)>,
    /// Whose rows.
    pub people: Vec<Person>,
}

/// Where requests are taken and carried out.
pub struct Subject {
    store: Arc<Store>,
    about: Circumstances,
    assertions: Option<Assertions>,
    hooks: Hooks,
}

impl Subject {
    /// Errors: `Config` (the key of assertions).
    pub fn open(store: Arc<Store>, about: Circumstances, options: &SubjectOptions, hooks: Hooks) -> Result<Self> {
        let assertions = options.assertion_key_file.as_deref().map(|file| Assertions::open(file, store.now()));
        Ok(Subject { assertions: assertions.transpose()?, store, about, hooks })
    }

    /// The rows of who is meant. Errors: `Invalid` where nobody is named, or an unknown site is.
    pub fn find(&self, named: &Named) -> Result<Vec<Person>> {
        if named.visitor.is_none() && named.identity.is_none() && named.values.is_empty() {
            return Err(Error::invalid("the request names nobody")
                .code("nobody_named")
                .remedy("name a visitor, an identity, or a value they told"));
        }
        if let Some(site) = &named.site
            && !self.about.seats.iter().any(|seat| seat.site.answers_to(site))
        {
            return Err(Error::invalid(format!("unknown site {:?}", crate::base::text::cut(site, 64)))
                .code("unknown_site")
                .remedy("name a configured site, or none"));
        }
        self.store.read(|tx| people::find(tx, &self.about.seats, named))
    }

    /// Writes a request into the register. Errors: `Invalid` (a note too long), `Busy`, `Storage`.
    pub fn register(&self, asked: &Asked, caller: &Caller) -> Result<RequestView> {
        let now = self.store.now();
        if let Some((_, words)) = &asked.known {
            note(words)?;
        }
        let row = RequestRow {
            id: mint_uuid(now),
            kind: asked.kind,
            state: if asked.known.is_some() { State::Verified } else { State::Received },
            level: asked.known.as_ref().map(|(level, _)| *level),
            channel: asked.channel,
            opened_by: caller.who(),
            received: now,
            due: request::due(now),
            extension: None,
            verification: asked.known.as_ref().map(|(_, words)| words.clone()),
            closed: None,
            answer: None,
            result_digest: None,
            result_expires: None,
            told_seq: None,
        };
        let (kept, people, who) = (row.clone(), asked.people.clone(), caller.who());
        self.store.pen().call(move |tx| {
            requests::insert(tx, &kept, &people)?;
            audit::insert(tx, &who, "request_opened", Some(&uuid_text(&kept.id)), Some(kept.kind.word()))
        })?;
        self.show(&row.id)
    }

    /// One request. Errors: `NotFound`.
    pub fn show(&self, id: &[u8; 16]) -> Result<RequestView> {
        let row = self.row(id)?;
        self.store.read(|tx| view::of(tx, &row, &self.about, self.store.now()))
    }

    /// Requests, the newest first.
    pub fn list(&self, wanted: &Wanted) -> Result<Vec<RequestView>> {
        let now = self.store.now();
        self.store
            .read(|tx| requests::list(tx, wanted)?.iter().map(|row| view::of(tx, row, &self.about, now)).collect())
    }

    /// How many came this way.
    pub fn count(&self, channel: Channel) -> Result<i64> {
        self.store.read(|tx| requests::count(tx, channel))
    }

    /// Open requests that are due within so many days, or overdue.
    pub fn due(&self, days: u32) -> Result<Vec<RequestView>> {
        let before = self.store.now().plus(i64::from(days) * DAY_MS + 1);
        self.list(&Wanted { due_before: Some(before), limit: 1_000, ..Wanted::default() })
    }

    fn row(&self, id: &[u8; 16]) -> Result<RequestRow> {
        self.store.read(|tx| requests::get(tx, id))?.ok_or_else(|| {
            Error::not_found("no request of this number is in the register")
                .code("no_request")
                .remedy("wayside subject list shows them")
        })
    }

    /// Changes a request in one transaction, with its line in the audit.
    fn change(
        &self,
        id: &[u8; 16],
        caller: &Caller,
        what: &'static str,
        said: Option<&str>,
        change: impl Fn(&mut RequestRow, &WriteTx<'_>) -> Result<()> + Send + 'static,
    ) -> Result<()> {
        let (id, who, said) = (*id, caller.who(), said.map(str::to_owned));
        self.store.pen().call(move |tx| {
            let mut row = requests::get(tx, &id)?.ok_or_else(|| Error::not_found("the request is gone"))?;
            change(&mut row, tx)?;
            requests::update(tx, &row)?;
            audit::insert(tx, &who, what, Some(&uuid_text(&id)), said.as_deref())
        })
    }

    /// Extends a request to three months, with the reason the person is told. Errors: `Conflict` once the month is over or
    /// where it was extended or closed before; `Invalid` without a reason.
    pub fn extend(&self, id: &[u8; 16], reason: &str, caller: &Caller) -> Result<RequestView> {
        self.row(id)?;
        let reason = note(reason)?.to_owned();
        self.change(id, caller, "request_extended", Some(&reason.clone()), move |row, tx| {
            if row.state.is_closed() || row.extension.is_some() {
                return Err(Error::conflict("a request is extended once, while it is open")
                    .code("request_state")
                    .remedy("answer it by the day that wayside subject show tells"));
            }
            row.due = request::extended(row.received, tx.now())?;
            row.extension = Some(reason.clone());
            Ok(())
        })?;
        self.show(id)
    }

    /// Closes a request as `Refused`, `Unidentifiable` or, where it was carried out by hand, `Answered`, with the words the
    /// person is told. Errors: `Conflict` where its state forbids it; `Invalid` without words.
    pub fn close(&self, id: &[u8; 16], state: State, words: &str, caller: &Caller) -> Result<RequestView> {
        self.row(id)?;
        let words = note(words)?.to_owned();
        self.change(id, caller, "request_closed", Some(&format!("{}: {words}", state.word())), move |row, tx| {
            if row.kind == Kind::Erase && row.state == State::Running && state != State::Answered {
                return Err(Error::conflict("this erasure was begun: it cannot be refused any more")
                    .code("request_state")
                    .remedy("wayside subject show ID tells what it waits for"));
            }
            row.state.goes_to(state)?;
            if !state.is_closed() {
                return Err(Error::invalid("a request is closed as answered, refused or unidentifiable"));
            }
            (row.state, row.closed, row.answer) = (state, Some(tx.now()), Some(words.clone()));
            Ok(())
        })?;
        self.show(id)
    }

    /// The result of a request. Errors: `NotFound` where there is none or it has expired.
    pub fn result(&self, id: &[u8; 16], form: Form, caller: &Caller) -> Result<Vec<u8>> {
        let row = self.row(id)?;
        if row.result_expires.is_none_or(|until| self.store.now() >= until) {
            return Err(results::gone());
        }
        let bytes = results::read(self.store.data_dir(), id, form)?;
        let (id, who) = (*id, caller.who());
        self.store.pen().call(move |tx| audit::insert(tx, &who, "result_read", Some(&uuid_text(&id)), None))?;
        Ok(bytes)
    }

    /// The person behind a device token and, where the host site says who is signed in, an assertion.
    /// Errors: `NotFound` in one wording and after the same work, whether the visitor is unknown or the token another's;
    /// `Denied` for an assertion that is not believed.
    pub fn holder(&self, seat: &Seat, token: &str, assertion: Option<&str>) -> Result<(Vec<Person>, Level)> {
        let key = ClientId::new(token.rsplit_once('.').map_or(token, |(id, _)| id));
        let holds = visitor::token_holds(&self.store.identity().hash_key, seat.site.id(), &key, token);
        let found = self.store.read(|tx| visitors::find(tx, seat.id, &key))?;
        let visitor = found.filter(|_| holds).ok_or_else(|| {
            Error::not_found("nothing is kept under this token")
                .code("nothing_kept")
                .remedy("send the visitorToken that came with this device's first answer")
        })?;
        let Some(assertion) = assertion else { return Ok((vec![Person::Visitor(visitor.id)], Level::Device)) };
        let believed = match &self.assertions {
            Some(assertions) => assertions.believe(assertion, &|name| seat.site.answers_to(name), self.store.now())?,
            None => {
                return Err(Error::denied("assertions are not believed here: no key is configured")
                    .code("assertion")
                    .remedy("set [subject] assertion_key_file, or leave the header out"));
            }
        };
        let named = Named { site: Some(seat.site.id().to_owned()), identity: Some(believed), ..Named::default() };
        let mut people = self.find(&named)?;
        people.push(Person::Visitor(visitor.id));
        people.sort_unstable();
        Ok((people, Level::Assertion))
    }

    /// What is kept of these people, as the answer to an access request, made now and kept nowhere.
    pub fn look(&self, people: &[Person], level: Level) -> Result<Value> {
        let heads = json!({"kind": "access", "made_at": self.store.now().rfc3339(), "known_by": level.word()});
        self.store.read(|tx| {
            let scope = scope::gather(tx, people, level)?;
            access::answer(tx, &scope, &self.about, heads)
        })
    }

    /// The client's ids of the visitors a request is about, as far as they are kept.
    pub fn keys_of(&self, id: &[u8; 16]) -> Result<Vec<String>> {
        let people = self.store.read(|tx| requests::people(tx, id))?;
        self.keys(&people)
    }

    /// What is kept under the names of these people, for the list of subjects of the GDPR API.
    pub fn keys(&self, people: &[Person]) -> Result<Vec<String>> {
        self.store.read(|tx| {
            let mut out = Vec::new();
            for person in people {
                if let Person::Visitor(id) = person
                    && let Some(visitor) = visitors::get(tx, *id)?.filter(|v| !visitors::is_cut_off(v))
                {
                    out.push(visitor.key.to_string());
                }
            }
            Ok(out)
        })
    }
}

/// Words that are kept. Errors: `Invalid` where they are empty or too long.
fn note(words: &str) -> Result<&str> {
    let words = words.trim();
    if words.is_empty() || words.len() > NOTE_BYTES_MAX {
        return Err(Error::invalid(format!("a reason is 1 to {NOTE_BYTES_MAX} bytes"))
            .code("reason")
            .remedy("say it in a sentence, without personal data"));
    }
    Ok(words)
}
