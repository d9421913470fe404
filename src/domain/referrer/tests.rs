//! Claims about referrers and about the book itself.

use super::*;
use crate::domain::address::{UrlRules, read_referrer_url};

fn classify(url: &str, page_host: &str) -> Referrer {
    let address = read_referrer_url(url, &UrlRules::default()).unwrap();
    ReferrerBook::builtin().classify(address, page_host, &["partner.example".into(), "*.kiosk.example".into()], None)
}

#[test]
fn known_sources_have_medium_name_and_search_words() {
    for (url, medium, name, keywords) in [
        ("https://www.google.com/", "search", "Google", ""),
        ("http://www.google.co.uk/search?q=red+shoes&hl=en", "search", "Google", "red shoes"),
        ("http://www.google.fr/url?sa=t&q=%C3%A9t%C3%A9", "search", "Google", "été"),
        ("http://www.google.de/imgres?imgurl=x", "search", "Google Images", ""),
        ("http://images.google.de/search?q=x", "search", "Google Images", "x"),
        ("https://mail.google.com/mail/u/0/", "email", "Gmail", ""),
        ("https://docs.google.com/document", "unknown", "Google", ""),
        ("https://www.google.com/aclk?sa=l", "paid", "Google", ""),
        ("https://googleads.g.doubleclick.net/x", "paid", "Google", ""),
        ("http://www.bing.com/search?q=x%00y", "search", "Bing", "x y"),
        ("https://de.search.yahoo.com/search?p=schuhe", "search", "Yahoo!", "schuhe"),
        ("https://search.yahoo.co.jp/search?p=x", "search", "Yahoo!", "x"),
        ("https://mail.yahoo.com/", "email", "Yahoo! Mail", ""),
        ("https://uk.news.yahoo.com/", "unknown", "Yahoo!", ""),
        ("https://duckduckgo.com/?q=x", "search", "DuckDuckGo", "x"),
        ("http://www.baidu.com/s?wd=x", "search", "Baidu", "x"),
        ("http://yandex.ru/yandsearch?text=x", "search", "Yandex", "x"),
        ("https://yandex.com.tr/search?text=x", "search", "Yandex", "x"),
        ("https://t.co/abc", "social", "Twitter", ""),
        ("https://l.facebook.com/l.php?u=x", "social", "Facebook", ""),
        ("https://m.facebook.com/", "social", "Facebook", ""),
        ("https://old.reddit.com/r/rust", "social", "Reddit", ""),
        ("https://news.ycombinator.com/item?id=1", "social", "Hacker News", ""),
        ("https://outlook.live.com/mail/", "email", "Outlook.com", ""),
        ("https://deref-gmx.net/mail/client/x", "email", "GMX", ""),
        ("https://webmail.some-company.example/", "email", "", ""),
        ("android-app://com.google.android.gm/", "email", "Gmail", ""),
        ("android-app://com.google.android.googlequicksearchbox/", "search", "Google", ""),
        ("https://chatgpt.com/", "unknown", "ChatGPT", ""),
        ("https://blog.example.org/post?q=x", "unknown", "", ""),
        ("https://someone.blogspot.com/2014/01/x.html", "unknown", "Blogger", ""),
        ("http://google.github.io/", "unknown", "", ""),
        ("http://google.evil.example/", "unknown", "", ""),
        ("http://notgoogle.com/", "unknown", "", ""),
        ("http://192.168.1.1/", "unknown", "", ""),
    ] {
        let referrer = classify(url, "www.shop.example");
        let text = |field: &Option<String>| field.clone().unwrap_or_default();
        assert_eq!(
            (referrer.medium.as_str(), &*text(&referrer.name), &*text(&referrer.keywords)),
            (medium, name, keywords),
            "{url}"
        );
    }
}

#[test]
fn own_hosts_are_internal() {
    for (url, page_host, internal) in [
        ("https://www.shop.de/a", "www.shop.de", true),
        ("https://www.shop.de/a", "WWW.SHOP.DE.", true),
        ("https://checkout.shop.de/a", "www.shop.de", true),
        ("https://shop.de/a", "www.shop.de", true),
        ("https://othershop.de/a", "shop.de", false),
        ("https://bob.github.io/a", "alice.github.io", false),
        ("https://github.io/a", "alice.github.io", false),
        ("http://10.0.0.2/a", "10.0.0.1", false),
        ("http://10.0.0.1:81/a", "10.0.0.1", true),
        ("http://localhost:3000/a", "localhost", true),
        ("https://partner.example/a", "www.shop.de", true),
        ("https://x.partner.example/a", "www.shop.de", false),
        ("https://a.kiosk.example/a", "www.shop.de", true),
        ("https://kiosk.example/a", "www.shop.de", false),
        ("https://evilkiosk.example/a", "www.shop.de", false),
        ("https://www.shop.de/a", "", false),
        ("https://www.google.com/search?q=x", "maps.google.com", true),
    ] {
        let referrer = classify(url, page_host);
        assert_eq!(referrer.medium == Medium::Internal, internal, "{url} to {page_host}");
        assert!(!internal || (referrer.name.is_none() && referrer.keywords.is_none()));
    }
}

#[test]
fn a_paid_campaign_makes_the_referrer_paid_but_not_an_internal_one() {
    let book = ReferrerBook::builtin();
    let address = |url| read_referrer_url(url, &UrlRules::default()).unwrap();
    let paid = Campaign { medium: Some("cpc".into()), ..Campaign::default() };
    let free = Campaign { medium: Some("newsletter".into()), ..Campaign::default() };
    let google = "https://www.google.com/search?q=x";
    let bought = book.classify(address(google), "shop.de", &[], Some(&paid));
    assert_eq!(
        (bought.medium, bought.name.as_deref(), bought.keywords.as_deref()),
        (Medium::Paid, Some("Google"), Some("x"))
    );
    assert_eq!(book.classify(address(google), "shop.de", &[], Some(&free)).medium, Medium::Search);
    assert_eq!(book.classify(address("https://www.shop.de/"), "shop.de", &[], Some(&paid)).medium, Medium::Internal);
}

#[test]
fn a_referrer_is_written_as_the_journey_api_writes_it() {
    let referrer = classify("https://www.google.co.uk/search?q=a&x=1", "shop.de");
    assert_eq!(
        serde_json::to_value(&referrer).unwrap(),
        serde_json::json!({
            "url": "https://www.google.co.uk/search?q=a&x=1", "hostname": "www.google.co.uk", "domain": "google.co.uk",
            "pathname": "/search", "queryString": "q=a&x=1", "fragment": "", "name": "Google", "medium": "search", "keywords": "a"
        })
    );
    for medium in Medium::ALL {
        assert_eq!(Medium::parse(medium.as_str()).unwrap(), medium);
    }
    assert_eq!(Medium::parse("carrier pigeon").unwrap_err().code, "referrer_medium");
}

#[test]
fn every_line_of_the_book_is_read_and_no_place_is_listed_twice() {
    let mut seen = HashMap::new();
    let mut places = 0;
    for line in BOOK.lines().filter(|line| !line.is_empty() && !line.starts_with('#')) {
        let sources: Vec<_> = read_line(line).unwrap_or_else(|| panic!("malformed: {line}")).collect();
        for (host, source) in sources {
            places += 1;
            assert!(host.contains('.') && !host.ends_with('.') && *host == *host.to_ascii_lowercase(), "{line}");
            assert!(!source.name.is_empty() && source.medium != Medium::Internal, "{line}");
            assert!(seen.insert((host, source.path), line).is_none(), "twice: {host}{}", source.path);
        }
    }
    assert!(places > 400, "{places}");
}
