//! Claims about addresses, with the hostile ones.

use super::*;

fn rules() -> UrlRules {
    UrlRules {
        excluded_query_parameters: vec!["email".into(), "Token".into(), "utm_source".into()],
        keep_fragment: false,
        search_query_parameters: vec!["q".into(), "suche".into()],
    }
}

fn page(text: &str) -> Address {
    read_page_url(text, &rules()).unwrap().address
}

#[test]
fn addresses_come_apart() {
    // text, stored, host, domain, path, query
    for (text, url, host, domain, path, query) in [
        (
            "https://Shop.Example.co.uk/a/b?x=1#top",
            "https://shop.example.co.uk/a/b?x=1",
            "shop.example.co.uk",
            "example.co.uk",
            "/a/b",
            "x=1",
        ),
        ("http://example.com", "http://example.com/", "example.com", "example.com", "/", ""),
        ("http://example.com.:8080/?", "http://example.com.:8080/", "example.com", "example.com", "/", ""),
        ("http://localhost:8787/x", "http://localhost:8787/x", "localhost", "localhost", "/x", ""),
        ("http://192.168.1.20/x", "http://192.168.1.20/x", "192.168.1.20", "192.168.1.20", "/x", ""),
        ("http://[::1]:80/x", "http://[::1]/x", "[::1]", "[::1]", "/x", ""),
        ("https://alice.github.io/", "https://alice.github.io/", "alice.github.io", "alice.github.io", "/", ""),
        ("https://github.io/", "https://github.io/", "github.io", "github.io", "/", ""),
        (
            "https://www.müller.de/ä?ö=ü",
            "https://www.xn--mller-kva.de/%C3%A4?%C3%B6=%C3%BC",
            "www.xn--mller-kva.de",
            "xn--mller-kva.de",
            "/%C3%A4",
            "%C3%B6=%C3%BC",
        ),
        (
            "https://a.食狮.公司.cn/",
            "https://a.xn--85x722f.xn--55qx5d.cn/",
            "a.xn--85x722f.xn--55qx5d.cn",
            "xn--85x722f.xn--55qx5d.cn",
            "/",
            "",
        ),
        ("file:///C:/kiosk/index.html?x=1", "file:///C:/kiosk/index.html?x=1", "", "", "/C:/kiosk/index.html", "x=1"),
        ("kiosk://Home/start?x=1", "kiosk://Home/start?x=1", "home", "home", "/start", "x=1"),
        ("app:///screens/home", "app:///screens/home", "", "", "/screens/home", ""),
        ("/a?b=c", "/a?b=c", "", "", "/a", "b=c"),
        ("/", "/", "", "", "/", ""),
        ("//evil.example/x?y", "//evil.example/x?y", "", "", "//evil.example/x", "y"),
        ("/a/../b/./c?d=e#f", "/b/c?d=e", "", "", "/b/c", "d=e"),
        ("/%zz%?%=%zz", "/%zz%?%=%zz", "", "", "/%zz%", "%=%zz"),
    ] {
        let address = page(text);
        assert_eq!(
            (&*address.url, &*address.hostname, &*address.domain(), &*address.pathname, &*address.query_string),
            (url, host, domain, path, query),
            "{text}"
        );
    }
    assert_eq!(page("https://example.com:8443/").port, Some(8443));
    assert_eq!(page("https://example.com:443/").port, None);
}

#[test]
fn name_and_password_never_stay() {
    for text in [
        "http://ann:secret@example.com/x",
        "https://ann@example.com/x",
        "app://ann:secret@example.com/x",
        "http:/\\ann:secret@example.com/x",
        "ftp://:secret@example.com/x",
    ] {
        let address = page(text);
        assert!(
            !address.url.contains("ann") && !address.url.contains("secret") && !address.url.contains('@'),
            "{}",
            address.url
        );
        assert_eq!(address.hostname, "example.com", "{text}");
        assert!(read_referrer_url(text, &rules()).is_some_and(|x| x.url == address.url), "{text}");
    }
}

#[test]
fn excluded_parameters_go_and_the_rest_stays_as_it_was() {
    for (text, url) in [
        ("http://a.de/?email=x@y.de", "http://a.de/"),
        ("http://a.de/?b=1&email=x&c=%20+", "http://a.de/?b=1&c=%20+"),
        ("http://a.de/?EMAIL=x&TOKEN=y&b", "http://a.de/?b"),
        ("http://a.de/?%65m%61il=x&b=email", "http://a.de/?b=email"),
        ("http://a.de/?email[]=x&email%5B0%5D=y&emails=z", "http://a.de/?emails=z"),
        ("http://a.de/?email&&&b=1&", "http://a.de/?b=1"),
        ("http://a.de/?b=1?email=x&c=2;token=3", "http://a.de/?b=1?c=2"),
        ("http://a.de/?to=http://b.de/?email=x&c=2", "http://a.de/?to=http://b.de/?c=2"),
        ("/p?token=1&b=2", "/p?b=2"),
    ] {
        assert_eq!(page(text).url, url, "{text}");
        if !text.starts_with('/') {
            assert_eq!(read_referrer_url(text, &rules()).unwrap().url, url, "{text}");
        }
    }
}

#[test]
fn a_kept_fragment_is_scrubbed_too() {
    let keep = UrlRules { keep_fragment: true, ..rules() };
    for (text, fragment) in [
        ("http://a.de/#top", "top"),
        ("http://a.de/#/orders?email=x&b=1", "/orders?b=1"),
        ("http://a.de/#/orders?email=x", "/orders"),
        ("http://a.de/#token=abc&state=1", "state=1"),
        ("http://a.de/#token=abc", ""),
        ("http://a.de/#token=abc?b=1#email=abc", "b=1"),
    ] {
        let address = read_page_url(text, &keep).unwrap().address;
        assert_eq!(address.fragment, fragment, "{text}");
        assert!(!address.url.contains("abc") && !address.url.ends_with('#'), "{}", address.url);
        assert_eq!(page(text).fragment, "", "dropped by default");
    }
}

#[test]
fn campaign_and_search_are_read_before_the_scrubbing() {
    let landed =
        read_page_url("https://a.de/s?utm_source=news+letter&suche=rote%20Schuhe&q=&gclid=7#x", &rules()).unwrap();
    let campaign = landed.campaign.unwrap();
    assert_eq!((campaign.source.as_deref(), campaign.click_id.as_deref()), (Some("news letter"), Some("7")));
    assert_eq!(landed.search_query.as_deref(), Some("rote Schuhe"));
    assert_eq!(landed.address.query_string, "suche=rote%20Schuhe&q=&gclid=7");

    let plain = read_page_url("/s?Q=%00%ff+x%0a", &rules()).unwrap();
    assert_eq!((plain.search_query.as_deref(), plain.campaign), (Some("\u{fffd} x"), None));
}

#[test]
fn hostile_addresses_are_refused() {
    let long = format!("http://a.de/{}", "x".repeat(URL_BYTES_MAX - 12 + 1));
    for text in [
        "",
        "  ",
        "-",
        "null",
        "about:blank",
        "javascript:alert(1)",
        "JavaScript://a.de/%0aalert(1)",
        "java\tscript:alert(1)",
        "vbscript:x",
        "data:text/html,<script>",
        "blob:https://a.de/1",
        "mailto:a@b.de",
        "kiosk:home",
        "http://[::1",
        "http://",
        "https://a b/",
        "http://a.de:99999/",
        "http://%00/",
        "http://a.de/\u{0}",
        "http://a.de/\r\nX: y",
        "?q=1",
        "a.de/x",
        "*",
        "http://xn--a/",
        "http://1.2.3.4.5/",
        &long,
    ] {
        let error = read_page_url(text, &rules()).map(|landed| landed.address.url).unwrap_err();
        assert_eq!(error.code, "url", "{text:?}");
        assert!(error.to_string().len() < 300, "the message stays short");
        assert_eq!(read_referrer_url(text, &rules()).filter(|_| text != long), None, "{text:?}");
    }
    assert!(read_page_url(&long[..URL_BYTES_MAX], &rules()).is_ok());
}

#[test]
fn whatever_is_accepted_is_printable_ascii() {
    for text in [
        "http://a.de/\u{202e}\u{feff}<script>\"'`{}|\\^",
        "kiosk://ä ö/ü\u{2028}?\u{85}x#\u{202e}".trim(),
        "/\u{202e}?\u{2028}#é",
        "http://a.de/?q=\u{1F600}&x=\"<>'",
        "app://host/a b?c d",
        "file:///ä/\u{7f}x",
    ] {
        let keep = UrlRules { keep_fragment: true, ..UrlRules::default() };
        if let Ok(landed) = read_page_url(text, &keep) {
            let a = landed.address;
            for part in [&a.url, &a.hostname, &a.domain().into(), &a.pathname, &a.query_string, &a.fragment] {
                assert!(part.bytes().all(|b| b.is_ascii_graphic()), "{text:?} gave {part:?}");
            }
        }
    }
}

#[test]
fn a_referrer_without_a_host_is_none_and_a_long_one_keeps_its_path() {
    for text in ["/a", "file:///a", "app:///a", "-", "(direct)", "about:blank"] {
        assert_eq!(read_referrer_url(text, &rules()), None, "{text}");
    }
    let long = format!("https://www.google.com/search?q={}", "x".repeat(10_000));
    assert_eq!(read_referrer_url(&long, &rules()).unwrap().url, "https://www.google.com/search");
    assert_eq!(read_referrer_url(&"x".repeat(10_000), &rules()), None);
    assert_eq!(
        read_referrer_url("android-app://com.google.android.gm/", &rules()).unwrap().hostname,
        "com.google.android.gm"
    );
}

#[test]
fn templates_hold_no_person() {
    for (path, template) in [
        ("/", "/"),
        ("", ""),
        ("/shop/shoes", "/shop/shoes"),
        ("/order/12345", "/order/12345"),
        ("/order/123456", "/order/*"),
        ("/order/a1b2c3d4e5f6/edit", "/order/*/edit"),
        ("/user/ann@example.com", "/user/*"),
        ("/m%C3%BCller/x", "/*/x"),
        ("/abcdefghijklmnopqrstuvwx", "/abcdefghijklmnopqrstuvwx"),
        ("/abcdefghijklmnopqrstuvwxy/", "/*/"),
        ("//a", "//a"),
    ] {
        assert_eq!(path_template(path), template, "{path}");
        assert_eq!(path_template(template), template, "a template is its own template");
    }
}

#[test]
fn origins_are_read_exactly() {
    let some = |scheme: &str, host: &str, port| Some((scheme.to_owned(), host.to_owned(), port));
    for (origin, expected) in [
        ("https://a.de", some("https", "a.de", Some(443))),
        ("http://localhost:8787", some("http", "localhost", Some(8787))),
        ("http://[::1]:81", some("http", "[::1]", Some(81))),
        ("app://kiosk", some("app", "kiosk", None)),
        ("null", None),
        ("", None),
        ("*", None),
        ("https://a.de/", None),
        ("https://a.de:443", None),
        ("https://A.de", None),
        (" https://a.de", None),
        ("https://a.de?x", None),
        ("https://a.de#x", None),
        ("https://u@a.de", None),
        ("https://a.de, https://b.de", None),
        ("https://a.de\\.evil.de", None),
        ("https://127.1", None),
        ("file://", None),
        ("javascript://a.de", None),
        ("https://", None),
    ] {
        assert_eq!(origin_host(origin), expected, "{origin:?}");
    }
}

#[test]
fn loopback_hosts_are_this_machine_only() {
    for host in [
        "localhost",
        "LOCALHOST",
        "localhost.",
        "kiosk.localhost",
        "127.0.0.1",
        "127.9.9.9",
        "[::1]",
        "::1",
        "[::ffff:127.0.0.1]",
    ] {
        assert!(is_loopback_host(host), "{host}");
    }
    for host in [
        "",
        "0.0.0.0",
        "localhost.evil.de",
        "xlocalhost",
        "127.0.0.1.evil.de",
        "10.0.0.1",
        "[::]",
        "[::1",
        "::2",
        "127.1",
    ] {
        assert!(!is_loopback_host(host), "{host}");
    }
}

#[test]
fn mangled_addresses_never_break_the_invariant() {
    const SEEDS: [&str; 5] = [
        "https://ann:pw@shop.example.co.uk:8443/a/../b?email=x&q=1#/r?token=2",
        "kiosk://user@Höme/start?x=1#y",
        "/a//b/%zz?email[]=1&&b#c=d",
        "file:///C:/x y/ä?token=1",
        "http://[::ffff:1.2.3.4]:80/\\\\x?ö#é",
    ];
    const PIECES: [&str; 16] =
        ["@", ":", "/", "//", "\\", "?", "#", "[", "]", "%", "%0a", ".", "é", "\u{202e}", " ", "&email=x"];
    let keep = UrlRules { keep_fragment: true, ..rules() };
    let mut state = 7u64;
    let mut next = |below: usize| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        usize::try_from(state >> 33).unwrap() % below
    };
    let mut accepted = 0;
    for _ in 0..10_000 {
        let mut text: Vec<char> = SEEDS[next(SEEDS.len())].chars().collect();
        for _ in 0..=next(4) {
            let at = next(text.len());
            let end = (at + next(3)).min(text.len());
            text.splice(at..end, PIECES[next(PIECES.len())].chars());
        }
        let text: String = text.into_iter().collect();
        let Ok(landed) = read_page_url(&text, &keep) else { continue };
        accepted += 1;
        let a = landed.address;
        for part in [&a.url, &a.hostname, &a.domain().into(), &a.pathname, &a.query_string, &a.fragment] {
            assert!(part.bytes().all(|b| b.is_ascii_graphic()), "{text:?} gave {part:?}");
        }
        assert!(
            !query_pairs(&a.query_string).any(|(name, _)| name == "email" || name == "token"),
            "{text:?} gave {}",
            a.url
        );
        let again = read_page_url(&a.url, &keep).map(|landed| landed.address);
        assert_eq!(again.unwrap(), a, "what is stored reads as itself: {text:?}");
    }
    assert!(accepted > 3_000, "{accepted}");
}

#[test]
fn an_origin_as_a_person_writes_it_is_the_one_a_browser_sends() {
    for (written, sent) in [
        ("https://shop.example", "https://shop.example"),
        ("HTTPS://Shop.Example:443", "https://shop.example"),
        ("http://shop.example:80", "http://shop.example"),
        ("http://shop.example:443", "http://shop.example:443"),
        ("https://Bücher.example", "https://xn--bcher-kva.example"),
        ("http://[::0:1]:8080", "http://[::1]:8080"),
        ("app://Kiosk", "app://kiosk"),
    ] {
        assert_eq!(written_origin(written).ok(), origin_host(sent), "{written}");
        assert!(origin_host(sent).is_some(), "{sent}");
    }
    for (written, word) in [
        ("https://shop.example/", "slash"),
        ("https://shop.example/app", "path"),
        ("https://shop.example#top", "path"),
        ("https://me:pw@shop.example", "user name"),
        ("https://@shop.example", "user name"),
        ("file:///srv", "scheme"),
        ("data:text/html,x", "scheme"),
        ("shop.example", "scheme and a host"),
        ("https:shop.example", "scheme and a host"),
        ("", "scheme and a host"),
    ] {
        let what = written_origin(written).unwrap_err();
        assert!(what.contains(word), "{written}: {what}");
    }
}

/// Chance from a seed (xorshift64*).
pub(super) struct Dice(u64);

impl Dice {
    /// One from any seed, and the seed.
    pub(super) fn any() -> (Self, u64) {
        let seed = u64::from_be_bytes(crate::base::id::random_bytes()) | 1;
        (Dice(seed), seed)
    }

    pub(super) fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }
}

/// The short way for addresses that need no rewriting gives what the long way gives, whatever is taken out of them.
#[test]
fn both_ways_of_reading_agree() {
    const PIECES: [&str; 24] = [
        "a",
        "b=1",
        "token=x",
        "TOKEN[]=x",
        "t%6Fken=1",
        "&",
        "&",
        ";",
        "?",
        "=",
        "q=oak+table",
        "utm_source=n",
        "UTM_Medium=m",
        "gclid=7",
        "%20",
        "%",
        "/",
        "sid",
        "+",
        "Q=x",
        "utm_%63ampaign=c",
        "#top",
        ".",
        "~",
    ];
    let (mut random, seed) = Dice::any();
    let words = |list: &[&str]| list.iter().map(|word| (*word).to_owned()).collect::<Vec<String>>();
    let mut short = 0;
    for _ in 0..40_000 {
        let rules = UrlRules {
            excluded_query_parameters: words([&["token", "sid"][..], &[]][random.below(2)]),
            keep_fragment: random.below(2) == 0,
            search_query_parameters: words(&["q", "s"]),
        };
        let mut text = "https://www.shop.example/find".to_owned();
        for _ in 0..random.below(9) {
            text.push_str(PIECES[random.below(PIECES.len())]);
        }
        short += u32::from(Plain::read(&text, |_| false).is_some());
        let (page, long) = (read_page_url(&text, &rules), any_page_url(&text, &rules));
        assert_eq!(page.ok(), long.ok(), "{text} {rules:?} (seed {seed})");
        let (from, long) = (read_referrer_url(&text, &rules), any_referrer_url(&text, &rules));
        assert_eq!(from, long, "{text} {rules:?} (seed {seed})");
    }
    assert!(short > 4_000, "{short} of 40,000 went the short way (seed {seed})");
}
