//! The centre's own hand, at a relay: signs what a request of its register asks of every edge, and opens the copies that come back.
//! Must never keep a key anywhere but in memory. Invariant: what it signs is kept for the edges in the same call.

use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use serde_json::Value;

use crate::base::age::{self, Identity};
use crate::base::base64::{self, Alphabet};
use crate::base::digest::SigningKey;
use crate::base::error::{Error, Result, io};
use crate::base::id::{mint_uuid, uuid_text};
use crate::base::text::unhex;
use crate::base::time::Millis;
use crate::domain::directive::{ALL, Action, Correction, DIRECTIVE, Directive, REPORT, Renewing, Report};
use crate::domain::signed::{FORMAT, Signed};
use crate::forward::directives::DirectivesOptions;
use crate::forward::directives::downstream::Downstream;
use crate::store::Store;

/// What is asked of edges, and by whom it can be found there.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// The edge, 32 hex digits; `None` = all.
    pub edge: Option<String>,
    /// The person, as batches name them.
    pub visitor_ref: Option<String>,
    /// Only at this site.
    pub site: Option<String>,
    /// The person, as the site's own systems name the customer.
    pub identity: Option<String>,
    /// What is to be corrected.
    pub corrections: Vec<Correction>,
    /// The database that is to begin anew.
    pub renew: Option<Renewing>,
    /// The request of this register it belongs to.
    pub request_id: Option<[u8; 16]>,
}

/// Signs and opens. One per process that is the centre.
pub struct Centre {
    store: Arc<Store>,
    downstream: Arc<Downstream>,
    signing: SigningKey,
    reply: Option<Identity>,
}

impl Centre {
    /// The centre of these options; `None` where this is none. Errors: `Config`, `NotFound`, `Storage` (the files of its keys).
    pub fn open(store: Arc<Store>, downstream: Arc<Downstream>, options: &DirectivesOptions) -> Result<Option<Centre>> {
        let Some(file) = options.key_file.as_deref() else { return Ok(None) };
        let reply = options.reply_key_file.as_deref().map(reply_key).transpose()?;
        Ok(Some(Centre { signing: signing(file)?, store, downstream, reply }))
    }

    /// Could this be asked? Errors: `Invalid` for a copy nobody could read, or corrections without any.
    pub fn check(&self, action: Action, corrections: &[Correction]) -> Result<()> {
        if action == Action::Access && self.reply.is_none() {
            return Err(Error::invalid("nobody could read the copies")
                .code("reply_key")
                .remedy("set [directives] reply_key_file: wayside carry key makes one"));
        }
        if (action == Action::Rectify) == corrections.is_empty() {
            return Err(Error::invalid("what is to be corrected goes with rectify, and with nothing else")
                .code("corrections")
                .remedy("name the wrong value and the right one"));
        }
        Ok(())
    }

    /// Signs a directive and keeps it for the edges below; its id. Errors: those of [`Centre::check`]; `NotFound` with code `relay_off` or `unknown_edge`; `Busy`, `Storage`.
    pub fn give(&self, action: Action, wish: Wish, due: Millis) -> Result<String> {
        let now = self.store.now();
        let reply_to = self.reply.as_ref().map(|key| key.recipient().to_string());
        self.check(action, &wish.corrections)?;
        let directive = Directive {
            format: FORMAT,
            kind: DIRECTIVE.to_owned(),
            id: uuid_text(&mint_uuid(now)),
            edge: wish.edge.unwrap_or_else(|| ALL.to_owned()),
            issued_at: now.rfc3339(),
            due_at: due.rfc3339(),
            action,
            visitor_ref: wish.visitor_ref,
            site: wish.site,
            identity: wish.identity,
            corrections: wish.corrections,
            reply_to: reply_to.filter(|_| action == Action::Access),
            renew: wish.renew,
        };
        self.downstream.keep(&Signed::of(&directive, &self.signing), None, wish.request_id)?;
        Ok(directive.id)
    }

    /// The copy in a report, opened. Errors: `Invalid` where it is none, or encrypted to somebody else.
    pub fn copy(&self, report: &Signed) -> Result<Option<Value>> {
        let report: Report = report.open(REPORT, None)?;
        match (&report.copy, &self.reply) {
            (Some(copy), Some(key)) => opened(copy, key).map(Some),
            _ => Ok(None),
        }
    }
}

/// The secret key in a file, as `wayside directive key` makes it. Errors: `NotFound` with code `no_key_file`, `Invalid`, `Storage`.
pub fn signing(path: &Path) -> Result<SigningKey> {
    let text = read(path, "make it with `wayside directive key --file FILE`, at the centre")?;
    unhex(text.trim()).map(SigningKey::from_seed).map_err(|e| e.context(path.display()))
}

/// The secret key copies are encrypted to, as `wayside carry key` makes it. Errors: as [`signing`].
pub fn reply_key(path: &Path) -> Result<Identity> {
    let text = read(path, "make it with `wayside carry key --file FILE`, at the receiver")?;
    Identity::parse(&text).map_err(|e| e.context(path.display()))
}

fn read(path: &Path, remedy: &str) -> Result<String> {
    std::fs::read_to_string(path).map_err(|e| match e.kind() {
        std::io::ErrorKind::NotFound => {
            Error::not_found(format!("there is no file {}", path.display())).code("no_key_file").remedy(remedy)
        }
        _ => io(format_args!("reading {}", path.display()), e),
    })
}

/// A copy as a report carries it. Errors: `Invalid` where it is none, or encrypted to somebody else.
pub fn opened(copy: &str, with: &Identity) -> Result<Value> {
    let sealed = base64::decode(copy, Alphabet::Standard).ok_or_else(|| Error::invalid("it is no base64"))?;
    let mut text = Vec::new();
    age::Reader::open(&sealed[..], std::slice::from_ref(with))?
        .read_to_end(&mut text)
        .map_err(|e| age::reason("reading it", e))?;
    serde_json::from_slice(&text).map_err(|e| Error::invalid(format!("it is no JSON: {e}")))
}
