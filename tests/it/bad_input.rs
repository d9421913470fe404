//! Bodies nobody should send: what the client sees, what is stored (nothing), and that the daemon goes on.
//! Must never test what a good body means (`events.rs`). Invariant: after each of them the same daemon takes a good event.

use serde_json::json;

use crate::support::*;

/// Sends each body to a daemon that would store anything of visitor `v`, lets `check` judge the answer, and sees that
/// nothing was stored and that a good event is taken afterwards.
#[track_caller]
fn each(bodies: Vec<(&str, Vec<u8>)>, check: impl Fn(&str, &Answer)) {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    for (what, body) in bodies {
        let answer = daemon.send(&post("/v1/events").header("Content-Type", "application/json").body(body));
        check(what, &answer);
        assert_eq!((daemon.count("events"), daemon.count("visits"), daemon.counted()), (0, 0, 0), "{what}");
    }
    assert_eq!(daemon.events(&page_view("v")).outcomes(200), ["accepted"]);
    daemon.still_serves();
}

fn as_event(rest: &str) -> Vec<u8> {
    format!(r#"{{"name":"page_viewed","visitor":"v","url":"https://shop.example/",{rest}}}"#).into_bytes()
}

#[test]
fn malformed_json_is_refused_with_its_position() {
    let bodies = vec![
        ("line 1 column 8", b"{\"name\":".to_vec()),
        ("line 1 column 2", b"{name: 1}".to_vec()),
        ("line 3 column 1", b"{\"name\": \"n\",\n\"visitor\": \"v\",\n}".to_vec()),
        ("line 1 column 14", b"{\"name\": \"n\"}}".to_vec()),
        ("line 1 column 1", b"hello".to_vec()),
        ("line 2 column 0", b"[{\"name\":\"n\",\"visitor\":\"v\"}\n".to_vec()),
        ("line 1 column 10", b"{\"name\": 'n'}".to_vec()),
        ("line 1", b"{\"name\": \"n\", \"attributes\": {\"a\": NaN}}".to_vec()),
        ("line 1", b"{\"name\": \"n\", \"visitor\": \"\\ud800\"}".to_vec()),
        ("line 2 column 0", b"{\"name\": \"n\", \"visitor\": \"a\nb\"}".to_vec()),
    ];
    each(bodies, |place, answer| {
        let what = assert_error(answer, 400, "bad_json");
        assert!(what.contains(place), "{place}: {what}");
    });
}

#[test]
fn bytes_that_are_no_utf8_are_refused_with_their_position() {
    let bodies = vec![
        ("byte 10 ", b"{\"name\": \"\xff\"}".to_vec()),
        ("byte 10 ", b"{\"name\": \"\xc3\"}".to_vec()),
        ("byte 10 ", b"{\"name\": \"\xed\xa0\x80\"}".to_vec()),
        ("byte 0 ", b"\xff\xfe{\x00\"\x00".to_vec()),
    ];
    each(bodies, |place, answer| {
        let what = assert_error(answer, 400, "bad_json");
        assert!(what.contains(place), "{place}: {what}");
    });
}

#[test]
fn a_value_of_the_wrong_type_spoils_its_event() {
    let bodies = [
        ("name", r#"{"name":7,"visitor":"v"}"#),
        ("name", r#"{"visitor":"v"}"#),
        ("visitor", r#"{"name":"n","visitor":{"id":"v"}}"#),
        ("visitor", r#"{"name":"n","visitor":""}"#),
        ("eventId", r#"{"name":"n","visitor":"v","eventId":7}"#),
        ("time", r#"{"name":"n","visitor":"v","time":"yesterday"}"#),
        ("time", r#"{"name":"n","visitor":"v","time":true}"#),
        ("page", r#"{"name":"n","visitor":"v","page":"https://shop.example/"}"#),
        ("page.url", r#"{"name":"page_viewed","visitor":"v","page":{"url":["a"]}}"#),
        ("page.url", r#"{"name":"page_viewed","visitor":"v","url":"no address"}"#),
        ("page.url", r#"{"name":"page_viewed","visitor":"v","url":"javascript:alert(1)"}"#),
        ("page.url", r#"{"name":"page_viewed","visitor":"v"}"#),
        ("attributes", r#"{"name":"n","visitor":"v","attributes":[1]}"#),
        ("attributes.a", r#"{"name":"n","visitor":"v","attributes":{"a":{"b":1}}}"#),
        ("attributes.a", r#"{"name":"n","visitor":"v","attributes":{"a":{"dataType":"NUMBER","value":"x"}}}"#),
        ("consent", r#"{"name":"n","visitor":"v","consent":"measure"}"#),
        ("consent", r#"{"name":"n","visitor":"v","consent":["everything"]}"#),
        ("stream", r#"{"name":"n","visitor":"v","stream":"tv"}"#),
        ("device.category", r#"{"name":"n","visitor":"v","device":{"category":"watch"}}"#),
        ("colour", r#"{"name":"n","visitor":"v","colour":"red"}"#),
        ("decision", r#"{"name":"n","visitor":"v","decision":{"action":"give","purposes":["measure"]}}"#),
        ("decision", r#"{"visitor":"v","action":"give","purposes":["measure"]}"#),
    ];
    each(bodies.iter().map(|(field, body)| (*field, body.as_bytes().to_vec())).collect(), |field, answer| {
        assert_eq!(answer.wrong_field(), field, "{answer:?}");
        assert!(answer.first()["what"].as_str().is_some_and(|what| !what.is_empty()), "{answer:?}");
    });
}

#[test]
fn an_item_that_is_no_object_is_that_items_own_problem() {
    let daemon = Daemon::plain();
    let answer = daemon.events(&json!([1, "two", null, [page_view("v")], page_view("v"), true]));
    assert_eq!(answer.outcomes(200), ["invalid", "invalid", "invalid", "invalid", "counted", "invalid"]);
    for body in ["1", "\"text\"", "null", "true"] {
        let answer = daemon.send(&post("/v1/events").body(body));
        assert!(answer.status == 400 || answer.status == 422, "{body}: {answer:?}");
    }
}

#[test]
fn a_key_given_twice_is_refused() {
    let bodies = [
        r#"{"name":"n","name":"n","visitor":"v"}"#,
        r#"{"name":"n","eventName":"n","visitor":"v"}"#,
        r#"{"name":"n","visitor":"v","visitor":"w"}"#,
        r#"{"name":"n","visitor":"v","customerCookieId":"v"}"#,
        r#"{"name":"n","visitor":"v","time":1,"time":2}"#,
        r#"{"name":"n","visitor":"v","attributes":{"a":1,"a":2}}"#,
        r#"{"name":"n","visitor":"v","attributes":{},"attributes":{}}"#,
        r#"{"name":"n","visitor":"v","consent":[],"consent":["measure"]}"#,
        r#"{"name":"page_viewed","visitor":"v","url":"https://a.example/","page":{"url":"https://b.example/"}}"#,
    ];
    each(bodies.iter().map(|body| (*body, body.as_bytes().to_vec())).collect(), |body, answer| {
        assert_eq!(answer.outcomes(422), ["invalid"], "{body}: {answer:?}");
    });
    let daemon = Daemon::plain();
    let sites = r#"{"site":"default","site":"default","events":[{"name":"n"}]}"#;
    let answer = daemon.send(&post("/v1/events").body(sites));
    assert!(answer.status == 400 || answer.status == 422, "{answer:?}");
    let lists = r#"{"events":[{"name":"n"}],"events":[{"name":"n"}]}"#;
    let answer = daemon.send(&post("/v1/events").body(lists));
    assert!(answer.status == 400 || answer.status == 422, "{answer:?}");
    daemon.stored_nothing();
}

#[test]
fn nul_gets_nowhere() {
    let bodies = [
        ("visitor", r#"{"name":"n","visitor":"v\u0000"}"#),
        ("eventId", r#"{"name":"n","visitor":"v","eventId":"\u0000"}"#),
        ("page.title", r#"{"name":"n","visitor":"v","page":{"title":"a\u0000b"}}"#),
        ("attributes.a", r#"{"name":"n","visitor":"v","attributes":{"a":"\u0000"}}"#),
    ];
    each(bodies.iter().map(|(field, body)| (*field, body.as_bytes().to_vec())).collect(), |field, answer| {
        assert!(answer.wrong_field().ends_with(field), "{field}: {answer:?}");
        assert!(!answer.body.contains(&0) && answer.first()["what"].as_str().unwrap().contains("NUL"), "{answer:?}");
    });
    let raw = vec![("raw", b"{\"name\":\"n\",\"visitor\":\"v\x00\"}".to_vec()), ("all", vec![0; 100])];
    each(raw, |_, answer| {
        assert_error(answer, 400, "bad_json");
    });
    let key = vec![("key", br#"{"name":"n","visitor":"v","attributes":{"a\u0000b":"x"}}"#.to_vec())];
    each(key, |_, answer| assert_eq!(answer.outcomes(422), ["invalid"]));
}

#[test]
fn numbers_too_large_to_keep_are_refused() {
    let bodies = [
        ("attributes.a", r#"{"name":"n","visitor":"v","attributes":{"a":18446744073709551616}}"#),
        ("attributes.a", r#"{"name":"n","visitor":"v","attributes":{"a":-99999999999999999999999}}"#),
        ("attributes.a", r#"{"name":"n","visitor":"v","attributes":{"a":1e300}}"#),
        ("time", r#"{"name":"n","visitor":"v","time":9007199254740993}"#),
        ("time", r#"{"name":"n","visitor":"v","time":18446744073709551615}"#),
        ("time", r#"{"name":"n","visitor":"v","time":1e12}"#),
        ("time", r#"{"name":"n","visitor":"v","time":-9223372036854775808}"#),
        ("sentAt", r#"{"name":"n","visitor":"v","sentAt":99999999999999999}"#),
        ("device.screenWidth", r#"{"name":"n","visitor":"v","device":{"screenWidth":1e99}}"#),
    ];
    each(bodies.iter().map(|(field, body)| (*field, body.as_bytes().to_vec())).collect(), |field, answer| {
        assert_eq!(answer.wrong_field(), field, "{answer:?}");
    });
    let digits = format!(r#"{{"name":"n","visitor":"v","attributes":{{"a":{}}}}}"#, "9".repeat(100_000));
    let endless = vec![
        ("over a double", br#"{"name":"n","visitor":"v","attributes":{"a":1e400}}"#.to_vec()),
        ("a long one", digits.into_bytes()),
    ];
    each(endless, |what, answer| {
        assert!(answer.status == 400 || answer.status == 422, "{what}: {answer:?}");
    });
}

#[test]
fn the_last_year_of_javascript_is_refused_and_years_within_reach_are_kept() {
    let bodies = vec![
        ("time", as_event(r#""time":8640000000000000"#)),
        ("time", as_event(r#""time":-8640000000000000"#)),
        ("time", as_event(r#""time":"+275760-09-13T00:00:00.000Z""#)),
        ("time", as_event(r#""time":"275760-09-13T00:00:00.000Z""#)),
        ("time", as_event(r#""time":253402300800000"#)),
        ("time", as_event(r#""time":"0000-01-01T00:00:00Z""#)),
        ("sentAt", as_event(r#""sentAt":8640000000000000"#)),
    ];
    each(bodies, |field, answer| assert_eq!(answer.wrong_field(), field, "{answer:?}"));
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    for time in [json!("9999-12-30T00:00:00Z"), json!("0001-01-01T00:00:00Z"), json!(253_402_200_000_000_i64), json!(0)]
    {
        let answer = daemon.events(&with(page_view("v"), json!({"time": time})));
        assert_eq!(answer.outcomes(200), ["accepted"], "{time}");
    }
    assert_eq!(
        daemon.count("events WHERE corrected_at = received_at AND clock_state = 3"),
        4,
        "kept, but not believed"
    );
}

#[test]
fn ten_thousand_attributes_are_refused() {
    let many: String = (0..10_000).map(|n| format!("\"a{n}\":{n},")).collect();
    let same = "\"a\":1,".repeat(10_000);
    let bodies = [many, same].map(|list| {
        let list = list.trim_end_matches(',');
        ("attributes", format!(r#"{{"name":"n","visitor":"v","attributes":{{{list}}}}}"#).into_bytes())
    });
    each(bodies.to_vec(), |_, answer| {
        assert!(answer.wrong_field().starts_with("attributes"), "{answer:?}");
        assert!(answer.body.len() < 1_000, "the answer does not repeat them");
    });
}

#[test]
fn deep_nesting_is_refused_without_falling() {
    let lists = |depth: usize| format!("{}{}", "[".repeat(depth), "]".repeat(depth));
    let objects = |depth: usize| format!("{}1{}", "{\"a\":".repeat(depth), "}".repeat(depth));
    let mut bodies = Vec::new();
    for depth in [9, 100, 200, 70_000] {
        bodies.push(("list in an attribute", as_event(&format!(r#""attributes":{{"a":{}}}"#, lists(depth)))));
        bodies.push(("object in an attribute", as_event(&format!(r#""attributes":{{"a":{}}}"#, objects(depth)))));
        bodies.push(("list in an unknown key", as_event(&format!(r#""x":{}"#, lists(depth)))));
        bodies.push(("objects only", objects(depth).into_bytes()));
        bodies.push(("lists only", lists(depth).into_bytes()));
        bodies.push(("lists without an end", "[".repeat(depth).into_bytes()));
        bodies.push((
            "envelopes in envelopes",
            format!("{}{}", "{\"events\":[".repeat(depth), "]}".repeat(depth)).into(),
        ));
    }
    each(bodies, |what, answer| {
        if answer.status == 400 {
            assert_error(answer, 400, "bad_json");
        } else {
            assert_eq!(answer.outcomes(422), ["invalid"], "{what}: {answer:?}");
        }
        assert!(answer.body.len() < 1_000, "{what}: the answer does not repeat it");
    });
}

#[test]
fn event_names_outside_the_allowed_set_are_refused() {
    let bodies = ["", "page viewed", "page-viewed", "pagé", "a;DROP TABLE events", "<script>", "\u{202e}n", "a\\nb"];
    let bodies = bodies.iter().map(|name| (*name, format!(r#"{{"name":"{name}","visitor":"v"}}"#).into_bytes()));
    each(bodies.collect(), |_, answer| assert_eq!(answer.wrong_field(), "name", "{answer:?}"));
    let daemon = Daemon::with("[[site]]\nid = \"s\"\nallowed_events = [\"page_viewed\", \"basket\"]\n");
    daemon.give("v", &["measure"]);
    let answer =
        daemon.events(&json!([page_view("v"), {"name": "basket", "visitor": "v"}, {"name": "other", "visitor": "v"}]));
    assert_eq!(answer.outcomes(200), ["accepted", "accepted", "invalid"]);
    assert!(answer.json()["results"][2]["what"].as_str().unwrap().contains("allowed_events"));
}

#[test]
fn a_decision_that_is_none_is_refused() {
    let daemon = Daemon::plain();
    let bodies = [
        ("bad_json", json!("x")),
        ("decision", json!({"action": "give"})),
        ("bad_json", json!({"visitor": "v", "action": "give", "purposes": "measure"})),
        ("bad_json", json!({"visitor": "v", "action": "give", "purposes": ["measure"], "colour": "red"})),
        ("decision", json!({"visitor": "v", "action": "accept", "purposes": ["measure"]})),
        ("decision", json!({"visitor": "v", "action": "give"})),
        ("decision", json!({"visitor": "v", "action": "give", "purposes": ["everything"]})),
        ("decision", json!({"visitor": "", "action": "refuse"})),
        ("decision", json!({"visitor": "v\u{0}", "action": "refuse"})),
        ("decision", json!({"visitor": "v".repeat(257), "action": "refuse"})),
        ("decision", json!({"visitor": "v", "action": "refuse", "method": "implied"})),
        ("invalid", json!({"visitor": "v", "action": "refuse", "time": "never"})),
        ("purpose", json!({"visitor": "v", "action": "give", "purposes": ["share"]})),
    ];
    for (code, body) in bodies {
        assert_error(&daemon.decide(&body), 400, code);
    }
    assert_error(
        &daemon.send(&post("/v1/consent").body("{\"visitor\":\"v\",\"visitor\":\"w\",\"action\":\"refuse\"}")),
        400,
        "bad_json",
    );
    assert_error(
        &daemon.send(&post("/v1/consent?site=none").json(&json!({"visitor": "v", "action": "refuse"}))),
        400,
        "unknown_site",
    );
    daemon.stored_nothing();
    daemon.still_serves();
}
