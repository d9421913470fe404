//! The short way against the long one, over bodies made at random: of what it reads nothing may differ.

use serde::de::DeserializeSeed;

use super::*;
use crate::ingest::wire::read::{ItemList, Object};
use crate::ingest::wire::{Invalid, Item, Sink};

const ATTRIBUTES_MAX: usize = 3;
const EVENTS_MAX: usize = 3;

/// What an object became: itself as an event or a decision, the site and the items beside it.
type Read<'a> = (Option<Text<'a>>, Option<Vec<Result<Item<'a>, Invalid>>>, Result<Item<'a>, Invalid>);

fn read(mut item: RawItem<'_>, problem: Option<Invalid>) -> Read<'_> {
    (item.site.take(), item.items.take().map(|items| items.list), item.finish(problem))
}

fn long(text: &str) -> Option<Read<'_>> {
    let mut item = RawItem { outermost: true, ..RawItem::default() };
    let mut sink = Sink { first: None, vendor: false, attributes_max: ATTRIBUTES_MAX, events_max: EVENTS_MAX };
    let mut json = serde_json::Deserializer::from_str(text);
    Object { target: &mut item, table: Table::Whole, sink: &mut sink, under: "" }.deserialize(&mut json).ok()?;
    json.end().ok()?;
    Some(read(item, sink.first))
}

fn quick(text: &str) -> Option<Read<'_>> {
    let item = RawItem { outermost: true, ..RawItem::default() };
    Quick::new(text, ATTRIBUTES_MAX, EVENTS_MAX).whole(item).map(|item| read(item, None))
}

struct Dice(u64);

impl Dice {
    fn any() -> (Self, u64) {
        let seed = u64::from_be_bytes(crate::base::id::random_bytes()) | 1;
        (Dice(seed), seed)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % n
    }

    fn one<'t>(&mut self, of: &[&'t str]) -> &'t str {
        of[self.below(of.len())]
    }
}

const SPACES: [&str; 8] = ["", "", "", "", "", " ", "\n\t", "\r "];
const TEXTS: [&str; 14] = [
    r#""a""#,
    r#""""#,
    r#""page_viewed""#,
    r#""https://shop.example/catalogue/chair/1000?sort=price&page=3""#,
    r#""Gartenmöbel – alles für draußen""#,
    r#""a \"quoted\" word""#,
    r#""\u00fc\n\\""#,
    r#""a\u0000b""#,
    "\"a\tb\"",
    r#""give""#,
    r#""2026-11-22T10:00:00Z""#,
    r#""seven b""#,
    r#""eight by""#,
    r#""desktop""#,
];
const VALUES: [&str; 30] = [
    "0",
    "7",
    "123.95",
    "5.0",
    "0.5",
    "-3",
    "-0",
    "1e3",
    "1.50",
    "007",
    "1732269143000",
    "999999999999999",
    "12345678901234567890",
    "9007199254740993",
    "0.1234567890123456789",
    "123456789.123457",
    "true",
    "false",
    "null",
    "nul",
    "truex",
    "[]",
    "[\"measure\"]",
    "[\"a\",null]",
    "{}",
    "{\"a\":1}",
    "{\"category\":\"desktop\",\"isMobile\":true}",
    "{\"url\":\"https://a.example/\",\"title\":null}",
    "{\"dataType\":\"NUMBER\",\"value\":\"7\"}",
    "",
];
const KEYS: [&str; 22] = [
    "name",
    "eventId",
    "visitor",
    "globalVisitId",
    "time",
    "url",
    "page",
    "title",
    "referrer",
    "userAgent",
    "attributes",
    "data",
    "device",
    "consent",
    "decision",
    "action",
    "purposes",
    "signalShown",
    "site",
    "vistor",
    "na\\u006de",
    "endReason",
];

fn scalar(dice: &mut Dice, out: &mut String) {
    let of_texts = dice.below(3) > 0;
    out.push_str(dice.one(if of_texts { &TEXTS } else { &VALUES }));
}

fn pairs(dice: &mut Dice, out: &mut String, value: fn(&mut Dice, &mut String, &str), keys: &[&str]) {
    let mut left: Vec<&str> = keys.to_vec();
    for n in 0..dice.below(6) {
        if n > 0 {
            out.push(',');
        }
        // mostly each key once
        let at = dice.below(left.len());
        let key = if dice.below(12) == 0 { dice.one(keys) } else { left.swap_remove(at) };
        out.push_str(dice.one(&SPACES));
        out.push_str(&format!("\"{key}\"{}:{}", dice.one(&SPACES), dice.one(&SPACES)));
        value(dice, out, key);
        out.push_str(dice.one(&SPACES));
        if left.is_empty() {
            break;
        }
    }
}

fn value_of(dice: &mut Dice, out: &mut String, key: &str) {
    match key {
        _ if dice.below(8) == 0 => scalar(dice, out),
        "attributes" | "data" => {
            out.push('{');
            pairs(dice, out, |dice, out, _| scalar(dice, out), &["a", "price", "in stock", "ü", "x\\n"]);
            out.push('}');
        }
        "decision" => {
            out.push('{');
            pairs(dice, out, value_of, &["action", "purposes", "time", "signalShown", "notice"]);
            out.push('}');
        }
        "page" => {
            out.push('{');
            pairs(dice, out, value_of, &["url", "title", "lang", "keywords"]);
            out.push('}');
        }
        "consent" | "purposes" => out.push_str(dice.one(&["[]", "[\"measure\" , \"personal\"]", "[\"a\\tb\"]"])),
        "time" => out.push_str(dice.one(&["1732269143000", "\"2026-11-22T10:00:00Z\"", "12", "1.5"])),
        "device" => {
            out.push_str(dice.one(&["{\"category\":\"desktop\"}", "{\"screenHeight\": 7, \"osFamily\":null}", "{}"]))
        }
        "signalShown" => out.push_str(dice.one(&["true", "false"])),
        _ => out.push_str(dice.one(&TEXTS)),
    }
}

fn object(dice: &mut Dice, out: &mut String) {
    out.push_str(dice.one(&SPACES));
    out.push('{');
    pairs(dice, out, value_of, &KEYS);
    out.push('}');
    out.push_str(dice.one(&SPACES));
}

#[test]
fn what_the_short_way_reads_the_long_way_reads_the_same() {
    let (mut dice, seed) = Dice::any();
    let mut taken = 0;
    for round in 0..40_000 {
        let mut text = String::new();
        object(&mut dice, &mut text);
        if dice.below(10) == 0 {
            // a byte too few, too many, or another
            let at = (0..=dice.below(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
            let rest = text.split_off(at);
            text.push_str(dice.one(&["", "x", "\"", "}", ",", "\\", "\u{1}"]));
            text.push_str(&rest[rest.chars().next().map_or(0, char::len_utf8)..]);
        }
        if let Some(found) = quick(&text) {
            taken += 1;
            assert_eq!(long(&text), Some(found), "{text} (round {round}, seed {seed})");
        }
    }
    assert!(taken > 8_000, "{taken} of 40,000 (seed {seed})");
}

#[test]
fn lists_are_read_the_same() {
    let (mut dice, seed) = Dice::any();
    let mut taken = 0;
    for _ in 0..10_000 {
        let mut text = "[".to_owned();
        for n in 0..dice.below(EVENTS_MAX + 2) {
            if n > 0 {
                text.push(',');
            }
            object(&mut dice, &mut text);
        }
        text.push(']');
        let Some(found) = Quick::new(&text, ATTRIBUTES_MAX, EVENTS_MAX).list() else { continue };
        taken += 1;
        let mut sink = Sink { first: None, vendor: false, attributes_max: ATTRIBUTES_MAX, events_max: EVENTS_MAX };
        let mut json = serde_json::Deserializer::from_str(&text);
        let read = ItemList { sink: &mut sink }.deserialize(&mut json).unwrap().unwrap();
        assert_eq!((read.overflow, read.list), (0, found.list), "{text} (seed {seed})");
        assert_eq!(sink.first, None);
    }
    assert!(taken > 1_000, "{taken} of 10,000 (seed {seed})");
}

#[test]
fn a_short_number_is_written_as_it_would_be_written_again() {
    let (mut dice, seed) = Dice::any();
    for _ in 0..100_000 {
        let mut digits = |most: usize| -> String {
            (0..1 + dice.below(most)).map(|_| char::from(b'0' + dice.below(10) as u8)).collect()
        };
        let number = match digits(7) {
            whole if whole.len() == 7 => whole,
            whole => format!("{whole}.{}", digits(12)),
        };
        if is_short(&number) {
            let again = value(serde_json::from_str(&number).unwrap()).ok();
            assert_eq!(again, Some((number, DataType::Number)), "seed {seed}");
        }
    }
}

#[test]
fn ordinary_bodies_go_the_short_way() {
    for text in [
        r#"{"name":"page_viewed","eventId":"x","visitor":"v","time":1732269143000,"url":"https://a.example/","title":"T","referrer":"","userAgent":"Mozilla/5.0","attributes":{"price":123.95,"department":"garden","inStock":true}}"#,
        r#"{ "site": "shop", "sentAt": "2026-11-22T10:00:00Z", "events": [ {"name": "a", "title": "B\u00e4nke"}, {"name": "b", "attributes": {"n": -1.5}} ] }"#,
        r#"{"action":"give","purposes":["measure"],"visitor":"v","time":1732269143000}"#,
    ] {
        assert!(quick(text).is_some(), "{text}");
    }
}
