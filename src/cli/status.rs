//! `wayside status`: is all well? From the file, and from the daemon where one runs.
//! Must never decide what is well: it prints what it is told. Invariant: the first line alone answers the question.

use serde_json::{Map, Value, json};

use crate::base::error::Result;
use crate::cli::output::shown;
use crate::cli::table::{Table, pairs};
use crate::cli::{Context, desk};

const AFTER: &str = "Example:
  wayside status
  wayside status --json | jq .attention

The first line is `ok`, or `attention: ...` with what is not well.";

/// In this order; what else there is follows.
const SECTIONS: [&str; 10] =
    ["totals", "lanes", "targets", "alarms", "holes", "refused", "tallies", "disk", "clock", "database"];

/// Flags of `status`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Asks the file and the daemon, and prints.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let told = match desk::daemon(&context.control_socket)? {
        Some(mut daemon) => Some(desk::ask(&mut *daemon, &context.stop, "GET", "/v1/status", &Value::Null)?),
        None => None,
    };
    let file = context.history()?.status(context.clock.now())?;
    let status = merged(serde_json::to_value(&file).unwrap_or_default(), told);
    if args.json {
        context.output.json(&status)?;
    } else {
        context.output.lines(lines(&status))?;
    }
    Ok(0)
}

/// What the file tells, overlaid by what the daemon tells; what needs attention is the sum of both.
fn merged(file: Value, daemon: Option<Value>) -> Value {
    let (Value::Object(mut all), running) = (file, daemon.is_some()) else { return Value::Null };
    let mut attention = list(all.get("attention"));
    let mut rest = Map::new();
    if let Some(Value::Object(told)) = daemon {
        for (key, value) in told {
            match (key.as_str(), &value) {
                ("attention", _) => {
                    let known: Vec<Value> = attention.iter().map(|a| a["what"].clone()).collect();
                    attention.extend(list(Some(&value)).into_iter().filter(|a| !known.contains(&a["what"])));
                }
                (_, Value::Object(_) | Value::Array(_)) => {
                    all.insert(key, value);
                }
                _ => {
                    rest.insert(key, value);
                }
            }
        }
    }
    rest.insert("running".to_owned(), json!(running));
    all.insert("daemon".to_owned(), Value::Object(rest));
    all.insert("attention".to_owned(), Value::Array(attention));
    Value::Object(all)
}

fn list(value: Option<&Value>) -> Vec<Value> {
    value.and_then(Value::as_array).cloned().unwrap_or_default()
}

fn lines(status: &Value) -> Vec<String> {
    let attention = list(status.get("attention"));
    let what = |a: &Value| a["what"].as_str().map_or_else(|| a.to_string(), str::to_owned);
    let mut out = vec![match attention.as_slice() {
        [] => "ok".to_owned(),
        [one] => format!("attention: {}", what(one)),
        [first, rest @ ..] => format!("attention: {} (and {} more)", what(first), rest.len()),
    }];
    for (at, one) in attention.iter().enumerate() {
        if at > 0 {
            out.push(format!("  {}", what(one)));
        }
        if let Some(remedy) = one["remedy"].as_str().filter(|remedy| !remedy.is_empty()) {
            out.push(format!("  -> {remedy}"));
        }
    }
    let running = status["daemon"]["running"] == json!(true);
    let file = status["database"]["file"].as_str().unwrap_or("the database");
    if !running {
        out.push(format!("no daemon runs; read from {file}"));
    }
    let all = status.as_object().into_iter().flatten();
    let others = all.map(|(key, _)| key.as_str()).filter(|key| !SECTIONS.contains(key) && *key != "attention");
    for key in SECTIONS.into_iter().chain(others) {
        if key == "daemon" && !running {
            continue;
        }
        let section = section(&status[key]);
        if !section.is_empty() {
            out.extend([String::new(), key.to_owned()]);
            out.extend(section.into_iter().map(|line| format!("  {line}")));
        }
    }
    out
}

/// An object as pairs, a list of objects as a table; nothing where there is nothing.
pub(in crate::cli) fn section(value: &Value) -> Vec<String> {
    match value {
        Value::Object(fields) => {
            let nested = |value: &Value| match value {
                Value::Array(rows) => rows.first().is_none_or(Value::is_object),
                other => other.is_object(),
            };
            let (parts, plain): (Vec<_>, Vec<_>) = fields.iter().partition(|(_, value)| nested(value));
            let list: Vec<(String, String)> = plain.iter().map(|(key, value)| (label(key), told(key, value))).collect();
            let mut lines = pairs("", &list);
            for (key, value) in parts {
                let inner = section(value);
                if !inner.is_empty() {
                    lines.push(label(key));
                    lines.extend(inner.into_iter().map(|line| format!("  {line}")));
                }
            }
            lines
        }
        Value::Array(rows) => {
            let Some(first) = rows.first().and_then(Value::as_object) else {
                return rows.iter().map(|row| shown("", row)).collect();
            };
            // serde_json keeps an object's keys sorted; what names the row goes first
            let mut keys: Vec<&String> = first.keys().collect();
            let names = ["target", "lane", "code", "about", "what", "name", "site"];
            keys.sort_by_key(|key| names.iter().position(|name| name == key).unwrap_or(names.len()));
            let numeric = |key: &str| !key.ends_with("_at") && rows.iter().all(|row| row[key].is_number());
            let heads: Vec<String> =
                keys.iter().map(|key| format!("{}{}", if numeric(key) { ">" } else { "" }, label(key))).collect();
            let mut table = Table::new(&heads.iter().map(String::as_str).collect::<Vec<_>>());
            for row in rows {
                table.row(keys.iter().map(|key| told(key, &row[key.as_str()])));
            }
            table.lines()
        }
        _ => Vec::new(),
    }
}

/// `size_bytes` as `size`.
fn label(key: &str) -> String {
    let bare = ["_bytes", "_at", "_ms"].into_iter().find_map(|unit| key.strip_suffix(unit)).unwrap_or(key);
    bare.replace('_', " ")
}

/// A counter that is not told is one under five.
fn told(key: &str, value: &Value) -> String {
    if value.is_null() && key.starts_with("counted") { "<5".to_owned() } else { shown(key, value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> Value {
        json!({"attention": [], "database": {"file": "/d/wayside.db", "size_bytes": 2048},
            "totals": {"events": 3, "counted": null}, "lanes": [{"lane": "pages", "batches": 2}], "holes": []})
    }

    #[test]
    fn the_first_line_answers() {
        let well = lines(&merged(file(), None));
        assert_eq!(well[..2], ["ok", "no daemon runs; read from /d/wayside.db"]);
        assert!(well.contains(&"  counted  <5".to_owned()) && well.contains(&"  size  2.0 KiB".to_owned()), "{well:?}");
        let daemon = json!({"attention": [{"what": "disk full", "remedy": "free space"}], "waiting": 4});
        let unwell = lines(&merged(file(), Some(daemon)));
        assert_eq!(unwell[..2], ["attention: disk full", "  -> free space"]);
        assert!(unwell.contains(&"  waiting  4".to_owned()), "{unwell:?}");
    }

    #[test]
    fn attention_is_the_sum_without_repeats() {
        let mut file = file();
        file["attention"] = json!([{"what": "a", "remedy": ""}]);
        let daemon = json!({"attention": [{"what": "a", "remedy": ""}, {"what": "b", "remedy": ""}]});
        let status = merged(file, Some(daemon));
        assert_eq!(status["attention"].as_array().unwrap().len(), 2);
        assert_eq!(lines(&status)[0], "attention: a (and 1 more)");
    }

    #[test]
    fn rows_become_a_table() {
        let rows = json!([{"a": 1, "target": "outbox", "x_at": null}, {"a": 22, "target": "b", "x_at": null}]);
        assert_eq!(section(&rows), ["target   a  x", "outbox   1  -", "b       22  -"]);
        let nested = json!({"a": 1, "cares": [{"what": "clock", "rows": 3}], "none": [], "words": ["x"]});
        assert_eq!(section(&nested), ["a      1", "words  x", "cares", "  what   rows", "  clock     3"]);
        assert!(section(&json!([])).is_empty());
    }
}
