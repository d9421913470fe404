//! An upstream so simple that it is right by looking at it: batches by their key, each looked into when it comes, and what
//! a reader makes of their lines. Must never use the program's own receiver.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use wayside::base::gzip;
use wayside::base::id::EdgeId;
use wayside::domain::batch::SealedPart;
use wayside::domain::delivery::Watermark;
use wayside::forward::inspect;

/// What became of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Taken {
    New,
    Same,
    /// Another batch lies under this key: its digest.
    Fork(String),
}

struct Batch {
    part: SealedPart,
    /// By the line's number within the batch; a hole stays one.
    lines: Vec<Value>,
}

#[derive(Default)]
pub struct Upstream {
    batches: BTreeMap<String, Batch>,
    /// Keys under which another batch came.
    pub forks: Vec<String>,
}

/// Every marker in some bytes: `/m`, eight hexadecimal digits, `z`.
pub fn markers(bytes: &[u8]) -> Vec<String> {
    let text = std::str::from_utf8(bytes).expect("lines are text");
    let found = text.match_indices("/m").filter_map(|(at, _)| text.get(at + 1..at + 11));
    found.filter(|marker| marker.ends_with('z')).map(str::to_owned).collect()
}

/// A row's identity: edge, birth epoch, number.
fn origin(line: &Value) -> String {
    format!("{}/{}/{}", line["edge"].as_str().unwrap(), line["epoch"].as_str().unwrap(), line["seq"])
}

impl Upstream {
    pub fn take(&mut self, key: &str, manifest: &[u8], gz: &[u8]) -> Taken {
        let inspected = inspect::batch(manifest, gz, None).unwrap();
        let part = inspected.part;
        let own = format!("{}/{}/{}/{:012}", part.edge, part.epoch, part.lane, part.batch_no);
        assert_eq!(own, key, "a batch comes under its own key");
        let text = String::from_utf8(gzip::decompress(gz, 1 << 24).unwrap()).unwrap();
        let mut lines: Vec<Value> = text.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let Some(there) = self.batches.get(key) else {
            self.batches.insert(key.to_owned(), Batch { part, lines });
            return Taken::New;
        };
        if there.part.digest != part.digest {
            self.forks.push(key.to_owned());
            return Taken::Fork(there.part.digest.clone());
        }
        // a late request may know less: a hole stays one
        for (line, known) in lines.iter_mut().zip(&there.lines) {
            if known["kind"] == "hole" {
                *line = known.clone();
            }
        }
        self.batches.insert(key.to_owned(), Batch { part, lines });
        Taken::Same
    }

    pub fn watermarks(&self, edge: EdgeId) -> Vec<Watermark> {
        let edge = edge.to_string();
        let mut out: Vec<Watermark> = Vec::new();
        // keys sort by epoch, lane and number
        for batch in self.batches.values().filter(|batch| batch.part.edge == edge) {
            let part = &batch.part;
            let mark = Watermark {
                first_no: None,
                epoch: part.epoch.clone(),
                lane: part.lane.clone(),
                batch_no: part.batch_no,
                last_seq: part.last_seq,
                digest: part.digest.clone(),
            };
            match out.last_mut() {
                Some(last)
                    if last.epoch == mark.epoch && last.lane == mark.lane && last.batch_no + 1 == mark.batch_no =>
                {
                    *last = mark;
                }
                Some(last) if last.epoch == mark.epoch && last.lane == mark.lane => {}
                _ if mark.batch_no == 1 => out.push(mark),
                _ => {}
            }
        }
        out
    }

    /// No number is missing, each batch names the one before it.
    pub fn expect_chains_hold(&self) {
        let mut before: Option<&SealedPart> = None;
        for batch in self.batches.values() {
            let part = &batch.part;
            match before
                .filter(|before| (&before.edge, &before.epoch, &before.lane) == (&part.edge, &part.epoch, &part.lane))
            {
                Some(before) => {
                    assert_eq!(part.batch_no, before.batch_no + 1, "{part:?}");
                    assert_eq!(part.previous_digest.as_ref(), Some(&before.digest), "{part:?}");
                }
                None => assert_eq!(part.batch_no, 1, "a lane begins with its first batch: {part:?}"),
            }
            before = Some(part);
        }
    }

    /// The digest of the batch under a key.
    pub fn digest_of(&self, key: &str) -> Option<String> {
        self.batches.get(key).map(|batch| batch.part.digest.clone())
    }

    /// Every line that came, in words, that tells of a marker or of the visitor behind it.
    pub fn explain(&self, marker: &str) -> String {
        let all = || self.batches.iter().flat_map(|(key, batch)| batch.lines.iter().map(move |line| (key, line)));
        let own = all().find(|(_, line)| line["kind"] == "event" && line.to_string().contains(marker));
        let Some((_, own)) = own else { return format!("nothing of {marker} came") };
        let (visitor, seq) = (&own["visitor_ref"], &own["seq"]);
        let told = all().filter(|(_, line)| {
            &line["seq"] == seq && line["kind"] != "visit"
                || &line["visitor_ref"] == visitor && line["kind"] != "event" && line["kind"] != "visit"
        });
        told.map(|(key, line)| format!("\n{key}: {line}")).collect()
    }

    /// How often a reader sees each event who keeps one line of each identity (a line that says where it was has that one)
    /// and does what withdrawals and erasures say.
    pub fn seen(&self) -> BTreeMap<String, usize> {
        let mut rows: BTreeMap<(String, String), &Value> = BTreeMap::new();
        let mut born: BTreeMap<String, (&String, &Value)> = BTreeMap::new();
        let (mut floors, mut gone, mut holes) = (BTreeMap::new(), BTreeSet::new(), BTreeSet::new());
        let lines = self.batches.iter().flat_map(|(key, batch)| batch.lines.iter().map(move |line| (key, line)));
        for (key, line) in lines {
            let visitor = || line["visitor_ref"].as_str().unwrap().to_owned();
            match line["kind"].as_str().unwrap() {
                "hole" => drop(holes.insert(origin(line))),
                "withdrawal" => {
                    let floor: &mut i64 = floors.entry(visitor()).or_insert(0);
                    *floor = (*floor).max(line["floor_seq"].as_i64().unwrap());
                }
                "erasure" => drop(gone.insert(visitor())),
                "event" => {
                    let before = born.insert(origin(line), (key, line));
                    let same = before.is_none_or(|(_, before)| before == line);
                    assert!(same, "one origin, two rows: {before:?} and {key} {line}");
                    let was = if line["was"].is_object() { origin(&line["was"]) } else { origin(line) };
                    rows.insert((was, line["event_id"].as_str().unwrap().to_owned()), line);
                }
                _ => {}
            }
        }
        let mut seen = BTreeMap::new();
        for line in rows.values() {
            let visitor = line["visitor_ref"].as_str().unwrap();
            let floor = floors.get(visitor).copied().unwrap_or(0);
            if holes.contains(&origin(line)) || gone.contains(visitor) || line["seq"].as_i64().unwrap() <= floor {
                continue;
            }
            for marker in markers(line.to_string().as_bytes()) {
                *seen.entry(marker).or_insert(0) += 1;
            }
        }
        seen
    }
}
