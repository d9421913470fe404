//! The Journey endpoints, byte by byte: what the vendor's callers send and what they are answered.
//! Must never test the vendor's SDK itself (`sdk.rs`). Invariant: every error has the vendor's body.

use serde_json::{Value, json};

use crate::support::*;

const DEPLOYMENT: &str = "0c8f2f2e-2b1c-4d0a-9a53-0d4f6f1f8a11";
const COOKIE: &str = "3f0b0d5e-8a6e-4f7a-9a2e-111111111111";

fn house() -> Daemon {
    Daemon::with(&format!(
        "ingest_token_files = [\"token\"]\n\n[[site]]\nid = \"shop\"\naliases = [\"{DEPLOYMENT}\"]\n\
         consent_source = \"sender\"\nallowed_origins = [\"https://shop.example\"]\n\n[[site]]\nid = \"other\"\n"
    ))
}

fn path(endpoint: &str) -> String {
    format!("/api/v2/journey/deployments/{DEPLOYMENT}/{endpoint}")
}

fn web_event() -> Value {
    json!({
        "customerCookieId": COOKIE, "eventName": "page_viewed", "createdDate": ago(SECOND).rfc3339(),
        "page": {"url": "https://www.shop.example/a/b?q=red&utm_source=news&utm_medium=email#top", "title": "A", "lang": "en"},
        "userAgentString": "Mozilla/5.0 (Windows NT 10.0; Win64; x64; rv:120.0) Gecko/20100101 Firefox/120.0",
        "referrerUrl": "https://www.google.com/",
        "attributes": {"items": {"dataType": "NUMBER", "value": "3"}},
    })
}

fn app_event() -> Value {
    json!({
        "customerCookieId": COOKIE, "eventName": "screen_viewed", "screenName": "start", "createdDate": ago(SECOND).rfc3339(),
        "app": {"name": "Shop", "namespace": "example.shop", "version": "1.2", "buildNumber": "7"},
        "device": {"category": "mobile", "type": "phone", "isMobile": true, "screenWidth": 1080, "osFamily": "Android"},
        "networkConnectivity": {"wifiEnabled": true},
    })
}

fn give(daemon: &Daemon) {
    let decision = json!({"visitor": COOKIE, "action": "give", "purposes": ["measure"]});
    let answer = daemon.send(&post("/v1/consent?site=shop").json(&decision));
    assert_eq!(answer.status, 200, "{answer:?}");
}

/// An error of the vendor's documented shape; returns its message.
#[track_caller]
fn vendor_error(answer: &Answer, status: u16, code: &str) -> String {
    assert_eq!(answer.status, status, "{answer:?}");
    assert_eq!(answer.header("content-type"), Some("application/json"));
    let body = answer.json();
    assert_eq!((&body["status"], &body["code"]), (&json!(status), &json!(code)), "{answer:?}");
    for text in ["message", "messageWithParams", "contextId"] {
        assert!(body[text].as_str().is_some_and(|text| !text.is_empty()), "{text}: {answer:?}");
    }
    assert!(body["details"].is_array() && body["errors"].is_array() && body["messageParams"].is_object(), "{answer:?}");
    body["message"].as_str().unwrap().to_owned()
}

#[test]
fn a_web_event_is_answered_enriched_with_its_session() {
    let daemon = house();
    give(&daemon);
    let answer = daemon.send(&post(&path("webevents")).json(&web_event()));
    assert_eq!((answer.status, answer.header("wayside-outcome")), (200, None), "{answer:?}");
    let body = answer.json();
    let page = json!({
        "url": "https://www.shop.example/a/b?q=red&utm_source=news&utm_medium=email", "title": "A", "lang": "en",
        "domain": "shop.example", "hostname": "www.shop.example", "pathname": "/a/b", "fragment": "",
        "queryString": "q=red&utm_source=news&utm_medium=email",
    });
    assert_eq!(body["page"], page);
    assert_eq!((&body["customerId"], &body["customerIdType"]), (&json!(COOKIE), &json!("cookie")));
    assert_eq!((&body["eventName"], &body["authenticated"]), (&json!("page_viewed"), &json!(false)));
    assert_eq!((&body["browser"]["family"], &body["browser"]["version"]), (&json!("Firefox"), &json!("120.0")));
    assert_eq!((&body["device"]["category"], &body["device"]["isMobile"]), (&json!("desktop"), &json!(false)));
    assert_eq!((&body["mktCampaign"]["source"], &body["mktCampaign"]["medium"]), (&json!("news"), &json!("email")));
    assert_eq!(body["searchQuery"], "red");
    assert_eq!(body["attributes"], json!({"items": {"dataType": "NUMBER", "value": "3"}}));
    let session = &body["session"];
    assert_eq!((&session["eventCount"], &session["pageviewCount"]), (&json!(1), &json!(1)));
    let id = session["id"].as_str().unwrap();
    assert_eq!(session["selfUri"], format!("/api/v2/journey/sessions/{id}"));
    assert_eq!(daemon.value("SELECT lower(hex(visit_uuid)) FROM visits"), id.replace('-', ""));
    let second = daemon.send(&post(&path("webevents")).json(&web_event())).json();
    assert_eq!((&second["session"]["id"], &second["session"]["eventCount"]), (&session["id"], &json!(2)));
    assert_eq!(
        daemon.rows("SELECT s.name, v.event_count FROM visits v JOIN sites s USING (site_id)"),
        [json!(["shop", 2])]
    );
}

#[test]
fn an_app_event_is_answered_with_its_screens() {
    let daemon = house();
    give(&daemon);
    let answer = daemon.send(&post(&path("appevents")).json(&app_event()));
    let body = answer.json();
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!((&body["screenName"], &body["app"]), (&json!("start"), &app_event()["app"]));
    assert_eq!((&body["device"]["category"], &body["device"]["screenWidth"]), (&json!("mobile"), &json!(1080)));
    assert_eq!(body["networkConnectivity"], json!({"wifiEnabled": true}));
    assert_eq!((&body["session"]["screenviewCount"], body["session"].get("pageviewCount")), (&json!(1), None));
    assert_eq!(daemon.rows("SELECT screen, url FROM pages"), [json!(["start", null])]);
    assert_eq!(daemon.rows("SELECT stream, screen_count, page_count FROM visits"), [json!(["app", 1, 0])]);
}

#[test]
fn a_call_without_the_right_to_measure_has_no_session_and_says_counted() {
    let daemon = house();
    for (endpoint, body) in [("webevents", web_event()), ("appevents", app_event())] {
        let request = post(&path(endpoint)).header("Origin", "https://shop.example").json(&body);
        let answer = daemon.send(&request);
        assert_eq!((answer.status, answer.header("wayside-outcome")), (200, Some("counted")), "{answer:?}");
        assert!(answer.header("access-control-expose-headers").unwrap().contains("Wayside-Outcome"));
        let told = answer.json();
        assert_eq!(told.get("session"), None, "{told}");
        assert_eq!((&told["eventName"], &told["customerId"]), (&body["eventName"], &json!(COOKIE)));
    }
    assert_eq!((daemon.count("events"), daemon.count("visitors"), daemon.counted()), (0, 0, 2));
}

#[test]
fn the_deployment_is_a_sites_id_or_alias() {
    let daemon = house();
    for site in ["shop", DEPLOYMENT, &DEPLOYMENT.replace('-', "%2D")] {
        let answer = daemon.send(&post(&format!("/api/v2/journey/deployments/{site}/webevents")).json(&web_event()));
        assert_eq!(answer.status, 200, "{site}: {answer:?}");
    }
    for (method, endpoint) in
        [("POST", "webevents"), ("POST", "appevents"), ("POST", "actionevent"), ("GET", "customers/c/ping")]
    {
        let target = format!("/api/v2/journey/deployments/nowhere/{endpoint}");
        let answer = daemon.send(&Request::new(method, &target).json(&web_event()));
        let answer = if method == "GET" { daemon.send(&get(&target)) } else { answer };
        assert!(vendor_error(&answer, 404, "not.found").contains("nowhere"));
    }
    assert_eq!(daemon.rows("SELECT s.name, sum(n) FROM counts JOIN sites s USING (site_id)"), [json!(["shop", 3])]);
}

#[test]
fn ping_offers_no_actions_yet() {
    let daemon = house();
    let ping = |query: &str| daemon.send(&get(&(path("customers/") + COOKIE + "/ping" + query)));
    for query in ["", "?dl=https%3A%2F%2Fshop.example%2F&dt=Home&sinceLastBeaconMilliseconds=1000"] {
        let answer = ping(query);
        assert_eq!(answer.status, 200, "{answer:?}");
        assert_eq!(answer.json()["actions"], json!([]));
        assert!(answer.json()["pollIntervalMilliseconds"].as_i64().unwrap() > 0);
    }
    let stranger = get(&(path("customers/") + COOKIE + "/ping")).header("Origin", "https://evil.example");
    vendor_error(&daemon.send(&stranger), 403, "not.authorized");
    daemon.stored_nothing();
}

#[test]
fn an_action_event_is_stored_with_the_visit_it_names() {
    let daemon = house();
    give(&daemon);
    let session = daemon.send(&post(&path("webevents")).json(&web_event())).json()["session"]["id"].clone();
    let tell = |session: &Value, state: &str| {
        let body = json!({"sessionId": session, "actionId": "a-1", "actionState": state, "errorCode": "e"});
        daemon.send(&post(&path("actionevent")).json(&body))
    };
    let answer = tell(&session, "accepted");
    assert_eq!((answer.status, answer.body.len(), answer.header("wayside-outcome")), (200, 0, None), "{answer:?}");
    let kept = daemon.rows(
        "SELECT name, visit_id = (SELECT visit_id FROM visits), attributes FROM events ORDER BY seq DESC LIMIT 1",
    );
    let told = json!({"actionId": "a-1", "actionState": "accepted", "errorCode": "e", "sessionId": session});
    assert_eq!((&kept[0][0], &kept[0][1]), (&json!("action_state"), &json!(1)));
    assert_eq!(serde_json::from_str::<Value>(kept[0][2].as_str().unwrap()).unwrap(), told);
    let unknown = tell(&json!("0198c0de-0000-7000-8000-00000000dead"), "accepted");
    assert_eq!((unknown.status, unknown.header("wayside-outcome")), (200, Some("counted")), "whose it is nobody knows");
    vendor_error(&tell(&session, "maybe"), 400, "bad.request");
    vendor_error(&tell(&Value::Null, "accepted"), 400, "bad.request");
    assert_eq!(daemon.count("events"), 2);
}

#[test]
fn what_is_not_as_documented_is_answered_in_the_vendors_words() {
    let daemon = house();
    give(&daemon);
    let send = |body: &Value| daemon.send(&post(&path("webevents")).json(body));
    for field in ["customerCookieId", "eventName", "page", "createdDate"] {
        let message = vendor_error(&send(&with(web_event(), json!({field: null}))), 400, "bad.request");
        assert!(message.contains(field), "{message}");
    }
    for field in ["eventName", "screenName", "app", "device", "customerCookieId", "createdDate"] {
        let answer = daemon.send(&post(&path("appevents")).json(&with(app_event(), json!({field: null}))));
        let message = vendor_error(&answer, 400, "bad.request");
        assert!(message.contains(field), "{message}");
    }
    let wrong = [
        (400, "eventName", json!({"eventName": "no name"})),
        (400, "eventName", json!({"eventName": 7})),
        (400, "page.title", json!({"page": {"url": "https://shop.example/"}})),
        (400, "device.category", json!({"device": {"category": "outdated_sdk_version"}})),
        (400, "createdDate", json!({"createdDate": "now"})),
        (400, "ipAddress", json!({"ipAddress": "somewhere"})),
        (400, "attributes.a", json!({"attributes": {"a": "bare"}})),
        (422, "page.url", json!({"page": {"url": "javascript:alert(1)", "title": "x"}})),
        (422, "customerCookieId", json!({"customerCookieId": "c".repeat(257)})),
    ];
    for (status, field, more) in wrong {
        let answer = send(&with(web_event(), more.clone()));
        let message = vendor_error(&answer, status, "bad.request");
        assert!(message.contains(field), "{more}: {message}");
        assert_eq!(answer.json()["details"][0]["fieldName"], field, "{answer:?}");
    }
    assert_eq!(send(&with(web_event(), json!({"newKey": {"of": "a later SDK"}}))).status, 200);
    assert_eq!(daemon.count("events"), 1);
}

#[test]
fn bodies_and_callers_that_are_refused_get_the_vendors_error_too() {
    let daemon = house();
    let to = post(&path("webevents"));
    let message = vendor_error(&daemon.send(&to.clone().body("{\"eventName\": ")), 400, "bad.request");
    assert!(message.contains("line 1 column"), "{message}");
    vendor_error(&daemon.send(&to.clone().body(b"\xff".to_vec())), 400, "bad.request");
    vendor_error(&daemon.send(&to.clone().body(vec![b' '; (1 << 20) + 1])), 413, "bad.request");
    vendor_error(
        &daemon.send(&to.clone().header("Origin", "https://evil.example").json(&web_event())),
        403,
        "not.authorized",
    );
    let token = to.clone().header("Authorization", "Bearer wrong").json(&web_event());
    vendor_error(&daemon.send(&token), 401, "authentication.required");
    vendor_error(&daemon.send(&get(&path("webevents"))), 405, "method.not.allowed");
    vendor_error(&daemon.send(&get("/api/v2/journey/sessions/x")), 404, "not.found");
    daemon.stored_nothing();
    daemon.still_serves();
}

#[test]
fn events_older_than_an_hour_are_refused_here_and_nowhere_else() {
    let daemon = house();
    give(&daemon);
    let at = |minutes: i64| with(web_event(), json!({"createdDate": ago(minutes * MINUTE).rfc3339()}));
    let answer = daemon.send(&post(&path("webevents")).json(&at(61)));
    assert!(vendor_error(&answer, 422, "bad.request").contains("createdDate"));
    assert_eq!(daemon.send(&post(&path("webevents")).json(&at(59))).status, 200);
    let old_app = with(app_event(), json!({"createdDate": ago(61 * MINUTE).rfc3339()}));
    vendor_error(&daemon.send(&post(&path("appevents")).json(&old_app)), 422, "bad.request");
    let native = with(page_view(COOKIE), json!({"time": ago(3 * DAY).rfc3339()}));
    assert_eq!(daemon.send(&post("/v1/events?site=shop").json(&native)).outcomes(200), ["accepted"]);
    assert_eq!(daemon.count("events"), 2);
    let patient = Daemon::with("[ingest]\njourney_event_age_minutes_max = 0\n");
    patient.give(COOKIE, &["measure"]);
    let target = "/api/v2/journey/deployments/default/webevents";
    assert_eq!(patient.send(&post(target).json(&at(5 * 24 * 60))).header("wayside-outcome"), None);
    assert_eq!(patient.count("events"), 1);
}

#[test]
fn times_are_read_as_the_sdk_writes_them() {
    let daemon = house();
    give(&daemon);
    let now = ago(SECOND);
    let iso = now.rfc3339();
    let bare = iso.trim_end_matches('Z').to_owned();
    for written in [iso.clone(), format!("{bare}000+00:00"), bare.clone(), bare[..19].to_owned()] {
        let answer = daemon.send(&post(&path("webevents")).json(&with(web_event(), json!({"createdDate": written}))));
        assert_eq!(answer.status, 200, "{written}: {answer:?}");
    }
    let kept = daemon.rows("SELECT DISTINCT coalesce(client_at, corrected_at) FROM events ORDER BY 1 DESC");
    assert_eq!(kept, [json!([now.0]), json!([now.0 / 1_000 * 1_000])], "without a zone it is UTC");
}

#[test]
fn a_sender_attaches_the_decision_of_a_cookie() {
    let daemon = house();
    let decision = r#"{"action":"give","purposes":["measure"],"method":"banner_accept"}"#;
    let request = |token: bool| {
        let request = post(&path("webevents")).header("Wayside-Consent", decision).json(&web_event());
        if token { request.token() } else { request }
    };
    assert!(vendor_error(&daemon.send(&request(false)), 400, "bad.request").contains("token"));
    daemon.stored_nothing();
    let answer = daemon.send(&request(true));
    assert!(answer.json()["session"]["id"].is_string(), "{answer:?}");
    assert_eq!(
        daemon.rows("SELECT action, actor, method FROM decisions"),
        [json!(["give", "sender", "banner_accept"])]
    );
}

#[test]
fn on_another_basis_the_first_answer_carries_the_visitors_token() {
    let daemon = Daemon::with(
        "[[site]]\nid = \"s\"\n\n[[site.purposes]]\nname = \"measure\"\nbasis = \"legitimate_interest\"\nassessment = \"a\"\n",
    );
    let to = post("/api/v2/journey/deployments/s/webevents").json(&web_event());
    let token = daemon.send(&to).header("wayside-visitor-token").unwrap().to_owned();
    assert_eq!(daemon.send(&to).header("wayside-visitor-token"), None);
    let no = daemon.decide(&json!({"visitor": COOKIE, "action": "withdraw", "visitorToken": token}));
    assert_eq!(no.status, 200, "{no:?}");
    assert_eq!(daemon.send(&to).header("wayside-outcome"), Some("counted"));
}
