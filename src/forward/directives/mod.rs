//! Directives of an enrolled centre, at the edge: believed, carried out once, reported. What carries them out is handed in.
//! Must never act on what the centre's key did not sign, nor on what is another edge's. Invariant: a directive that comes again does
//! nothing again; a copy alone is made anew, because it changes nothing and may have been lost on its way.

use std::path::PathBuf;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

use crate::base::age;
use crate::base::base64::{self, Alphabet};
use crate::base::error::{Error, Kind, Result};
use crate::base::id::{uuid_bytes, uuid_text};
use crate::base::text::unhex;
use crate::domain::directive::{Action, DIRECTIVE, Directive, Progress, REPORT, Report};
use crate::domain::signed::Signed;
use crate::store::Store;
use crate::store::directives::{self, Taken};

pub mod ask;
pub mod centre;
pub mod downstream;
pub mod stick;

/// Directives of one call at the most.
pub const DIRECTIVES_MAX: usize = 1_000;
/// Reports of one answer at the most, beside those of the call itself.
const REPORTS_MAX: i64 = 1_000;
/// Bytes kept of what was done.
const WHAT_BYTES_MAX: usize = 500;

/// Whose directives are believed, and where this is the centre, its keys.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DirectivesOptions {
    /// The centre's public key, 64 hex digits; none = no directive is believed.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub centre_key: Option<String>,
    /// How often a target over the network is asked for directives where it does not say by itself that some wait, seconds.
    pub ask_seconds: u32,
    /// At the centre, a relay: the file with the secret key that signs directives; then a request opened here goes to every edge.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub key_file: Option<PathBuf>,
    /// At the centre: the file with the secret key that copies are encrypted to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub reply_key_file: Option<PathBuf>,
}

impl Default for DirectivesOptions {
    fn default() -> Self {
        DirectivesOptions { centre_key: None, ask_seconds: 900, key_file: None, reply_key_file: None }
    }
}

impl DirectivesOptions {
    /// Whose directives are believed: `centre_key`, else the key of `key_file`. Errors: `Config`.
    pub fn key(&self) -> Result<Option<[u8; 32]>> {
        let named = self.named()?;
        let own = self.key_file.as_deref().map(centre::signing).transpose()?.map(|key| key.public());
        match (named, own) {
            (Some(named), Some(own)) if named != own => {
                Err(Error::config("directives.centre_key is not the public half of directives.key_file")
                    .remedy("leave centre_key out, or name the key that signs"))
            }
            (named, own) => Ok(named.or(own)),
        }
    }

    /// What `centre_key` says. Errors: `Config`.
    pub fn named(&self) -> Result<Option<[u8; 32]>> {
        let key = self.centre_key.as_deref().map(|key| unhex::<32>(key.trim())).transpose();
        key.map_err(|e| {
            Error::config(format!("directives.centre_key: {}", e.what))
                .remedy("write what `wayside directive key` prints")
        })
    }
}

/// What was done for a directive.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Acted {
    /// How far it is.
    pub state: Progress,
    /// In words and numbers, without personal values.
    pub what: String,
    /// The request of the register it became.
    pub request_id: Option<[u8; 16]>,
    /// The copy that was asked for.
    pub copy: Option<Vec<u8>>,
}

/// Who carries directives out.
pub trait Acts: Send + Sync {
    /// Carries one out, or begins to. Errors: what of it cannot be done here; `Busy` and `Storage` where it is to be tried again.
    fn act(&self, directive: &Directive) -> Result<Acted>;
    /// How far the request is that a directive became.
    fn look(&self, request_id: &[u8; 16]) -> Result<Option<(Progress, String)>>;
}

/// What became of directives.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Answer {
    /// Signed reports: of those directives, and how far earlier ones are.
    pub reports: Vec<Signed>,
    /// Newly carried out or begun.
    pub taken: usize,
    /// Not believed, or not for this edge, and why.
    pub refused: Vec<String>,
}

/// Takes directives in. One per process.
pub struct Directives {
    store: Arc<Store>,
    centre: Option<[u8; 32]>,
    acts: Box<dyn Acts>,
}

impl Directives {
    /// Believes what `centre` signs, and has it carried out by `acts`.
    pub fn new(store: Arc<Store>, centre: Option<[u8; 32]>, acts: Box<dyn Acts>) -> Self {
        Directives { store, centre, acts }
    }

    /// Takes directives in, and reports on all there ever were. Errors: `Invalid` beyond [`DIRECTIVES_MAX`]; `Busy`, `Storage`: what
    /// was done before stands, and the same call may be made again.
    pub fn take(&self, signed: &[Signed]) -> Result<Answer> {
        if signed.len() > DIRECTIVES_MAX {
            return Err(Error::invalid(format!("more than {DIRECTIVES_MAX} directives at once"))
                .code("too_many")
                .remedy("send fewer"));
        }
        let mut answer = Answer::default();
        let mut said = Vec::new();
        for (n, signed) in signed.iter().enumerate() {
            match self.believed(signed) {
                Ok((id, directive)) => {
                    let (taken, new, copy) = self.once(id, &directive)?;
                    answer.taken += usize::from(new);
                    said.push(id);
                    answer.reports.push(self.report(&taken, copy));
                }
                Err(error) => answer.refused.push(format!("directive {}: {}", n + 1, error.what)),
            }
        }
        for taken in self.store.read(|tx| directives::newest(tx, REPORTS_MAX))? {
            if !said.contains(&taken.id) {
                let taken = self.looked(taken)?;
                answer.reports.push(self.report(&taken, None));
            }
        }
        Ok(answer)
    }

    /// Takes one directive in that came over the network; the report to give back. One that is not believed does nothing, and the
    /// report says so, unless its id is that of one that was. Errors: `Busy`, `Storage`: it is to be handed over again.
    pub(in crate::forward) fn take_one(&self, signed: &Signed) -> Result<Option<Signed>> {
        let error = match self.believed(signed) {
            Ok((id, directive)) => {
                let (taken, _, copy) = self.once(id, &directive)?;
                return Ok(Some(self.report(&taken, copy)));
            }
            Err(error) => error,
        };
        log::warn!("a directive that came over the network is not believed: {error}");
        let Ok(unread) = signed.open::<Directive>(DIRECTIVE, None) else { return Ok(None) };
        let Some(id) = uuid_bytes(&unread.id) else { return Ok(None) };
        if self.store.read(|tx| directives::get(tx, &id))?.is_some() {
            return Ok(None);
        }
        let (action, taken) = (unread.action, self.store.now());
        let what = format!("not believed here: {}", error.what);
        Ok(Some(self.report(&Taken { id, action, state: Progress::Refused, what, request_id: None, taken }, None)))
    }

    /// Reports on those of these directives that were begun here and are finished now. Errors: `Busy`, `Storage`.
    pub(in crate::forward) fn finished(&self, ids: &[String]) -> Result<Vec<Signed>> {
        let mut out = Vec::new();
        for id in ids.iter().filter_map(|text| uuid_bytes(text)) {
            let Some(taken) = self.store.read(|tx| directives::get(tx, &id))? else { continue };
            let taken = self.looked(taken)?;
            if taken.state != Progress::Waiting {
                out.push(self.report(&taken, None));
            }
        }
        Ok(out)
    }

    fn believed(&self, signed: &Signed) -> Result<([u8; 16], Directive)> {
        let centre = self.centre.as_ref().ok_or_else(no_centre)?;
        let directive: Directive = signed.open(DIRECTIVE, Some(centre))?;
        let edge = self.store.identity().edge.id.to_string();
        if !directive.is_for(&edge) {
            return Err(Error::denied(format!("it is for edge {}", directive.edge)).code("other_edge"));
        }
        let id = uuid_bytes(&directive.id).ok_or_else(|| Error::invalid("its id is no UUID"))?;
        Ok((id, directive))
    }

    /// Carries a directive out, unless that was done before. Returns how far it is, whether it is new, and the copy asked for.
    fn once(&self, id: [u8; 16], directive: &Directive) -> Result<(Taken, bool, Option<Vec<u8>>)> {
        let known = self.store.read(|tx| directives::get(tx, &id))?;
        let again = directive.action == Action::Access;
        if let Some(known) =
            known.clone().filter(|known| !again && (known.request_id.is_some() || known.state != Progress::Waiting))
        {
            return Ok((self.looked(known)?, false, None));
        }
        let new = known.is_none();
        let taken = known.map_or_else(|| self.store.now(), |known| known.taken);
        let row = Taken {
            id,
            action: directive.action,
            state: Progress::Waiting,
            what: String::new(),
            request_id: None,
            taken,
        };
        self.keep(&row)?;
        let acted = match self.acts.act(directive) {
            Ok(acted) => acted,
            Err(error) if matches!(error.kind, Kind::Busy | Kind::Storage) => return Err(error),
            Err(error) => Acted { state: Progress::Refused, what: error.what, request_id: None, copy: None },
        };
        let what = crate::base::text::cut(&acted.what, WHAT_BYTES_MAX).to_owned();
        let row = Taken { state: acted.state, what, request_id: acted.request_id, ..row };
        self.keep(&row)?;
        Ok((row, new, acted.copy.map(|copy| sealed(directive, &copy)).transpose()?))
    }

    fn keep(&self, row: &Taken) -> Result<()> {
        let row = row.clone();
        self.store.pen().call(move |tx| directives::put(tx, &row))
    }

    /// As it stands now, where it was begun only.
    fn looked(&self, taken: Taken) -> Result<Taken> {
        let Some(request_id) = taken.request_id.filter(|_| taken.state == Progress::Waiting) else { return Ok(taken) };
        let Some((state, what)) = self.acts.look(&request_id)?.filter(|(state, _)| *state != Progress::Waiting) else {
            return Ok(taken);
        };
        let row = Taken { state, what, ..taken };
        self.keep(&row)?;
        Ok(row)
    }

    /// What is said instead of a report that is longer than may travel.
    pub(in crate::forward) fn too_long(&self, signed: &Signed) -> Result<Option<Signed>> {
        let long: Report = signed.open(REPORT, None)?;
        let Some(id) = uuid_bytes(&long.directive) else { return Ok(None) };
        let what =
            format!("a copy of {} bytes is longer than may travel this way: fetch it by stick", signed.text.len());
        let taken = self.store.read(|tx| directives::get(tx, &id))?;
        Ok(taken.map(|taken| self.report(&Taken { state: Progress::Refused, what, ..taken }, None)))
    }

    fn report(&self, taken: &Taken, copy: Option<Vec<u8>>) -> Signed {
        let edge = &self.store.identity().edge;
        let (format, kind) = Report::heads();
        let report = Report {
            format,
            kind,
            directive: uuid_text(&taken.id),
            edge: edge.id.to_string(),
            state: taken.state,
            what: taken.what.clone(),
            taken_at: taken.taken.rfc3339(),
            at: self.store.now().rfc3339(),
            copy: copy.map(|copy| base64::encode(&copy, Alphabet::Standard)),
        };
        Signed::of(&report, &edge.signing)
    }
}

fn no_centre() -> Error {
    Error::denied("no centre is enrolled here").code("no_centre").remedy("set [directives] centre_key")
}

/// A copy, for the centre's eyes only. Errors: `Invalid` where the directive names no key.
fn sealed(directive: &Directive, copy: &[u8]) -> Result<Vec<u8>> {
    let to = age::Recipient::parse(directive.reply_to.as_deref().unwrap_or_default())?;
    let mut out = age::Writer::start(Vec::new(), &[to])?;
    std::io::Write::write_all(&mut out, copy).map_err(|e| crate::base::error::io("encrypting a copy", e))?;
    out.finish()
}

#[cfg(test)]
mod tests;
