//! Requests of data subjects at a relay that is the centre: what goes to the edges below, and how far they are, put into the register's
//! own answers. Must never carry anything out, nor decide who may have what. Invariant: only a request whose person was verified goes out.

use serde_json::{Value, json};

use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, uuid_bytes, uuid_text};
use crate::base::text::hex;
use crate::base::time::{DAY_MS, Millis};
use crate::domain::directive::{Action, Correction, Progress, Renewing};
use crate::domain::request::{self, Kind};
use crate::domain::token::Caller;
use crate::forward::directives::centre::{Centre, Wish};
use crate::http::app::App;
use crate::http::directives::standing;
use crate::http::subject::Replace;
use crate::subject::people::Named;
use crate::subject::results::Form;
use crate::subject::view::RequestView;

/// What a request asks of the edges below.
pub(in crate::http) struct Asking {
    action: Action,
    corrections: Vec<Correction>,
}

fn centre(app: &App) -> Option<&Centre> {
    app.centre.as_ref().filter(|_| app.downstream.is_on())
}

impl Asking {
    /// `None` where there are no edges to ask, or nothing to ask of them: a correction that names no values is for this machine alone.
    /// Errors: `Invalid` where nobody could read the copies, or values to correct go with another kind.
    pub(in crate::http) fn of(app: &App, kind: Kind, replace: Vec<Replace>) -> Result<Option<Asking>> {
        let Some(centre) = centre(app) else {
            if replace.is_empty() {
                return Ok(None);
            }
            return Err(Error::invalid("values to correct go with a request at a relay that asks its edges")
                .code("corrections")
                .remedy("name them when the request is run"));
        };
        let action = match kind {
            Kind::Access | Kind::Portability => Action::Access,
            Kind::Rectify if replace.is_empty() => return Ok(None),
            Kind::Rectify => Action::Rectify,
            Kind::Erase => Action::Erase,
            Kind::Restrict => Action::Restrict,
            Kind::Object => Action::Object,
        };
        let correction = |r: Replace| Correction { field: r.field, existing: r.existing, updated: r.updated };
        let corrections: Vec<Correction> = replace.into_iter().map(correction).collect();
        centre.check(action, &corrections)?;
        Ok(Some(Asking { action, corrections }))
    }

    /// Asks every edge below, for a request of the register. Errors: `Busy`, `Storage`.
    pub(in crate::http) fn ask(self, app: &App, named: Named, view: &RequestView) -> Result<()> {
        let Some(centre) = centre(app) else { return Ok(()) };
        let due = Millis::parse(&view.due_at).ok_or_else(|| Error::storage("a request has no due day"))?;
        let wish = Wish {
            visitor_ref: named.visitor,
            site: named.site,
            identity: named.identity,
            corrections: self.corrections,
            request_id: uuid_bytes(&view.id),
            ..Wish::default()
        };
        centre.give(self.action, wish, due).map(|_| ())
    }
}

/// A request with how far each edge is, where any was asked.
pub(in crate::http) fn shown(app: &App, view: RequestView) -> Result<Value> {
    let id = uuid_bytes(&view.id);
    let mut shown = serde_json::to_value(view).expect("invariant: a view has string keys");
    let entries = id.map_or_else(|| Ok(Vec::new()), |id| app.downstream.of_request(&id))?;
    if !entries.is_empty() {
        let edges: Vec<Value> = entries.iter().flat_map(|entry| entry.edges.iter().map(standing)).collect();
        shown["edges"] = edges.into();
    }
    Ok(shown)
}

/// Requests that are due, those too that are answered here while edges are not.
pub(in crate::http) fn due(app: &App, days: u32) -> Result<Vec<Value>> {
    let own = app.subject.due(days)?;
    let mut out = own.into_iter().map(|view| shown(app, view)).collect::<Result<Vec<Value>>>()?;
    let before = app.downstream.now().plus(i64::from(days) * DAY_MS);
    for entry in app.downstream.register()? {
        let Some(id) = entry.kept.request_id.filter(|_| entry.kept.due <= before) else { continue };
        let listed = out.iter().any(|row| row["id"] == uuid_text(&id).as_str());
        if listed || !entry.edges.iter().any(|one| one.is_open()) {
            continue;
        }
        match app.subject.show(&id) {
            Ok(view) => out.push(shown(app, view)?),
            Err(error) if error.code == "no_request" => {} // gone by age
            Err(error) => return Err(error),
        }
    }
    Ok(out)
}

/// What is known of a person here and at every edge below that has answered. Errors: `NotFound` for an unknown request, or one that
/// went to no edge; `Invalid` for a copy that was encrypted to another key.
pub(in crate::http) fn merged(app: &App, id: &[u8; 16], caller: &Caller) -> Result<Value> {
    let view = app.subject.show(id)?;
    let entries = app.downstream.of_request(id)?;
    if entries.is_empty() {
        return Err(Error::not_found("this request went to no edge")
            .code("no_edges")
            .remedy("wayside subject show tells what was asked, and of whom"));
    }
    let here = match app.subject.result(id, Form::Json, caller) {
        Ok(bytes) => serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        Err(_) => Value::Null, // not run here, or gone by age
    };
    let mut edges = serde_json::Map::new();
    for one in entries.iter().flat_map(|entry| &entry.edges) {
        let mut part = standing(one);
        if let (Some(report), Some(centre)) = (&one.report, &app.centre) {
            let copy = centre.copy(report).map_err(|e| e.context(format_args!("the copy of edge {}", one.edge)))?;
            part["copy"] = copy.unwrap_or(Value::Null);
        }
        edges.insert(one.edge.to_string(), part);
    }
    let open =
        edges.values().filter(|part| part["state"] == "silent" || part["state"] == Progress::Waiting.word()).count();
    app.operations.note(&caller.who(), "copies_read", Some(&view.id), None)?;
    Ok(json!({"request": view.id, "kind": view.kind, "here": here, "edges": edges, "open": open}))
}

/// The batch that tells which of two databases is to begin anew. Errors: `Storage`.
pub(in crate::http) fn renewing(app: &App, edge: EdgeId, digest: &str) -> Result<Option<Renewing>> {
    if centre(app).is_none() {
        return Ok(None);
    }
    let seen = app.relay.edges()?.into_iter().find(|seen| seen.edge.edge == edge);
    for pair in seen.map(|seen| seen.pairs).unwrap_or_default() {
        let refused = (pair.fork.batch_no, pair.fork.digest);
        let lies = pair.lies.as_ref().map(|lies| (lies.batch_no, lies.digest));
        for (batch_no, found) in [Some(refused), lies].into_iter().flatten() {
            if hex(&found).starts_with(digest) {
                let stream = pair.fork.stream;
                let (epoch, lane) = (stream.epoch.to_string(), stream.lane.word().to_owned());
                return Ok(Some(Renewing { epoch, lane, batch_no, digest: hex(&found) }));
            }
        }
    }
    Ok(None)
}

/// Tells the database that sealed that batch to begin anew; the directive's id. Errors: `Busy`, `Storage`.
pub(in crate::http) fn renew(app: &App, edge: EdgeId, at: Option<Renewing>) -> Result<Option<String>> {
    let (Some(centre), Some(at)) = (centre(app), at) else { return Ok(None) };
    let due = request::due(app.downstream.now());
    let wish = Wish { edge: Some(edge.to_string()), renew: Some(at), ..Wish::default() };
    centre.give(Action::Renew, wish, due).map(Some)
}
