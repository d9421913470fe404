//! ONE table: method, path, who may call, body limit, where it runs, handler. The tests and `openapi.json` read it too,
//! so a route cannot be forgotten. Must never hold what a handler does.

use crate::base::error::Error;
use crate::http::app::App;
use crate::http::reply::Reply;
use crate::http::request::{Head, Peer, Request};
use crate::http::server::{Plan, Responder, Service, Way};
use crate::http::{consent, cors, events, import, journey, operator, pixel};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Anyone whose origin the site admits.
    Public,
    /// The operator, over the control socket.
    Operator,
}

/// What a handler is given besides the request.
pub struct Call<'a> {
    /// The work folders.
    pub app: &'a App,
    /// The parts of the path that stood for `{...}`, decoded.
    pub params: Vec<String>,
}

/// A handler: answers once, now or later.
pub type Handler = fn(Call<'_>, Request, Responder);

/// One route.
pub struct Route {
    /// Method.
    pub method: &'static str,
    /// Path; `{name}` stands for one segment.
    pub path: &'static str,
    /// Who may call it.
    pub scope: Scope,
    /// Where it runs.
    pub way: Way,
    /// Takes a body up to the configured limit.
    pub body: bool,
    /// Errors have the vendor's shape.
    pub vendor: bool,
    /// What it does, for the API description.
    pub summary: &'static str,
    handler: Handler,
}

const fn public(
    method: &'static str,
    path: &'static str,
    body: bool,
    summary: &'static str,
    handler: Handler,
) -> Route {
    Route { method, path, scope: Scope::Public, way: Way::Inline, body, vendor: false, summary, handler }
}

const fn vendor(
    method: &'static str,
    path: &'static str,
    body: bool,
    summary: &'static str,
    handler: Handler,
) -> Route {
    Route { method, path, scope: Scope::Public, way: Way::Inline, body, vendor: true, summary, handler }
}

const fn operator(
    method: &'static str,
    path: &'static str,
    body: bool,
    summary: &'static str,
    handler: Handler,
) -> Route {
    Route { method, path, scope: Scope::Operator, way: Way::Blocking, body, vendor: false, summary, handler }
}

/// Every route.
pub const ROUTES: &[Route] = &[
    public("POST", "/v1/events", true, "Take events: an object, an array, an envelope, or NDJSON", events::post),
    public("GET", "/v1/pixel.gif", false, "Count a page view of a page without scripts", pixel::get),
    public("POST", "/v1/consent", true, "Record a decision: give, refuse or withdraw", consent::post),
    public("GET", "/v1/health", false, "Is the collector up and can it store?", operator::health),
    operator("GET", "/v1/consent", false, "The decisions of a visitor", consent::get),
    operator("GET", "/v1/status", false, "The state of everything", operator::status),
    operator("GET", "/v1/tail", false, "The newest fates of events", operator::tail),
    operator("POST", "/v1/batches/ack", true, "Acknowledge batches of a lane up to a number", operator::acknowledge),
    operator("POST", "/v1/forward", true, "Seal and put what is due", operator::forward),
    operator("POST", "/v1/upkeep", true, "Run upkeep now", operator::upkeep),
    operator("POST", "/v1/import/known", true, "How far a source was imported", import::known),
    operator("POST", "/v1/import/take", true, "Store a batch of imported events", import::take),
    operator("POST", "/v1/import/done", false, "End the visits an import brought to their end", import::done),
    vendor(
        "POST",
        "/api/v2/journey/deployments/{deploymentId}/webevents",
        true,
        "Journey: send a web event",
        journey::web,
    ),
    vendor(
        "POST",
        "/api/v2/journey/deployments/{deploymentId}/appevents",
        true,
        "Journey: send an app event",
        journey::app,
    ),
    vendor(
        "POST",
        "/api/v2/journey/deployments/{deploymentId}/actionevent",
        true,
        "Journey: tell the fate of an action",
        journey::action,
    ),
    vendor(
        "GET",
        "/api/v2/journey/deployments/{deploymentId}/customers/{customerCookieId}/ping",
        false,
        "Journey: ask for actions",
        journey::ping,
    ),
];

/// Imported batches are larger than what browsers send, and come from this machine only.
const IMPORT_BODY_BYTES_MAX: usize = 64 << 20;

impl Route {
    /// The parts of `path` that stand for `{...}`, if it is this route's.
    fn matches(&self, path: &str) -> Option<Vec<String>> {
        let mut params = Vec::new();
        let (mut want, mut have) = (self.path.split('/'), path.split('/'));
        loop {
            match (want.next(), have.next()) {
                (None, None) => return Some(params),
                (Some(w), Some(h)) if w.starts_with('{') && !h.is_empty() => {
                    params.push(crate::http::request::percent_decode(h, false));
                }
                (Some(w), Some(h)) if w == h => {}
                _ => return None,
            }
        }
    }
}

/// What a head asks for.
enum Found {
    Route(&'static Route, Vec<String>),
    Preflight,
    Refuse(Error),
}

fn find(head: &Head) -> Found {
    let mut methods = Vec::new();
    for route in ROUTES {
        let Some(params) = route.matches(&head.path) else { continue };
        let method = if head.method == "HEAD" { "GET" } else { head.method.as_str() };
        if route.method == method {
            let allowed = route.scope == Scope::Public || matches!(head.peer, Peer::Control);
            if allowed {
                return Found::Route(route, params);
            }
        }
        if route.scope == Scope::Public || matches!(head.peer, Peer::Control) {
            methods.push(route.method);
        }
    }
    if head.method == "OPTIONS" && !methods.is_empty() {
        return Found::Preflight;
    }
    if methods.is_empty() {
        return Found::Refuse(
            Error::not_found(format!("nothing at {}", crate::base::text::cut(&head.path, 200)))
                .remedy("events go to POST /v1/events, decisions to POST /v1/consent"),
        );
    }
    Found::Refuse(
        Error::not_found(format!("{} is not possible here", crate::base::text::cut(&head.method, 20)))
            .code("method_not_allowed")
            .remedy(format!("use {}", methods.join(" or "))),
    )
}

impl Service for App {
    fn plan(&self, head: &Head) -> Plan {
        match find(head) {
            Found::Route(route, _) => {
                let most = match route.path {
                    "/v1/import/take" | "/v1/import/known" => IMPORT_BODY_BYTES_MAX,
                    _ => self.ingest.limits().body_bytes_max,
                };
                Plan { way: route.way, body_bytes_max: if route.body { most } else { 0 }, refuse: None }
            }
            Found::Preflight => Plan { way: Way::Inline, body_bytes_max: 0, refuse: Some(cors::preflight(self, head)) },
            Found::Refuse(error) => {
                let reply = self.shape_error(head, error);
                Plan { way: Way::Inline, body_bytes_max: 0, refuse: Some(reply) }
            }
        }
    }

    fn serve(&self, request: Request, done: Responder) {
        match find(&request.head) {
            Found::Route(route, params) => (route.handler)(Call { app: self, params }, request, done),
            Found::Preflight => done(cors::preflight(self, &request.head)),
            Found::Refuse(error) => done(self.shape_error(&request.head, error)),
        }
    }

    fn shape_error(&self, head: &Head, error: Error) -> Reply {
        let vendor = head.path.starts_with("/api/v2/");
        let reply = if vendor { journey::error_reply(&error) } else { Reply::from_error(&error) };
        cors::Grant::of(self, head).add(reply)
    }
}
