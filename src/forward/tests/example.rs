//! The example batches of `packaging/schema/example/`: made here from fixed values, compared byte for byte.
//! A change of these bytes is a new schema version. `WAYSIDE_WRITE_EXAMPLE=1` writes them anew.

use std::fs;
use std::path::{Path, PathBuf};

use crate::base::digest::SigningKey;
use crate::base::gzip;
use crate::base::id::{EdgeId, Epoch, Salt, Seq, uuid_text};
use crate::base::text::hex;
use crate::base::time::{DAY_MS, Millis};
use crate::domain::batch::{FORMAT, Manifest, SealedPart, key_id};
use crate::domain::body::{
    CellBody, CheckpointBody, ClockBody, CountBody, DecisionBody, EpochLossBody, ErasedRange, ErasureBody, EventBody,
    LaneLoss, LossBody, RowLossBody, VisitBody, WithdrawalBody,
};
use crate::domain::checkpoint::{self, Checkpoint};
use crate::domain::consent::Purposes;
use crate::domain::event::Lane;
use crate::domain::line::{HoleReason, Line, LineKind, SCHEMA, SCHEMA_WAS, body, digest, line_hash, render_hole};
use crate::domain::visitor::Rights;
use crate::forward::inspect;

const EDGE: EdgeId = EdgeId([0xed; 16]);
const EPOCH: Epoch = Epoch([0xe0; 8]);
const BEFORE: Epoch = Epoch([0xdf; 8]);
const VISITOR: &str = "5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f5f";
const VISIT: [u8; 16] = [1, 0x8f, 0x3a, 0x2b, 0, 1, 0x70, 1, 0x80, 1, 0, 0, 0, 0, 0, 1];
const START: Millis = Millis(1_780_000_000_000);
const LABEL: &str = "Branch 12, kiosk 3";

const REFERRER: &str = "{\"url\":\"https://www.google.com/\",\"hostname\":\"www.google.com\",\"domain\":\"google.com\",\
    \"pathname\":\"/\",\"queryString\":\"\",\"fragment\":\"\",\"name\":\"Google\",\"medium\":\"search\"}";

fn at(seq: i64) -> Millis {
    START.plus(seq * 1_000)
}

fn line(kind: LineKind, seq: i64, site: bool, flags: Purposes, body: String) -> Line {
    Line {
        kind,
        seq: Seq(seq),
        first_seq: Seq(seq),
        origin: (EDGE, EPOCH),
        site: site.then(|| "shop".into()),
        event_id: None,
        received: at(seq),
        corrected: at(seq).plus(-250),
        rights: Rights { flags, basis_id: 0, consent_seq: Seq(if flags.is_none() { 0 } else { 4 }), exempt: false },
        salt: Salt([u8::try_from(seq).unwrap(); 12]),
        about: None,
        body,
        moved: false,
    }
}

fn event(seq: i64, name: &str, page: Option<&str>) -> Line {
    let session = page.is_none().then(|| uuid_text(&[7; 16]));
    let fields = EventBody {
        name,
        event_type: "SYSTEM",
        stream: "web",
        visitor_ref: VISITOR,
        visit_id: &uuid_text(&VISIT),
        session_id: session.as_deref(),
        page_seq: Some(seq.min(11)),
        url: page,
        screen: page.map(|_| "product"),
        title: page.map(|_| "Blue shoes \"Runner\""),
        language: page.map(|_| "en"),
        category: page.map(|_| "shoes;sale"),
        search_query: page.map(|_| "blue shoes"),
        client_at: Some(at(seq).plus(-250)),
        sent_at: Some(at(seq)),
        clock_state: "corrected",
        basis_id: 0,
        replaces: None,
        referrer: page.map(|_| REFERRER),
        attributes: Some("{\"price\":\"79.90\",\"size\":\"42\",\"gift\":\"true\"}"),
        attribute_types: Some("{\"gift\":\"BOOLEAN\",\"price\":\"NUMBER\"}"),
        conversation: page.is_none().then_some("{\"id\":\"c-1\",\"medium\":\"chat\"}"),
    };
    let id = format!("018f3a2b-0000-7000-8000-{seq:012}");
    let shared = Purposes::MEASURE.with(Purposes::SHARE);
    Line { event_id: Some(id), ..line(LineKind::Event, seq, true, shared, fields.text()) }
}

fn visit() -> Line {
    let page = || Some("https://shop.example/p/7".to_owned());
    let title = || Some("Blue shoes".to_owned());
    let fields = VisitBody {
        visit_id: uuid_text(&VISIT),
        visitor_ref: VISITOR.to_owned(),
        first_seq: 11,
        stream: "web",
        started_at: at(11).rfc3339(),
        last_active_at: at(12).rfc3339(),
        ended_at: at(12).rfc3339(),
        end_reason: "idle",
        last_received_at: at(12).rfc3339(),
        page_count: 1,
        screen_count: 1,
        event_count: 3,
        session_count: 1,
        authenticated: true,
        device_id: Some("kiosk-3"),
        entry_url: page(),
        entry_screen: Some("welcome".to_owned()),
        entry_title: title(),
        last_url: page(),
        last_screen: Some("basket".to_owned()),
        last_title: title(),
        user_agent: Some("Mozilla/5.0 (X11; Linux x86_64; rv:140.0) Gecko/20100101 Firefox/140.0"),
        device_category: Some("desktop"),
        device_type: Some("pc"),
        manufacturer: Some("Example"),
        browser_family: Some("Firefox"),
        browser_version: Some("140.0"),
        os_family: Some("Linux"),
        os_version: Some("6.1"),
        robot: Some("example-rule"),
        basis_id: 0,
        referrer: Some(REFERRER),
        campaign: Some("{\"medium\":\"email\",\"source\":\"newsletter\"}"),
        context: Some("{\"device\":{\"screenWidth\":1920}}"),
        place: Some("{\"country\":\"CH\"}"),
        searches: Some("[\"blue shoes\"]"),
    };
    let mut out = line(LineKind::Visit, 15, true, Purposes::MEASURE, fields.text());
    out.first_seq = Seq(11);
    out
}

fn count() -> Line {
    let cell = |path: &str, device: &str, medium: &str, n: serde_json::Value| {
        let [path, device, medium] = [path, device, medium].map(str::to_owned);
        CellBody { path, device, medium, robot: false, n }
    };
    let other = "__other__";
    let cells = vec![cell("/p/*", "mobile", "search", 17.into()), cell(other, other, other, "<5".into())];
    let fields = CountBody { hour_at: START.hour().rfc3339(), cells };
    line(LineKind::Count, 16, true, Purposes::NONE, body(&fields))
}

fn decision(seq: i64, action: &str, purposes: Purposes, (before, after): (Purposes, Purposes)) -> Line {
    let fields = DecisionBody {
        decision_id: format!("018f3a2b-0000-7000-8000-{seq:012}"),
        decision_seq: seq - 1,
        visitor_ref: VISITOR.to_owned(),
        action,
        purposes: purposes.0,
        before: before.0,
        after: after.0,
        current: true,
        method: "banner_custom",
        actor: "subject",
        notice: "none",
        language: Some("en"),
        gpc: false,
        dnt: false,
        client_at: Some(at(seq).rfc3339()),
        basis_id: 0,
    };
    line(LineKind::Decision, seq, true, before.with(after), body(&fields))
}

/// A database was lost; with the seq at which it had been acknowledged, or nothing could be read from it.
fn damage(known: Option<i64>) -> EpochLossBody {
    let (from, to) = (known.map(|seq| at(seq).rfc3339()), at(27).rfc3339());
    EpochLossBody { reason: "damage", lost_epoch: BEFORE.to_string(), from, to, last_seq: known.map(|_| 412) }
}

/// A checkpoint of a ledger of three entries.
fn checkpoint() -> String {
    let key = SigningKey::from_seed([42; 32]);
    let signed = Checkpoint {
        format: checkpoint::FORMAT.to_owned(),
        edge: EDGE.to_string(),
        epoch: EPOCH.to_string(),
        checkpoint_no: 1,
        ledger_no: 3,
        hash: "0e".repeat(32),
        seq: 21,
        count: 3,
        anchor: false,
        left: None,
        at: at(29).rfc3339(),
        key_id: key_id(&key.public()),
        previous: None,
    }
    .sign(&key);
    let (signature, public_key) = (hex(&signed.signature), hex(&key.public()));
    body(&CheckpointBody { ledger_no: 3, signed: &signed.text, signature, public_key })
}

/// A visitor was erased of whom one row lies in a batch.
fn erasure() -> ErasureBody {
    let rows = vec![ErasedRange { edge: EDGE.to_string(), epoch: EPOCH.to_string(), first_seq: 11, last_seq: 12 }];
    let erasure_id = "018f3a2b-0000-7000-8000-000000000029".to_owned();
    ErasureBody { erasure_id, visitor_ref: Some(VISITOR.to_owned()), rows }
}

/// The consent lane: decisions, a withdrawal, losses, a step of the clock, a checkpoint, an erasure.
fn consent_lane() -> Vec<Line> {
    let shared = Purposes::MEASURE.with(Purposes::SHARE);
    let floor = WithdrawalBody {
        visitor_ref: VISITOR.to_owned(),
        decision_seq: 20,
        purposes: Purposes::SHARE.0,
        floor_seq: 19,
    };
    let loss = LossBody::of_batches("outbox", "quota", (EDGE, EPOCH), Lane::Fine, (1, 3), Some(4_210));
    let clock = ClockBody { from: at(25).rfc3339(), to: at(25).plus(-DAY_MS).rfc3339(), step_ms: -DAY_MS };
    let lane = LaneLoss { lane: "fine", rows: 120, first_seq: 1, last_seq: 4 };
    let (from, to) = (at(1).rfc3339(), at(4).rfc3339());
    let rows = RowLossBody { reason: "retention", rows: 120, from, to, lanes: vec![lane] };
    vec![
        decision(5, "give", shared, (Purposes::NONE, shared)),
        decision(21, "withdraw", Purposes::SHARE, (shared, Purposes::MEASURE)),
        line(LineKind::Withdrawal, 22, true, shared, body(&floor)),
        line(LineKind::Loss, 24, false, Purposes::NONE, body(&loss)),
        line(LineKind::Clock, 25, false, Purposes::NONE, body(&clock)),
        line(LineKind::Loss, 26, false, Purposes::NONE, body(&rows)),
        line(LineKind::Loss, 27, false, Purposes::NONE, body(&damage(Some(3)))),
        line(LineKind::Loss, 28, false, Purposes::NONE, body(&damage(None))),
        line(LineKind::Checkpoint, 29, false, Purposes::NONE, checkpoint()),
        line(LineKind::Erasure, 30, false, Purposes::NONE, body(&erasure())),
    ]
}

/// The visits lane: sign-in, snapshot, counters; the first line is a hole.
fn visits_lane() -> Vec<Line> {
    vec![event(9, "user_signed_in", None), event(12, "user_signed_in", None), visit(), count()]
}

/// A line whose batch was voided: it names where it was.
fn moved(line: Line) -> Line {
    let body = line.body.clone() + &crate::domain::body::was(line.seq, (EDGE, BEFORE));
    Line { body, moved: true, ..line }
}

fn batch(lane: Lane, lines: &[Line], hole: Option<usize>) -> (Vec<u8>, Manifest) {
    let rendered: Vec<Vec<u8>> = lines.iter().map(|line| line.render(LABEL)).collect();
    let hashes: Vec<_> = rendered.iter().map(|bytes| line_hash(bytes)).collect();
    let mut ndjson = Vec::new();
    for (i, bytes) in rendered.iter().enumerate() {
        if hole == Some(i) {
            ndjson.extend(render_hole((EDGE, EPOCH), lines[i].seq, HoleReason::Withdrawn, &hashes[i]));
        } else {
            ndjson.extend_from_slice(bytes);
        }
        ndjson.push(b'\n');
    }
    let signing = SigningKey::from_seed([42; 32]);
    let (first, last) = (lines.first().unwrap(), lines.last().unwrap());
    let schema = if lines.iter().any(|line| line.moved) { SCHEMA_WAS } else { SCHEMA };
    let part = SealedPart {
        format: FORMAT,
        edge: EDGE.to_string(),
        epoch: EPOCH.to_string(),
        lane: lane.word().to_owned(),
        batch_no: 1,
        first_seq: first.seq.0,
        last_seq: last.seq.0,
        count: i64::try_from(lines.len()).unwrap(),
        digest: hex(&digest(&hashes)),
        previous_digest: Some("0d".repeat(32)),
        previous_epoch: Some(BEFORE.to_string()),
        min_received_at: first.received.rfc3339(),
        max_received_at: last.received.rfc3339(),
        sealed_at: at(60).rfc3339(),
        schema: schema.to_owned(),
        key_id: key_id(&signing.public()),
    };
    let (sealed, signature) = part.sign(&signing);
    let manifest = Manifest {
        sealed: String::from_utf8(sealed).unwrap(),
        signature: hex(&signature),
        public_key: hex(&signing.public()),
        holes: i64::from(hole.is_some()),
        complete_until: at(0).rfc3339(),
        backlog_rows: 0,
    };
    (ndjson, manifest)
}

fn check(path: PathBuf, made: &[u8]) {
    if std::env::var_os("WAYSIDE_WRITE_EXAMPLE").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, made).unwrap();
    }
    let there = fs::read(&path).unwrap();
    assert_eq!(String::from_utf8(there).unwrap(), String::from_utf8(made.to_owned()).unwrap(), "{}", path.display());
}

#[test]
fn the_examples_are_made_from_these_very_lines() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("packaging/schema/example");
    let pages = [event(11, "page_viewed", Some("https://shop.example/p/7"))];
    let batches = [
        (root.clone(), batch(Lane::Visits, &visits_lane(), Some(0))),
        (root.join("consent"), batch(Lane::Consent, &consent_lane(), None)),
        (root.join("pages"), batch(Lane::Pages, &pages, None)),
        (root.join("schema-1.1"), batch(Lane::Pages, &[moved(pages[0].clone())], None)),
    ];
    for (folder, (ndjson, manifest)) in batches {
        check(folder.join("000000000001.ndjson"), &ndjson);
        let mut text = serde_json::to_vec(&manifest).unwrap();
        text.push(b'\n');
        check(folder.join("000000000001.manifest.json"), &text);
        let found = inspect::batch(&text, &gzip::compress(&ndjson, 6), None).unwrap();
        assert_eq!(found.holes, manifest.holes, "an example is a sound batch");
    }
}
