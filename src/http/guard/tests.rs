//! The guard against a table of attacks, and against every way of cutting a stream in two.

use super::*;

const LIMITS: Limits = Limits { head_bytes_max: 16_384, headers_max: 64 };

/// What goes on of `stream` when it arrives in `parts`, and the refusal.
fn through(limits: Limits, parts: &[&[u8]]) -> (Vec<u8>, Option<Refusal>) {
    let mut guard = Guard::new(limits);
    let mut out = Vec::new();
    for part in parts {
        if guard.refusal().is_some() {
            break;
        }
        if guard.holds() {
            guard.feed(part);
        } else {
            let passed = guard.pass(part);
            out.extend_from_slice(&part[..passed]);
        }
        out.extend_from_slice(guard.ready());
        guard.sent(guard.ready().len());
    }
    (out, guard.refusal())
}

fn refusal(stream: &str) -> Option<Refusal> {
    through(LIMITS, &[stream.as_bytes()]).1
}

#[test]
fn honest_requests_pass_unchanged() {
    let streams = [
        "GET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n",
        "\r\nGET /a?b=c%20d HTTP/1.1\r\nhOsT:\ta.example:8787 \r\nX-Empty:\r\nX-High: \u{e9}\t.\r\n\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: [::1]:8787\r\n\r\n",
        "GET HTTP://a/b HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n\n\n\0\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "POST /x HTTP/1.1\r\nHost: a\r\nContent-Length: 9999999999999999999\r\n\r\nabc",
    ];
    for stream in streams {
        assert_eq!(through(LIMITS, &[stream.as_bytes()]), (stream.as_bytes().to_vec(), None), "{stream:?}");
    }
}

#[test]
fn what_can_be_read_in_two_ways_is_refused() {
    let heads = [
        "GET / HTTP/1.1\nHost: a\n\n",
        "GET / HTTP/1.1\r\nHost: a\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\r\n c\r\n\r\n",
        "GET / HTTP/1.1\r\n Host: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
        "GET / HTTP/1.1\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\0c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: b\rc\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \x1b[2J\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX: \x7f\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\n: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nX y: b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nÄ: b\r\n\r\n",
        "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /ä HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\tHTTP/1.1\r\nHost: a\r\n\r\n",
        "GET /\r\nHost: a\r\n\r\n",
        "GET x HTTP/1.1\r\nHost: a\r\n\r\n",
        "GET / HTTP/2.0\r\nHost: a\r\n\r\n",
        "GET / http/1.1\r\nHost: a\r\n\r\n",
        "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "G@T / HTTP/1.1\r\nHost: a\r\n\r\n",
        "WAYSIDE-REFUSED / HTTP/1.1\r\nHost: a\r\n\r\n",
        "\x16\x03\x01\x02\0\x01\0\x01\r\n",
    ];
    for head in heads {
        assert!(matches!(refusal(head), Some(Refusal::Malformed(_))), "{head:?}: {:?}", refusal(head));
    }
    assert_eq!(refusal("CONNECT a:443 HTTP/1.1\r\nHost: a\r\n\r\n"), Some(Refusal::Tunnel));
}

#[test]
fn lengths_that_invite_smuggling_are_refused() {
    let lines = [
        "Content-Length: 3\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding: chunked\r\nContent-Length: 3",
        "Content-Length: 3\r\nContent-Length: 6",
        "Content-Length: 3\r\nContent-Length: 3",
        "Content-Length: 3, 3",
        "Content-Length: +3",
        "Content-Length: -1",
        "Content-Length: 0x3",
        "Content-Length: 3 3",
        "Content-Length: 1e3",
        "Content-Length:",
        "Content-Length: 18446744073709551616",
        "Content-Length : 3",
        "Transfer-Encoding: xchunked",
        "Transfer-Encoding: chunked, identity",
        "Transfer-Encoding: gzip, chunked",
        "Transfer-Encoding: identity",
        "Transfer-Encoding: \x0bchunked",
        "Transfer-Encoding : chunked",
        "Transfer-Encoding:",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
        "Transfer-Encoding:\r\n chunked",
    ];
    for line in lines {
        let head = format!("POST / HTTP/1.1\r\nHost: a\r\n{line}\r\n\r\nabc");
        assert!(matches!(refusal(&head), Some(Refusal::Malformed(_))), "{line:?}");
    }
    let old = "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n";
    assert!(matches!(refusal(old), Some(Refusal::Malformed(_))));
}

#[test]
fn limits_hold_at_the_limit_and_one_over() {
    let head = |fill: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "x".repeat(fill));
    let spare = head(0).len();
    let limits = Limits { head_bytes_max: 500, headers_max: 64 };
    assert_eq!(through(limits, &[head(500 - spare).as_bytes()]).1, None);
    assert_eq!(through(limits, &[head(501 - spare).as_bytes()]).1, Some(Refusal::HeadTooLarge));

    let lines = |count: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(count - 1));
    assert_eq!(refusal(&lines(64)), None);
    assert_eq!(refusal(&lines(65)), Some(Refusal::TooManyHeaders));

    let target = |bytes: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(bytes - 1));
    assert_eq!(refusal(&target(TARGET_BYTES_MAX)), None);
    assert_eq!(refusal(&target(TARGET_BYTES_MAX + 1)), Some(Refusal::TargetTooLong));
    assert_eq!(refusal(&format!("GET /{}", "x".repeat(9_000))), Some(Refusal::TargetTooLong));
    assert_eq!(refusal(&format!("GET / HTTP/1.1\r\nX: {}", "x".repeat(65_536))), Some(Refusal::HeadTooLarge));
    assert_eq!(refusal(&"\r\n".repeat(10_000)), Some(Refusal::HeadTooLarge));
}

#[test]
fn a_refused_head_is_replaced_after_the_good_ones() {
    let good = "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 2\r\n\r\nab";
    let stream = format!("{good}GET / HTTP/1.1\nHost: a\n\nGET / HTTP/1.1\r\nHost: a\r\n\r\n");
    let expected = [good.as_bytes(), REFUSED_HEAD].concat();
    for cut in 0..=stream.len() {
        let (first, second) = stream.as_bytes().split_at(cut);
        let (out, why) = through(LIMITS, &[first, second]);
        assert_eq!(out, expected, "cut at {cut}");
        assert!(matches!(why, Some(Refusal::Malformed(_))));
    }
}

#[test]
fn cutting_a_stream_anywhere_changes_nothing() {
    let stream = "\r\nPOST /a HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n\n\r\n\r\nGET / HTTP/1.1\r\nHost: b\r\n\r\n\
                  POST /c HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nx\r\n0\r\n\r\nanything\n\n";
    for cut in 0..=stream.len() {
        let (first, second) = stream.as_bytes().split_at(cut);
        assert_eq!(through(LIMITS, &[first, second]), (stream.as_bytes().to_vec(), None), "cut at {cut}");
    }
    let bytes: Vec<&[u8]> = stream.as_bytes().chunks(1).collect();
    assert_eq!(through(LIMITS, &bytes), (stream.as_bytes().to_vec(), None));
}

#[test]
fn an_incomplete_head_is_held_back_whole() {
    let good = "GET / HTTP/1.1\r\nHost: a\r\n\r\n";
    let mut guard = Guard::new(LIMITS);
    assert_eq!(guard.pass(format!("{good}GET / HT").as_bytes()), good.len());
    assert!(guard.holds());
    guard.refuse(Refusal::Slow);
    assert_eq!((guard.ready(), guard.refusal()), (REFUSED_HEAD, Some(Refusal::Slow)));
    assert_eq!(guard.refusal().map(|why| why.error().code), Some("too_slow"));
}

#[test]
fn no_control_character_is_passed_over_eight_bytes_at_a_time() {
    for length in 0..20 {
        let ordinary = vec![b'a'; length];
        assert!(!head::may_hold_control(&ordinary));
        for (at, byte) in (0..length).flat_map(|at| (0..=u8::MAX).map(move |byte| (at, byte))) {
            let mut value = ordinary.clone();
            value[at] = byte;
            assert!(head::may_hold_control(&value) || !head::is_control(byte), "{byte} at {at} of {length}");
        }
    }
}
