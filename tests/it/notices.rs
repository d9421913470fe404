//! Notices, receipts, codes and the state a banner asks for: through the real doors, from publishing to withdrawing.
//! Must never look into the program. Invariant: every refusal says what to do.

use serde_json::{Value, json};
use wayside::base::digest::verify;
use wayside::base::text::unhex;
use wayside::consent::receipt::SIGNED_BEFORE;

use crate::support::*;

const CONFIG: &str = "[controller]\nname = \"Example Ltd\"\nemail = \"privacy@shop.example\"\nauthority = \"Authority, Town\"\n\
                      privacy_url = \"https://shop.example/privacy\"\n\n[[site]]\nid = \"default\"\ndebug = true\n\n\
                      [[site.purposes]]\nname = \"measure\"\n\n[[site.purposes]]\nname = \"marketing\"\n";

fn wording(measure: &str) -> Value {
    json!({
        "title": "Your privacy choices", "text": "Example Ltd would like to record how this site is used.",
        "withdrawal": "You can take it back at any time in the privacy settings.",
        "retention": "Visits stay 13 months.", "rights": "You may ask for a copy, correction or erasure.",
        "complaint": "You may complain to the Authority.",
        "purposes": {
            "measure": {"title": "Measure", "text": measure},
            "marketing": {"title": "Advertising", "text": "We write to you about offers."},
        },
    })
}

fn draft(version: &str, measure: &str) -> Value {
    json!({
        "version": version, "site": "default",
        "controller": {"name": "Example Ltd", "email": "privacy@shop.example", "authority": "Authority, Town",
                       "privacy_url": "https://shop.example/privacy"},
        "purpose": [{"name": "measure"}, {"name": "marketing"}],
        "language": {"en": wording(measure), "de": wording(measure)},
    })
}

const FIRST: &str = "We record which pages are opened.";

fn publish(daemon: &Daemon, version: &str, measure: &str) -> Value {
    let answer = daemon.control().send(&post("/v1/notices").json(&json!({"draft": draft(version, measure)})));
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()["published"].clone()
}

fn give(visitor: &str, notice: &str, more: Value) -> Value {
    with(json!({"visitor": visitor, "action": "give", "purposes": ["measure", "marketing"], "notice": notice}), more)
}

fn state(daemon: &Daemon, token: Option<&str>) -> Value {
    let mut request = get("/v1/consent/state?language=en");
    if let Some(token) = token {
        request = request.header("Wayside-Visitor-Token", token);
    }
    let answer = daemon.connect().send(&request);
    assert_eq!(answer.status, 200, "{answer:?}");
    answer.json()
}

#[test]
fn a_grant_names_the_notice_that_was_shown() {
    let daemon = Daemon::with(CONFIG);
    let token = daemon.give("early", &["measure"]);
    assert_eq!(daemon.value("SELECT notice FROM decisions"), json!("none"), "there was none to name");
    let published = publish(&daemon, "1", FIRST);
    let digest = |language: &str| {
        let all = published.as_array().unwrap();
        all.iter().find(|row| row["language"] == language).unwrap()["digest"].as_str().unwrap().to_owned()
    };
    for (wrong, code) in [
        (give("a", "none", json!({})), "notice_missing"),
        (give("a", "2", json!({})), "notice_unknown"),
        (give("a", "1", json!({"noticeDigest": "00".repeat(32)})), "notice_digest"),
        (give("a", "1", json!({"purposes": ["measure", "profile"]})), "notice_purpose"),
    ] {
        assert_error(&daemon.decide(&wrong), 400, code);
    }
    assert_eq!(daemon.count("decisions"), 1, "what was refused was not recorded");
    let answer = daemon.decide(&give("a", "1", json!({"language": "de", "noticeDigest": digest("de")})));
    assert_eq!(answer.status, 200, "{answer:?}");
    let kept = daemon.value("SELECT lower(hex(notice_digest)) FROM decisions ORDER BY seq DESC LIMIT 1");
    assert_eq!(kept, json!(digest("de")), "the text of the language shown");
    let no = json!({"visitor": "early", "action": "withdraw", "notice": "nonsense", "visitorToken": token});
    assert_eq!(daemon.decide(&no).status, 200, "a no is never refused for its notice");
    let again =
        daemon.control().send(&post("/v1/notices").json(&json!({"draft": draft("1", "Other words, same version.")})));
    assert_error(&again, 409, "notice_version");
}

#[test]
fn a_notice_with_a_fault_is_not_published() {
    let daemon = Daemon::with(CONFIG);
    let mut faulty = draft("1", FIRST);
    faulty["language"]["en"]["withdrawal"] = json!("");
    let answer = daemon.control().send(&post("/v1/notices").json(&json!({"draft": faulty})));
    let what = assert_error(&answer, 400, "notice");
    assert!(what.contains("language.en.withdrawal"), "{what}");
    assert_eq!(daemon.connect().send(&post("/v1/notices").json(&json!({"draft": draft("1", FIRST)}))).status, 401);
    assert_eq!(daemon.connect().send(&get("/v1/notice")).status, 404);
    publish(&daemon, "1", FIRST);
    let page = daemon.connect().send(&get("/v1/notice?format=html&language=de"));
    assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
}

#[test]
fn a_changed_purpose_asks_only_for_that() {
    let daemon = Daemon::with(CONFIG);
    publish(&daemon, "1", FIRST);
    let fresh = state(&daemon, None);
    assert_eq!((&fresh["decided"], &fresh["ask"]), (&json!(false), &json!(["measure", "marketing"])));
    assert_eq!(fresh["notice"]["version"], "1");
    let told = daemon.decide(&give("a", "1", json!({"language": "en"}))).json();
    let token = told["visitorToken"].as_str().unwrap();
    let after = state(&daemon, Some(token));
    assert_eq!((&after["valid"], &after["ask"], &after["validUntil"]), (&json!(true), &json!([]), &told["validUntil"]));
    publish(&daemon, "2", "We record which pages are opened, and for how long.");
    let changed = state(&daemon, Some(token));
    assert_eq!((&changed["valid"], &changed["ask"]), (&json!(false), &json!(["measure"])), "{changed}");
    let asked: Vec<&Value> = changed["notice"]["purposes"].as_array().unwrap().iter().map(|p| &p["ask"]).collect();
    assert_eq!((asked, &changed["notice"]["version"]), (vec![&json!(true), &json!(false)], &json!("2")));
    assert_error(
        &daemon.connect().send(&get("/v1/consent/state").header("Wayside-Visitor-Token", "a.00")),
        403,
        "visitor_token",
    );
}

#[test]
fn a_yes_does_not_cover_a_purpose_that_is_told_otherwise_since() {
    let daemon = Daemon::with(CONFIG);
    publish(&daemon, "1", FIRST);
    let page = |visitor: &str| daemon.events(&page_view(visitor)).json()["results"][0]["outcome"].clone();
    daemon.decide(&give("a", "1", json!({"language": "en"})));
    assert_eq!(page("a"), "accepted");
    publish(&daemon, "2", FIRST);
    assert_eq!(page("a"), "accepted", "another version that says the same");
    publish(&daemon, "3", "We record which pages are opened, and for how long.");
    assert_eq!(page("a"), "counted", "nobody agreed to this");
    let late = daemon.decide(&give("late", "1", json!({"language": "en"})));
    assert_eq!((late.status, page("late")), (200, json!("counted")), "shown the old notice from a cache");
    let anew = json!({"visitor": "a", "action": "give", "purposes": ["measure"], "notice": "3"});
    assert_eq!(daemon.control().send(&post("/v1/consent").json(&anew)).status, 200);
    let ended = daemon.rows("SELECT purposes, after FROM decisions WHERE action = 'expire'");
    assert_eq!(ended, [json!([1, 32])], "the ledger says that measure ended, and nothing else");
    assert_eq!(page("a"), "accepted");
    let flags = daemon.value("SELECT flags FROM events ORDER BY seq DESC LIMIT 1");
    assert_eq!(flags, json!(1 | 32), "marketing was not told otherwise: it was not asked about again");
    assert_eq!(daemon.count("events"), 3, "what was taken while it held stays");
}

#[test]
fn after_a_no_nobody_is_asked_again_before_its_time() {
    let daemon = Daemon::with(CONFIG);
    publish(&daemon, "1", FIRST);
    let refusal =
        daemon.decide(&json!({"visitor": "n", "action": "refuse", "notice": "1", "method": "banner_refuse"})).json();
    let token = refusal["visitorToken"].as_str().unwrap();
    publish(&daemon, "2", "Quite other words than before.");
    let state = state(&daemon, Some(token));
    assert_eq!((&state["ask"], &state["denied"]), (&json!([]), &json!(["measure"])), "{state}");
    assert!(state["askNotBefore"].is_string());
}

#[test]
fn an_external_notice_is_known_by_version_and_digest() {
    let daemon = Daemon::plain();
    let body = json!({"notice": {"name": "Tool", "version": "7", "url": "https://shop.example/privacy"}, "digest": "ab".repeat(32)});
    let answer = daemon.control().send(&post("/v1/notices/external").json(&body));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_error(&daemon.decide(&give("a", "7", json!({"noticeDigest": "cd".repeat(32)}))), 400, "notice_digest");
    let answer = daemon.decide(&give("a", "7", json!({"noticeDigest": "ab".repeat(32), "toolRecord": "CPx"})));
    assert_eq!(answer.status, 200, "{answer:?}");
    assert_eq!(daemon.count("evidence"), 1);
}

#[test]
fn a_receipt_is_signed_and_opens_what_the_ledger_committed_to() {
    let daemon = Daemon::with(CONFIG);
    publish(&daemon, "1", FIRST);
    let more = json!({"language": "de", "method": "banner_custom", "pageUrl": "https://shop.example/cart/1234567?x=1",
                      "bannerDigest": "ef".repeat(32)});
    let told = daemon.decide(&give("a", "1", more)).json();
    let token = told["visitorToken"].as_str().unwrap();
    assert_error(&daemon.connect().send(&get("/v1/consent/receipt")), 400, "whose");
    let ask = |query: &str| {
        daemon.connect().send(&get(&format!("/v1/consent/receipt{query}")).header("Wayside-Visitor-Token", token))
    };
    let answer = ask("");
    assert_eq!(answer.status, 200, "{answer:?}");
    let header = |name: &str| answer.header(name).unwrap().to_owned();
    let (public, signature) =
        (unhex::<32>(&header("wayside-public-key")).unwrap(), unhex::<64>(&header("wayside-signature")).unwrap());
    assert!(verify(&public, &[SIGNED_BEFORE, &answer.body].concat(), &signature));
    let mut changed = answer.body.clone();
    changed[40] ^= 1;
    assert!(!verify(&public, &[SIGNED_BEFORE, &changed].concat(), &signature));
    let receipt = answer.json();
    assert_eq!(receipt["dpv:hasConsentStatus"]["@type"], "dpv:ConsentGiven");
    assert_eq!(receipt["dpv:hasNotice"]["dct:identifier"], "1");
    assert_eq!(receipt["dct:language"], "de");
    let evidence = &receipt["wayside:ledger"]["evidence"];
    let body: Value = serde_json::from_str(evidence["body"].as_str().unwrap()).unwrap();
    assert_eq!(body["page"], "shop.example/cart/*", "neither the query nor what may name somebody");
    let kept = daemon.value("SELECT lower(hex(evidence)) FROM decisions");
    assert_eq!(kept, evidence["commitment"], "the ledger holds the commitment");
    assert_eq!(ask("").body, answer.body, "the same decision has the same receipt");
    assert_eq!(ask("?format=kantara").json()["version"], "KI-CR-v1.1.0");
    let page = String::from_utf8(ask("?format=html").body).unwrap();
    assert!(page.contains("Sie haben zugestimmt.") && !page.contains("<script"), "{page}");
}

#[test]
fn a_kiosks_code_alone_withdraws_and_shows_the_receipt() {
    let daemon = Daemon::with(CONFIG);
    publish(&daemon, "1", FIRST);
    let body = give("turn-1", "1", json!({"method": "kiosk_touch", "decisionId": "d-1", "kioskId": "k7"}));
    let told = daemon.decide(&body).json();
    let code = told["code"].as_str().unwrap().to_owned();
    assert_eq!(daemon.decide(&body).json()["code"], json!(code), "a repeat is told the same one");
    assert_eq!(daemon.events(&page_view("turn-1")).outcomes(200), ["accepted"]);
    let bare = code.replace('-', "");
    for (path, bytes) in crate::support::daemon::files(&daemon.home.data()) {
        assert!(!bytes.windows(12).any(|w| w == bare.as_bytes()), "only a keyed hash is kept: {}", path.display());
    }
    let receipt =
        daemon.connect().send(&get("/v1/consent/receipt?format=html").header("Wayside-Code", &code.to_lowercase()));
    let page = String::from_utf8(receipt.body.clone()).unwrap();
    assert!(receipt.status == 200 && page.contains(&code) && page.contains("<svg"), "{receipt:?}");
    assert!(!page.contains("turn-1"), "no id of the visitor");
    let by_code = |code: &str, action: &str| {
        daemon.decide(&json!({"code": code, "action": action, "purposes": ["measure"], "notice": "1"}))
    };
    assert_error(&by_code("ABCD-EFGH-JKLN", "withdraw"), 400, "code");
    assert_error(&by_code(&code, "give"), 403, "code");
    assert_eq!(by_code(&code, "withdraw").status, 200);
    assert_eq!(daemon.events(&page_view("turn-1")).outcomes(200), ["counted"]);
}

#[test]
fn guessing_codes_comes_to_an_end() {
    let daemon = Daemon::plain();
    let code = wayside::domain::code::Code::of(&wayside::base::digest::HashKey::new(&[1; 32]), b"x", 1).text();
    let guess = || daemon.connect().send(&get("/v1/consent/receipt").header("Wayside-Code", &code));
    for _ in 0..5 {
        assert_error(&guess(), 403, "code_unknown");
    }
    assert_error(&guess(), 503, "guesses");
    assert_error(&daemon.decide(&json!({"code": code, "action": "withdraw"})), 503, "guesses");
}

#[test]
fn gpc_is_said_to_be_honoured() {
    let answer = Daemon::plain().connect().send(&get("/.well-known/gpc.json"));
    assert_eq!((answer.status, &answer.json()["gpc"]), (200, &json!(true)));
}
