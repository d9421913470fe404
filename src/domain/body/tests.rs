//! Tests of bodies: the text written by hand against the one a serializer writes.
//! Each names the fields it is about.

use super::*;
use crate::base::time::Millis;

#[allow(clippy::ref_option)] // serde's shape
pub(super) fn instant<S: serde::Serializer>(at: &Option<Millis>, to: S) -> Result<S::Ok, S::Error> {
    at.map(Millis::rfc3339).serialize(to)
}

#[test]
fn an_event_is_what_a_serialiser_makes_of_it() {
    let odd = "a \"quoted\"\\ \n\u{1} Zürich";
    let bare = EventBody {
        name: odd,
        event_type: "SYSTEM",
        stream: "web",
        visitor_ref: "v",
        visit_id: "0192f3a0-0000-7000-8000-000000000001",
        session_id: None,
        page_seq: None,
        url: None,
        screen: None,
        title: None,
        language: None,
        category: None,
        search_query: None,
        client_at: None,
        sent_at: None,
        clock_state: "client",
        basis_id: 0,
        replaces: None,
        referrer: None,
        attributes: None,
        attribute_types: None,
        conversation: None,
    };
    let full = EventBody {
        session_id: Some("s"),
        page_seq: Some(7),
        url: Some("https://shop.example/?q=1"),
        screen: Some(odd),
        title: Some(""),
        language: Some("de"),
        category: Some("a;b"),
        search_query: Some(odd),
        client_at: Some(Millis(1)),
        sent_at: Some(Millis(1_431_857_103_250)),
        basis_id: -1,
        replaces: Some(i64::MAX),
        ..bare
    };
    for fields in [&bare, &full] {
        assert_eq!(fields.text(), body(fields));
    }
    let told = EventBody {
        referrer: Some("{\"a\":1}"),
        attributes: Some("{}"),
        attribute_types: Some("{\"x\":\"NUMBER\"}"),
        conversation: Some("[1]"),
        ..full
    };
    let json = ",\"referrer\":{\"a\":1},\"attributes\":{},\"attribute_types\":{\"x\":\"NUMBER\"},\"conversation\":[1]";
    assert_eq!(told.text(), body(&told) + json, "what is JSON already stands last, as it is");
}
