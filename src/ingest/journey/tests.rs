//! Requests as the vendor's SDK sends them, and answers as it reads them.
//! Must never need the SDK itself: its requests stand here as recorded text.

use serde_json::{Value, json};

use super::*;
use crate::base::digest::HashKey;
use crate::base::id::ClientId;
use crate::base::time::HOUR_MS;
use crate::domain::event::{Event, Stream};
use crate::domain::place::Place;
use crate::domain::site::{Site, SiteOptions};
use crate::ingest::shape::{Authority, Deriver, Origin};

/// As the published Python SDK writes it: None left out, six digits of a second, a numeric offset.
const WEB: &str = r#"{"customerCookieId":"3f0b0d5e-8a6e-4f7a-9a2e-111111111111","eventName":"page_viewed",
    "page":{"url":"https://shop.example/a?q=1&utm_campaign=spring#x","title":"T"},
    "userAgentString":"Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:126.0) Gecko/20100101 Firefox/126.0",
    "referrerUrl":"https://www.google.com/","attributes":{"items_in_cart":{"dataType":"NUMBER","value":"3"}},
    "traits":{"email":{"dataType":"STRING","value":"a@b.example"}},"browser":{"lang":"en"},
    "createdDate":"2026-11-21T10:20:30.123000+00:00"}"#;

const APP_BODY: &str = r#"{"eventName":"screen_viewed","screenName":"home","app":{"name":"shop","buildNumber":"7"},
    "device":{"category":"mobile","type":"phone","isMobile":true,"screenHeight":800,"fingerprint":"f"},
    "sdkLibrary":{"name":"sdk","version":"1"},"networkConnectivity":{"wifiEnabled":true},
    "customerCookieId":"c","createdDate":"2026-11-21T10:20:30"}"#;

fn limits() -> Limits {
    Limits::default()
}

fn shaped(mut raw: RawEvent<'_>) -> Event {
    let site = Site::compile(SiteOptions::builtin()).unwrap();
    let place = Some(Place { country_name: Some("Norway".into()), ..Place::default() });
    let from = Origin {
        site: &site,
        user_agent: Some("PureCloud SDK/python"),
        ip: None,
        place,
        sent_at: None,
        authority: Authority::Public,
    };
    *Deriver::default().shape(&mut raw, &from, &HashKey::new(&[1; 32]), &limits()).unwrap()
}

fn visit() -> VisitSummary {
    VisitSummary {
        id: "s1".into(),
        started: Millis(1_000),
        last_active: Millis(63_999),
        event_count: 4,
        page_count: 2,
        screen_count: 1,
        referrer: Some(r#"{"url":"https://www.google.com/","medium":"search"}"#.into()),
        authenticated: true,
    }
}

/// `body` with the value at a pointer replaced, or removed where the new value is null.
fn with(body: &str, pointer: &str, new: Value) -> Vec<u8> {
    let mut value: Value = serde_json::from_str(body).unwrap();
    let (under, key) = pointer.rsplit_once('/').unwrap();
    let object = value.pointer_mut(under).unwrap().as_object_mut().unwrap();
    if new.is_null() {
        object.remove(key)
    } else {
        object.insert(key.to_owned(), new)
    };
    serde_json::to_vec(&value).unwrap()
}

#[test]
fn a_web_event_is_answered_enriched() {
    let event = shaped(web(WEB.as_bytes(), &limits()).unwrap());
    assert_eq!((event.stream, event.client_at), (Stream::Web, Millis::parse("2026-11-21T10:20:30.123Z")));
    assert_eq!(event.personal.traits[0].name, "email");
    let answer = serde_json::to_value(web_response(&event, Some(&visit()))).unwrap();
    for (pointer, wanted) in [
        ("/customerId", json!("3f0b0d5e-8a6e-4f7a-9a2e-111111111111")),
        ("/customerIdType", json!("cookie")),
        ("/eventName", json!("page_viewed")),
        ("/page/url", json!("https://shop.example/a?q=1&utm_campaign=spring")),
        ("/page/domain", json!("shop.example")),
        ("/page/pathname", json!("/a")),
        ("/page/queryString", json!("q=1&utm_campaign=spring")),
        ("/browser", json!({"lang": "en", "family": "Firefox", "version": "126.0"})),
        ("/device/category", json!("desktop")),
        ("/device/osFamily", json!("Windows")),
        ("/device/isMobile", json!(false)),
        ("/searchQuery", json!("1")),
        ("/geolocation", json!({"countryName": "Norway"})),
        ("/mktCampaign", json!({"name": "spring"})),
        ("/referrer/medium", json!("search")),
        ("/referrer/name", json!("Google")),
        ("/attributes", json!({"items_in_cart": {"dataType": "NUMBER", "value": "3"}})),
        ("/authenticated", json!(true)),
        ("/createdDate", json!("2026-11-21T10:20:30.123Z")),
        ("/session/id", json!("s1")),
        ("/session/durationInSeconds", json!(62)),
        ("/session/eventCount", json!(4)),
        ("/session/pageviewCount", json!(2)),
        ("/session/referrer/medium", json!("search")),
        ("/session/selfUri", json!("/api/v2/journey/sessions/s1")),
        ("/session/createdDate", json!("1970-01-01T00:00:01.000Z")),
    ] {
        assert_eq!(answer.pointer(pointer), Some(&wanted), "{pointer} of {answer}");
    }
    assert_eq!(answer.pointer("/session/screenviewCount"), None);
    let counted = serde_json::to_value(web_response(&event, None)).unwrap();
    assert!(counted.get("session").is_none() && counted["authenticated"] == json!(false));
    assert!(!counted.to_string().contains("null"), "{counted}");
}

#[test]
fn an_app_event_is_answered_enriched() {
    let mut event = shaped(app(APP_BODY.as_bytes(), &limits()).unwrap());
    assert_eq!((event.stream, event.page.screen.as_deref()), (Stream::App, Some("home")));
    assert_eq!(event.user_agent, None, "the header names the SDK, not the visitor's browser");
    event.id = Some(ClientId::new("e1"));
    let answer = serde_json::to_value(app_response(&event, event.id.as_ref(), Some(&visit()))).unwrap();
    for (pointer, wanted) in [
        ("/id", json!("e1")),
        ("/screenName", json!("home")),
        ("/app", json!({"name": "shop", "buildNumber": "7"})),
        ("/device", json!({"category": "mobile", "type": "phone", "isMobile": true, "screenHeight": 800})),
        ("/sdkLibrary/version", json!("1")),
        ("/networkConnectivity/wifiEnabled", json!(true)),
        ("/geolocation/countryName", json!("Norway")),
        ("/session/screenviewCount", json!(1)),
    ] {
        assert_eq!(answer.pointer(pointer), Some(&wanted), "{pointer} of {answer}");
    }
    assert_eq!(answer.pointer("/session/pageviewCount"), None);
}

#[test]
fn an_action_event_keeps_its_session() {
    let body = r#"{"id":"x","sessionId":"s1","actionId":"a1","actionState":"errored","errorCode":"E","selfUri":"/"}"#;
    let event = shaped(action(body.as_bytes(), &limits()).unwrap());
    assert_eq!((event.name.as_str(), event.act), ("action_state", Act::ActionState));
    assert_eq!(event.visit, Some(ClientId::new("s1")));
    let told: Vec<(&str, &str)> = event.attributes.iter().map(|a| (a.name.as_str(), a.value.as_str())).collect();
    assert_eq!(told, [("actionId", "a1"), ("actionState", "errored"), ("errorCode", "E"), ("sessionId", "s1")]);
    for state in ACTION_STATES {
        assert!(action(&with(body, "/actionState", json!(state)), &limits()).is_ok());
    }
    for (pointer, new, field) in [
        ("/sessionId", Value::Null, "sessionId"),
        ("/actionId", json!(""), "actionId"),
        ("/actionState", Value::Null, "actionState"),
        ("/actionState", json!("outdated_sdk_version"), "actionState"),
    ] {
        let problem = action(&with(body, pointer, new), &limits()).unwrap_err();
        assert_eq!((problem.status, problem.field.as_str()), (400, field));
    }
}

#[test]
fn what_the_documentation_requires_is_required() {
    for field in ["/customerCookieId", "/eventName", "/page", "/page/url", "/page/title", "/createdDate"] {
        let problem = web(&with(WEB, field, Value::Null), &limits()).unwrap_err();
        let wanted = if field == "/page" { "page.url" } else { &field[1..].replace('/', ".") };
        assert_eq!((problem.field.as_str(), problem.status), (wanted, 400));
    }
    for field in ["/eventName", "/screenName", "/app", "/device", "/customerCookieId", "/createdDate"] {
        let problem = app(&with(APP_BODY, field, Value::Null), &limits()).unwrap_err();
        assert_eq!((problem.field.as_str(), problem.status), (&field[1..], 400));
    }
    assert!(web(&with(WEB, "/page/title", json!("")), &limits()).is_ok(), "a page may have an empty title");
}

#[test]
fn values_are_strict_and_unknown_keys_are_skipped() {
    for (pointer, new, field) in [
        ("/eventName", json!("page-viewed"), "eventName"),
        ("/createdDate", json!("soon"), "createdDate"),
        ("/device", json!({"category": "outdated_sdk_version"}), "device.category"),
        ("/device", json!({"screenHeight": "tall"}), "device.screenHeight"),
        ("/attributes", json!({"a": 3}), "attributes.a"),
        ("/attributes", json!({"a": {"dataType": "NUMBER", "value": 3}}), "attributes.a"),
        ("/attributes", json!({"a": {"dataType": "FLOAT", "value": "3"}}), "attributes.a"),
        ("/ipAddress", json!("not an address"), "ipAddress"),
        ("/page", json!("https://shop.example/"), "page"),
        ("/unknown", json!([[[[[[[[1]]]]]]]]), "unknown"),
    ] {
        assert_eq!(web(&with(WEB, pointer, new), &limits()).unwrap_err().field, field, "{pointer}");
    }
    for (pointer, new) in [
        ("/unknown", json!([[[[[[[1]]]]]]])),
        ("/page/breadcrumb", json!(["a"])),
        ("/device", json!({"fingerprint": "f", "foldable": {"a": 1}})),
        ("/ipAddress", json!("203.0.113.9")),
        ("/visitor", json!(7)),
    ] {
        assert!(web(&with(WEB, pointer, new), &limits()).is_ok(), "{pointer}");
    }
    let twice = WEB.replacen('{', r#"{"eventName":"a","#, 1);
    assert_eq!(web(twice.as_bytes(), &limits()).unwrap_err().field, "eventName");
    let broken = web(br#"{"eventName":"#, &limits()).unwrap_err();
    assert!(broken.status == 400 && broken.what.contains("line 1 column 13"), "{broken:?}");
    assert_eq!(web(b"[]", &limits()).unwrap_err().status, 400);
}

#[test]
fn error_bodies_have_the_documented_shape() {
    let problem = web(&with(WEB, "/customerCookieId", Value::Null), &limits()).unwrap_err();
    let mut body: Value = serde_json::from_slice(&problem.body()).unwrap();
    let context = body["contextId"].take();
    assert!(crate::base::id::uuid_bytes(context.as_str().unwrap()).is_some(), "{context}");
    assert_eq!(
        body,
        json!({"message": "customerCookieId is required", "code": "bad.request", "status": 400,
            "messageWithParams": "customerCookieId is required", "messageParams": {}, "contextId": null,
            "details": [{"errorCode": "invalid.value", "fieldName": "customerCookieId"}], "errors": []})
    );
    let mapped = JourneyProblem::from(Invalid::new("visitor", "is empty"));
    assert_eq!((mapped.status, mapped.field.as_str()), (422, "customerCookieId"));
}

#[test]
fn the_rule_of_one_hour_is_a_setting() {
    let received = Millis(10 * HOUR_MS);
    for (age_ms, rule, refused) in [
        (HOUR_MS, Some(HOUR_MS), false),
        (HOUR_MS + 1, Some(HOUR_MS), true),
        (-HOUR_MS, Some(HOUR_MS), false),
        (9 * HOUR_MS, None, false),
    ] {
        assert_eq!(too_old(received.plus(-age_ms), received, rule), refused, "{age_ms} {rule:?}");
    }
    assert_eq!(JourneyProblem::too_old().field, "createdDate");
}
