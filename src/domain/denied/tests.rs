//! Tests of the deny list: what it finds in three languages, what it leaves alone, and what is left of an event.

use super::*;
use crate::domain::address::{UrlRules, read_page_url};
use crate::domain::event::DataType;

fn list() -> DenyList {
    DenyList::new(&[]).unwrap()
}

#[test]
fn special_categories_are_found_in_three_languages_and_many_spellings() {
    for text in [
        "hiv",
        "HIV-Test",
        "hivStatus",
        "diabetes type 2",
        "Schwangerschaft",
        "état de santé",
        "etatDeSante",
        "maladies-rares",
        "religion",
        "Konfession",
        "syndicat",
        "tradeUnionMember",
        "trade_union",
        "Gewerkschaftszugehörigkeit",
        "sexual orientation",
        "sexualOrientation",
        "orientation sexuelle",
        "schwul",
        "ethnicity",
        "ethnische Herkunft",
        "biometrics",
        "Fingerabdruck",
        "criminal-record",
        "Vorstrafen",
        "Führungszeugnis",
        "Fuehrungszeugnis",
        "casier judiciaire",
        "political opinion",
        "Parteizugehörigkeit",
        "De\u{301}pressions",
    ] {
        assert!(list().holds(text), "{text}");
    }
}

#[test]
fn ordinary_words_are_left_alone() {
    for text in [
        "",
        "shoes",
        "healthcheck",
        "health",
        "union square",
        "european union",
        "orientation landscape",
        "race car",
        "gender",
        "screen",
        "Suchtext",
        "Suche",
        "diagnostics",
        "syndication",
        "disabled",
        "Christian",
        "handicap",
        "color",
        "party hats",
        "hivernal",
        "aidsmaller",
        "conversion",
        "history",
        "politics?",
        "christmas",
        "partie",
        "raid",
        "sextant",
    ] {
        assert!(!list().holds(text), "{text}");
    }
}

#[test]
fn the_operator_adds_words_and_beginnings() {
    let more = DenyList::new(&["Casino".to_owned(), "glücks*".to_owned(), "pay day".to_owned()]).unwrap();
    for text in ["casino", "Glücksspiel", "gluckspilz", "payDay", "pay-day", "hiv"] {
        assert!(more.holds(text), "{text}");
    }
    assert!(!more.holds("casinos") && !list().holds("casino"));
    for bad in ["", "*", "1*", "x"] {
        assert!(DenyList::new(&[bad.to_owned()]).is_err(), "{bad:?}");
    }
    assert!(DenyList::new(&vec!["word".to_owned(); WORDS_MAX + 1]).is_err());
    assert!(DenyList::new(&vec!["word".to_owned(); WORDS_MAX]).is_ok());
    assert!(!DenyList::none().holds("hiv"));
}

fn event(url: &str) -> Event {
    let mut event = Event::named("page_viewed");
    event.page.address = Some(read_page_url(url, &UrlRules::default()).unwrap().address);
    event
}

#[test]
fn an_address_keeps_what_is_harmless() {
    let cases = [
        ("https://a.example/shop/hiv-test/x?y=1", "https://a.example/shop/*/x?y=1"),
        ("https://a.example/shop?topic=Schwangerschaft&y=1", "https://a.example/shop?y=1"),
        ("https://a.example/shop?religion=x", "https://a.example/shop"),
        ("https://a.example/d%C3%A9pression/?a=trade%20union", "https://a.example/*/"),
        ("https://a.example/shop?y=1", "https://a.example/shop?y=1"),
        ("https://hiv.example/hiv", "https://hiv.example/*"),
        ("/diabetes?diabetes=diabetes", "/*"),
    ];
    for (sent, kept) in cases {
        let mut event = event(sent);
        list().screen(&mut event);
        assert_eq!(event.page.address.as_ref().unwrap().url, kept, "{sent}");
        assert_eq!(event.denied.contains(&"url"), sent != kept, "{sent}");
    }
}

#[test]
fn each_field_that_holds_a_word_is_left_out_and_named() {
    let pair = |name: &str, value: &str| Attribute {
        name: name.to_owned(),
        value: value.to_owned(),
        data_type: DataType::String,
    };
    let mut event = event("https://a.example/");
    event.name = "hiv_test_ordered".to_owned();
    event.page.title = Some("Leben mit Diabetes".to_owned());
    event.page.category = Some("shoes".to_owned());
    event.search_query = Some("synagogue near me".to_owned());
    event.attributes = vec![pair("size", "7"), pair("ethnicity", "x"), pair("note", "is pregnant")];
    event.personal.traits = vec![pair("givenName", "Ann"), pair("religion", "none")];
    event.personal.form = vec![pair("comment", "I was convicted")];
    list().screen(&mut event);
    assert_eq!(event.denied, ["name", "title", "search", "attributes", "traits", "form"]);
    assert_eq!(
        (event.name.as_str(), event.page.title.as_deref(), event.search_query.as_deref()),
        (UNNAMED, None, None)
    );
    assert_eq!(event.page.category.as_deref(), Some("shoes"));
    assert_eq!(event.attributes, [pair("size", "7")]);
    assert_eq!((event.personal.traits, event.personal.form), (vec![pair("givenName", "Ann")], vec![]));
}

/// The short ways find what taking the text apart finds.
#[test]
fn both_ways_of_looking_agree() {
    let seed = u64::from_be_bytes(crate::base::id::random_bytes()) | 1;
    let mut state = seed;
    let mut below = |n: usize| {
        state ^= state >> 12;
        state ^= state << 25;
        state ^= state >> 27;
        (state.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    };
    let list = DenyList::new(&["casino", "gamb*", "xy", "qz*"].map(str::to_owned)).unwrap();
    let joints = [
        "", " ", "-", "_", "/", "1", "&a=", "s", "S", "x", "é", "ß", "Œ", " – ", "\u{301}", "ł", "й ", "x Y z", "a0f3-",
    ];
    let accents =
        [("a", "ä"), ("e", "é"), ("O", "Ö"), ("ss", "ß"), ("k", "\u{212a}"), ("i", "i\u{308}"), ("s", "ſ"), ("n", "n")];
    let mut found = 0;
    for _ in 0..30_000 {
        let mut text = String::new();
        for _ in 0..1 + below(4) {
            let (word, _) = &list.all[below(list.all.len())];
            let cut = [0, word.len(), word.len(), below(word.len())][below(4)];
            let split = below(word.len());
            let (a, b) = word[..cut.max(1)].split_at(split.min(cut.max(1)));
            let spelled = [format!("{a}{b}"), format!("{a} {b}"), format!("{a}{}", b.to_uppercase()), a.to_uppercase()];
            let (plain, accent) = accents[below(accents.len())];
            text.push_str(&spelled[below(4)].replacen(plain, accent, below(3) / 2));
            text.push_str(joints[below(joints.len())]);
        }
        let slow = list.among(&words_of(&text));
        assert_eq!(list.holds(&text), slow, "{text:?} (seed {seed})");
        found += usize::from(slow);
    }
    assert!((3_000..29_000).contains(&found), "{found} of 30,000 (seed {seed})");
}
