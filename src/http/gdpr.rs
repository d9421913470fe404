//! The Genesys-compatible GDPR API (spec/predictive-engagement 3): the vendor's paths, words, listings and error bodies.
//! Must never carry a request out: that is subject's. Invariant: what a subject was named by is kept nowhere.

use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::base::error::{Error, Kind as Sort, Result};
use crate::domain::request::{Channel, Kind, Level};
use crate::http::journey::error_reply;
use crate::http::operator::parsed;
use crate::http::reply::Reply;
use crate::http::request::Request;
use crate::http::router::Call;
use crate::http::server::Responder;
use crate::http::subject::id_of;
use crate::subject::people::{By, Named};
use crate::subject::rectify::Term;
use crate::subject::view::RequestView;
use crate::subject::{Asked, RequestsWanted};

/// Entries of one page of a listing at the most.
const PAGE_MAX: i64 = 100;
/// Replacement terms and values of one request at the most.
const VALUES_MAX: usize = 50;
const PATH: &str = "/api/v2/gdpr/requests";

/// A GDPRRequest as it is sent. What the answer alone carries is taken and left alone, as the vendor's SDK may send it back.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Sent {
    request_type: Option<String>,
    subject: Option<SentSubject>,
    #[serde(default)]
    replacement_terms: Vec<SentTerm>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct SentSubject {
    name: Option<String>,
    user_id: Option<String>,
    external_contact_id: Option<String>,
    dialer_contact_id: Option<SentDialer>,
    journey_customer: Option<SentCustomer>,
    social_handle: Option<SentHandle>,
    external_id: Option<String>,
    addresses: Vec<String>,
    phone_numbers: Vec<String>,
    email_addresses: Vec<String>,
}

#[derive(Deserialize)]
struct SentDialer {
    id: Option<String>,
}

#[derive(Deserialize)]
struct SentCustomer {
    #[serde(rename = "type")]
    kind: Option<String>,
    id: Option<String>,
}

#[derive(Deserialize)]
struct SentHandle {
    #[serde(rename = "type")]
    kind: Option<String>,
    value: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct SentTerm {
    #[serde(rename = "type")]
    kind: Option<String>,
    existing_value: Option<String>,
    updated_value: Option<String>,
}

fn wrong(what: impl Into<String>, remedy: &str) -> Error {
    Error::invalid(what).code("bad_request").remedy(remedy)
}

/// The field a type of value stands in.
fn by(word: &str) -> Option<By> {
    Some(match word {
        "NAME" => By::Name,
        "ADDRESS" => By::Address,
        "PHONE" => By::Phone,
        "EMAIL" => By::Email,
        "TWITTER" => By::Social("twitter"),
        "FACEBOOK" => By::Social("facebook"),
        "INSTAGRAM" => By::Social("instagram"),
        "WHATSAPP" => By::Social("whatsapp"),
        "APPLE_MESSAGES" => By::Social("apple_messages"),
        "EXTERNAL_ID" => By::ExternalId,
        _ => return None,
    })
}

fn known(word: Option<&str>, what: &str) -> Result<By> {
    let word = word.unwrap_or("");
    by(word).ok_or_else(|| {
        wrong(
            format!("{:?} is no {what}", crate::base::text::cut(word, 40)),
            "use NAME, ADDRESS, PHONE, EMAIL, TWITTER, FACEBOOK, INSTAGRAM, WHATSAPP, APPLE_MESSAGES or EXTERNAL_ID",
        )
    })
}

impl SentSubject {
    fn named(self) -> Result<Named> {
        let mut named = Named::default();
        if let Some(customer) = self.journey_customer {
            match (customer.kind.as_deref(), customer.id) {
                (Some("cookie"), Some(id)) if !id.is_empty() => named.visitor = Some(id),
                (Some("userId" | "user_id" | "externalId"), Some(id)) if !id.is_empty() => named.identity = Some(id),
                (Some(_), Some(_)) => return Err(wrong("journeyCustomer.type is not known", "use the type cookie")),
                _ => return Err(wrong("journeyCustomer needs type and id together", "send both, or neither")),
            }
        }
        let mut values: Vec<(By, String)> = Vec::new();
        values.extend(self.name.map(|v| (By::Name, v)));
        values.extend(self.user_id.map(|v| (By::ExternalId, v)));
        values.extend(self.external_id.map(|v| (By::ExternalId, v)));
        values.extend(self.external_contact_id.map(|v| (By::ExternalId, v)));
        values.extend(self.dialer_contact_id.and_then(|d| d.id).map(|v| (By::ExternalId, v)));
        if let Some(handle) = self.social_handle {
            let place = known(handle.kind.as_deref(), "type of a social handle")?;
            values.extend(handle.value.map(|v| (place, v)));
        }
        values.extend(self.addresses.into_iter().map(|v| (By::Address, v)));
        values.extend(self.phone_numbers.into_iter().map(|v| (By::Phone, v)));
        values.extend(self.email_addresses.into_iter().map(|v| (By::Email, v)));
        values.retain(|(_, value)| !value.trim().is_empty());
        if values.len() > VALUES_MAX {
            return Err(wrong("the subject has too many values", "name one person by what identifies it"));
        }
        named.values = values;
        Ok(named)
    }
}

fn reply(done: Responder, made: Result<Value>) {
    done(made.map_or_else(|error| error_reply(&error), |value| Reply::json(200, &value)));
}

/// `POST /api/v2/gdpr/requests`.
pub fn post(call: Call<'_>, request: Request, done: Responder) {
    reply(done, posted(&call, &request));
}

fn posted(call: &Call<'_>, request: &Request) -> Result<Value> {
    let sent: Sent = parsed(request)?;
    let kind = match sent.request_type.as_deref() {
        Some("GDPR_EXPORT") => Kind::Access,
        Some("GDPR_UPDATE") => Kind::Rectify,
        Some("GDPR_DELETE") => Kind::Erase,
        _ => return Err(wrong("requestType is not known", "use GDPR_EXPORT, GDPR_UPDATE or GDPR_DELETE")),
    };
    let confirmed = request.head.query_param("deleteConfirmed").is_some_and(|word| word.eq_ignore_ascii_case("true"));
    if kind == Kind::Erase && !confirmed {
        return Err(wrong("a delete needs to be confirmed", "add ?deleteConfirmed=true"));
    }
    if (kind == Kind::Rectify) == sent.replacement_terms.is_empty() {
        return Err(wrong(
            "replacementTerms go with GDPR_UPDATE, and only with it",
            "send them with GDPR_UPDATE alone",
        ));
    }
    let terms = sent.replacement_terms.into_iter().map(term).collect::<Result<Vec<Term>>>()?;
    if terms.len() > VALUES_MAX {
        return Err(wrong("there are too many replacementTerms", "send them in several requests"));
    }
    let subject = sent.subject.ok_or_else(|| wrong("the request names no subject", "send subject"))?;
    let people = call.app.subject.find(&subject.named()?)?;
    let known = Some((Level::Operator, format!("by {}", call.caller.who())));
    let asked = Asked { kind, channel: Channel::Api, known, people };
    let opened = call.app.subject.register(&asked, &call.caller)?;
    let id = crate::base::id::uuid_bytes(&opened.id).unwrap_or_default();
    let view = match call.app.subject.run(&id, None, &terms, &call.caller) {
        Ok(view) if view.is_erasing() => {
            call.app.erasure.delete_rows()?; // the rest goes on by itself
            view
        }
        Ok(view) => view,
        Err(error) if error.kind == Sort::Busy || error.kind == Sort::Storage => return Err(error),
        Err(error) => {
            log::warn!("a request of the GDPR API failed and stays open: {}", error.code);
            call.app.subject.show(&id)?
        }
    };
    entity(call, request, &view)
}

fn term(sent: SentTerm) -> Result<Term> {
    let place = known(sent.kind.as_deref(), "type of a replacement term")?;
    let text = |value: Option<String>| value.filter(|v| !v.trim().is_empty());
    match (text(sent.existing_value), text(sent.updated_value)) {
        (Some(existing), Some(updated)) => Ok(Term { by: Some(place), field: None, existing, updated }),
        _ => Err(wrong("a replacement term needs existingValue and updatedValue", "send both")),
    }
}

/// The vendor's word for how far a request is.
fn status(view: &RequestView) -> &'static str {
    let told = view.targets.iter().all(|target| target.state == "acknowledged");
    match (view.state, view.kind) {
        ("received" | "verified", _) => "INITIATED",
        ("running", "access") => "SEARCHING",
        ("running", "rectify") => "UPDATING",
        ("running", _) => "DELETING",
        ("answered", _) if told => "COMPLETED",
        ("answered", _) => "FINALIZING", // done here, not told everywhere
        _ => "ERROR",
    }
}

/// Scheme and host by which this was asked: what the client reached us by.
fn origin(request: &Request) -> String {
    let head = &request.head.headers;
    let host = head.get("host").unwrap_or("localhost");
    let plain = |c: char| c.is_ascii_alphanumeric() || ".-:[]".contains(c);
    let host = if host.chars().all(plain) { host } else { "localhost" };
    let scheme = if head.get("x-forwarded-proto") == Some("https") { "https" } else { "http" };
    format!("{scheme}://{host}")
}

fn entity(call: &Call<'_>, request: &Request, view: &RequestView) -> Result<Value> {
    let mut out = Map::new();
    let mut put = |name: &str, value: Value| out.insert(name.to_owned(), value);
    put("id", json!(view.id));
    put("createdBy", json!({"id": view.opened_by}));
    put("createdDate", json!(view.received_at));
    put(
        "requestType",
        json!(match view.kind {
            "access" => "GDPR_EXPORT",
            "rectify" => "GDPR_UPDATE",
            _ => "GDPR_DELETE",
        }),
    );
    put("status", json!(status(view)));
    let id = crate::base::id::uuid_bytes(&view.id).unwrap_or_default();
    let keys = call.app.subject.keys_of(&id)?;
    put(
        "subject",
        match keys.as_slice() {
            [] => json!({}),
            [key, ..] => json!({"journeyCustomer": {"type": "cookie", "id": key}}),
        },
    );
    if view.result_expires_at.is_some() {
        let base = format!("{}/v1/subject/requests/{}/result", origin(request), view.id);
        put("resultsUrl", json!(base));
        put("resultsUrls", json!([base, format!("{base}?format=html")]));
    }
    put("selfUri", json!(format!("{PATH}/{}", view.id)));
    Ok(Value::Object(out))
}

/// `GET /api/v2/gdpr/requests/{requestId}`.
pub fn get(call: Call<'_>, request: Request, done: Responder) {
    let made = || {
        let view = call.app.subject.show(&id_of(&call)?)?;
        match view.channel {
            "api" => entity(&call, &request, &view),
            _ => Err(Error::not_found("no such request came this way").code("no_request")),
        }
    };
    reply(done, made());
}

/// Page size and number, as the vendor names them.
fn page(request: &Request) -> Result<(i64, i64)> {
    let number = |name: &str, default: i64, most: i64| match request.head.query_param(name) {
        None => Ok(default),
        Some(text) => text
            .parse()
            .ok()
            .filter(|n| (1..=most).contains(n))
            .ok_or_else(|| wrong(format!("{name} is no number between 1 and {most}"), "send another one")),
    };
    Ok((number("pageSize", 25, PAGE_MAX)?, number("pageNumber", 1, 1_000_000)?))
}

fn listing(path: &str, query: &str, entities: Vec<Value>, (size, number): (i64, i64), total: i64) -> Value {
    let count = (total + size - 1) / size;
    let uri = |n: i64| format!("{path}?{query}pageSize={size}&pageNumber={n}");
    let mut out = json!({
        "entities": entities, "pageSize": size, "pageNumber": number, "total": total, "pageCount": count,
        "firstUri": uri(1), "lastUri": uri(count.max(1)), "selfUri": uri(number),
    });
    if number < count {
        out["nextUri"] = uri(number + 1).into();
    }
    if number > 1 {
        out["previousUri"] = uri(number - 1).into();
    }
    out
}

/// `GET /api/v2/gdpr/requests`.
pub fn list(call: Call<'_>, request: Request, done: Responder) {
    let made = || {
        let (size, number) = page(&request)?;
        let wanted = RequestsWanted {
            channel: Some(Channel::Api),
            limit: size,
            skip: (number - 1) * size,
            ..RequestsWanted::default()
        };
        let views = call.app.subject.list(&wanted)?;
        let entities = views.iter().map(|view| entity(&call, &request, view)).collect::<Result<Vec<Value>>>()?;
        Ok(listing(PATH, "", entities, (size, number), call.app.subject.count(Channel::Api)?))
    };
    reply(done, made());
}

/// `GET /api/v2/gdpr/subjects`: who is found under a value. The listing's own addresses leave the value out: it is personal.
pub fn subjects(call: Call<'_>, request: Request, done: Responder) {
    let made = || {
        let kind = request.head.query_param("searchType");
        let value = request.head.query_param("searchValue").filter(|value| !value.trim().is_empty());
        let value = value.ok_or_else(|| wrong("searchValue is missing", "send searchType and searchValue"))?;
        let place = known(kind.as_deref(), "searchType")?;
        call.app.operations.note(&call.caller.who(), "subjects_searched", None, kind.as_deref())?;
        let found = call.app.subject.find(&Named { values: vec![(place, value.clone())], ..Named::default() })?;
        let (size, number) = page(&request)?;
        let member = member(place, &value);
        let keys = call.app.subject.keys(&found)?;
        let total = i64::try_from(keys.len()).unwrap_or(i64::MAX);
        let first = usize::try_from((number - 1) * size).unwrap_or(usize::MAX);
        let entities = keys.into_iter().skip(first).take(usize::try_from(size).unwrap_or(0)).map(|key| {
            let mut subject = member.clone();
            subject.insert("journeyCustomer".to_owned(), json!({"type": "cookie", "id": key}));
            Value::Object(subject)
        });
        Ok(listing("/api/v2/gdpr/subjects", "", entities.collect(), (size, number), total))
    };
    reply(done, made());
}

/// The member of a GDPRSubject that holds a value.
fn member(place: By, value: &str) -> Map<String, Value> {
    let (name, value) = match place {
        By::Name => ("name", json!(value)),
        By::Address => ("addresses", json!([value])),
        By::Phone => ("phoneNumbers", json!([value])),
        By::Email => ("emailAddresses", json!([value])),
        By::Social(net) => ("socialHandle", json!({"type": net.to_ascii_uppercase(), "value": value})),
        By::ExternalId => ("externalId", json!(value)),
    };
    Map::from_iter([(name.to_owned(), value)])
}
