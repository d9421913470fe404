//! Tests of lines: their bytes, hashes and holes.
//! Each compares with text that was written by hand or by another renderer.

use super::*;

fn line() -> Line {
    Line {
        kind: LineKind::Event,
        seq: Seq(7),
        first_seq: Seq(7),
        origin: (EdgeId([1; 16]), Epoch([2; 8])),
        site: Some("shop".into()),
        event_id: Some("e1".to_owned()),
        received: Millis(0),
        corrected: Millis(1),
        rights: Rights::default(),
        salt: Salt([3; 12]),
        about: None,
        body: body(&serde_json::json!({"name": "page_viewed"})),
        moved: false,
    }
}

#[test]
fn a_line_begins_with_its_kind_and_is_one_json_object() {
    let bytes = line().render("Kiosk \"7\"");
    assert!(bytes.starts_with(br#"{"kind":"event","edge":"0101"#));
    let value: serde_json::Value = serde_json::from_slice(&bytes).unwrap();
    assert_eq!(value["name"], "page_viewed");
    assert_eq!(value["edge_label"], "Kiosk \"7\"");
    assert_eq!(value["received_at"], "1970-01-01T00:00:00.000Z");
    assert!(!bytes.contains(&b'\n'));
}

#[derive(Serialize)]
struct Head<'a> {
    kind: &'static str,
    edge: String,
    edge_label: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    site: Option<&'a str>,
    epoch: String,
    seq: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    event_id: Option<&'a str>,
    received_at: String,
    corrected_at: String,
    flags: u32,
    consent_seq: i64,
    salt: String,
}

#[test]
fn a_head_is_what_a_serialiser_makes_of_it() {
    let odd = "\"quoted\"\\ \n\u{1} Zürich";
    let full = Line { event_id: Some(odd.to_owned()), seq: Seq(i64::MAX), body: String::new(), ..line() };
    let bare = Line { site: None, event_id: None, body: String::new(), ..line() };
    for line in [full, bare] {
        let head = Head {
            kind: line.kind.word(),
            edge: line.origin.0.to_string(),
            edge_label: odd,
            site: line.site.as_deref(),
            epoch: line.origin.1.to_string(),
            seq: line.seq.0,
            event_id: line.event_id.as_deref(),
            received_at: line.received.rfc3339(),
            corrected_at: line.corrected.rfc3339(),
            flags: line.rights.flags.0,
            consent_seq: line.rights.consent_seq.0,
            salt: line.salt.to_string(),
        };
        assert_eq!(String::from_utf8(line.render(odd)).unwrap(), serde_json::to_string(&head).unwrap());
    }
}

#[test]
fn a_salt_makes_equal_lines_differ() {
    let other = Line { salt: Salt([4; 12]), ..line() };
    assert_ne!(line_hash(&line().render("")), line_hash(&other.render("")));
}

#[test]
fn a_digest_covers_order_and_count() {
    let (a, b) = (line_hash(b"a"), line_hash(b"b"));
    assert_ne!(digest(&[a, b]), digest(&[b, a]));
    assert_ne!(digest(&[a]), digest(&[a, a]));
    assert_eq!(digest(&[a, b]), digest(&[a, b]));
}

#[test]
fn a_hole_keeps_number_and_digest_only() {
    let hole = render_hole((EdgeId([1; 16]), Epoch([2; 8])), Seq(9), HoleReason::Withdrawn, &[5; 32]);
    let value: serde_json::Value = serde_json::from_slice(&hole).unwrap();
    assert_eq!((value["kind"].as_str(), value["seq"].as_i64()), (Some("hole"), Some(9)));
    assert_eq!(value.as_object().unwrap().len(), 6);
}

#[test]
fn floors_bar_rows_but_never_what_tells_of_rights() {
    let about = |measure, share| {
        Some(About { visitor_id: 1, measure_floor: Seq(measure), share_floor: Seq(share), restricted_upto: Seq(0) })
    };
    let shared = Rights { flags: Purposes::MEASURE.with(Purposes::SHARE), ..Rights::default() };
    let at = |kind, about, rights| Line { kind, about, rights, ..line() };
    let open = at(LineKind::Event, about(6, 0), Rights::default());
    assert_eq!((open.barred(false), open.barred(true)), (None, Some(HoleReason::NoRight)));
    let floored = at(LineKind::Visit, about(7, 0), shared);
    assert_eq!(
        (floored.barred(false), floored.barred(true)),
        (Some(HoleReason::Withdrawn), Some(HoleReason::Withdrawn))
    );
    let unshared = at(LineKind::Event, about(0, 7), shared);
    assert_eq!((unshared.barred(false), unshared.barred(true)), (None, Some(HoleReason::Withdrawn)));
    let told = at(LineKind::Withdrawal, about(9, 9), shared);
    assert_eq!((told.barred(false), told.barred(true)), (None, None));
    assert_eq!(at(LineKind::Count, None, Rights::default()).barred(true), None, "a counter names nobody");
    let exempt = at(LineKind::Event, about(0, 0), Rights { exempt: true, ..shared });
    assert_eq!(exempt.barred(false), Some(HoleReason::NoRight));
    let older = Line { first_seq: Seq(3), ..at(LineKind::Visit, about(3, 0), shared) };
    assert_eq!(older.barred(false), Some(HoleReason::Withdrawn), "by the lowest row it was made from");
}

#[test]
fn every_word_reads_back() {
    for reason in HOLE_REASONS {
        assert_eq!(HoleReason::parse(reason.word()), Some(reason));
    }
    for word in ["event", "visit", "count", "decision", "withdrawal", "loss", "clock"] {
        assert_eq!(LineKind::parse(word).map(LineKind::word), Some(word));
    }
}
