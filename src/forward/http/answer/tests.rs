//! The response table, row by row (`spec/delivery` 3.3): what each answer means, and what is kept of it.

use super::*;
use crate::base::digest::SigningKey;
use crate::base::error::Kind;
use crate::base::time::Millis;
use crate::domain::batch::FORMAT;
use crate::forward::retry::Verdict;

fn sealed() -> SealedPart {
    SealedPart {
        format: FORMAT,
        edge: "01".repeat(16),
        epoch: "02".repeat(8),
        lane: "pages".to_owned(),
        batch_no: 7,
        first_seq: 1,
        last_seq: 3,
        count: 3,
        digest: "ab".repeat(32),
        previous_digest: None,
        previous_epoch: None,
        min_received_at: Millis(0).rfc3339(),
        max_received_at: Millis(0).rfc3339(),
        sealed_at: Millis(0).rfc3339(),
        schema: "1.0".to_owned(),
        key_id: String::new(),
    }
}

fn heard(status: u16, body: &str) -> Heard {
    Heard { status, body: body.as_bytes().to_vec(), ..Heard::default() }
}

fn whole(heard: &Heard, receiver_key: Option<[u8; 32]>) -> Result<Put, Setback> {
    put(&About { target: "centre", sealed: &sealed(), receiver_key, more: None }, heard)
}

fn part(heard: &Heard, more: bool) -> Result<Put, Setback> {
    put(&About { target: "centre", sealed: &sealed(), receiver_key: None, more: Some(more) }, heard)
}

fn ack(batch_no: i64, digest: &str, seed: u8) -> String {
    let s = sealed();
    let (edge, epoch, lane) = (s.edge, s.epoch, s.lane);
    let by = "09".repeat(16);
    let (kind, received_at) = ("ack".to_owned(), Millis(5).rfc3339());
    let ack = Ack { format: 1, kind, by, edge, epoch, lane, batch_no, digest: digest.to_owned(), received_at };
    serde_json::to_string(&ack.sign(&SigningKey::from_seed([seed; 32]))).unwrap()
}

fn landed(put: Result<Put, Setback>) -> (Landed, bool) {
    let put = put.unwrap();
    (put.landed, put.acknowledged)
}

fn code(put: Result<Put, Setback>) -> (&'static str, Verdict) {
    let error = put.unwrap_err().error;
    (error.code, Verdict::on(&error))
}

#[test]
fn every_status_has_its_row() {
    use Verdict::{Fence, Hold, Quarantine, Retry};
    let rows: [(&[u16], &str, Verdict); 9] = [
        (&[301, 302, 307, 308], "not_found", Hold),
        (&[400, 422], "bad_rows", Quarantine),
        (&[401, 403, 407], "auth", Hold),
        (&[404, 405, 410, 501], "not_found", Hold),
        (&[402, 406, 411, 415, 418, 431, 451], "not_taken", Hold),
        (&[409, 412], "fork", Fence),
        (&[413], "too_large", Quarantine),
        (&[429, 503], "busy", Retry),
        (&[408, 425, 500, 502, 504, 507, 599], "upstream", Retry),
    ];
    for (statuses, expected, verdict) in rows {
        for status in statuses {
            for body in ["", "{}", "<html>", "null", "[1]"] {
                assert_eq!(code(whole(&heard(*status, body), None)), (expected, verdict), "{status} {body}");
            }
        }
    }
    for status in [200, 201, 202, 204, 299] {
        assert!(whole(&heard(status, "<html>"), None).unwrap().acknowledged, "without a key any 2xx is one: {status}");
    }
    assert_eq!(code(whole(&heard(100, ""), None)).0, "not_taken");
}

#[test]
fn the_same_digest_under_our_key_is_an_acknowledgement_and_another_is_a_fork() {
    let ours = format!(r#"{{"error":"fork","digest":"{}"}}"#, "AB".repeat(32));
    assert_eq!(landed(whole(&heard(409, &ours), None)), (Landed::Same, true));
    assert_eq!(landed(whole(&heard(412, &ours), None)), (Landed::Same, true));
    let other = format!(r#"{{"error":"fork","digest":"{}"}}"#, "cd".repeat(32));
    let setback = whole(&heard(409, &other), None).unwrap_err();
    assert_eq!((setback.error.kind, setback.error.code), (Kind::Conflict, "fork"));
    assert_eq!(setback.says, Some(Says::Fork { digest: Some("cd".repeat(32)) }));
    let busy = whole(&heard(409, r#"{"error":"retired","what":"this edge is retired"}"#), None).unwrap_err();
    assert_eq!((busy.error.code, busy.says), ("not_taken", None), "another reason is no fork");
    let key = SigningKey::from_seed([3; 32]).public();
    assert_eq!(code(whole(&heard(409, &ours), Some(key))).0, "bad_ack", "nobody signed that");
}

#[test]
fn where_the_receivers_key_is_known_only_what_it_signed_of_this_batch_counts() {
    let key = SigningKey::from_seed([3; 32]).public();
    let digest = sealed().digest;
    assert_eq!(landed(whole(&heard(201, &ack(7, &digest, 3)), Some(key))), (Landed::New, true));
    assert_eq!(landed(whole(&heard(200, &ack(7, &digest, 3)), Some(key))), (Landed::Same, true));
    for (what, body) in [
        ("nothing", String::new()),
        ("no signature", r#"{"ok":true}"#.to_owned()),
        ("another key", ack(7, &digest, 4)),
        ("another batch", ack(8, &digest, 3)),
        ("another digest", ack(7, &"cd".repeat(32), 3)),
        ("a changed text", ack(7, &digest, 3).replace("pages", "visit")),
    ] {
        assert_eq!(code(whole(&heard(201, &body), Some(key))), ("bad_ack", Verdict::Hold), "{what}");
    }
    assert_eq!(code(whole(&heard(201, &ack(8, &digest, 4)), None)).0, "bad_ack", "an acknowledgement of another batch");
    assert!(whole(&heard(201, "{}"), None).unwrap().acknowledged);
}

#[test]
fn parts_are_kept_until_the_last_and_a_signed_acknowledgement_ends_them() {
    let kept = (Landed::Part, false);
    assert_eq!(landed(part(&heard(202, ""), true)), kept);
    assert_eq!(landed(part(&heard(202, ""), false)), kept, "some before it are missing");
    assert_eq!(landed(part(&heard(201, ""), true)), kept, "one that answers alike to all");
    assert_eq!(landed(part(&heard(201, ""), false)), (Landed::New, true));
    let whole = ack(7, &sealed().digest, 3);
    assert_eq!(landed(part(&heard(200, &whole), true)), (Landed::Same, true), "it has all of it");
    assert_eq!(code(part(&heard(413, ""), true)).0, "too_large");
}

#[test]
fn what_a_refusal_names_is_kept() {
    let says = |status, body: &str| whole(&heard(status, body), None).unwrap_err().says;
    let large = |bytes_max| Some(Says::TooLarge { bytes_max });
    assert_eq!(says(413, r#"{"error":"too_large","max_bytes":1000}"#), large(Some(1_000)));
    assert_eq!((says(413, "too large"), says(413, r#"{"max_bytes":"x"}"#)), (large(None), large(None)));
    assert_eq!(says(422, r#"{"error":"bad_rows","seqs":[5,9]}"#), Some(Says::BadRows { seqs: vec![5, 9] }));
    assert_eq!(says(400, "no"), Some(Says::BadRows { seqs: vec![] }));
    let schema = whole(&heard(422, r#"{"error":"unknown_schema"}"#), None).unwrap_err();
    assert_eq!((schema.error.code, schema.says, Verdict::on(&schema.error)), ("schema_refused", None, Verdict::Hold));
}

#[test]
fn a_receiver_says_when_to_come_back_by_seconds_or_by_its_own_clock() {
    let asked = |status, retry_after: &str, date: Option<&str>| {
        let (retry_after, date) = (Some(retry_after.to_owned()), date.map(str::to_owned));
        whole(&Heard { status, retry_after, date, body: Vec::new() }, None).unwrap_err().asked_ms
    };
    assert_eq!((asked(503, "120", None), asked(429, " 0 ", None)), (Some(120_000), Some(0)));
    let now = Some("Sun, 06 Nov 1994 08:49:37 GMT");
    assert_eq!(asked(503, "Sun, 06 Nov 1994 08:50:37 GMT", now), Some(60_000));
    assert_eq!(asked(503, "Sun, 06 Nov 1994 08:48:37 GMT", now), Some(0));
    for nonsense in ["soon", "-5", "1e9", "99999999999"] {
        assert_eq!(asked(503, nonsense, now), None, "{nonsense}");
    }
    assert_eq!(asked(503, "Sun, 06 Nov 1994 08:50:37 GMT", None), None, "a date without a clock to read it by");
    assert_eq!(asked(403, "120", None), None, "what a person must mend is looked at slowly anyhow");
}

#[test]
fn what_is_told_of_an_answer_is_short_and_printable() {
    let long = format!(r#"{{"error":"x","what":"{}\u001b[31m"}}"#, "w".repeat(500));
    let error = whole(&heard(403, &long), None).unwrap_err().error;
    assert!(error.what.len() < 300 && error.what.starts_with("centre answered 403 (x: www"), "{}", error.what);
    assert!(!error.what.contains('\u{1b}') && !error.remedy.is_empty());
}

#[test]
fn only_204_says_that_lines_are_well() {
    let judged = |status, body| judged("centre", &heard(status, body));
    assert_eq!(judged(204, "").unwrap(), Judged::Well);
    for status in [200, 201, 202, 404, 405, 501] {
        assert_eq!(judged(status, "").unwrap(), Judged::Unknown, "{status}");
    }
    assert_eq!(judged(422, "").unwrap(), Judged::Bad(vec![]));
    assert_eq!(judged(422, r#"{"seqs":[4]}"#).unwrap(), Judged::Bad(vec![4]));
    assert_eq!(judged(503, "").unwrap_err().error.code, "busy");
    assert_eq!(judged(401, "").unwrap_err().error.code, "auth");
}
