//! Where commands print: results to standard output, everything else to standard error.
//! Must never let stored text steer a terminal. Invariant: with `--json` standard output holds JSON and nothing else.

use std::io::Write;

use serde::Serialize;
use serde_json::Value;

use crate::base::error::{Result, io};
use crate::base::text::{bytes_text, clean};
use crate::base::time::Millis;

/// Standard output and standard error.
pub struct Output {
    /// Results.
    pub out: Box<dyn Write>,
    /// Progress, hints, summaries.
    pub err: Box<dyn Write>,
}

impl Output {
    /// The real ones.
    pub fn real() -> Self {
        Output { out: Box::new(std::io::stdout()), err: Box::new(std::io::stderr()) }
    }

    /// One line of a result. Errors: `Storage`, code `broken_pipe` where the reader went away.
    pub fn line(&mut self, text: &str) -> Result<()> {
        writeln!(self.out, "{}", clean(text)).map_err(|e| io("printing", e))
    }

    /// Several lines of a result.
    pub fn lines(&mut self, lines: impl IntoIterator<Item = String>) -> Result<()> {
        lines.into_iter().try_for_each(|line| self.line(&line))
    }

    /// One line of JSON.
    pub fn json(&mut self, value: &(impl Serialize + ?Sized)) -> Result<()> {
        let text = serde_json::to_string(value).expect("invariant: what commands print has string keys");
        writeln!(self.out, "{text}").and_then(|()| self.out.flush()).map_err(|e| io("printing", e))
    }

    /// One line beside the result.
    pub fn note(&mut self, text: &str) -> Result<()> {
        writeln!(self.err, "{}", clean(text)).map_err(|e| io("printing", e))
    }
}

/// A scalar of JSON for people: sizes with units, times without the T, nothing as `-`.
pub fn shown(key: &str, value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::Bool(yes) => if *yes { "yes" } else { "no" }.to_owned(),
        Value::Number(n) if key.ends_with("_bytes") => n.as_u64().map_or_else(|| n.to_string(), bytes_text),
        Value::Number(n) if key.ends_with("_at") => {
            n.as_i64().map_or_else(|| n.to_string(), |ms| time_text(&Millis(ms).rfc3339()))
        }
        Value::Number(n) if key.ends_with("_ms") => n.as_i64().map_or_else(|| n.to_string(), span_text),
        Value::Number(n) => n.to_string(),
        Value::String(text) if key.ends_with("_at") => time_text(text),
        Value::String(text) => text.clone(),
        Value::Array(list) => {
            let parts: Vec<String> = list.iter().map(|part| shown("", part)).collect();
            if parts.is_empty() { "-".to_owned() } else { parts.join(", ") }
        }
        Value::Object(_) => value.to_string(),
    }
}

/// `2026-11-21T10:00:00.123Z` as `2026-11-21 10:00:00Z`; anything else as it is.
pub fn time_text(rfc3339: &str) -> String {
    match (rfc3339.get(..10), rfc3339.get(11..19), rfc3339.ends_with('Z') && rfc3339.len() >= 20) {
        (Some(date), Some(time), true) => format!("{date} {time}Z"),
        _ => rfc3339.to_owned(),
    }
}

/// Milliseconds as `850 ms`, `12 s`, `3 min 05 s`, `2 h 10 min`.
pub fn span_text(ms: i64) -> String {
    let seconds = ms / 1_000;
    match seconds {
        ..1 => format!("{ms} ms"),
        1..60 => format!("{seconds} s"),
        60..3_600 => format!("{} min {:02} s", seconds / 60, seconds % 60),
        _ => format!("{} h {:02} min", seconds / 3_600, seconds / 60 % 60),
    }
}

#[cfg(test)]
pub(in crate::cli) mod tests {
    use std::sync::{Arc, Mutex};

    use super::*;

    /// What was printed, for tests.
    #[derive(Clone, Default)]
    pub struct Paper(Arc<Mutex<Vec<u8>>>);

    impl Paper {
        /// The text so far.
        pub fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    impl Write for Paper {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap().write(bytes)
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn stored_text_cannot_steer_the_terminal() {
        let paper = Paper::default();
        let mut output = Output { out: Box::new(paper.clone()), err: Box::new(std::io::sink()) };
        output.line("a\x1b[2Jb\nc").unwrap();
        assert_eq!(paper.text(), "a\\u{1b}[2Jb\\nc\n");
    }

    #[test]
    fn values_read_well() {
        assert_eq!(shown("size_bytes", &serde_json::json!(2048)), "2.0 KiB");
        assert_eq!(shown("sealed_at", &serde_json::json!("2026-11-21T10:00:00.123Z")), "2026-11-21 10:00:00Z");
        assert_eq!(shown("last_at", &serde_json::json!(1_431_857_103_250_i64)), "2015-05-17 10:05:03Z");
        assert_eq!(shown("x", &Value::Null), "-");
        assert_eq!(shown("x", &serde_json::json!(["a", "b"])), "a, b");
        assert_eq!(
            [0, 850, 12_000, 185_000, 7_800_000].map(span_text),
            ["0 ms", "850 ms", "12 s", "3 min 05 s", "2 h 10 min"]
        );
        assert_eq!(time_text("soon"), "soon");
    }

    #[test]
    fn a_reader_that_went_away_has_its_own_code() {
        struct Gone;
        impl Write for Gone {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        let mut output = Output { out: Box::new(Gone), err: Box::new(std::io::sink()) };
        assert_eq!(output.line("x").unwrap_err().code, "broken_pipe");
    }
}
