//! `wayside record`: events and decisions from standard input as NDJSON, or one event from flags.
//! Must never judge a line: the collector does. Invariant: every line's fate is printed or counted, in the order of lines.

use std::io::{BufRead, Read};
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

use serde_json::{Map, Value, json};

use crate::base::error::{Error, Kind, Result, io};
use crate::base::text::cut;
use crate::cli::Context;
use crate::cli::desk::{self, Desk};
use crate::cli::output::Output;

/// Lines of one request at the most.
const LINES_MAX: usize = 500;
/// Bytes of one request at the most, as long as it has more than one line.
const BYTES_MAX: usize = 512 * 1024;
/// Bytes of one line at the most.
const LINE_BYTES_MAX: usize = 1024 * 1024;
/// How long lines wait for company while the input is quiet.
const QUIET: Duration = Duration::from_millis(200);

const AFTER: &str = "Example:
  wayside record --name page_viewed --visitor demo --url https://shop.example/ --attr size=41
  echo '{\"visitor\":\"demo\",\"action\":\"give\",\"purposes\":[\"measure\"]}' | wayside record
  wayside record --site shop < events.ndjson

A line is an event (it has a name) or a decision (it has an action and purposes).";

/// Flags of `record`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// The site; needed where several are configured.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Record one event of this name instead of reading lines.
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// The visitor; without one an event is only counted.
    #[arg(long, value_name = "ID", requires = "name")]
    visitor: Option<String>,
    /// The event's id; the same id again is a duplicate.
    #[arg(long, value_name = "ID", requires = "name")]
    event_id: Option<String>,
    /// When it happened (RFC 3339).
    #[arg(long, value_name = "TIME", requires = "name")]
    time: Option<String>,
    /// Address of the page.
    #[arg(long, value_name = "URL", requires = "name")]
    url: Option<String>,
    /// Title of the page.
    #[arg(long, value_name = "TEXT", requires = "name")]
    title: Option<String>,
    /// Name of the screen, where it is no page.
    #[arg(long, value_name = "NAME", requires = "name", conflicts_with = "url")]
    screen: Option<String>,
    /// Address of the page before.
    #[arg(long, value_name = "URL", requires = "name")]
    referrer: Option<String>,
    /// The user agent.
    #[arg(long, value_name = "TEXT", requires = "name")]
    user_agent: Option<String>,
    /// A custom attribute; may be given many times.
    #[arg(long = "attr", value_name = "KEY=VALUE", requires = "name", value_parser = pair)]
    attributes: Vec<(String, String)>,
    /// Print each result as one line of JSON.
    #[arg(long)]
    json: bool,
}

fn pair(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as KEY=VALUE".to_owned()),
    }
}

impl Args {
    /// The one event of the flags.
    fn event(&self, name: &str) -> Value {
        let mut event = Map::new();
        event.insert("name".to_owned(), json!(name));
        let fields = [
            ("visitor", &self.visitor),
            ("eventId", &self.event_id),
            ("time", &self.time),
            ("url", &self.url),
            ("title", &self.title),
            ("screen", &self.screen),
            ("referrer", &self.referrer),
            ("userAgent", &self.user_agent),
        ];
        for (field, value) in fields {
            if let Some(value) = value {
                event.insert(field.to_owned(), json!(value));
            }
        }
        if !self.attributes.is_empty() {
            let attributes = self.attributes.iter().map(|(key, value)| (key.clone(), json!(value))).collect();
            event.insert("attributes".to_owned(), Value::Object(attributes));
        }
        Value::Object(event)
    }
}

/// A line of the input, and its number from 1.
struct Line {
    number: u64,
    /// `None` = longer than a line may be.
    text: Option<Vec<u8>>,
}

/// Records what comes, until the input ends.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let mut recorder = Recorder {
        desk: context.desk()?,
        target: desk::target("/v1/events", &[("site", args.site.as_deref())]),
        json: args.json,
        tally: Tally::default(),
    };
    if let Some(name) = &args.name {
        let line = Line { number: 1, text: Some(args.event(name).to_string().into_bytes()) };
        recorder.take(vec![line], &context.stop, &mut context.output, true)?;
        return Ok(recorder.tally.code());
    }
    let input = context.input.take().ok_or_else(|| Error::invalid("there is no input to read"))?;
    if context.interactive && std::io::IsTerminal::is_terminal(&std::io::stdin()) {
        context.output.note("reading events, one a line; Ctrl-D ends")?;
    }
    let (lines, reader) = read_beside(input)?;
    let mut batch = Batch::default();
    loop {
        let next = if batch.lines.is_empty() {
            lines.recv().map_err(|_| RecvTimeoutError::Disconnected)
        } else {
            lines.recv_timeout(QUIET)
        };
        match next {
            Ok(line) => {
                if !batch.fits(&line) {
                    recorder.take(batch.lines_out(), &context.stop, &mut context.output, false)?;
                }
                batch.add(line);
            }
            Err(ended) => {
                recorder.take(batch.lines_out(), &context.stop, &mut context.output, false)?;
                if ended == RecvTimeoutError::Disconnected {
                    break;
                }
            }
        }
    }
    reader.join().map_err(|_| Error::storage("reading standard input broke off"))??;
    recorder.tally.tell(&mut context.output)?;
    Ok(recorder.tally.code())
}

/// Lines that go in one request.
#[derive(Default)]
struct Batch {
    lines: Vec<Line>,
    bytes: usize,
}

impl Batch {
    fn fits(&self, line: &Line) -> bool {
        let more = line.text.as_ref().map_or(0, Vec::len);
        self.lines.is_empty() || (self.lines.len() < LINES_MAX && self.bytes + more <= BYTES_MAX)
    }

    fn add(&mut self, line: Line) {
        self.bytes += line.text.as_ref().map_or(0, Vec::len);
        self.lines.push(line);
    }

    fn lines_out(&mut self) -> Vec<Line> {
        self.bytes = 0;
        std::mem::take(&mut self.lines)
    }
}

type Reader = std::thread::JoinHandle<Result<()>>;

/// Reads lines on a thread, so that a slow program's events do not wait for a full batch.
fn read_beside(mut input: Box<dyn BufRead + Send>) -> Result<(Receiver<Line>, Reader)> {
    let (sender, lines) = sync_channel(LINES_MAX * 2);
    let read = move || -> Result<()> {
        for number in 1.. {
            let Some(text) = next_line(&mut *input)? else { break };
            let blank = text.as_ref().is_some_and(|text| text.iter().all(u8::is_ascii_whitespace));
            if !blank && sender.send(Line { number, text }).is_err() {
                break; // whoever takes the lines has ended with an error
            }
        }
        Ok(())
    };
    let thread = std::thread::Builder::new().name("input".to_owned()).spawn(read);
    Ok((lines, thread.map_err(|e| io("starting the thread that reads", e))?))
}

/// The next line without its end; `Some(None)` for one that is too long, `None` at the end of the input.
fn next_line(input: &mut dyn BufRead) -> Result<Option<Option<Vec<u8>>>> {
    let fail = |e| io("reading standard input", e);
    let mut line = Vec::new();
    let most = u64::try_from(LINE_BYTES_MAX).unwrap_or(u64::MAX) + 1;
    if (&mut *input).take(most).read_until(b'\n', &mut line).map_err(fail)? == 0 {
        return Ok(None);
    }
    if line.last() == Some(&b'\n') {
        line.pop();
        return Ok(Some(Some(line)));
    }
    if line.len() <= LINE_BYTES_MAX {
        return Ok(Some(Some(line))); // the last line of the input
    }
    loop {
        let chunk = input.fill_buf().map_err(fail)?;
        if chunk.is_empty() {
            return Ok(Some(None));
        }
        let end = chunk.iter().position(|byte| *byte == b'\n');
        let used = end.map_or(chunk.len(), |at| at + 1);
        input.consume(used);
        if end.is_some() {
            return Ok(Some(None));
        }
    }
}

/// How many lines came to which outcome.
#[derive(Debug, Default, PartialEq, Eq)]
struct Tally(std::collections::BTreeMap<String, u64>);

impl Tally {
    fn code(&self) -> u8 {
        if self.0.contains_key("invalid") || self.0.contains_key("conflict") { 65 } else { 0 }
    }

    fn tell(&self, output: &mut Output) -> Result<()> {
        let parts: Vec<String> = self.0.iter().map(|(outcome, n)| format!("{n} {outcome}")).collect();
        output.note(&if parts.is_empty() { "no events".to_owned() } else { parts.join(", ") })
    }
}

struct Recorder {
    desk: Box<dyn Desk>,
    target: String,
    json: bool,
    tally: Tally,
}

impl Recorder {
    /// Sends lines and tells what became of them; `all` = also of those that went well.
    fn take(&mut self, lines: Vec<Line>, stop: &Receiver<()>, output: &mut Output, all: bool) -> Result<()> {
        let too_long = |line: &Line| line.text.is_none();
        let results = if lines.is_empty() {
            return Ok(());
        } else if lines.iter().any(too_long) {
            // a line that is too long splits its batch: what stands before and behind it goes on its own
            let mut rest = lines;
            while !rest.is_empty() {
                let cut_at = rest.iter().position(too_long).unwrap_or(rest.len()).max(1);
                let behind = rest.split_off(cut_at);
                if too_long(&rest[0]) {
                    self.tell(&rest[0], &too_large(), output, all)?;
                } else {
                    self.take(rest, stop, output, all)?;
                }
                rest = behind;
            }
            return Ok(());
        } else {
            self.send(&lines, stop)?
        };
        for (line, result) in lines.iter().zip(&results) {
            self.tell(line, result, output, all)?;
        }
        Ok(())
    }

    fn send(&mut self, lines: &[Line], stop: &Receiver<()>) -> Result<Vec<Value>> {
        let mut body = Vec::new();
        for text in lines.iter().filter_map(|line| line.text.as_ref()) {
            body.extend_from_slice(text);
            body.push(b'\n');
        }
        let place = || match lines {
            [only] => format!("line {}", only.number),
            [first, .., last] => format!("lines {} to {}", first.number, last.number),
            [] => String::new(),
        };
        let reply = desk::send(&mut *self.desk, stop, "POST", &self.target, ("application/x-ndjson", &body))?;
        if reply.status == 413 && lines.len() == 1 {
            return Ok(vec![too_large()]);
        }
        match desk::parse(&reply).ok().and_then(|answer| answer["results"].as_array().cloned()) {
            Some(results) if results.len() == lines.len() => Ok(results),
            _ if reply.status >= 400 => Err(desk::refusal(&reply).context(place())),
            _ => Err(Error::new(Kind::Upstream, "bad_answer", format!("{}: the answer has other results", place()))),
        }
    }

    fn tell(&mut self, line: &Line, result: &Value, output: &mut Output, all: bool) -> Result<()> {
        let outcome = result["outcome"].as_str().unwrap_or("unknown");
        *self.tally.0.entry(outcome.to_owned()).or_default() += 1;
        if self.json {
            let mut shown = json!({"line": line.number});
            if let (Some(shown), Some(result)) = (shown.as_object_mut(), result.as_object()) {
                shown.extend(result.clone());
            }
            return output.json(&shown);
        }
        let well = matches!(outcome, "accepted" | "duplicate" | "recorded");
        if well && !all {
            return Ok(());
        }
        output.line(&describe(line.number, outcome, result, all))
    }
}

fn too_large() -> Value {
    json!({"outcome": "invalid", "field": "line", "what": format!("is longer than {LINE_BYTES_MAX} bytes, or than the collector takes")})
}

/// `line 3: counted (no_decision) -> record a decision first ...`.
fn describe(number: u64, outcome: &str, result: &Value, one: bool) -> String {
    let text = |key: &str| result[key].as_str();
    let mut out = if one { outcome.to_owned() } else { format!("line {number}: {outcome}") };
    if let Some(id) = text("eventId").filter(|_| one) {
        out.push_str(&format!(" {id}"));
    }
    if let (Some(field), Some(what)) = (text("field"), text("what")) {
        out.push_str(&format!(": {} {}", cut(field, 120), cut(what, 400)));
    } else if let Some(reason) = text("reason") {
        out.push_str(&format!(" ({reason})"));
    }
    if let Some(withheld) = result["withheld"].as_array().filter(|list| !list.is_empty()) {
        let names: Vec<&str> = withheld.iter().filter_map(Value::as_str).collect();
        out.push_str(&format!(", withheld {}", names.join(", ")));
    }
    if let Some(remedy) = text("remedy").filter(|remedy| !remedy.is_empty()) {
        out.push_str(&format!(" -> {remedy}"));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<Option<usize>> {
        let mut input = std::io::Cursor::new(text.as_bytes().to_vec());
        std::iter::from_fn(|| next_line(&mut input).unwrap()).map(|line| line.map(|text| text.len())).collect()
    }

    #[test]
    fn lines_are_cut_at_their_limit_and_no_earlier() {
        let most = "x".repeat(LINE_BYTES_MAX);
        assert_eq!(lines("a\n\nbc"), [Some(1), Some(0), Some(2)]);
        assert_eq!(lines(&format!("{most}\nb\n")), [Some(LINE_BYTES_MAX), Some(1)]);
        assert_eq!(lines(&most), [Some(LINE_BYTES_MAX)]);
        assert_eq!(lines(&format!("{most}y\nb\n")), [None, Some(1)]);
        assert_eq!(lines(&format!("{most}yyyyyy")), [None]);
    }

    #[test]
    fn a_fate_reads_with_reason_and_remedy() {
        let result = json!({"outcome": "counted", "reason": "no_decision", "remedy": "record a decision first"});
        assert_eq!(describe(3, "counted", &result, false), "line 3: counted (no_decision) -> record a decision first");
        let result = json!({"outcome": "invalid", "field": "name", "what": "is missing", "reason": "is missing"});
        assert_eq!(describe(1, "invalid", &result, false), "line 1: invalid: name is missing");
        let result = json!({"outcome": "accepted", "eventId": "e1", "withheld": ["traits"]});
        assert_eq!(describe(1, "accepted", &result, true), "accepted e1, withheld traits");
    }
}
