//! What each form of body becomes, and what broken ones are answered with.
//! Must never reach beyond a body: rules of sites are tested in shape.

use super::*;
use crate::ingest::wire::{RawEvent, Slot};

fn limits() -> Limits {
    Limits::default()
}

fn only(body: &str) -> std::result::Result<RawEvent<'_>, Invalid> {
    let mut items = json(body.as_bytes(), &limits()).unwrap().items;
    assert_eq!(items.len(), 1, "{body}");
    match items.remove(0)? {
        Item::Event(event) => Ok(*event),
        Item::Decision(decision) => panic!("{decision:?}"),
    }
}

fn refused(body: &str) -> Invalid {
    only(body).expect_err(body)
}

#[test]
fn a_broken_body_is_refused_as_a_whole_and_the_place_is_named() {
    let deep = format!("{}1{}", "[".repeat(100_000), "]".repeat(100_000));
    let deep_event = format!(r#"{{"name":"a","data":{{"x":{}"#, "{\"x\":".repeat(100_000));
    for (body, code, place) in [
        (&b"{\"name\":\"a\",}"[..], "bad_json", "line 1 column 13"),
        (b"{\"name\":\n\"a\"", "bad_json", "line 2 column 3"),
        (b"[{\"name\":\"a\"} {\"name\":\"b\"}]", "bad_json", "column 15"),
        (b"{\"name\":\"a\"}x", "bad_json", "line 1 column 13"),
        (b"name=a&visitor=b", "bad_json", "column 2"),
        (b"{\"name\":\"a\",\"attributes\":{\"n\":1e400}}", "bad_json", "number out of range"),
        (b"{\"name\":\"a\",\"attributes\":{\"n\":NaN}}", "bad_json", "column 31"),
        (b"{\"name\":\"\\ud800\"}", "bad_json", "column"),
        (b"{\"name\":\"a\nb\"}", "bad_json", "control character"),
        (b"{\"name\":\"a\0b\"}", "bad_json", "control character"),
        (b"{\"name\":\"a\",\"title\":\"\xff\"}", "bad_json", "byte 21"),
        (b"\xff\xfe{\0}\0", "bad_json", "byte 0"),
        (deep_event.as_bytes(), "bad_json", "EOF"),
        (b"", "empty", ""),
        (b" \r\n\t", "empty", ""),
        (b"[]", "empty", ""),
        (b"{\"events\":[]}", "empty", ""),
    ] {
        let shown = String::from_utf8_lossy(&body[..body.len().min(60)]).into_owned();
        let error = json(body, &limits()).expect_err(&shown);
        assert_eq!(error.code, code, "{shown}: {error}");
        assert!(error.what.contains(place), "{shown}: {error}");
    }
    // nested lists are JSON, and none of them is an event
    assert_eq!(json(deep.as_bytes(), &limits()).unwrap().items.len(), 1);
    assert!(json(deep.as_bytes(), &limits()).unwrap().items[0].is_err());
}

#[test]
fn a_wrong_event_is_named_and_its_neighbours_are_taken() {
    let body = r#"[{"name":"a"},{"name":7},3,null,{"name":"b","vistor":"x"},{"name":"c"}]"#;
    let items = json(body.as_bytes(), &limits()).unwrap().items;
    let found: Vec<_> = items.into_iter().map(|item| item.map_err(|problem| problem.field).map(|_| ())).collect();
    let bad = |field: &str| Err(field.to_owned());
    assert_eq!(found, [Ok(()), bad("name"), bad("event"), bad("event"), bad("vistor"), Ok(())]);
}

#[test]
fn wrong_types_and_keys_are_named() {
    let deep = format!(r#"{{"name":"a","attributes":{{"x":{}1{}}}}}"#, "[".repeat(50_000), "]".repeat(50_000));
    for (body, field, what) in [
        (r#"{"visitor":"v"}"#, "name", "missing"),
        (r#"{"name":null}"#, "name", "missing"),
        (r#"{"name":["a"]}"#, "name", "not a list"),
        (r#"{"name":{"a":1}}"#, "name", "not an object"),
        (r#"{"name":true}"#, "name", "not true or false"),
        (r#"{"name":"a","visitor":7}"#, "visitor", "must be text"),
        (r#"{"name":"a","visitor":9007199254740993}"#, "visitor", "must be text"),
        (r#"{"name":"a","time":9007199254740993}"#, "time", "1 to 9999"),
        (r#"{"name":"a","time":18446744073709551615}"#, "time", "1 to 9999"),
        (r#"{"name":"a","time":8640000000000000}"#, "time", "1 to 9999"),
        (r#"{"name":"a","time":"+275760-09-13T00:00:00Z"}"#, "time", "1 to 9999"),
        (r#"{"name":"a","time":"yesterday"}"#, "time", "RFC 3339"),
        (r#"{"name":"a","time":""}"#, "time", "RFC 3339"),
        (r#"{"name":"a","time":1.5}"#, "time", "whole"),
        (r#"{"name":"a","sentAt":true}"#, "sentAt", "RFC 3339"),
        (r#"{"name":"a","page":"/x"}"#, "page", "an object"),
        (r#"{"name":"a","page":{"url":1}}"#, "page.url", "must be text"),
        (r#"{"name":"a","page":{"href":"/x"}}"#, "page.href", "no field"),
        (r#"{"name":"a","consent":"measure"}"#, "consent", "a list of words"),
        (r#"{"name":"a","consent":["measure",1]}"#, "consent", "a list of words"),
        (r#"{"name":"a","attributes":[]}"#, "attributes", "an object of attributes"),
        (r#"{"name":"a","attributes":{"x":[1]}}"#, "attributes.x", "not a list"),
        (r#"{"name":"a","attributes":{"x":{"value":"1"}}}"#, "attributes.x", "dataType"),
        (r#"{"name":"a","attributes":{"x":{"dataType":"INT","value":"1"}}}"#, "attributes.x", "dataType"),
        (r#"{"name":"a","attributes":{"x":{"dataType":"NUMBER","value":"1 2"}}}"#, "attributes.x", "NUMBER"),
        (r#"{"name":"a","attributes":{"x":{"dataType":"NUMBER","value":"1e999"}}}"#, "attributes.x", "NUMBER"),
        (r#"{"name":"a","attributes":{"x":{"dataType":"BOOLEAN","value":"yes"}}}"#, "attributes.x", "BOOLEAN"),
        (r#"{"name":"a","attributes":{"x":123456789012345678901234567890}}"#, "attributes.x", "digits"),
        (r#"{"name":"a","device":{"category":"fridge"}}"#, "device.category", "desktop, mobile, tablet, other"),
        (r#"{"name":"a","device":{"screenWidth":-1}}"#, "device.screenWidth", "whole number"),
        (r#"{"name":"a","device":{"fingerprint":"x"}}"#, "device.fingerprint", "no field"),
        (r#"{"name":"a","decision":{"action":1}}"#, "decision.action", "must be text"),
        (r#"{"name":"a","decision":{"action":"give","visitor":"v"}}"#, "decision.visitor", "no field"),
        (r#"{"name":"a","action":"give"}"#, "action", "no field of an event"),
        (r#"{"name":"a","title":"x\u0000y"}"#, "title", "NUL"),
        (r#"{"name":"a","attributes":{"x":"\u0000"}}"#, "attributes.x", "NUL"),
        (r#"{"name":"a","attributes":{"x\u0000":"1"}}"#, "attributes.x\\u{0}", "NUL"),
        (r#"{"name":"a","\u001b[2J":1}"#, "\\u{1b}[2J", "no field"),
        (deep.as_str(), "attributes.x", "deeper than 8"),
    ] {
        let Invalid { field: found, what: told } = refused(body);
        assert_eq!(found, field, "{}", &body[..body.len().min(80)]);
        assert!(told.contains(what), "{body}: {told}");
    }
}

#[test]
fn a_key_given_twice_is_refused_in_every_spelling() {
    for (body, field) in [
        (r#"{"name":"a","name":"b"}"#, "name"),
        (r#"{"name":"a","eventName":"a"}"#, "eventName"),
        (r#"{"name":"a","eventId":"1","eventID":"1"}"#, "eventID"),
        (r#"{"name":"a","visitor":"1","globalVisitID":"1"}"#, "globalVisitID"),
        (r#"{"name":"a","customerCookieId":"1","globalVisitId":"1"}"#, "globalVisitId"),
        (r#"{"name":"a","time":1,"timestamp":1}"#, "timestamp"),
        (r#"{"name":"a","title":null,"title":"x"}"#, "title"),
        (r#"{"name":"a","page":{"url":"/"},"url":"/"}"#, "url"),
        (r#"{"name":"a","page":{"url":"/"},"page":{"title":"x"}}"#, "page"),
        (r#"{"name":"a","page":{"url":"/","url":"/"}}"#, "page.url"),
        (r#"{"name":"a","device":{"type":"x","type":"y"}}"#, "device.type"),
        (r#"{"name":"a","attributes":{},"attributes":{}}"#, "attributes"),
        (r#"{"name":"a","attributes":{"x":{"dataType":"STRING","value":"1","value":"2"}}}"#, "attributes.x"),
        (r#"{"name":"a","consent":[],"consent":["measure"]}"#, "consent"),
    ] {
        let problem = refused(body);
        assert_eq!(problem.field, field, "{body}");
        assert!(problem.what.contains("twice"), "{body}: {}", problem.what);
    }
}

#[test]
fn numbers_keep_their_digits() {
    let body = r#"{"name":"a","attributes":{"a":9007199254740993,"b":18446744073709551615,"c":-3,"d":1.5,"e":1.0e-7,
        "f":true,"g":"text","h":{"dataType":"NUMBER","value":"007"},"i":{"dataType":"NUMBER","value":4},"j":null}}"#;
    let attributes = only(body).unwrap().attributes.unwrap();
    let shown: Vec<String> =
        attributes.iter().map(|a| format!("{} {} {}", a.name, a.value, a.data_type.word())).collect();
    assert_eq!(
        shown,
        [
            "a 9007199254740993 NUMBER",
            "b 18446744073709551615 NUMBER",
            "c -3 NUMBER",
            "d 1.5 NUMBER",
            "e 1e-7 NUMBER",
            "f true BOOLEAN",
            "g text STRING",
            "h 007 NUMBER",
            "i 4 NUMBER",
        ]
    );
}

#[test]
fn web_engagement_envelopes_are_events_in_both_spellings() {
    let upper = r#"{"eventType":"SYSTEM","eventName":"PageEntered","eventID":"44D25DDB78174DEC8F33E28F96428336","pageID":"P1",
        "timestamp":1413979605190,"category":"a;b","url":"http://shop.example/x","languageCode":"en-US",
        "globalVisitID":"g1","visitID":"v1","data":{"step":2}}"#;
    let lower = upper.replace("eventID", "eventId").replace("pageID", "pageId");
    let lower = lower.replace("globalVisitID", "globalVisitId").replace("visitID", "visitId");
    let event = only(upper).unwrap();
    assert_eq!(event, only(&lower).unwrap());
    assert_eq!(
        (event.event_id.as_deref(), event.page_id.as_deref()),
        (Some("44D25DDB78174DEC8F33E28F96428336"), Some("P1"))
    );
    assert_eq!((event.visitor.as_deref(), event.visit_id.as_deref()), (Some("g1"), Some("v1")));
    assert_eq!((event.time, event.category.as_deref()), (Some(Millis(1_413_979_605_190)), Some("a;b")));
    assert_eq!(event.data.unwrap()[0].value, "2");
}

#[test]
fn text_without_escapes_is_borrowed() {
    let event = only(r#"{"name":"a","title":"plain ü","visitor":"esc\u0061ped"}"#).unwrap();
    assert!(matches!(event.title, Some(std::borrow::Cow::Borrowed("plain ü"))));
    assert_eq!(event.visitor.as_deref(), Some("escaped"));
}

#[test]
fn an_envelope_tells_site_time_and_decision() {
    let body = r#" {"events":[{"name":"a"},{"name":1},{"visitor":"v","action":"withdraw","createdDate":5}],"site":"shop",
        "sentAt":"2026-11-21T10:00:00Z","decision":{"action":"give","purposes":["measure"],"signalShown":true}}"#;
    let decoded = json(body.as_bytes(), &limits()).unwrap();
    assert_eq!(decoded.site.as_deref(), Some("shop"));
    assert_eq!(decoded.sent_at, Millis::parse("2026-11-21T10:00:00Z"));
    let decision = decoded.decision.unwrap();
    assert_eq!((decision.action.as_deref(), decision.signal_shown), (Some("give"), Some(true)));
    assert!(matches!(&decoded.items[0], Ok(Item::Event(event)) if event.name.as_deref() == Some("a")));
    assert!(decoded.items[1].is_err());
    let Ok(Item::Decision(line)) = &decoded.items[2] else { panic!("{:?}", decoded.items[2]) };
    assert_eq!((line.visitor.as_deref(), line.time), (Some("v"), Some(Millis(5))));
}

#[test]
fn an_envelope_holds_nothing_else() {
    for (body, place) in [
        (r#"{"events":[{"name":"a"}],"name":"b"}"#, "beside"),
        (r#"{"events":[{"name":"a"}],"visitor":"b"}"#, "beside"),
        (r#"{"events":[{"name":"a"}],"action":"give"}"#, "beside"),
        (r#"{"events":[{"name":"a"}],"sites":"b"}"#, "sites"),
        (r#"{"events":[{"name":"a"}],"site":7}"#, "site"),
        (r#"{"events":[{"name":"a"}],"site":""}"#, "site"),
        (r#"{"events":[{"name":"a"}],"site":"a","site":"b"}"#, "site"),
        (r#"{"events":[{"name":"a"}],"events":[{"name":"b"}]}"#, "events"),
        (r#"{"site":"shop","name":"a"}"#, "site"),
    ] {
        let error = json(body.as_bytes(), &limits()).expect_err(body);
        assert_eq!(error.code, "envelope", "{body}");
        assert!(error.what.contains(place), "{body}: {error}");
    }
    assert_eq!(refused(r#"{"events":{"name":"a"}}"#).field, "events");
    // an event inside is no envelope
    let inner = json(br#"[{"events":[{"name":"a"}]}]"#, &limits()).unwrap().items.remove(0).unwrap_err();
    assert_eq!(inner.field, "events");
}

#[test]
fn one_bad_line_is_that_lines_problem() {
    let body = b"\xef\xbb\xbf{\"name\":\"a\"}\r\n\r\n{\"name\":\n{\"name\":\"b\",\"x\":1}\n\xff\n{\"visitor\":\"v\",\"action\":\"give\",\"purposes\":[\"measure\"]}\n[]\n{\"name\":\"c\"}";
    let items = ndjson(body, &limits()).unwrap().items;
    let fields: Vec<&str> =
        items.iter().map(|item| item.as_ref().map_or_else(|p| p.field.as_str(), |_| "ok")).collect();
    assert_eq!(fields, ["ok", "line 3", "x", "line 5", "ok", "event", "ok"]);
    assert!(items[1].as_ref().unwrap_err().what.contains("at column 8"), "{:?}", items[1]);
    assert!(matches!(&items[4], Ok(Item::Decision(decision)) if decision.purposes.as_ref().unwrap()[0] == "measure"));
    assert_eq!(ndjson(b"\n \r\n", &limits()).unwrap_err().code, "empty");
}

#[test]
fn a_request_holds_as_many_events_as_the_limit_and_no_more() {
    let limits = Limits { events_max: 3, ..limits() };
    let array = |n: usize| format!("[{}]", vec![r#"{"name":"a"}"#; n].join(","));
    let lines = |n: usize| vec![r#"{"name":"a"}"#; n].join("\n");
    assert_eq!(json(array(3).as_bytes(), &limits).unwrap().items.len(), 3);
    assert_eq!(ndjson(lines(3).as_bytes(), &limits).unwrap().items.len(), 3);
    let enveloped = format!("{{\"events\":{}}}", array(4));
    for error in [
        json(array(4).as_bytes(), &limits).unwrap_err(),
        ndjson(lines(4).as_bytes(), &limits).unwrap_err(),
        json(enveloped.as_bytes(), &limits).unwrap_err(),
    ] {
        assert_eq!(error.code, "too_many");
        assert!(error.what.contains("4 events, at most 3"), "{error}");
    }
}

#[test]
fn ten_thousand_attributes_are_too_many() {
    let body = |n: usize| {
        let list: Vec<String> = (0..n).map(|i| format!("\"k{i}\":{i}")).collect();
        format!("{{\"name\":\"a\",\"attributes\":{{{}}}}}", list.join(","))
    };
    assert_eq!(only(&body(100)).unwrap().attributes.unwrap().len(), 100);
    for n in [101, 10_000] {
        let problem = refused(&body(n));
        assert!(problem.field == "attributes" && problem.what.contains("more than 100"), "{problem:?}");
    }
    let words = |n: usize| format!(r#"{{"name":"a","consent":[{}]}}"#, vec!["\"measure\""; n].join(","));
    assert_eq!(only(&words(32)).unwrap().consent.unwrap().len(), 32);
    assert_eq!(refused(&words(33)).field, "consent");
}

/// The published schema names the keys that are taken, no more and no fewer.
#[test]
fn the_schema_lists_what_is_taken() {
    let text = include_str!("../../../packaging/schema/event.schema.json");
    let schema: serde_json::Value = serde_json::from_str(text).unwrap();
    let keys = |pointer: &str| -> Vec<String> {
        schema.pointer(pointer).and_then(|it| it.as_object()).expect(pointer).keys().cloned().collect()
    };
    let mut parts = 0;
    for key in keys("/$defs/event/properties") {
        let mut event = RawEvent::default();
        let slot = event.slot(Table::Whole, &key).unwrap_or_else(|| panic!("{key} is in the schema only"));
        let listed = || keys(&format!("/$defs/event/properties/{key}/properties"));
        match slot {
            Slot::Part(_, shape) => {
                let mut own: Vec<String> = shape.iter().map(|(name, _)| (*name).to_owned()).collect();
                own.sort();
                assert_eq!(own, sorted(listed()), "{key}");
                parts += 1;
            }
            Slot::Inner(table) => {
                for inner in listed() {
                    assert!(RawEvent::default().slot(table, &inner).is_some(), "{key}.{inner}");
                }
                parts += 1;
            }
            _ => {}
        }
    }
    assert_eq!(parts, 7, "page, conversation, device, browser, app, sdkLibrary, networkConnectivity");
    for key in keys("/$defs/attachedDecision/properties") {
        assert!(RawDecision::default().slot(Table::Whole, &key).is_some(), "decision.{key}");
    }
    // every key in the code's table stands in the schema
    let code = include_str!("../wire.rs");
    let (_, table) = code.split_once("fn event_slot").unwrap();
    let (table, _) = table.split_once("\n}").unwrap();
    let coded: Vec<&str> = table.split('"').skip(1).step_by(2).collect();
    assert_eq!(sorted(coded.iter().map(|key| (*key).to_owned()).collect()), sorted(keys("/$defs/event/properties")));
    for example in schema["examples"].as_array().unwrap() {
        let body = example.to_string();
        let decoded = json(body.as_bytes(), &limits()).unwrap();
        assert!(decoded.items.iter().all(std::result::Result::is_ok), "{body}: {decoded:?}");
    }
}

fn sorted(mut list: Vec<String>) -> Vec<String> {
    list.sort();
    list
}
