//! Directives of an enrolled centre, brought by hand or on a stick.
//! Must never judge one: `forward::directives` does. Invariant: the answer is signed reports, and why others were not believed.

use serde::Deserialize;
use serde_json::{Value, json};

use crate::domain::signed::Signed;
use crate::http::operator::{answer, parsed};
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Brought {
    directives: Vec<Signed>,
}

/// Takes directives in, and answers with signed reports.
pub fn take(call: Call<'_>, request: Request, done: Responder) {
    let made = parsed::<Brought>(&request).and_then(|brought| {
        let took = call.app.directives.take(&brought.directives)?;
        let edge = call.app.carry.edge().to_string();
        let reports: Vec<Value> = took.reports.iter().map(|report| json!(report)).collect();
        Ok(json!({"edge": edge, "taken": took.taken, "refused": took.refused, "reports": reports}))
    });
    answer(done, made);
}
