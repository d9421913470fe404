//! What an import makes of logs: totals, second imports, growth, crashes, rotation. The store here is a list in memory.
//! Must never need a daemon. Invariant: each waiting ends by an event, at the latest after ten seconds.

use std::fs::{self, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::thread;

use tempfile::TempDir;

use super::*;
use crate::base::gzip::compress;
use crate::domain::device::Agent;

/// A store in memory. One `take` is one transaction: it happens whole, or not at all.
#[derive(Default)]
struct Memory {
    records: Vec<Taken>,
    events: Vec<Event>,
    batches: Vec<usize>,
    /// Fails at this batch: before it is stored, or behind it, so that the answer is lost.
    fails_at: Option<(usize, When)>,
    /// Told of each event stored.
    seen: Option<Sender<String>>,
}

#[derive(Clone, Copy, PartialEq)]
enum When {
    Before,
    Behind,
}

impl Sink for Memory {
    fn known(&mut self, head: &[u8]) -> Result<Option<Taken>> {
        Ok(recognise(head, self.records.iter().copied()))
    }

    fn take(&mut self, batch: Vec<Event>, step: Progress) -> Result<Vec<Took>> {
        let fails = self.fails_at.filter(|(at, _)| *at == self.batches.len()).map(|(_, when)| when);
        if fails == Some(When::Before) {
            return Err(Error::storage("power lost"));
        }
        let from = step.was.and_then(|was| self.records.iter().position(|record| *record == was));
        assert_eq!(from.is_some(), step.was.is_some(), "the step starts from what is recorded");
        if let Some(from) = from {
            self.records.remove(from);
        }
        self.records.push(step.now);
        self.batches.push(batch.len());
        for event in &batch {
            self.events.push(event.clone());
            if let Some(seen) = &self.seen {
                seen.send(event.page.title.clone().unwrap()).unwrap();
            }
        }
        if fails == Some(When::Behind) {
            return Err(Error::storage("power lost"));
        }
        Ok(batch.iter().map(|_| Took { fate: Fate::Accepted, began: None }).collect())
    }
}

fn shape(line: &LogLine<'_>, visitor: Option<ClientId>) -> Event {
    let mut event = Event::named("page_viewed");
    event.visitor = visitor;
    event.imported_at = Some(line.at);
    event.page.title = Some(line.target.to_string());
    let robot = line.user_agent.contains("bot").then(|| "bot".to_owned());
    event.agent = Some(Arc::new(Agent { robot, ..Agent::default() }));
    event
}

fn options() -> ImportOptions {
    ImportOptions { basis: Some(LawfulBasis::LegitimateInterest), poll_ms: 5, ..ImportOptions::default() }
}

fn import_with(options: &ImportOptions, sink: &mut Memory, paths: &[&Path], stop: &Stop) -> Result<Tally> {
    let sources: Vec<Source> = paths.iter().map(|path| Source::File(path.to_path_buf())).collect();
    Import { options, sink, shape: &shape, stop, progress: &mut |_, _| {} }.run(&sources)
}

fn import(sink: &mut Memory, path: &Path) -> Result<Tally> {
    import_with(&options(), sink, &[path], &Stop::never())
}

/// Page views `from..to` of as many visitors, one a second.
fn views(from: usize, to: usize) -> String {
    (from..to).map(|n| format!("{}\n", view(n))).collect()
}

fn view(n: usize) -> String {
    let (minute, second) = (n / 60 % 60, n % 60);
    format!(
        r#"10.0.0.{} - - [02/Mar/2026:{:02}:{minute:02}:{second:02} +0000] "GET /{n} HTTP/1.1" 200 1 "-" "a""#,
        n % 250,
        n / 3600
    )
}

fn targets(sink: &Memory) -> Vec<String> {
    sink.events.iter().map(|event| event.page.title.clone().unwrap()).collect()
}

fn numbers(from: usize, to: usize) -> Vec<String> {
    (from..to).map(|n| format!("/{n}")).collect()
}

fn file(folder: &TempDir, name: &str, bytes: impl AsRef<[u8]>) -> PathBuf {
    let path = folder.path().join(name);
    fs::write(&path, bytes).unwrap();
    path
}

fn append(path: &Path, text: &str) {
    OpenOptions::new().append(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
}

fn folder() -> TempDir {
    tempfile::tempdir().unwrap()
}

fn only_duplicates(lines: u64) -> Tally {
    Tally { lines, duplicates: lines, ..Tally::default() }
}

#[test]
fn the_corpus_log_has_the_totals_it_was_made_with() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/corpus");
    let expected: serde_json::Value =
        serde_json::from_slice(&fs::read(corpus.join("access-log.expected.json")).unwrap()).unwrap();
    let mut sink = Memory::default();
    let tally = import(&mut sink, &corpus.join("access.log")).unwrap();
    assert_eq!(serde_json::to_value(tally).unwrap(), expected);
    let again = import(&mut sink, &corpus.join("access.log")).unwrap();
    assert_eq!(again, only_duplicates(tally.lines));
}

#[test]
fn the_tally_has_its_keys_in_their_order() {
    let keys = "lines malformed page_views assets other_method other_status robots visitors visits duplicates";
    let expected: String = keys.split(' ').map(|key| format!("\"{key}\":0,")).collect();
    let text = serde_json::to_string(&Tally::default()).unwrap();
    assert_eq!(text, format!("{{{}}}", expected.trim_end_matches(',')));
}

#[test]
fn a_grown_file_is_continued_though_it_was_short() {
    let (folder, mut sink) = (folder(), Memory::default());
    let path = file(&folder, "log", views(0, 3));
    assert_eq!(import(&mut sink, &path).unwrap().page_views, 3);
    for (from, to) in [(3, 10), (10, 2_000), (2_000, 2_500)] {
        append(&path, &views(from, to));
        let tally = import(&mut sink, &path).unwrap();
        assert_eq!((tally.duplicates, tally.page_views), (from as u64, (to - from) as u64));
    }
    assert!(fs::metadata(&path).unwrap().len() > 128 * 1024);
    assert_eq!((targets(&sink), sink.records.len()), (numbers(0, 2_500), 1));
    let packed = file(&folder, "log.1.gz", compress(&fs::read(&path).unwrap(), 6));
    assert_eq!(import(&mut sink, &packed).unwrap(), only_duplicates(2_500));
    let shorter = file(&folder, "shorter", views(0, 1_000));
    assert_eq!(import(&mut sink, &shorter).unwrap(), only_duplicates(1_000));
    assert_eq!(sink.records[0].lines, 2_500);
}

#[test]
fn another_file_is_another_source_though_its_first_line_is_the_same() {
    let (folder, mut sink) = (folder(), Memory::default());
    let one = file(&folder, "one", views(0, 3));
    let two = file(&folder, "two", views(0, 1) + &views(50, 53));
    import(&mut sink, &one).unwrap();
    assert_eq!(import(&mut sink, &two).unwrap().page_views, 4);
    assert_eq!(import(&mut sink, &one).unwrap(), only_duplicates(3));
    assert_eq!(import(&mut sink, &two).unwrap(), only_duplicates(4));
}

#[test]
fn the_longest_matching_record_wins() {
    let record = |head: &[u8], lines| Taken { source: sha256(head), head_bytes: head.len(), bytes: 9, lines };
    let records = [record(b"abc", 1), record(b"abcdef", 2), record(b"xyz", 3), record(b"", 4), record(b"abcdefghi", 5)];
    assert_eq!(recognise(b"abcdefg", records).unwrap().lines, 2);
    assert_eq!(recognise(b"abcd", records).unwrap().lines, 1);
    assert_eq!(recognise(b"ab", records), None);
    assert_eq!(recognise(b"", records), None);
}

#[test]
fn a_piece_of_a_last_line_is_taken_when_it_is_whole() {
    let (folder, mut sink) = (folder(), Memory::default());
    let (whole, end) = (view(1), view(2));
    let path = file(&folder, "log", views(0, 1) + &whole[..whole.len() - 5]);
    let tally = import(&mut sink, &path).unwrap();
    assert_eq!((tally.lines, tally.malformed, tally.page_views), (2, 1, 1));
    assert_eq!(import(&mut sink, &path).unwrap(), only_duplicates(2));
    append(&path, &format!("{}\n{end}", &whole[whole.len() - 5..]));
    let tally = import(&mut sink, &path).unwrap();
    assert_eq!((tally.lines, tally.duplicates, tally.page_views, tally.malformed), (3, 1, 2, 0));
    append(&path, &format!("\r\n{}", views(3, 4)));
    let tally = import(&mut sink, &path).unwrap();
    assert_eq!((tally.lines, tally.duplicates, tally.page_views), (4, 3, 1));
    assert_eq!(targets(&sink), numbers(0, 4));
}

#[test]
fn a_crash_between_batches_neither_loses_nor_doubles_a_line() {
    for when in [When::Before, When::Behind] {
        for batch in 0..3 {
            let folder = folder();
            let path = file(&folder, "log", views(0, 2_345));
            let mut sink = Memory { fails_at: Some((batch, when)), ..Memory::default() };
            assert!(import(&mut sink, &path).is_err());
            sink.fails_at = None;
            let tally = import(&mut sink, &path).unwrap();
            assert_eq!(tally.duplicates + tally.page_views, 2_345);
            assert_eq!(targets(&sink), numbers(0, 2_345));
            assert!(sink.batches.iter().all(|events| *events <= BATCH_EVENTS_MAX));
        }
    }
}

#[test]
fn a_log_without_page_views_is_remembered_too() {
    let (folder, mut sink) = (folder(), Memory::default());
    let path = file(&folder, "log", views(0, 500).replace(" HTTP", ".css HTTP"));
    let tally = import(&mut sink, &path).unwrap();
    assert_eq!((tally.assets, tally.lines, sink.batches.clone()), (500, 500, vec![0]));
    assert_eq!(import(&mut sink, &path).unwrap(), only_duplicates(500));
    let empty = file(&folder, "empty", "");
    assert_eq!(import(&mut sink, &empty).unwrap(), Tally::default());
    assert_eq!(sink.records.len(), 1);
}

#[test]
fn gzip_of_many_members_is_one_log() {
    let (folder, mut sink) = (folder(), Memory::default());
    let bytes = [views(0, 700), views(700, 1_500)].map(|text| compress(text.as_bytes(), 6)).concat();
    let path = file(&folder, "log.gz", bytes);
    assert_eq!(import(&mut sink, &path).unwrap().page_views, 1_500);
    assert_eq!(targets(&sink), numbers(0, 1_500));
}

#[test]
fn damaged_gzip_gives_its_whole_lines_and_is_continued_when_mended() {
    let (folder, mut sink) = (folder(), Memory::default());
    let bytes = compress(views(0, 1_500).as_bytes(), 6);
    let path = file(&folder, "log.gz", &bytes[..bytes.len() * 2 / 3]);
    assert_eq!(import(&mut sink, &path).unwrap_err().code, "bad_gzip");
    let taken = sink.events.len();
    assert!((500..1_500).contains(&taken), "{taken}");
    fs::write(&path, bytes).unwrap();
    assert_eq!(import(&mut sink, &path).unwrap().duplicates, taken as u64);
    assert_eq!(targets(&sink), numbers(0, 1_500));
}

#[test]
fn a_line_may_have_64_kib_and_no_more() {
    let (folder, mut sink) = (folder(), Memory::default());
    let sized = |bytes: usize| {
        let line = view(7);
        line.replace("/7", &format!("/{}", "x".repeat(bytes - line.len() + 1)))
    };
    assert_eq!(sized(65_536).len(), 65_536);
    let huge = "x".repeat(300_000);
    let text = [sized(65_536), sized(65_537), view(1), huge.clone(), view(2), huge].join("\n");
    let path = file(&folder, "log", text);
    let tally = import(&mut sink, &path).unwrap();
    assert_eq!((tally.lines, tally.page_views, tally.malformed), (6, 3, 3));
    assert_eq!(import(&mut sink, &path).unwrap(), only_duplicates(6));
}

#[test]
fn a_batch_ends_before_its_lines_grow_too_large() {
    let (folder, mut sink) = (folder(), Memory::default());
    let long = "x".repeat(60_000);
    let path = file(&folder, "log", views(0, 30).replace(" HTTP", &format!("{long} HTTP")));
    assert_eq!(import(&mut sink, &path).unwrap().page_views, 30);
    assert_eq!(sink.batches, [9, 9, 9, 3]);
}

#[test]
fn without_a_basis_nobody_is_told_apart() {
    let (folder, mut sink) = (folder(), Memory::default());
    let path = file(&folder, "log", views(0, 10));
    let tally = import_with(&ImportOptions::default(), &mut sink, &[&path], &Stop::never()).unwrap();
    assert_eq!((tally.page_views, tally.visitors, tally.visits), (10, 0, 0));
    assert!(sink.events.iter().all(|event| event.visitor.is_none()));
}

#[test]
fn a_visitor_is_the_same_within_a_run_and_another_in_the_next() {
    let (folder, mut sink) = (folder(), Memory::default());
    let paths = [file(&folder, "one", views(0, 1)), file(&folder, "two", views(250, 251))];
    let paths = [paths[0].as_path(), paths[1].as_path()];
    let tally = import_with(&options(), &mut sink, &paths, &Stop::never()).unwrap();
    assert_eq!((tally.visitors, tally.visits), (1, 1));
    assert_eq!(sink.events[0].visitor, sink.events[1].visitor);
    let mut other = Memory::default();
    import_with(&options(), &mut other, &paths, &Stop::never()).unwrap();
    assert_ne!(sink.events[0].visitor, other.events[0].visitor);
    let id = other.events[0].visitor.as_ref().unwrap().to_string();
    assert!(id.len() == 32 && id.bytes().all(|b| b.is_ascii_hexdigit()));
}

#[test]
fn what_the_store_tells_of_visits_is_believed() {
    struct Telling(Memory);
    impl Sink for Telling {
        fn known(&mut self, head: &[u8]) -> Result<Option<Taken>> {
            self.0.known(head)
        }
        fn take(&mut self, batch: Vec<Event>, step: Progress) -> Result<Vec<Took>> {
            let fates = [Fate::Accepted, Fate::Counted];
            let began = Some(Began { visitor: false, visit: true });
            let took = self.0.take(batch, step)?;
            Ok(took.iter().zip(fates.into_iter().cycle()).map(|(_, fate)| Took { fate, began }).collect())
        }
    }
    let folder = folder();
    let source = Source::File(file(&folder, "log", views(0, 10)));
    let (mut sink, mut shown) = (Telling(Memory::default()), Vec::new());
    let tally = Import {
        options: &options(),
        sink: &mut sink,
        shape: &shape,
        stop: &Stop::never(),
        progress: &mut |done, total| shown.push((done, total)),
    }
    .run(&[source])
    .unwrap();
    assert_eq!((tally.visitors, tally.visits), (0, 5));
    let bytes = views(0, 10).len() as u64;
    assert_eq!(shown.last(), Some(&(bytes, Some(bytes))));
}

#[test]
fn a_basis_must_be_one_that_a_log_can_have() {
    assert!(options().check().is_ok() && ImportOptions::default().check().is_ok());
    let consent = ImportOptions { basis: Some(LawfulBasis::Consent), ..options() };
    assert_eq!(consent.check().unwrap_err().code, "import_basis");
    let blind = ImportOptions { purposes: Purposes::PROFILE, ..options() };
    assert_eq!(blind.check().unwrap_err().code, "import_purposes");
}

#[test]
fn a_missing_file_is_told_of_before_anything_is_read() {
    let (folder, mut sink) = (folder(), Memory::default());
    let (here, gone) = (file(&folder, "log", views(0, 3)), folder.path().join("gone"));
    let error = import_with(&options(), &mut sink, &[&here, &gone], &Stop::never()).unwrap_err();
    assert_eq!((error.kind, sink.batches.len()), (Kind::NotFound, 0));
}

#[test]
fn a_stopped_run_keeps_what_it_took_and_the_next_goes_on() {
    let (folder, mut sink) = (folder(), Memory::default());
    let path = file(&folder, "log", views(0, 1_700));
    let (sender, told) = Stop::pair();
    drop(sender);
    let tally = import_with(&options(), &mut sink, &[&path], &told).unwrap();
    assert_eq!((tally.page_views, sink.events.len()), (1_000, 1_000));
    assert_eq!(import(&mut sink, &path).unwrap().page_views, 700);
    assert_eq!(targets(&sink), numbers(0, 1_700));
}

#[test]
fn only_a_plain_file_can_be_followed() {
    let (folder, mut sink) = (folder(), Memory::default());
    let options = ImportOptions { follow: true, ..options() };
    let packed = file(&folder, "log.gz", compress(views(0, 3).as_bytes(), 6));
    for path in [packed.as_path(), Path::new("/dev/null")] {
        let error = import_with(&options, &mut sink, &[path], &Stop::never()).unwrap_err();
        assert_eq!(error.code, "import_follow");
    }
}

/// A file followed in a thread of its own.
struct Followed {
    stop: Sender<()>,
    seen: Receiver<String>,
    thread: thread::JoinHandle<(Tally, Memory)>,
}

impl Followed {
    fn begin(path: &Path, mut sink: Memory) -> Self {
        let ((stop, told), (seen_by, seen)) = (Stop::pair(), channel());
        sink.seen = Some(seen_by);
        let path = path.to_path_buf();
        let thread = thread::spawn(move || {
            let options = ImportOptions { follow: true, ..options() };
            let tally = import_with(&options, &mut sink, &[&path], &told).unwrap();
            (tally, sink)
        });
        Followed { stop, seen, thread }
    }

    /// Waits until exactly these were stored, in this order.
    fn expect(&self, from: usize, to: usize) {
        for n in from..to {
            assert_eq!(self.seen.recv_timeout(Duration::from_secs(10)), Ok(format!("/{n}")));
        }
    }

    fn end(self) -> (Tally, Memory) {
        drop(self.stop);
        self.thread.join().unwrap()
    }
}

#[test]
fn a_followed_file_is_read_as_it_grows() {
    let folder = folder();
    let path = file(&folder, "log", views(0, 2));
    let followed = Followed::begin(&path, Memory::default());
    followed.expect(0, 2);
    let next = views(2, 3);
    append(&path, &next[..30]);
    append(&path, &next[30..]);
    followed.expect(2, 3);
    append(&path, &views(3, 2_000));
    followed.expect(3, 2_000);
    append(&path, &view(2_000)[..20]);
    let (tally, sink) = followed.end();
    assert_eq!((tally.lines, tally.page_views, sink.records.len()), (2_000, 2_000, 1));
    append(&path, &format!("{}\n", &view(2_000)[20..]));
    let followed = Followed::begin(&path, sink);
    followed.expect(2_000, 2_001);
    let (tally, sink) = followed.end();
    assert_eq!((tally.duplicates, tally.page_views), (2_000, 1));
    assert_eq!(targets(&sink), numbers(0, 2_001));
}

#[test]
fn a_followed_file_survives_being_renamed() {
    let folder = folder();
    let (path, old) = (file(&folder, "log", views(0, 2)), folder.path().join("log.1"));
    let followed = Followed::begin(&path, Memory::default());
    followed.expect(0, 2);
    fs::rename(&path, &old).unwrap();
    append(&old, &views(2, 4));
    followed.expect(2, 4);
    append(&old, &view(4));
    file(&folder, "log", views(5, 7));
    followed.expect(4, 7);
    append(&path, &views(7, 8));
    followed.expect(7, 8);
    let (tally, mut sink) = followed.end();
    assert_eq!((tally.lines, tally.page_views, tally.malformed), (8, 8, 0));
    assert_eq!(import(&mut sink, &old).unwrap(), only_duplicates(5));
    assert_eq!(import(&mut sink, &path).unwrap(), only_duplicates(3));
}

#[test]
fn a_followed_file_survives_being_emptied() {
    let folder = folder();
    let path = file(&folder, "log", views(0, 4));
    let followed = Followed::begin(&path, Memory::default());
    followed.expect(0, 4);
    fs::write(&path, views(4, 5)).unwrap();
    followed.expect(4, 5);
    // Longer than what was read of the old one: its length alone tells nothing.
    fs::write(&path, views(5, 12)).unwrap();
    followed.expect(5, 12);
    fs::write(&path, "").unwrap();
    append(&path, &views(12, 14));
    followed.expect(12, 14);
    assert_eq!(followed.end().0.page_views, 14);
}
