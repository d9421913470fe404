//! Pushing against a receiver that lies, is slow, and cuts the connection: what arrives is each batch once, and what does
//! not arrive is told as what it is.

mod manual;
mod secure;
mod upstream;

use self::upstream::{Next, Upstream, answer};
use super::*;
use crate::base::time::{Clock, HOUR_MS, MINUTE_MS};
use crate::domain::event::Lane;
use crate::forward::retry::Verdict;
use crate::forward::target::{Landed, Part, Says};
use crate::forward::tests::support::{MEASURE, World};
use crate::forward::{Forwarder, Report, encode, inspect};
use crate::store::{alarms, batches, cursors};

fn options(url: String) -> TargetOptions {
    let kind = crate::forward::options::TargetKind::Http;
    TargetOptions { name: "centre".to_owned(), kind, url: Some(url), ..TargetOptions::default() }
}

/// A sealed batch of one page, and its key.
fn batch() -> (World, Key, Rendered) {
    let world = World::new();
    let a = world.visitor("a", MEASURE);
    world.page(a);
    let forwarder = world.forwarder();
    world.round(&forwarder);
    let (key, rendered) = world
        .store
        .read(|tx| {
            let batch = batches::get(tx, 1, Lane::Pages, 1)?.unwrap();
            let edge = &world.store.identity().edge;
            let (began, keys) = (world.clock.now(), &edge.keys[..]);
            let order = encode::Order { recipient: Recipient::Own, keys, began, refused: &[] };
            let key = Key { edge: edge.id, epoch: edge.epoch, lane: Lane::Pages, batch_no: 1 };
            Ok((key, encode::render(tx, &batch, &order)?.compress(2)))
        })
        .unwrap();
    (world, key, rendered)
}

fn target(upstream: &Upstream) -> Http {
    Http::new(&options(upstream.url()))
}

fn code(put: Result<Put, Setback>) -> (&'static str, Verdict) {
    let error = put.unwrap_err().error;
    (error.code, Verdict::on(&error))
}

#[test]
fn a_batch_goes_under_its_key_with_manifest_and_token() {
    let (world, key, rendered) = batch();
    let upstream = Upstream::start();
    let file = world.dir.path().join("token");
    let target =
        Http::new(&TargetOptions { token_file: Some(file.clone()), ..options(format!("{}/base/", upstream.url())) });
    let parcel = Parcel::whole(key, &rendered, false);
    assert_eq!(code(target.put(&parcel)), ("token_file", Verdict::Hold), "no token is no reason to go without");
    std::fs::write(&file, "abc-1\n").unwrap();
    assert!(target.put(&parcel).unwrap().acknowledged);
    let asked = upstream.asked();
    assert_eq!((asked.method.as_str(), asked.path), ("PUT", format!("/base/v1/batches/{key}")));
    let header = |name: &str| asked.headers.get(name).map(String::as_str);
    assert_eq!(header("authorization"), Some("Bearer abc-1"));
    assert_eq!((header("content-type"), header("content-encoding")), (Some("application/x-ndjson"), Some("gzip")));
    assert_eq!(header("expect"), None);
    let inspected = inspect::batch(asked.headers["wayside-manifest"].as_bytes(), &asked.body, None).unwrap();
    assert_eq!((inspected.part.batch_no, asked.body.as_slice()), (1, rendered.gz.as_slice()));
    std::fs::write(&file, "abc-2\n").unwrap();
    let part = Part { k: 2, n: 3, gz: b"x" };
    assert_eq!(target.put(&Parcel { part: Some(part), ..parcel }).unwrap().landed, Landed::Part);
    let asked = upstream.asked();
    assert_eq!((asked.path, asked.body), (format!("/base/v1/batches/{key}.2-of-3"), b"x".to_vec()));
    assert_eq!(asked.headers["authorization"], "Bearer abc-2", "a new token counts at once");
}

#[test]
fn cut_at_any_byte_of_request_or_answer_the_batch_is_there_once() {
    let (_world, key, rendered) = batch();
    let path = format!("/v1/batches/{key}");
    let measured = Upstream::start();
    target(&measured).put(&Parcel::whole(key, &rendered, false)).unwrap();
    let asked = measured.asked();
    let head: usize = asked.headers.iter().map(|(name, value)| name.len() + value.len() + 4).sum::<usize>()
        + format!("PUT {} HTTP/1.1\r\n\r\n", asked.path).len();
    let request = head + asked.body.len();
    let reply = answer("201 Created", "{\"kept\":true}").len();
    let upstream = Upstream::start();
    let target = target(&upstream);
    let cuts = (0..request).map(Next::CutRequest).chain((0..reply).map(Next::CutAnswer));
    let mut n = 0;
    for cut in cuts {
        n += 1;
        upstream.kept.lock().unwrap().clear();
        upstream.then(cut.clone());
        let (error, verdict) = code(target.put(&Parcel::whole(key, &rendered, false)));
        assert_eq!(verdict, Verdict::Retry, "{cut:?}: {error}");
        let kept = upstream.kept.lock().unwrap().len();
        assert_eq!(kept, usize::from(matches!(cut, Next::CutAnswer(_))), "{cut:?}");
        let again = target.put(&Parcel::whole(key, &rendered, true)).unwrap();
        let expected = if kept == 1 { Landed::Same } else { Landed::New };
        assert_eq!((again.landed, again.acknowledged), (expected, true), "{cut:?}");
        let kept = upstream.kept.lock().unwrap();
        assert_eq!(kept[&path], std::slice::from_ref(&rendered.gz), "{cut:?}: once, and these bytes");
    }
    assert!(n > 1_000, "{n} places to cut at");
}

#[test]
fn an_answer_after_the_timeout_leaves_the_batch_there_once() {
    let (_world, key, rendered) = batch();
    let upstream = Upstream::start();
    let mut target = target(&upstream);
    target.client.answer_ms = 50;
    upstream.then(Next::Late);
    assert_eq!(code(target.put(&Parcel::whole(key, &rendered, false))), ("timeout", Verdict::Retry));
    upstream.go.send(()).unwrap();
    target.client.answer_ms = 20_000;
    *target.open.lock().unwrap() = None;
    assert_eq!(target.put(&Parcel::whole(key, &rendered, true)).unwrap().landed, Landed::Same);
    assert_eq!(upstream.kept.lock().unwrap().values().map(Vec::len).collect::<Vec<_>>(), [1]);
}

#[test]
fn answers_that_are_none_are_tried_again() {
    let (_world, key, rendered) = batch();
    let long = "x".repeat(ANSWER_BYTES_MAX + 1);
    let exact = "x".repeat(ANSWER_BYTES_MAX);
    for (what, text, expected) in [
        ("no HTTP", "hello\r\n\r\n".to_owned(), Some("bad_answer")),
        ("too long a body", answer("201 Created", &long), Some("bad_answer")),
        ("as long as allowed", answer("201 Created", &exact), None),
        ("less than it told", "HTTP/1.1 201 Created\r\ncontent-length: 9\r\n\r\nhalf".to_owned(), Some("cut_off")),
        (
            "half of the chunks",
            "HTTP/1.1 201 Created\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhalf".to_owned(),
            Some("cut_off"),
        ),
    ] {
        let upstream = Upstream::start();
        upstream.then(Next::Answer(text));
        let put = target(&upstream).put(&Parcel::whole(key, &rendered, false));
        match expected {
            None => assert!(put.unwrap().acknowledged, "{what}"),
            Some(expected) => assert_eq!(code(put), (expected, Verdict::Retry), "{what}"),
        }
    }
}

#[test]
fn who_is_not_there_is_told_from_who_does_not_answer() {
    let (_world, key, rendered) = batch();
    let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let nobody = Http::new(&options(format!("http://{closed}")));
    assert_eq!(code(nobody.put(&Parcel::whole(key, &rendered, false))), ("refused", Verdict::Retry));
    assert_eq!(nobody.probe().unwrap_err().code, "unreachable");
    let upstream = Upstream::start();
    assert!(target(&upstream).probe().is_ok());
}

#[test]
fn a_long_body_is_announced_when_it_is_put_again_so_that_a_refusal_is_heard() {
    let (_world, key, mut rendered) = batch();
    rendered.gz = vec![7; 8 << 20];
    let upstream = Upstream::start();
    let refused = answer("413 Content Too Large", r#"{"error":"too_large","max_bytes":5000}"#);
    upstream.then(Next::Unread(refused.clone()));
    let first = target(&upstream).put(&Parcel::whole(key, &rendered, false));
    assert!(first.is_err(), "cut off while it was sent, or refused");
    upstream.then(Next::Unread(refused));
    let again = target(&upstream).put(&Parcel::whole(key, &rendered, true)).unwrap_err();
    assert_eq!((again.error.code, again.says), ("too_large", Some(Says::TooLarge { bytes_max: Some(5_000) })));
    let short = batch();
    target(&upstream).put(&Parcel::whole(short.1, &short.2, true)).unwrap();
}

#[test]
fn nobody_is_asked_about_lines_who_would_keep_them() {
    let (_world, key, rendered) = batch();
    for (knows, judged) in [
        ("201 Created", Judged::Unknown),
        ("422 Unprocessable", Judged::Unknown),
        ("204 No Content", Judged::Bad(vec![3])),
    ] {
        let upstream = Upstream::start();
        upstream.answers(knows, "");
        upstream.answers("422 Unprocessable", r#"{"error":"bad_rows","seqs":[3]}"#);
        assert_eq!(target(&upstream).judge(key, &rendered, &rendered.gz).unwrap(), judged, "{knows}");
        let first = upstream.asked();
        assert_eq!(first.path, format!("/v1/batches/{key}?validate=1"));
        assert_eq!(gzip::decompress(&first.body, 10).unwrap(), b"", "no line goes with the first question");
    }
}

#[test]
fn a_receiver_says_how_far_it_is_or_that_it_cannot() {
    let (_world, key, _) = batch();
    let edge = key.edge;
    let mark = format!(r#"{{"epoch":"{}","lane":"pages","batch_no":4,"last_seq":9,"digest":"d"}}"#, key.epoch);
    let rows = [
        ("200 OK", format!(r#"{{"edge":"{edge}","watermarks":[{mark}]}}"#), Ok(Some(1))),
        ("200 OK", format!(r#"{{"edge":"{edge}","watermarks":[]}}"#), Ok(Some(0))),
        ("200 OK", r#"{"edge":"00","watermarks":[]}"#.to_owned(), Err("bad_answer")),
        ("200 OK", "<html>".to_owned(), Err("bad_answer")),
        ("404 Not Found", String::new(), Ok(None)),
        ("405 Method Not Allowed", String::new(), Ok(None)),
        ("401 Unauthorized", String::new(), Err("auth")),
        ("503 Busy", String::new(), Err("busy")),
    ];
    for (status, body, expected) in rows {
        let upstream = Upstream::start();
        upstream.answers(status, &body);
        let told = target(&upstream).watermarks(edge).map(|told| told.map(|list| list.len())).map_err(|e| e.code);
        assert_eq!(told, expected, "{status} {body}");
        assert_eq!(upstream.asked().path, format!("/v1/watermarks/{edge}"));
    }
}

#[test]
fn a_receiver_says_what_lies_under_a_key_or_that_it_cannot() {
    let (_world, key, _) = batch();
    let other = key.at(99);
    let rows = [
        ("200 OK", format!(r#"{{"key":"{key}","digest":"AB"}}"#), Ok(Some("ab".to_owned()))),
        ("200 OK", format!(r#"{{"key":"{other}","digest":"ab"}}"#), Err("bad_answer")),
        ("200 OK", "<html>".to_owned(), Err("bad_answer")),
        ("404 Not Found", String::new(), Ok(None)),
        ("410 Gone", String::new(), Ok(None)),
        ("405 Method Not Allowed", String::new(), Ok(None)),
        ("403 Forbidden", String::new(), Err("auth")),
        ("503 Busy", String::new(), Err("busy")),
    ];
    for (status, body, expected) in rows {
        let upstream = Upstream::start();
        upstream.answers(status, &body);
        assert_eq!(target(&upstream).digest_of(key).map_err(|e| e.code), expected, "{status} {body}");
        let asked = upstream.asked();
        assert_eq!((asked.method.as_str(), asked.path), ("GET", format!("/v1/digests/{key}")));
    }
}

#[test]
fn an_edge_is_told_of_where_anybody_wants_to_know() {
    let (world, key, _) = batch();
    let statement = crate::domain::signed::Signed::of(&serde_json::json!({}), &world.store.identity().edge.signing);
    let rows = [
        ("200 OK", "{}", Ok(true)),
        ("404 Not Found", "", Ok(false)),
        ("501 Not Implemented", "", Ok(false)),
        ("404 Not Found", r#"{"error":"relay_off"}"#, Err("not_found")),
        ("409 Conflict", r#"{"error":"edge_known"}"#, Err("edge_known")),
        ("403 Forbidden", r#"{"error":"no_relay"}"#, Err("auth")),
    ];
    for (status, body, expected) in rows {
        let upstream = Upstream::start();
        upstream.answers(status, body);
        let told = target(&upstream).introduce(key.edge, &statement).map_err(|setback| setback.error.code);
        assert_eq!(told, expected, "{status} {body}");
        let asked = upstream.asked();
        assert_eq!((asked.method.as_str(), asked.path), ("PUT", format!("/v1/edges/{}", key.edge)));
        assert_eq!(asked.body, serde_json::to_vec(&statement).unwrap());
    }
}

#[test]
fn a_proxy_is_asked_for_the_way() {
    let (_world, key, rendered) = batch();
    let proxy = Upstream::start();
    proxy.answers("407 Proxy Authentication Required", "");
    let url = "https://centre.example".to_owned();
    let ca_file = Some(secure::file("ca.pem"));
    let target = Http::new(&TargetOptions { proxy: Some(proxy.url()), ca_file, ..options(url) });
    assert_eq!(code(target.put(&Parcel::whole(key, &rendered, false))), ("auth", Verdict::Hold));
    let asked = proxy.asked();
    assert_eq!((asked.method.as_str(), asked.path.as_str()), ("CONNECT", "centre.example:443"));
    assert!(!asked.headers.contains_key("authorization"), "our token is not for the proxy");
}

fn pushing(world: &World, upstream: &Upstream) -> Forwarder {
    upstream.says_nothing_of_itself();
    world.forwarder_to(&[options(upstream.url())])
}

fn codes(report: &Report) -> Vec<&'static str> {
    report.failed.iter().map(|failed| failed.code).collect()
}

fn raised(world: &World) -> Vec<(String, String)> {
    world.store.read(alarms::list).unwrap().into_iter().map(|a| (a.code, a.about)).collect()
}

#[test]
fn what_only_a_person_can_mend_holds_with_an_alarm_and_goes_on_when_mended() {
    for (status, alarm, about) in [
        ("401 Unauthorized", "auth", "centre"),
        ("403 Forbidden", "auth", "centre"),
        ("404 Not Found", "not_found", "centre"),
        ("501 Not Implemented", "not_found", "centre"),
        ("302 Found", "not_found", "centre"),
        ("409 Conflict", "fork", "centre/pages"),
        ("415 Unsupported", "held", "centre/pages"),
        ("422 Unprocessable", "held", "centre/pages"),
    ] {
        let world = World::new();
        let upstream = Upstream::start();
        let forwarder = pushing(&world, &upstream);
        let a = world.visitor("a", MEASURE);
        world.page(a);
        forwarder.run_once(true).ok();
        world.page(a);
        for _ in 0..4 {
            upstream.answers(status, "");
        }
        let report = forwarder.run_once(true).unwrap();
        assert_eq!((report.failed.len(), raised(&world)), (1, vec![(alarm.to_owned(), about.to_owned())]), "{status}");
        let cursor = || world.store.read(|tx| cursors::get(tx, "centre", 1, Lane::Pages)).unwrap();
        assert_eq!(
            (cursor().put_no, cursor().next_at.since(world.clock.now())),
            (1, 15 * MINUTE_MS),
            "{status}: looked at slowly"
        );
        // mended
        upstream.then(Next::Well);
        for _ in 0..6 {
            world.clock.advance(15 * MINUTE_MS);
            forwarder.run_once(true).unwrap();
        }
        assert_eq!((cursor().acked_no, raised(&world)), (2, vec![]), "{status}");
    }
}

#[test]
fn a_receiver_that_asks_for_time_is_given_it_up_to_an_hour() {
    for (seconds, least, most) in [(120, 120_000, 121_000), (999_999, HOUR_MS, HOUR_MS)] {
        let world = World::new();
        let upstream = Upstream::start();
        let forwarder = pushing(&world, &upstream);
        let a = world.visitor("a", MEASURE);
        world.page(a);
        upstream.then(Next::Answer(format!(
            "HTTP/1.1 503 Busy\r\nretry-after: {seconds}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
        )));
        assert_eq!(codes(&forwarder.run_once(true).unwrap()), ["busy"]);
        let cursor = world.store.read(|tx| cursors::get(tx, "centre", 1, Lane::Pages)).unwrap();
        let wait = cursor.next_at.since(world.clock.now());
        assert!((least..=most).contains(&wait), "{seconds} s: {wait}");
        assert_eq!(raised(&world), vec![], "that mends itself");
    }
}
