//! Claims about user agents, one table each.

use super::*;

fn read(text: &str) -> Agent {
    AgentParser::new().parse(text)
}

#[test]
fn robots_are_known_by_the_rule_that_matched() {
    let parser = AgentParser::new();
    for (text, rule) in [
        ("Mozilla/5.0 (compatible; Googlebot/2.1; +http://www.google.com/bot.html)", "googlebot"),
        ("Mozilla/5.0 (compatible; bingbot/2.0; +http://www.bing.com/bingbot.htm)", "bingbot"),
        (
            "Mozilla/5.0 (compatible; archive.org_bot +http://www.archive.org/details/archive.org_bot)",
            "archive\\.org_bot",
        ),
        ("Mozilla/5.0 (compatible; YandexBot/3.0; +http://yandex.com/bots)", "yandexbot"),
        ("Mozilla/5.0 (compatible; Baiduspider/2.0; +http://www.baidu.com/search/spider.html)", "baiduspider"),
        ("Mozilla/5.0 (compatible; Yahoo! Slurp; http://help.yahoo.com/help/us/ysearch/slurp)", "yahoo! slurp"),
        ("UniversalFeedParser/4.2-pre-314-svn +http://feedparser.org/", "universalfeedparser"),
        ("Feedly/1.0 (+http://www.feedly.com/fetcher.html; like FeedFetcher-Google)", "feedly"),
        ("Tiny Tiny RSS/1.11 (http://tt-rss.org/)", "tiny tiny rss"),
        ("curl/7.22.0 (i686-pc-linux-gnu) libcurl/7.22.0 OpenSSL/1.0.1", "^curl"),
        ("Wget/1.12 (linux-gnu)", "wget"),
        ("Java/1.6.0_24", "^java[/ ]"),
        ("Python-urllib/2.7", "^python"),
        ("python-requests/1.2.0 CPython/2.7.4 Linux/3.8.0-33-generic", "^python"),
        (
            "Mozilla/5.0 AppleWebKit/537.36 (KHTML, like Gecko; compatible; GPTBot/1.2; +https://openai.com/gptbot)",
            "gptbot",
        ),
        (
            "Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) HeadlessChrome/124.0.0.0 Safari/537.36",
            "headlesschrome",
        ),
        ("Mozilla/5.0 (compatible; SomeNewBot/1.0)", "bot($|[/\\);-]+)"),
        ("", RULE_EMPTY),
        ("-", RULE_EMPTY),
        ("  ", RULE_EMPTY),
    ] {
        let agent = parser.parse(text);
        assert_eq!(agent.robot.as_deref(), Some(rule), "{text}");
        assert_eq!((agent.category, agent.device_type.as_deref()), (DeviceCategory::Other, Some("robot")), "{text}");
    }
}

/// user agent, category, type, browser, browser version, system, system version, maker
type Person =
    (&'static str, DeviceCategory, &'static str, &'static str, &'static str, &'static str, &'static str, &'static str);

#[rustfmt::skip]
const PEOPLE: [Person; 20] = {
    use DeviceCategory::{Desktop, Mobile, Other, Tablet};
    [
        ("Mozilla/4.0 (compatible; MSIE 6.0; Windows NT 5.1; SV1)", Desktop, "computer", "Internet Explorer", "6.0", "Windows", "XP", ""),
        ("Mozilla/4.0 (compatible; MSIE 7.0; Windows NT 6.0; Tablet PC 2.0)", Desktop, "computer", "Internet Explorer", "7.0", "Windows", "Vista", ""),
        ("Mozilla/4.0 (compatible; MSIE 8.0; Windows NT 5.1; Trident/4.0; .NET CLR 1.1.4322)", Desktop, "computer", "Internet Explorer", "8.0", "Windows", "XP", ""),
        ("Mozilla/5.0 (compatible; MSIE 9.0; Windows NT 6.1; WOW64; Trident/5.0)", Desktop, "computer", "Internet Explorer", "9.0", "Windows", "7", ""),
        ("Mozilla/5.0 (compatible; MSIE 10.0; Windows NT 6.2; Trident/6.0)", Desktop, "computer", "Internet Explorer", "10.0", "Windows", "8", ""),
        ("Mozilla/5.0 (Windows NT 6.3; WOW64; Trident/7.0; rv:11.0) like Gecko", Desktop, "computer", "Internet Explorer", "11.0", "Windows", "8.1", ""),
        ("Opera/9.80 (Windows NT 6.1; WOW64) Presto/2.12.388 Version/12.16", Desktop, "computer", "Opera", "12.16", "Windows", "7", ""),
        ("Mozilla/5.0 (X11; U; Linux i686; en-US; rv:1.9.0.19) Gecko/2010040116 Ubuntu/9.04 (jaunty) Firefox/3.0.19", Desktop, "computer", "Firefox", "3.0.19", "Linux", "", ""),
        ("Mozilla/5.0 (Linux; U; Android 2.3.6; en-us; GT-S5360 Build/GINGERBREAD) AppleWebKit/533.1 (KHTML, like Gecko) Version/4.0 Mobile Safari/533.1", Mobile, "phone", "Safari", "4.0", "Android", "2.3.6", "Samsung"),
        ("Mozilla/5.0 (Windows NT 10.0; Win64; x64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36 Edg/126.0.0.0", Desktop, "computer", "Edge", "126.0.0.0", "Windows", "10", ""),
        ("Mozilla/5.0 (Macintosh; Intel Mac OS X 10_15_7) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Safari/605.1.15", Desktop, "computer", "Safari", "17.5", "Mac OS X", "10.15.7", "Apple"),
        ("Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", Desktop, "computer", "Chrome", "126.0.0.0", "Linux", "", ""),
        ("Mozilla/5.0 (iPhone; CPU iPhone OS 17_5 like Mac OS X) AppleWebKit/605.1.15 (KHTML, like Gecko) Version/17.5 Mobile/15E148 Safari/604.1", Mobile, "iPhone", "Safari", "17.5", "iOS", "17.5", "Apple"),
        ("Mozilla/5.0 (iPad; CPU OS 7_0_4 like Mac OS X) AppleWebKit/537.51.1 (KHTML, like Gecko) Version/7.0 Mobile/11B554a Safari/9537.53", Tablet, "iPad", "Safari", "7.0", "iOS", "7.0.4", "Apple"),
        ("Mozilla/5.0 (Linux; Android 14; Pixel 8) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Mobile Safari/537.36", Mobile, "phone", "Chrome", "126.0.0.0", "Android", "14", "Google"),
        ("Mozilla/5.0 (Linux; Android 13; SM-X700) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/126.0.0.0 Safari/537.36", Tablet, "tablet", "Chrome", "126.0.0.0", "Android", "13", "Samsung"),
        ("Mozilla/5.0 (Android 4.4; Tablet; rv:41.0) Gecko/41.0 Firefox/41.0", Tablet, "tablet", "Firefox", "41.0", "Android", "4.4", ""),
        ("Mozilla/5.0 (Linux; Android 9; BRAVIA 4K UR2) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/94.0.4606.85 Safari/537.36", Other, "appliance", "Chrome", "94.0.4606.85", "Android", "9", "Sony"),
        ("Mozilla/5.0 (Linux; Android 9; CUBOT_X19) AppleWebKit/537.36 (KHTML, like Gecko) Chrome/94.0.4606.85 Mobile Safari/537.36", Mobile, "phone", "Chrome", "94.0.4606.85", "Android", "9", ""),
        ("Dalvik/1.6.0 (Linux; U; Android 4.1.2; GT-I8190 Build/JZO54K)", Mobile, "phone", "", "", "Android", "4.1.2", "Samsung"),
    ]
};

#[test]
fn people_are_read_and_never_taken_for_robots() {
    let parser = AgentParser::new();
    let some = |text: &str| (!text.is_empty()).then(|| text.to_owned());
    for (text, category, device_type, browser, version, os, os_version, maker) in PEOPLE {
        let expected = Agent {
            category,
            device_type: some(device_type),
            browser_family: some(browser),
            browser_version: some(version),
            os_family: some(os),
            os_version: some(os_version),
            manufacturer: some(maker),
            robot: None,
        };
        assert_eq!(parser.parse(text), expected, "{text}");
    }
}

#[test]
fn hostile_user_agents_do_no_harm() {
    let parser = AgentParser::new();
    for text in
        ["\u{0}\u{1b}[2J", "\u{fffd}\u{202e}", "ÄÖÜ (ß)", "((((((((((", "Mozilla/", "Android", "&as_qdr=all", "% % %"]
    {
        assert_eq!(parser.parse(text).robot, None, "{text:?}");
    }
    let long = format!("Mozilla/5.0 {}Googlebot", "ü".repeat(5_000));
    assert_eq!(parser.parse(&long).robot, None, "only the beginning is judged");
}

#[test]
fn every_rule_compiles_matches_by_itself_and_stands_once() {
    let parser = AgentParser::new();
    assert!(parser.rules.len() > 400, "{}", parser.rules.len());
    let mut seen = std::collections::HashSet::new();
    for rule in &parser.rules {
        assert!(seen.insert(*rule), "twice: {rule}");
        assert_eq!(rule.trim_end(), *rule, "white space at the end gets lost: {rule:?}");
        assert_eq!(rule.to_ascii_lowercase(), *rule, "compared in lower case");
        assert!(!meta::Regex::new(rule).unwrap().is_match(""), "matches everything: {rule}");
    }
}

#[test]
fn categories_are_words() {
    for category in [DeviceCategory::Desktop, DeviceCategory::Mobile, DeviceCategory::Tablet, DeviceCategory::Other] {
        assert_eq!(DeviceCategory::parse(category.as_str()).unwrap(), category);
        assert_eq!(serde_json::to_string(&category).unwrap(), format!("\"{}\"", category.as_str()));
    }
    assert_eq!(DeviceCategory::parse("fridge").unwrap_err().code, "device_category");
    assert_eq!(read("Mozilla/4.0 (compatible;)").category, DeviceCategory::Other);
}
