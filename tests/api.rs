//! The API description against the program: `packaging/openapi.json` says what the router's table says, no more, no less.
//! Must never judge the wording beyond the summaries. Invariant: the event schema in it is the one that is shipped.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::Value;
use wayside::http::router::{ROUTES, Scope};

fn shipped(path: &str) -> Value {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).expect(path);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{path}: {e}"))
}

/// Every operation of the description, by method and path.
fn operations(api: &Value) -> BTreeMap<(String, String), &Value> {
    let mut out = BTreeMap::new();
    for (path, item) in api["paths"].as_object().expect("paths") {
        for (method, operation) in item.as_object().expect("a path item") {
            out.insert((method.to_uppercase(), path.clone()), operation);
        }
    }
    out
}

/// `#/$defs/x` as the description writes it.
fn moved(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let entry = |(key, value): (&String, &Value)| match (key.as_str(), value.as_str()) {
                ("$ref", Some(to)) => (key.clone(), Value::from(to.replace("#/$defs/", "#/components/schemas/"))),
                _ => (key.clone(), moved(value)),
            };
            Value::Object(map.iter().map(entry).collect())
        }
        Value::Array(list) => Value::Array(list.iter().map(moved).collect()),
        other => other.clone(),
    }
}

/// Calls `seen` with every `$ref`.
fn references<'a>(value: &'a Value, seen: &mut impl FnMut(&'a str)) {
    match value {
        Value::Object(map) => map.iter().for_each(|(key, value)| match value.as_str() {
            Some(to) if key == "$ref" => seen(to),
            _ => references(value, seen),
        }),
        Value::Array(list) => list.iter().for_each(|value| references(value, seen)),
        _ => {}
    }
}

#[test]
fn every_route_is_described_and_nothing_else() {
    let api = shipped("packaging/openapi.json");
    let described: Vec<_> = operations(&api).into_keys().collect();
    let mut routes: Vec<_> = ROUTES.iter().map(|route| (route.method.to_owned(), route.path.to_owned())).collect();
    routes.sort();
    assert_eq!(described, routes, "left: packaging/openapi.json, right: ROUTES in src/http/router.rs");
}

#[test]
fn summaries_scopes_and_bodies_agree_with_the_table() {
    let api = shipped("packaging/openapi.json");
    let operations = operations(&api);
    for route in ROUTES {
        let name = format!("{} {}", route.method, route.path);
        let Some(operation) = operations.get(&(route.method.to_owned(), route.path.to_owned())) else { continue };
        assert_eq!(operation["summary"], route.summary, "{name}");
        assert_eq!(operation["x-wayside-scope"], route.scope.word(), "{name}");
        let tags = operation["tags"].as_array().expect("tags");
        assert_eq!(tags.iter().any(|tag| tag == "operator"), route.scope == Scope::Operator, "{name}");
        let guarded = matches!(route.scope, Scope::Token(_));
        assert_eq!(operation["security"] == serde_json::json!([{"token": []}]), guarded, "{name}: security");
        assert_eq!(tags.iter().any(|tag| tag == "journey"), route.vendor, "{name}");
        assert_eq!(operation.get("requestBody").is_some(), route.body, "{name}: the body");
    }
}

#[test]
fn path_parameters_are_described() {
    let api = shipped("packaging/openapi.json");
    for ((method, path), operation) in operations(&api) {
        let mut wanted: Vec<&str> =
            path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}')).collect();
        wanted.sort_unstable();
        let parameters = operation["parameters"].as_array().map_or(&[][..], Vec::as_slice);
        let resolved = parameters.iter().map(|one| match one["$ref"].as_str() {
            Some(to) => api.pointer(&to[1..]).expect("a parameter"),
            None => one,
        });
        let mut found: Vec<&str> =
            resolved.filter(|one| one["in"] == "path").filter_map(|one| one["name"].as_str()).collect();
        found.sort_unstable();
        assert_eq!(found, wanted, "{method} {path}");
    }
}

#[test]
fn every_operation_has_an_id_of_its_own_and_every_reference_leads_somewhere() {
    let api = shipped("packaging/openapi.json");
    let operations = operations(&api);
    let ids: std::collections::BTreeSet<_> = operations.values().filter_map(|it| it["operationId"].as_str()).collect();
    assert_eq!(ids.len(), operations.len());
    references(&api, &mut |to| assert!(api.pointer(&to[1..]).is_some(), "{to} leads nowhere"));
}

#[test]
fn the_event_schema_is_the_one_that_is_shipped() {
    let (api, event) = (shipped("packaging/openapi.json"), shipped("packaging/schema/event.schema.json"));
    let remedy = "copy it from packaging/schema/event.schema.json";
    for (name, schema) in event["$defs"].as_object().expect("$defs") {
        assert_eq!(api["components"]["schemas"][name], moved(schema), "{name}: {remedy}");
    }
    let body = &api["components"]["schemas"]["eventsBody"];
    assert_eq!(body["oneOf"], moved(&event["oneOf"]), "eventsBody: {remedy}");
    assert_eq!(body["description"], event["description"], "eventsBody: {remedy}");
}

#[test]
fn the_description_is_of_this_version() {
    assert_eq!(shipped("packaging/openapi.json")["info"]["version"], env!("CARGO_PKG_VERSION"));
}
