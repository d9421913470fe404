//! The requests of `wayside import`: how far a source was taken, a batch of its events, the end. Control socket only.
//! Must never read a source itself.

use crate::base::error::{Error, Result};
use crate::http::answer::Answering;
use crate::http::app::App;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;
use crate::ingest::sink::ImportBatch;

/// The record of the source whose first bytes are the body; `null` for a new one.
pub fn known(call: Call<'_>, request: Request, done: Responder) {
    let found = call.app.ingest.import_known(&request.body);
    done(found.map_or_else(|error| Reply::from_error(&error), |mark| Reply::json(200, &mark)));
}

/// Stores a batch and its step.
pub fn take(call: Call<'_>, request: Request, done: Responder) {
    let answering = Answering::new(call.app, &request.head, done);
    if let Err(error) = store(call.app, &request, &answering) {
        answering.send(Reply::from_error(&error));
    }
}

fn store(app: &App, request: &Request, answering: &Answering) -> Result<()> {
    let batch: ImportBatch = serde_json::from_slice(&request.body)
        .map_err(|e| Error::invalid(format!("the batch does not parse: {e}")).code("bad_json"))?;
    let later = answering.clone();
    app.ingest.import_take(batch, request.head.received_at, move |fates| {
        later.send(fates.map_or_else(|error| Reply::from_error(&error), |fates| Reply::json(200, &fates)));
    })
}

/// The import is over: its visits end now, not when upkeep comes by.
pub fn done(call: Call<'_>, _request: Request, done: Responder) {
    let noted = call.app.operations.note(&call.caller.who(), "import_done", None, None);
    let ended = noted.and_then(|()| call.app.operations.end_visits());
    done(ended.map_or_else(|error| Reply::from_error(&error), |value| Reply::json(200, &value)));
}
