//! What a line of a log is read as. Must never need a file.
//! Invariant: each claim is shown on a whole line, as a server writes it.

use super::*;

const PLAIN: &str =
    r#"192.0.2.7 - ann [17/May/2015:10:05:03 +0200] "GET /a/b?c=d HTTP/1.1" 200 512 "https://x.example/" "Firefox""#;

/// A line with this request, status and these quoted fields.
fn line(request: &str, status: &str, referrer: &str, agent: &str) -> String {
    format!(r#"192.0.2.7 - - [17/May/2015:10:05:03 +0000] "{request}" {status} - "{referrer}" "{agent}""#)
}

fn class(request: &str, status: &str) -> Class {
    let text = line(request, status, "-", "a");
    classify(&parse(text.as_bytes()).unwrap_or_else(|| panic!("malformed: {text}")))
}

#[test]
fn a_line_is_read_field_by_field() {
    let expected = LogLine {
        remote: "192.0.2.7",
        at: Millis(1_431_849_903_000),
        method: "GET",
        target: "/a/b?c=d".into(),
        status: 200,
        referrer: Some("https://x.example/".into()),
        user_agent: "Firefox".into(),
    };
    assert_eq!(parse(PLAIN.as_bytes()), Some(expected.clone()));
    assert_eq!(parse(format!("{PLAIN}\r").as_bytes()), Some(expected));
    let v6 = PLAIN.replace("192.0.2.7", "2001:db8::7");
    assert_eq!(parse(v6.as_bytes()).unwrap().remote, "2001:db8::7");
}

#[test]
fn a_dash_is_no_referrer_and_no_agent() {
    let text = line("GET / HTTP/1.1", "200", "-", "-");
    let read = parse(text.as_bytes()).unwrap();
    assert_eq!((read.referrer.as_deref(), read.agent(), read.user_agent.as_ref()), (None, None, "-"));
    let text = line("GET / HTTP/1.1", "200", "", "");
    let read = parse(text.as_bytes()).unwrap();
    assert_eq!((read.referrer.as_deref(), read.agent()), (None, None));
}

#[test]
fn escapes_are_resolved_inside_quotes() {
    let text = line(r"GET /\xc3\xbc HTTP/1.1", "200", r#"http://x/\"q\""#, r"a\\b\tc\q\x4");
    let read = parse(text.as_bytes()).unwrap();
    assert_eq!(read.target, "/ü");
    assert_eq!(read.referrer.as_deref(), Some("http://x/\"q\""));
    assert_eq!(read.user_agent, "a\\b\tc\\q\\x4");
}

#[test]
fn bytes_that_are_not_utf8_become_replacement_characters() {
    let mut raw = line("GET / HTTP/1.1", "200", r"\xe4\xe5", "a").into_bytes();
    let end = raw.len() - 1;
    raw.splice(end..end, [0xff]);
    let read = parse(&raw).unwrap();
    assert_eq!(read.referrer.as_deref(), Some("\u{fffd}\u{fffd}"));
    assert_eq!(read.user_agent, "a\u{fffd}");
}

#[test]
fn every_shorter_piece_of_a_line_is_malformed() {
    for end in 0..PLAIN.len() {
        assert_eq!(parse(&PLAIN.as_bytes()[..end]), None, "{}", &PLAIN[..end]);
    }
}

#[test]
fn what_departs_from_the_grammar_is_malformed() {
    let changed = [
        ("+0200", "0200"),
        ("17/May", "7/May"),
        ("17/May", "17/Mai"),
        ("17/May", "32/May"),
        (":03 ", ":61 "),
        ("[17", "17"),
        (" 200 ", " 20 "),
        (" 200 ", " abc "),
        (" 200 ", " 2000 "),
        (" 512 ", " 5k "),
        (" 512 ", " -5 "),
        (" - ann", " - two words"),
        (" - ann", "  - ann"),
        ("192", "shop.example:443 192"),
        ("192", " 192"),
        ("192", "\u{0}192"),
        ("\"Firefox\"", "\"Firefox\" "),
        ("\"Firefox\"", "\"Firefox\" \"203.0.113.9\""),
        ("\"Firefox\"", "\"Fire\"fox\""),
        ("\"Firefox\"", "\"Firefox\\\""),
        ("\"Firefox\"", "Firefox"),
        (" \"https://x.example/\" \"Firefox\"", ""),
    ];
    for (from, to) in changed {
        let text = PLAIN.replacen(from, to, 1);
        assert_ne!(text, PLAIN, "{from}");
        assert_eq!(parse(text.as_bytes()), None, "{text}");
    }
    assert_eq!(parse(b""), None);
    assert_eq!(parse(format!("{PLAIN}\r\r").as_bytes()), None);
}

#[test]
fn a_junk_request_is_a_line_of_another_method() {
    for junk in
        ["-", "", r"\x16\x03\x01", "GET", "GET ", " /", "GET  HTTP/1.1", r#"\"GET / HTTP/1.1"#, "get / HTTP/1.1"]
    {
        assert_eq!(class(junk, "200"), Class::OtherMethod, "{junk:?}");
    }
    let text = line(r"\x16\x03 x", "400", "-", "-");
    let read = parse(text.as_bytes()).unwrap();
    assert_eq!((read.method, read.target.as_ref()), ("", ""));
}

#[test]
fn the_target_is_what_stands_before_the_version() {
    for (request, target) in [("GET /", "/"), ("GET /a b HTTP/1.0", "/a b"), ("GET /a HTTP/11", "/a HTTP/11")] {
        let text = line(request, "200", "-", "a");
        let read = parse(text.as_bytes()).unwrap();
        assert_eq!((read.method, read.target.as_ref()), ("GET", target));
    }
}

#[test]
fn method_is_tested_before_status_and_status_before_asset() {
    assert_eq!(class("HEAD /a.png HTTP/1.1", "404"), Class::OtherMethod);
    assert_eq!(class("POST / HTTP/1.1", "200"), Class::OtherMethod);
    assert_eq!(class("GET /a.png HTTP/1.1", "404"), Class::OtherStatus);
    for (status, expected) in [
        ("199", Class::OtherStatus),
        ("200", Class::PageView),
        ("206", Class::PageView),
        ("299", Class::PageView),
        ("300", Class::OtherStatus),
        ("303", Class::OtherStatus),
        ("304", Class::PageView),
        ("305", Class::OtherStatus),
        ("000", Class::OtherStatus),
        ("500", Class::OtherStatus),
    ] {
        assert_eq!(class("GET / HTTP/1.1", status), expected, "{status}");
    }
}

#[test]
fn an_asset_is_known_by_the_end_of_the_last_segment() {
    for end in ASSETS {
        assert_eq!(class(&format!("GET /x/a{end} HTTP/1.1"), "200"), Class::Asset);
        assert_eq!(class(&format!("GET /x/a{}?v=1/2 HTTP/1.1", end.to_uppercase()), "304"), Class::Asset);
        assert_eq!(class(&format!("GET /x/a{end}/ HTTP/1.1"), "200"), Class::PageView);
        assert_eq!(class(&format!("GET /x?file=a{end} HTTP/1.1"), "200"), Class::PageView);
        assert_eq!(class(&format!("GET /x/a{end}x HTTP/1.1"), "200"), Class::PageView);
    }
    assert_eq!(class("GET /.css HTTP/1.1", "200"), Class::Asset);
    assert_eq!(class("GET /css HTTP/1.1", "200"), Class::PageView);
    assert_eq!(class("GET /scripts/configlib.py HTTP/1.1", "200"), Class::PageView);
}
