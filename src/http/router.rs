//! ONE table: method, path, who may call, body limit, where it runs, handler. The tests and `openapi.json` read it too,
//! so a route cannot be forgotten. Must never hold what a handler does.

use crate::base::error::Error;
use crate::domain::token::{self, Caller};
use crate::http::app::App;
use crate::http::reply::Reply;
use crate::http::request::{Head, Peer, Request};
use crate::http::server::{Plan, Responder, Service, Way};
use crate::http::{
    auth, batches_in, batches_out, carry, choice, consent, cors, directives, edges, erasures, events, gdpr, import,
    journey, me, notices, oauth, operator,
};
use crate::http::{pixel, subject, tokens};

/// Who may call a route.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// Anyone whose origin the site admits.
    Public,
    /// Whoever holds a token of that scope, and the operator over the control socket.
    Token(token::Scope),
    /// The operator, over the control socket only.
    Operator,
}

impl Scope {
    /// Its word in the API description.
    pub fn word(self) -> &'static str {
        match self {
            Scope::Public => "public",
            Scope::Token(scope) => scope.word(),
            Scope::Operator => "operator",
        }
    }
}

use token::Scope::{Admin as ADMIN, Push as PUSH, Read as READ, Subject as SUBJECT, Sync as SYNC};

/// What a handler is given besides the request.
pub struct Call<'a> {
    /// The work folders.
    pub app: &'a App,
    /// The parts of the path that stood for `{...}`, decoded.
    pub params: Vec<String>,
    /// Who asks. On a public route nobody was asked, so that a stranger reads `Public` there.
    pub caller: Caller,
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

/// As [`public`], for what reads the database.
const fn looked_up(method: &'static str, path: &'static str, summary: &'static str, handler: Handler) -> Route {
    Route { method, path, scope: Scope::Public, way: Way::Blocking, body: false, vendor: false, summary, handler }
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

const fn guarded(
    scope: token::Scope,
    method: &'static str,
    path: &'static str,
    body: bool,
    summary: &'static str,
    handler: Handler,
) -> Route {
    Route { method, path, scope: Scope::Token(scope), way: Way::Blocking, body, vendor: false, summary, handler }
}

/// The vendor's GDPR API: a token, and errors of the vendor's shape.
const fn gdpr_api(
    method: &'static str,
    path: &'static str,
    body: bool,
    summary: &'static str,
    handler: Handler,
) -> Route {
    Route { method, path, scope: Scope::Token(SUBJECT), way: Way::Blocking, body, vendor: true, summary, handler }
}

/// For the privacy page: known by the device's token.
const fn own(method: &'static str, path: &'static str, body: bool, summary: &'static str, handler: Handler) -> Route {
    Route { method, path, scope: Scope::Public, way: Way::Blocking, body, vendor: false, summary, handler }
}

/// Every route.
pub const ROUTES: &[Route] = &[
    public("POST", "/v1/events", true, "Take events: an object, an array, an envelope, or NDJSON", events::post),
    public("GET", "/v1/pixel.gif", false, "Count a page view of a page without scripts", pixel::get),
    public("POST", "/v1/consent", true, "Record a decision: give, refuse, withdraw or object", consent::post),
    looked_up("GET", "/v1/consent/state", "What is to be asked, and whether the choice taken holds", choice::state),
    looked_up("GET", "/v1/consent/receipt", "The signed receipt of a decision", choice::receipt),
    looked_up("GET", "/v1/notice", "The notice in force", notices::get),
    public("GET", "/.well-known/gpc.json", false, "That the signal Sec-GPC is honoured", choice::gpc),
    public("GET", "/v1/health", false, "Is the collector up and can it store?", operator::health),
    public("POST", "/oauth/token", true, "Take a pass for a token (client credentials)", oauth::token),
    guarded(READ, "GET", "/v1/consent", false, "The decisions of a visitor", consent::get),
    guarded(READ, "GET", "/v1/status", false, "The state of everything", operator::status),
    guarded(READ, "GET", "/v1/tail", false, "The newest fates of events", operator::tail),
    guarded(
        SYNC,
        "POST",
        "/v1/batches/ack",
        true,
        "Acknowledge batches of a lane up to a number",
        operator::acknowledge,
    ),
    guarded(SYNC, "GET", "/v1/batches", false, "What there is for a cursor to take", batches_out::list),
    guarded(
        SYNC,
        "GET",
        "/v1/batches/{edge}/{epoch}/{lane}/{batchNo}",
        false,
        "Take one batch, with its manifest",
        batches_out::get,
    ),
    guarded(SYNC, "POST", "/v1/leases", true, "Take, renew or give back the lease of a cursor", batches_out::lease),
    guarded(SYNC, "POST", "/v1/acks", true, "Acknowledge what a cursor has taken", batches_out::ack),
    guarded(PUSH, "PUT", BATCH, true, "Take a batch of another edge, or a part of one", batches_in::put),
    guarded(PUSH, "GET", DIGEST, false, "The digest of a batch that was received", batches_in::digest),
    guarded(PUSH, "GET", "/v1/watermarks/{edge}", false, "How far an edge was received", batches_in::watermarks),
    own("POST", "/v1/edges/join", true, "Let an edge in by its code", edges::join),
    operator("POST", "/v1/edges/codes", true, "Make codes that let edges in", edges::codes),
    guarded(PUSH, "PUT", "/v1/edges/{edge}", true, "Take a relay's word for an edge below it", edges::vouch),
    guarded(ADMIN, "GET", "/v1/edges", false, "Every edge that joined", edges::list),
    guarded(ADMIN, "POST", "/v1/edges/approve", true, "Take an edge's batches", edges::approve),
    guarded(ADMIN, "POST", "/v1/edges/revoke", true, "Take an edge's batches no longer", edges::revoke),
    guarded(ADMIN, "POST", "/v1/edges/retire", true, "An edge is gone for good", edges::retire),
    guarded(ADMIN, "POST", "/v1/edges/rename", true, "Give an edge another name", edges::rename),
    guarded(ADMIN, "POST", "/v1/edges/resolve", true, "Say which of two databases goes on", edges::resolve),
    guarded(
        READ,
        "GET",
        "/v1/completeness",
        false,
        "How many edges have told everything of a day",
        edges::completeness,
    ),
    guarded(SYNC, "POST", "/v1/forward", true, "Seal and put what is due", operator::forward),
    guarded(ADMIN, "POST", "/v1/edge/renew", true, "Give way to another database of this edge", operator::renew),
    guarded(ADMIN, "POST", "/v1/upkeep", true, "Run upkeep now", operator::upkeep),
    guarded(ADMIN, "POST", "/v1/notices", true, "Publish a notice", notices::publish),
    guarded(ADMIN, "POST", "/v1/notices/external", true, "Make another tool's notice known", notices::register),
    guarded(
        SUBJECT,
        "GET",
        "/v1/subject/requests/{id}/edges",
        false,
        "What every edge below answered to a request",
        subject::merged,
    ),
    own("GET", "/v1/me", false, "What is kept of me", me::see),
    own("POST", "/v1/me/withdraw", true, "Withdraw purposes, or all of them", me::withdraw),
    own("POST", "/v1/me/erase", true, "Ask for erasure", me::erase),
    guarded(SUBJECT, "POST", "/v1/subject/requests", true, "Open a request of a data subject", subject::open),
    guarded(SUBJECT, "GET", "/v1/subject/requests", false, "Requests of data subjects", subject::list),
    guarded(SUBJECT, "GET", "/v1/subject/requests/{id}", false, "One request", subject::show),
    guarded(SUBJECT, "POST", "/v1/subject/requests/{id}/run", true, "Carry a request out", subject::run),
    guarded(SUBJECT, "POST", "/v1/subject/requests/{id}/extend", true, "Extend a request", subject::extend),
    guarded(SUBJECT, "POST", "/v1/subject/requests/{id}/close", true, "Close a request", subject::close),
    guarded(SUBJECT, "GET", "/v1/subject/requests/{id}/result", false, "The result of a request", subject::result),
    gdpr_api("POST", "/api/v2/gdpr/requests", true, "GDPR API: submit a request", gdpr::post),
    gdpr_api("GET", "/api/v2/gdpr/requests", false, "GDPR API: list requests", gdpr::list),
    gdpr_api("GET", "/api/v2/gdpr/requests/{requestId}", false, "GDPR API: one request", gdpr::get),
    gdpr_api("GET", "/api/v2/gdpr/subjects", false, "GDPR API: find subjects", gdpr::subjects),
    guarded(SUBJECT, "GET", "/v1/erasures", false, "How far erasures are, here and at every target", erasures::list),
    guarded(SUBJECT, "POST", "/v1/erasures", true, "Erase somebody", erasures::begin),
    guarded(SUBJECT, "POST", "/v1/erasures/run", true, "Go on with erasures that are not done", erasures::run),
    guarded(
        SUBJECT,
        "POST",
        "/v1/erasures/ack",
        true,
        "Close an erasure at a target that cannot speak",
        erasures::acknowledge,
    ),
    guarded(ADMIN, "GET", "/v1/tokens", false, "Every token, without its secret", tokens::list),
    operator("POST", "/v1/consent/proofs", true, "Hand out sealed proofs; the reason is kept", consent::proofs),
    operator("POST", "/v1/audit", true, "Write down what a command did with people's data", operator::note),
    operator("POST", "/v1/tokens", true, "Make a token; it is shown once", tokens::create),
    operator("POST", "/v1/tokens/revoke", true, "Revoke a token", tokens::revoke),
    operator("POST", "/v1/import/known", true, "How far a source was imported", import::known),
    operator("POST", "/v1/import/take", true, "Store a batch of imported events", import::take),
    operator("POST", "/v1/import/done", false, "End the visits an import brought to their end", import::done),
    operator("POST", "/v1/directives", true, "Take directives of the centre in, and report", directives::take),
    guarded(SUBJECT, "GET", "/v1/directives", false, "How far each edge is with each directive", directives::register),
    guarded(PUSH, "GET", "/v1/directives/{edge}", false, "Directives that wait for an edge", directives::hand),
    guarded(PUSH, "POST", REPORTS, true, "Take what an edge reports of directives", directives::report),
    operator("GET", "/v1/carry", false, "The targets that are reached by sticks", carry::about),
    operator("POST", "/v1/carry/due", true, "Batches of a lane to be written to a stick", carry::due),
    operator("POST", "/v1/carry/batch", true, "One batch, rendered for a stick", carry::batch),
    operator("POST", "/v1/carry/landed", true, "Note what is on a stick", carry::landed),
    operator("POST", "/v1/carry/acks", true, "Take acknowledgements in from a stick", carry::acks),
    operator("POST", "/v1/carry/index", true, "Date and sign the index of a stick", carry::sign),
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
/// Longest report of an edge: a copy of what it keeps of somebody may be in it, bytes.
const REPORT_BODY_BYTES_MAX: usize = 16 << 20;
/// Where reports are brought.
const REPORTS: &str = "/v1/directives/{edge}/reports";
/// Where its digest is asked for.
const DIGEST: &str = "/v1/digests/{edge}/{epoch}/{lane}/{batch_no}";
/// Where a batch is put.
const BATCH: &str = "/v1/batches/{edge}/{epoch}/{lane}/{batch_no}";

impl Route {
    /// The parts of `path` that stand for `{...}`, if it is this route's.
    fn matches(&self, path: &str) -> Option<Vec<String>> {
        // nearly every route is told by its bytes alone
        let Some(fixed) = self.path.find('{') else { return (self.path == path).then(Vec::new) };
        if !path.starts_with(&self.path[..fixed]) {
            return None;
        }
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
    Route(&'static Route, Vec<String>, Caller),
    Preflight,
    Refuse(Error),
}

/// Query parameters a token might be put into by mistake: the address of a request ends up in the logs of proxies.
const TOKEN_PARAMETERS: [&str; 4] = ["token", "access_token", "bearer", "client_secret"];

fn find(app: &App, head: &Head) -> Found {
    let control = matches!(head.peer, Peer::Control);
    let method = if head.method == "HEAD" { "GET" } else { head.method.as_str() };
    let mut methods = Vec::new();
    let mut preflight = false;
    for route in ROUTES {
        if route.scope == Scope::Operator && !control {
            continue;
        }
        let Some(params) = route.matches(&head.path) else { continue };
        if route.method == method {
            return match auth::carried(app, head).and_then(|()| admitted(app, head, route.scope)) {
                Ok(caller) => Found::Route(route, params, caller),
                Err(error) => Found::Refuse(error),
            };
        }
        preflight |= route.scope == Scope::Public;
        methods.push(route.method);
    }
    if head.method == "OPTIONS" && preflight {
        return Found::Preflight;
    }
    Found::Refuse(nothing_there(head, &methods))
}

/// Who asks, where the route lets them. Errors: `Invalid` for a token in the address, `Denied`.
fn admitted(app: &App, head: &Head, scope: Scope) -> Result<Caller, Error> {
    if head.query_params().any(|(name, _)| TOKEN_PARAMETERS.contains(&name.as_str())) {
        return Err(Error::invalid("a token does not belong in the address, where proxies log it")
            .code("token_in_url")
            .remedy(
                "send it as `Authorization: Bearer TOKEN`, and revoke the one that was sent: it may have been seen",
            ));
    }
    match scope {
        Scope::Public | Scope::Operator if !matches!(head.peer, Peer::Control) => Ok(Caller::Public),
        Scope::Public | Scope::Operator => Ok(Caller::Operator),
        Scope::Token(wanted) => auth::holder(app, head, wanted),
    }
}

fn nothing_there(head: &Head, methods: &[&str]) -> Error {
    if methods.is_empty() {
        return Error::not_found(format!("nothing at {}", crate::base::text::cut(&head.path, 200)))
            .remedy("events go to POST /v1/events, decisions to POST /v1/consent");
    }
    Error::not_found(format!("{} is not possible here", crate::base::text::cut(&head.method, 20)))
        .code("method_not_allowed")
        .remedy(format!("use {}", methods.join(" or ")))
}

impl Service for App {
    fn plan(&self, head: &Head) -> Plan {
        match find(self, head) {
            Found::Route(route, ..) => {
                let most = match route.path {
                    "/v1/import/take" | "/v1/import/known" | "/v1/carry/index" | "/v1/directives" => {
                        IMPORT_BODY_BYTES_MAX
                    }
                    REPORTS => REPORT_BODY_BYTES_MAX,
                    BATCH => usize::try_from(self.relay.options().batch_bytes_max).unwrap_or(usize::MAX),
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
        match find(self, &request.head) {
            Found::Route(route, params, caller) => (route.handler)(Call { app: self, params, caller }, request, done),
            Found::Preflight => done(cors::preflight(self, &request.head)),
            Found::Refuse(error) => done(self.shape_error(&request.head, error)),
        }
    }

    fn shape_error(&self, head: &Head, error: Error) -> Reply {
        if error.code == "too_large" && head.method == "PUT" && head.path.starts_with("/v1/batches/") {
            return batches_in::too_large(&error, self.relay.options().batch_bytes_max);
        }
        let vendor = head.path.starts_with("/api/v2/");
        let reply = if vendor { journey::error_reply(&error) } else { Reply::from_error(&error) };
        let reply = if reply.status == 401 { reply.with_header("WWW-Authenticate", "Bearer") } else { reply };
        cors::Grant::of(self, head).add(reply)
    }
}
