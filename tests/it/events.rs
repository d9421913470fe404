//! `POST /v1/events` and the pixel: how bodies may be written, which site they mean, who may send.
//! Must never test what becomes of an event under consent (`consent.rs`). Invariant: every answer is compared with rows.

use serde_json::json;

use crate::support::*;

const TWO_SITES: &str = r#"
    ingest_token_files = ["token"]

    [[site]]
    id = "shop"
    aliases = ["0c8f2f2e-2b1c-4d0a-9a53-0d4f6f1f8a11", "old-shop"]
    allowed_origins = ["https://shop.example", "https://checkout.example:8443"]

    [[site]]
    id = "help"
    debug = true
    ip_filters = ["127.0.0.0/8"]
"#;

#[test]
fn every_way_to_write_a_body_is_taken() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    let event = page_view("v");
    let line = event.to_string();
    let as_type = |kind: &str| post("/v1/events").header("Content-Type", kind).body(line.clone());
    let requests = [
        (1, post("/v1/events").json(&event)),
        (2, post("/v1/events").json(&json!([event, event]))),
        (
            2,
            post("/v1/events")
                .json(&json!({"site": "default", "sentAt": "2026-01-01T00:00:00Z", "events": [event, event]})),
        ),
        (
            3,
            post("/v1/events")
                .header("Content-Type", "application/x-ndjson")
                .body(format!("{line}\n\n{line}\r\n{line}")),
        ),
        (1, post("/v1/events").json(&event).gzip()),
        (2, post("/v1/events").header("Content-Type", "application/x-ndjson").body(format!("{line}\n{line}\n")).gzip()),
        (1, as_type("text/plain;charset=UTF-8")),
        (1, as_type("application/x-www-form-urlencoded")),
        (1, as_type("application/json; charset=utf-8")),
        (1, post("/v1/events").body(line.clone())),
        (1, post("/v1/events").body(format!("\u{feff} {line}\n"))),
    ];
    let mut stored = 0;
    for (events, request) in requests {
        let answer = daemon.send(&request);
        assert_eq!(answer.outcomes(200), vec!["accepted"; events], "{request:?}");
        stored += events as i64;
        assert_eq!(daemon.count("events"), stored, "{request:?}");
    }
    assert_eq!(daemon.counted(), 0);
}

#[test]
fn body_of_another_type_or_encoding_is_refused() {
    let daemon = Daemon::plain();
    let body = page_view("v").to_string();
    let xml = post("/v1/events").header("Content-Type", "application/xml").body(body.clone());
    assert_error(&daemon.send(&xml), 415, "unsupported_media");
    let brotli = post("/v1/events").header("Content-Encoding", "br").body(body.clone());
    assert_error(&daemon.send(&brotli), 415, "unsupported_media");
    let no_gzip = post("/v1/events").header("Content-Encoding", "gzip").body(body);
    assert_error(&daemon.send(&no_gzip), 400, "bad_gzip");
    assert_error(&daemon.send(&post("/v1/events").body("")), 400, "empty");
    assert_error(&daemon.send(&post("/v1/events").body("[]")), 400, "empty");
    assert_error(&daemon.send(&post("/v1/events").json(&json!({"events": []}))), 400, "empty");
    daemon.stored_nothing();
}

#[test]
fn an_event_is_stored_as_it_was_sent() {
    let daemon = Daemon::plain();
    daemon.give("v", &["measure"]);
    let at = ago(MINUTE).rfc3339();
    let answer = daemon.send(
        &post("/v1/events")
            .header("User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:120.0) Gecko/20100101 Firefox/120.0")
            .json(&json!({
                "name": "page_viewed", "visitor": "v", "eventId": "0198c0de-0000-7000-8000-000000000001", "time": at,
                "page": {"url": "https://shop.example/s?q=red+shoes&utm_source=n&utm_campaign=spring#top", "title": "Search",
                         "lang": "en", "keywords": "shoes", "category": "a;b"},
                "referrer": "https://www.google.com/",
                "attributes": {"items": 3, "member": true, "size": {"dataType": "NUMBER", "value": "42.50"}, "note": "x"},
            })),
    );
    assert_eq!(answer.outcomes(200), ["accepted"]);
    assert_eq!(answer.first()["eventId"], "0198c0de-0000-7000-8000-000000000001");
    let event =
        "SELECT hex(event_id), name, system, lane, search_query, attributes, attribute_types, withheld FROM events";
    assert_eq!(
        daemon.rows(event),
        [json!([
            "0198C0DE000070008000000000000001",
            "page_viewed",
            0,
            2,
            "red shoes",
            r#"{"items":"3","member":"true","note":"x","size":"42.50"}"#,
            "NBSN",
            null
        ])]
    );
    let page = daemon.rows("SELECT url, title, language, keywords, category FROM pages");
    assert_eq!(
        page,
        [json!([
            "https://shop.example/s?q=red+shoes&utm_source=n&utm_campaign=spring",
            "Search",
            "en",
            "shoes",
            "a;b"
        ])],
        "the fragment is gone before anything is stored"
    );
    let agent = daemon.rows("SELECT category, browser_family, robot FROM agents");
    assert_eq!(agent, [json!(["desktop", "Firefox", null])]);
    let campaign: serde_json::Value =
        serde_json::from_str(daemon.value("SELECT campaign FROM visits").as_str().unwrap()).unwrap();
    assert_eq!((&campaign["source"], &campaign["name"]), (&json!("n"), &json!("spring")), "{campaign}");
}

#[test]
fn the_site_is_named_by_query_or_envelope_or_is_the_only_one() {
    let daemon = Daemon::with(TWO_SITES);
    let event = page_view("v");
    let send = |target: &str, body: &serde_json::Value| daemon.send(&post(target).json(body));
    let sites =
        || daemon.rows("SELECT s.name, sum(n) FROM counts c JOIN sites s USING (site_id) GROUP BY 1 ORDER BY 1");
    assert_eq!(send("/v1/events?site=shop", &event).outcomes(200), ["counted"]);
    assert_eq!(send("/v1/events", &json!({"site": "shop", "events": [event]})).outcomes(200), ["counted"]);
    assert_eq!(send("/v1/events?site=shop", &json!({"site": "shop", "events": [event]})).outcomes(200), ["counted"]);
    for alias in ["0c8f2f2e-2b1c-4d0a-9a53-0d4f6f1f8a11", "old-shop", "old%2Dshop"] {
        assert_eq!(send(&format!("/v1/events?site={alias}"), &event).outcomes(200), ["counted"], "{alias}");
    }
    assert_eq!(sites(), [json!(["shop", 6])]);
    let what = assert_error(&send("/v1/events?site=nowhere", &event), 400, "unknown_site");
    assert!(what.contains("nowhere"), "{what}");
    let none = send("/v1/events", &event);
    assert_error(&none, 400, "unknown_site");
    assert!(none.json()["remedy"].as_str().unwrap().contains("shop, help"), "{none:?}");
    assert_error(&send("/v1/events?site=help", &json!({"site": "shop", "events": [event]})), 400, "site");
    assert_error(&send("/v1/events?site=shop", &with(event, json!({"site": "shop"}))), 400, "envelope");
    assert_eq!(sites(), [json!(["shop", 6])], "what was refused was not counted");
}

#[test]
fn origin_that_is_not_allowed_stores_nothing() {
    let daemon = Daemon::with(TWO_SITES);
    let from = |origin: &str| {
        daemon.send(&post("/v1/events?site=shop").header("Origin", origin).json(&json!([page_view("v")])))
    };
    for stranger in [
        "https://evil.example",
        "http://shop.example",
        "https://shop.example:8443",
        "https://shop.example.evil.example",
        "https://SHOP.example",
        "https://shop.example:443",
        "https://sub.shop.example",
        "null",
        "",
    ] {
        let answer = from(stranger);
        assert_error(&answer, 403, "origin_not_allowed");
        assert_eq!(answer.header("access-control-allow-origin"), None, "{stranger}");
    }
    let decision = post("/v1/consent?site=shop")
        .header("Origin", "https://evil.example")
        .json(&json!({"visitor": "v", "action": "give", "purposes": ["measure"]}));
    assert_error(&daemon.send(&decision), 403, "origin_not_allowed");
    daemon.stored_nothing();
    for friend in ["https://shop.example", "https://checkout.example:8443"] {
        let answer = from(friend);
        assert_eq!(answer.outcomes(200), ["counted"], "{friend}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(friend));
        assert_eq!(answer.header("vary"), Some("Origin"));
        assert_eq!(answer.header("access-control-allow-credentials"), None);
    }
    // a program with a token is no page: its Origin, if it has one, proves nothing
    let sender = post("/v1/events?site=shop").header("Origin", "https://evil.example").token().json(&page_view("v"));
    assert_eq!(daemon.send(&sender).outcomes(200), ["counted"]);
}

#[test]
fn preflight_tells_an_admitted_page_what_it_may_send() {
    let daemon = Daemon::with(TWO_SITES);
    let ask = |target: &str, origin: &str| {
        let request = Request::new("OPTIONS", target)
            .header("Origin", origin)
            .header("Access-Control-Request-Method", "POST")
            .header("Access-Control-Request-Headers", "content-type,content-encoding");
        daemon.send(&request)
    };
    for target in ["/v1/events?site=shop", "/v1/consent", "/api/v2/journey/deployments/old-shop/webevents"] {
        let answer = ask(target, "https://shop.example");
        assert_eq!(answer.status, 204, "{answer:?}");
        assert_eq!(answer.header("access-control-allow-origin"), Some("https://shop.example"));
        let methods = answer.header("access-control-allow-methods").unwrap();
        assert!(methods.contains("POST"), "{methods}");
        let headers = answer.header("access-control-allow-headers").unwrap().to_ascii_lowercase();
        for name in ["content-type", "content-encoding", "authorization", "wayside-consent"] {
            assert!(headers.contains(name), "{headers}");
        }
        let stranger = ask(target, "https://evil.example");
        assert_eq!(stranger.status, 204);
        for name in ["access-control-allow-origin", "access-control-allow-methods", "access-control-allow-headers"] {
            assert_eq!(stranger.header(name), None, "{stranger:?}");
        }
    }
    assert_eq!(ask("/v1/nothing", "https://shop.example").status, 404);
    assert_eq!(
        ask("/v1/import/known", "https://shop.example").status,
        404,
        "the operator's paths do not exist out here"
    );
    let guarded = ask("/v1/status", "https://shop.example");
    assert_eq!(guarded.status, 405, "what needs a token is not for pages");
    assert_eq!(guarded.header("access-control-allow-methods"), None, "{guarded:?}");
}

#[test]
fn loopback_pages_may_send_to_the_built_in_site() {
    let daemon = Daemon::plain();
    for origin in ["http://localhost:3000", "http://127.0.0.1", "https://[::1]:8443"] {
        let answer = daemon.send(&post("/v1/events").header("Origin", origin).json(&page_view("v")));
        assert_eq!(answer.outcomes(200), ["counted"], "{origin}");
        assert_eq!(answer.header("access-control-allow-origin"), Some(origin));
        let readable = answer.header("access-control-expose-headers").unwrap();
        for name in ["Wayside-Outcome", "Wayside-Visitor-Token", "Retry-After"] {
            assert!(readable.contains(name), "{readable}");
        }
    }
    let public = daemon.send(&post("/v1/events").header("Origin", "http://localhost.example").json(&page_view("v")));
    assert_error(&public, 403, "origin_not_allowed");
}

#[test]
fn a_filtered_address_is_neither_stored_nor_counted() {
    let daemon = Daemon::with(TWO_SITES);
    daemon
        .send(&post("/v1/consent?site=help").json(&json!({"visitor": "v", "action": "give", "purposes": ["measure"]})));
    let answer = daemon.send(&post("/v1/events?site=help").json(&page_view("v")));
    assert_eq!(answer.outcomes(200), ["counted"]);
    assert_eq!(answer.first()["reason"], "ip_filter", "the site has debug");
    assert_eq!((daemon.count("events"), daemon.counted()), (0, 0));
}

#[test]
fn the_address_of_a_client_is_believed_from_trusted_proxies_only() {
    let site = "\n[[site]]\nid = \"s\"\nip_filters = [\"203.0.113.0/24\"]\n";
    let from = |daemon: &Daemon, address: &str| {
        daemon.send(&post("/v1/events").header("X-Forwarded-For", address).json(&page_view("v"))).outcomes(200);
        daemon.counted()
    };
    let trusting = Daemon::with(&format!("trusted_proxies = [\"127.0.0.1\"]\n{site}"));
    assert_eq!(from(&trusting, "203.0.113.9"), 0, "filtered");
    assert_eq!(from(&trusting, "203.0.113.9, 198.51.100.7"), 1, "the nearest address that is no proxy of ours counts");
    let distrusting = Daemon::with(site);
    assert_eq!(from(&distrusting, "203.0.113.9"), 1, "anyone can write that header");
}

#[test]
fn pixel_shows_itself_and_counts() {
    let daemon = Daemon::with(TWO_SITES);
    let look = |target: &str| {
        let answer = daemon.send(&get(target));
        assert_eq!((answer.status, answer.header("content-type")), (200, Some("image/gif")), "{answer:?}");
        assert!(answer.body.starts_with(b"GIF89a") && answer.header("cache-control") == Some("no-store"));
        answer.header("wayside-outcome").unwrap().to_owned()
    };
    assert_eq!(look("/v1/pixel.gif?site=shop&url=https%3A%2F%2Fshop.example%2Fshoes%3Fa%3D1"), "counted");
    let cells = "SELECT path, device, medium, robot, n FROM counts ORDER BY path";
    assert_eq!(daemon.rows(cells), [json!(["/shoes", "other", "none", 0, 1])]);
    let referred = daemon.send(&get("/v1/pixel.gif?site=shop").header("Referer", "https://shop.example/bags"));
    assert_eq!(referred.header("wayside-outcome"), Some("counted"), "the page that shows it stands in its Referer");
    assert_eq!(daemon.value("SELECT n FROM counts WHERE path = '/bags'"), 1);
    assert_eq!(look("/v1/pixel.gif?site=nowhere&url=https%3A%2F%2Fshop.example%2F"), "unknown_site");
    assert_eq!(look("/v1/pixel.gif?site=shop"), "invalid", "no page is named anywhere");
    assert_eq!(daemon.counted(), 2);
    daemon
        .send(&post("/v1/consent?site=shop").json(&json!({"visitor": "v", "action": "give", "purposes": ["measure"]})));
    let page = "/v1/pixel.gif?site=shop&visitor=v&title=Hello+there&eventId=e-1&url=https%3A%2F%2Fshop.example%2Fx";
    assert_eq!(look(page), "accepted");
    assert_eq!(look(page), "duplicate", "a reload of the picture is no second view");
    assert_eq!(daemon.rows("SELECT url, title FROM pages"), [json!(["https://shop.example/x", "Hello there"])]);
    let head = daemon.connect().send(&Request::new("HEAD", "/v1/pixel.gif?site=shop"));
    assert_eq!(head.status, 200);
}
