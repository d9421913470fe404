//! What an event becomes: checks, limits, derived fields, rights of callers; and what it costs.
//! Must never test a form of body; events come in as single lines.

use super::*;
use crate::base::id::ClientId;
use crate::base::time::Millis;
use crate::domain::consent::{Action, Method, Purposes};
use crate::domain::event::DataType;
use crate::domain::referrer::Medium;
use crate::domain::site::{PurposeOptions, SiteOptions};
use crate::ingest::decode::{self, Item};

const FIREFOX: &str = "Mozilla/5.0 (X11; Linux x86_64; rv:126.0) Gecko/20100101 Firefox/126.0";

fn site(change: impl FnOnce(&mut SiteOptions)) -> Site {
    let mut options = SiteOptions { id: "shop".to_owned(), ..SiteOptions::default() };
    change(&mut options);
    Site::compile(options).unwrap()
}

fn origin(site: &Site) -> Origin<'_> {
    Origin { site, user_agent: None, ip: None, place: None, sent_at: None, authority: Authority::Public }
}

fn deriver() -> &'static Deriver {
    static DERIVER: std::sync::OnceLock<Deriver> = std::sync::OnceLock::new();
    DERIVER.get_or_init(Deriver::default)
}

fn key() -> HashKey {
    HashKey::new(&[7; 32])
}

fn shaped(body: &str, origin: &Origin<'_>) -> Shaped<Event> {
    let limits = Limits::default();
    let Item::Event(mut raw) = decode::one_line(body.as_bytes(), &limits).expect(body)? else { panic!("{body}") };
    deriver().shape(&mut raw, origin, &key(), &limits).map(|event| *event)
}

fn event(body: &str) -> Event {
    shaped(body, &origin(&site(|_| {}))).expect(body)
}

fn problem(body: &str) -> Invalid {
    shaped(body, &origin(&site(|_| {}))).expect_err(body)
}

#[test]
fn names_decide_type_stream_and_act() {
    for (body, event_type, stream, act) in [
        (r#"{"name":"page_viewed","url":"/"}"#, EventType::Business, Stream::Web, Act::PageEntered),
        (r#"{"name":"PageEntered","url":"/"}"#, EventType::System, Stream::Web, Act::PageEntered),
        (r#"{"name":"PageExited","eventType":"SYSTEM"}"#, EventType::System, Stream::Web, Act::PageExited),
        (
            r#"{"name":"bought","eventType":"BUSINESS","stream":"custom"}"#,
            EventType::Business,
            Stream::Custom,
            Act::Other,
        ),
        (r#"{"name":"screen_viewed","screen":"start"}"#, EventType::Business, Stream::App, Act::PageEntered),
        (r#"{"name":"tapped","app":{"name":"kiosk"}}"#, EventType::Business, Stream::App, Act::Other),
        (r#"{"name":"visit_ended"}"#, EventType::Business, Stream::Web, Act::VisitEnded(EndReason::LeftSite)),
        (
            r#"{"name":"visit_ended","endReason":"browser_closed"}"#,
            EventType::Business,
            Stream::Web,
            Act::VisitEnded(EndReason::BrowserClosed),
        ),
        (
            r#"{"name":"conversation_started","conversation":{"id":"c","medium":"chat"}}"#,
            EventType::Business,
            Stream::Conversation,
            Act::ConversationStarted,
        ),
    ] {
        let event = event(body);
        assert_eq!((event.event_type, event.stream, event.act), (event_type, stream, act), "{body}");
    }
}

#[test]
fn what_makes_no_sense_is_named() {
    for (body, field) in [
        (r#"{"name":""}"#, "name"),
        (r#"{"name":"page-viewed"}"#, "name"),
        (r#"{"name":"seite_besucht_ü"}"#, "name"),
        (r#"{"name":"a b"}"#, "name"),
        (r#"{"name":"bought","eventType":"SYSTEM"}"#, "eventType"),
        (r#"{"name":"SignIn","eventType":"BUSINESS"}"#, "eventType"),
        (r#"{"name":"a","eventType":"system"}"#, "eventType"),
        (r#"{"name":"a","stream":"tv"}"#, "stream"),
        (r#"{"name":"a","visitor":""}"#, "visitor"),
        (r#"{"name":"a","visitor":"x\ny"}"#, "visitor"),
        (r#"{"name":"a","eventId":""}"#, "eventId"),
        (r#"{"name":"page_viewed"}"#, "page.url"),
        (r#"{"name":"page_viewed","url":""}"#, "page.url"),
        (r#"{"name":"a","url":"javascript:alert(1)"}"#, "page.url"),
        (r#"{"name":"a","url":"not an address"}"#, "page.url"),
        (r#"{"name":"a","url":"/x","screen":"start"}"#, "screen"),
        (r#"{"name":"a","endReason":"left_site"}"#, "endReason"),
        (r#"{"name":"visit_ended","endReason":"idle"}"#, "endReason"),
        (r#"{"name":"conversation_started"}"#, "conversation.id"),
        (r#"{"name":"a","conversation":{"medium":"chat"}}"#, "conversation.id"),
        (r#"{"name":"a","consent":["measure","spying"]}"#, "consent"),
        (r#"{"name":"a","attributes":{"":"x"}}"#, "attributes."),
        (r#"{"name":"a","attributes":{"x":1,"x":2}}"#, "attributes.x"),
        (r#"{"name":"a","attributes":{"x":1},"data":{"x":2}}"#, "attributes.x"),
        (r#"{"name":"SignIn","identity":"a","data":{"userId":"b"}}"#, "data.userId"),
        (r#"{"name":"SignIn","data":{"userId":"a","identityId":"b"}}"#, "data.identityId"),
    ] {
        assert_eq!(problem(body).field, field, "{body}");
    }
}

#[test]
fn every_text_may_be_as_long_as_its_limit_and_no_longer() {
    let x = |n: usize| "x".repeat(n);
    type Case = (&'static str, usize, fn(&str) -> String);
    let cases: [Case; 18] = [
        ("name", 128, |x| format!(r#"{{"name":"{x}"}}"#)),
        ("visitor", 256, |x| format!(r#"{{"name":"a","visitor":"{x}"}}"#)),
        ("eventId", 256, |x| format!(r#"{{"name":"a","eventId":"{x}"}}"#)),
        ("visitId", 256, |x| format!(r#"{{"name":"a","visitId":"{x}"}}"#)),
        ("pageId", 256, |x| format!(r#"{{"name":"a","pageId":"{x}"}}"#)),
        ("deviceId", 256, |x| format!(r#"{{"name":"a","deviceId":"{x}"}}"#)),
        ("page.title", 2048, |x| format!(r#"{{"name":"a","title":"{x}"}}"#)),
        ("page.keywords", 2048, |x| format!(r#"{{"name":"a","page":{{"keywords":"{x}"}}}}"#)),
        ("page.lang", 64, |x| format!(r#"{{"name":"a","page":{{"lang":"{x}"}}}}"#)),
        ("category", 2048, |x| format!(r#"{{"name":"a","category":"{x}"}}"#)),
        ("screen", 2048, |x| format!(r#"{{"name":"a","screen":"{x}"}}"#)),
        ("searchQuery", 2048, |x| format!(r#"{{"name":"a","searchQuery":"{x}"}}"#)),
        ("identity", 256, |x| format!(r#"{{"name":"a","identity":"{x}"}}"#)),
        ("externalId", 256, |x| format!(r#"{{"name":"a","externalId":"{x}"}}"#)),
        ("device.type", 256, |x| format!(r#"{{"name":"a","device":{{"type":"{x}"}}}}"#)),
        ("attributes.k", 1024, |x| format!(r#"{{"name":"a","attributes":{{"k":"{x}"}}}}"#)),
        ("traits.k", 1024, |x| format!(r#"{{"name":"a","traits":{{"k":"{x}"}}}}"#)),
        ("conversation.medium", 64, |x| format!(r#"{{"name":"a","conversation":{{"id":"c","medium":"{x}"}}}}"#)),
    ];
    for (field, most, body) in cases {
        event(&body(&x(most)));
        assert_eq!(problem(&body(&x(most + 1))).field, field);
    }
    let name = |n: usize| format!(r#"{{"name":"a","attributes":{{"{}":1}}}}"#, x(n));
    event(&name(128));
    assert!(problem(&name(129)).field.starts_with("attributes.xxx"));
    let url = |n: usize| format!(r#"{{"name":"a","url":"/{}"}}"#, x(n - 1));
    event(&url(4096));
    assert_eq!(problem(&url(4097)).field, "page.url");
    let both = |n: usize| {
        let list = |from: usize, to: usize| (from..to).map(|i| format!("\"k{i}\":1")).collect::<Vec<_>>().join(",");
        format!(r#"{{"name":"a","attributes":{{{}}},"data":{{{}}}}}"#, list(0, 60), list(60, n))
    };
    assert_eq!(event(&both(100)).attributes.len(), 100);
    assert_eq!(problem(&both(101)).field, "attributes");
}

#[test]
fn what_an_address_tells_is_read_before_it_is_scrubbed() {
    let site = site(|o| o.excluded_query_parameters = vec!["token".into(), "utm_source".into()]);
    let body = r#"{"name":"page_viewed","page":{"url":"https://shop.example/a?q=red+shoes&token=secret&utm_source=news&utm_medium=cpc#top",
        "title":"Shoes","lang":"de"},"languageCode":"en-US","referrer":"https://www.google.com/search?q=x&token=1"}"#;
    let event = shaped(body, &origin(&site)).unwrap();
    let address = event.page.address.as_ref().unwrap();
    assert_eq!(address.url, "https://shop.example/a?q=red+shoes&utm_medium=cpc");
    assert_eq!(event.search_query.as_deref(), Some("red shoes"));
    assert_eq!(event.campaign.as_ref().unwrap().source.as_deref(), Some("news"));
    assert_eq!(event.referrer.as_ref().unwrap().medium, Medium::Paid);
    assert!(!format!("{event:?}").contains("secret") && !event.referrer.unwrap().url.contains("token"));
    assert_eq!(event.page.language.as_deref(), Some("de"));
    let internal = shaped(
        r#"{"name":"page_viewed","url":"https://shop.example/b","referrer":"https://shop.example/a"}"#,
        &origin(&site),
    );
    assert_eq!(internal.unwrap().referrer.unwrap().medium, Medium::Internal);
    let senseless = shaped(r#"{"name":"page_viewed","url":"/b","referrer":"about:blank"}"#, &origin(&site)).unwrap();
    assert_eq!(senseless.referrer, None);
}

#[test]
fn the_user_agent_is_the_visitors_or_none() {
    let site = site(|_| {});
    let with = |authority| Origin { user_agent: Some(FIREFOX), authority, ..origin(&site) };
    let page = r#"{"name":"page_viewed","url":"/"}"#;
    let event = shaped(page, &with(Authority::Public)).unwrap();
    assert_eq!(event.agent.as_ref().unwrap().browser_family.as_deref(), Some("Firefox"));
    // a program with a token, and an app's SDK, send their own name in the header
    assert_eq!(shaped(page, &with(Authority::Sender)).unwrap().user_agent, None);
    let screen = r#"{"name":"screen_viewed","screen":"s","device":{"category":"tablet","osFamily":"Android"}}"#;
    let app = shaped(screen, &with(Authority::Public)).unwrap();
    assert_eq!(app.user_agent, None);
    assert_eq!(app.agent.unwrap().category, DeviceCategory::Tablet);
    let told = r#"{"name":"page_viewed","url":"/","userAgent":"Googlebot/2.1 (+http://www.google.com/bot.html)"}"#;
    assert!(shaped(told, &with(Authority::Sender)).unwrap().robot().is_some());
    let long = format!(r#"{{"name":"a","userAgent":"{}"}}"#, "ü".repeat(300));
    assert_eq!(shaped(&long, &with(Authority::Public)).unwrap().user_agent.unwrap().len(), 512);
}

#[test]
fn user_agents_are_remembered_up_to_a_bound() {
    let deriver = Deriver::default();
    let first = deriver.agent(FIREFOX);
    assert!(Arc::ptr_eq(&first, &deriver.agent(FIREFOX)));
    for n in 0..AGENTS_MAX {
        deriver.agent(&format!("{FIREFOX} {n}"));
    }
    assert!(deriver.agents.count() <= AGENTS_MAX);
    assert!(!Arc::ptr_eq(&first, &deriver.agent(FIREFOX)), "forgotten when full");
    assert_eq!(first, deriver.agent(FIREFOX));
}

#[test]
fn no_more_of_the_address_is_kept_than_the_site_says() {
    for (keep, ip, short, full) in [
        (KeepIp::None, "203.0.113.77", None, None),
        (KeepIp::Truncated, "203.0.113.77", Some("203.0.113.0"), None),
        (KeepIp::Full, "::ffff:203.0.113.77", Some("203.0.113.0"), Some("203.0.113.77")),
        (KeepIp::Full, "2001:db8:1:2::3", Some("2001:db8:1::"), Some("2001:db8:1:2::3")),
    ] {
        let site = site(|o| o.keep_ip = keep);
        let from = Origin { ip: Some(ip.parse().unwrap()), ..origin(&site) };
        let event = shaped(r#"{"name":"a"}"#, &from).unwrap();
        assert_eq!((event.ip.as_deref(), event.personal.full_ip.as_deref()), (short, full), "{keep:?}");
    }
}

#[test]
fn a_site_may_allow_some_names_only() {
    let site = site(|o| o.allowed_events = vec!["page_viewed".into()]);
    assert!(shaped(r#"{"name":"page_viewed","url":"/"}"#, &origin(&site)).is_ok());
    let problem = shaped(r#"{"name":"bought"}"#, &origin(&site)).unwrap_err();
    assert!(problem.field == "name" && problem.what.contains("allowed_events"));
    let mut action = RawEvent { name: Some("action_state".into()), act: Some(Act::ActionState), ..RawEvent::default() };
    assert!(deriver().shape(&mut action, &origin(&site), &key(), &Limits::default()).is_ok());
}

#[test]
fn claims_name_purposes_and_silence_is_no_claim() {
    let own =
        PurposeOptions { name: "newsletter".into(), bit: Some(16), ..serde_json::from_str(r#"{"name":"x"}"#).unwrap() };
    let site = site(|o| o.purposes = vec![own]);
    for (body, claim) in [
        (r#"{"name":"a"}"#, None),
        (r#"{"name":"a","consent":null}"#, None),
        (r#"{"name":"a","consent":[]}"#, Some(Purposes::NONE)),
        (r#"{"name":"a","consent":["measure","newsletter"]}"#, Some(Purposes(1 | 1 << 16))),
    ] {
        assert_eq!(shaped(body, &origin(&site)).unwrap().claim, claim, "{body}");
    }
}

#[test]
fn a_decision_comes_with_an_event_only_where_that_is_authority() {
    let body = r#"{"name":"a","visitor":"v","time":"2026-11-21T10:00:00Z",
        "decision":{"decisionId":"d","action":"give","purposes":["measure"],"method":"kiosk_touch"}}"#;
    for (source, authority, taken) in [
        (ConsentSource::Server, Authority::Public, false),
        (ConsentSource::Sender, Authority::Public, false),
        (ConsentSource::Server, Authority::Sender, false),
        (ConsentSource::Sender, Authority::Sender, true),
        (ConsentSource::Server, Authority::Operator, true),
    ] {
        let site = site(|o| o.consent_source = source);
        let result = shaped(body, &Origin { authority, ..origin(&site) });
        if !taken {
            assert_eq!(result.unwrap_err().field, "decision", "{source:?} {authority:?}");
            continue;
        }
        let decision = result.unwrap().decision.unwrap();
        assert_eq!((decision.action, decision.method), (Action::Give, Method::KioskTouch));
        assert_eq!((decision.purposes, decision.notice.as_str()), (Purposes::MEASURE, "none"));
        assert_eq!(decision.client_at, Millis::parse("2026-11-21T10:00:00Z"), "taken by the event's time");
    }
    let site = site(|_| {});
    let operator = Origin { authority: Authority::Operator, ..origin(&site) };
    let nobody = shaped(r#"{"name":"a","decision":{"action":"refuse"}}"#, &operator).unwrap_err();
    assert_eq!(nobody.field, "visitor");
    for (decision, field) in [
        (r#"{}"#, "decision.action"),
        (r#"{"action":"maybe"}"#, "decision.action"),
        (r#"{"action":"give"}"#, "decision.purposes"),
        (r#"{"action":"give","purposes":["all"]}"#, "decision.purposes"),
        (r#"{"action":"refuse","method":"implied"}"#, "decision.method"),
    ] {
        let body = format!(r#"{{"name":"a","visitor":"v","decision":{decision}}}"#);
        assert_eq!(shaped(&body, &operator).unwrap_err().field, field, "{decision}");
    }
}

#[test]
fn decision_lines_name_their_visitor() {
    let limits = Limits::default();
    let line = |body: &str| {
        let Ok(Item::Decision(raw)) = decode::one_line(body.as_bytes(), &limits).unwrap() else { panic!("{body}") };
        shape_decision(*raw, &site(|_| {}), &limits)
    };
    let (visitor, decision) = line(r#"{"visitor":"v","action":"withdraw","time":1000,"sentAt":2000}"#).unwrap();
    assert_eq!(visitor, ClientId::new("v"));
    assert_eq!((decision.action, decision.purposes), (Action::Withdraw, Purposes::NONE));
    assert_eq!((decision.client_at, decision.sent_at), (Some(Millis(1000)), Some(Millis(2000))));
    assert_eq!(line(r#"{"action":"withdraw"}"#).unwrap_err().field, "visitor");
    assert_eq!(line(r#"{"visitor":"v","action":"give","purposes":[]}"#).unwrap_err().field, "purposes");
}

#[test]
fn what_describes_the_customer_is_personal() {
    let told = event(
        r#"{"name":"UserInfo","visitor":"v","data":{"userId":"u@x.example","firstName":"Ann","age":30},"externalId":"e"}"#,
    );
    assert_eq!(told.personal.identity.as_deref(), Some("u@x.example"));
    assert_eq!(told.personal.traits.len(), 2);
    assert!(told.attributes.is_empty());
    assert_eq!(told.personal.fields(), ["traits", "identity", "external_id"]);
    let other = event(r#"{"name":"bought","data":{"identityId":"u","total":9.5}}"#);
    assert_eq!((other.personal.identity.as_deref(), other.attributes.len()), (Some("u"), 1));
    assert_eq!(other.attributes[0].data_type, DataType::Number);
}

#[test]
fn context_keeps_what_was_told() {
    let told = event(
        r#"{"name":"a","device":{"category":"other","screenWidth":1920,"screenDensity":1.5,"isMobile":false,"type":null},
        "sdkLibrary":{"name":"k","version":"1"},"app":{}}"#,
    );
    assert_eq!(
        told.context.as_deref(),
        Some(
            r#"{"device":{"category":"other","screenWidth":1920,"screenDensity":1.5,"isMobile":false},"sdkLibrary":{"name":"k","version":"1"}}"#
        )
    );
    assert_eq!(event(r#"{"name":"a","app":{}}"#).context, None);
}

#[test]
fn content_is_name_time_page_and_attributes() {
    let base = r#"{"name":"a","time":1000,"url":"/x","title":"t","attributes":{"k":1,"l":2}}"#;
    let hash = event(base).content_hash;
    for same in [
        r#"{"attributes":{"l":2,"k":1},"title":"t","page":{"url":"/x#y"},"timestamp":"1970-01-01T00:00:01Z","eventName":"a"}"#,
        r#"{"name":"a","time":1000,"url":"/x","title":"t","attributes":{"k":1,"l":2},"sentAt":5,"visitor":"v","eventId":"e"}"#,
    ] {
        assert_eq!(event(same).content_hash, hash, "{same}");
    }
    for other in [
        r#"{"name":"b","time":1000,"url":"/x","title":"t","attributes":{"k":1,"l":2}}"#,
        r#"{"name":"a","time":1001,"url":"/x","title":"t","attributes":{"k":1,"l":2}}"#,
        r#"{"name":"a","url":"/x","title":"t","attributes":{"k":1,"l":2}}"#,
        r#"{"name":"a","time":1000,"url":"/y","title":"t","attributes":{"k":1,"l":2}}"#,
        r#"{"name":"a","time":1000,"url":"/x","title":"u","attributes":{"k":1,"l":2}}"#,
        r#"{"name":"a","time":1000,"url":"/x","title":"t","attributes":{"k":1,"l":"2"}}"#,
        r#"{"name":"a","time":1000,"url":"/x","title":"t","attributes":{"k":1}}"#,
        r#"{"name":"a","time":1000,"screen":"/x","title":"t","attributes":{"k":1,"l":2}}"#,
    ] {
        assert_ne!(event(other).content_hash, hash, "{other}");
    }
    let otherwise = deriver().shape(
        &mut RawEvent { name: Some("a".into()), ..RawEvent::default() },
        &origin(&site(|_| {})),
        &HashKey::new(&[8; 32]),
        &Limits::default(),
    );
    assert_ne!(otherwise.unwrap().content_hash, event(r#"{"name":"a"}"#).content_hash, "keyed");
}

#[test]
fn the_envelopes_time_serves_events_without_one() {
    let site = site(|_| {});
    let from = Origin { sent_at: Some(Millis(9)), ..origin(&site) };
    assert_eq!(shaped(r#"{"name":"a"}"#, &from).unwrap().sent_at, Some(Millis(9)));
    assert_eq!(shaped(r#"{"name":"a","sentAt":4}"#, &from).unwrap().sent_at, Some(Millis(4)));
}
