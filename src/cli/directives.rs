//! At a relay: the register of directives for the edges below, and what sticks bring of their reports.
//! Must never judge a report: the collector does. Invariant: an edge that has not answered stands in the list.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::mpsc::Receiver as Stop;

use serde_json::{Value, json};

use crate::base::age::Identity;
use crate::base::error::{Kind, Result, io};
use crate::base::id::EdgeId;
use crate::cli::directive::{Known, merged};
use crate::cli::output::shown;
use crate::cli::table::Table;
use crate::cli::{Context, Desk, desk};
use crate::domain::directive::{Handed, REPORT, Report};
use crate::domain::signed::Signed;
use crate::forward::carry::FOLDER;
use crate::forward::carry::stick::names;
use crate::forward::directives::stick;

const PATH: &str = "/v1/directives";
/// Reports of one request.
const REPORTS_MAX: usize = 20;

/// What the collector was told by the edges below: printed, and with `export` the copies, written into a file.
pub(in crate::cli) fn register(
    (json, export, identity): (bool, Option<&Path>, Option<&Identity>),
    context: &mut Context,
) -> Result<u8> {
    let mut desk = context.desk()?;
    let told = desk::ask(&mut *desk, &context.stop, "GET", PATH, &Value::Null)?;
    let entries = told["directives"].as_array().cloned().unwrap_or_default();
    if let Some(path) = export {
        let all = copies(&mut *desk, &context.stop, &entries)?;
        let text = serde_json::to_vec_pretty(&merged(&all, identity)?).expect("invariant: string keys");
        std::fs::write(path, text).map_err(|e| io(format_args!("writing {}", path.display()), e))?;
    }
    if json {
        context.output.json(&entries.iter().flat_map(rows).collect::<Vec<Value>>())?;
        return Ok(0);
    }
    if entries.is_empty() {
        context.output.note("no directive was given for the edges below: wayside directive give --here")?;
    }
    for entry in &entries {
        let cell = |key: &str| shown(key, &entry[key]);
        context.output.line(&format!("{} {}, due {}", cell("action"), cell("directive"), cell("due_at")))?;
        let mut table = Table::new(&["edge", "state", "=since", "late", "what"]);
        for row in rows(entry) {
            let label = if row["label"] == "" { &row["edge"] } else { &row["label"] };
            let late = if row["late"] == true { "late" } else { "" };
            let cell = |key: &str| shown(key, &row[key]);
            table.row([
                shown("edge", label),
                cell("state"),
                shown("since_at", &row["since"]),
                late.to_owned(),
                cell("what"),
            ]);
        }
        context.output.lines(table.lines().into_iter().map(|line| format!("  {line}")))?;
    }
    Ok(0)
}

/// Each edge of a directive, with what the directive is.
fn rows(entry: &Value) -> Vec<Value> {
    let row = |edge: &Value| {
        let mut row = edge.clone();
        for key in ["directive", "action", "due_at", "request"] {
            row[key] = entry[key].clone();
        }
        row
    };
    entry["edges"].as_array().into_iter().flatten().map(row).collect()
}

/// The signed reports of every directive, as [`merged`] wants them.
fn copies(desk: &mut dyn Desk, stop: &Stop<()>, entries: &[Value]) -> Result<BTreeMap<String, Known>> {
    let mut all = BTreeMap::<String, Known>::new();
    for entry in entries {
        let id = entry["directive"].as_str().unwrap_or_default().to_owned();
        let told = desk::ask(desk, stop, "GET", &format!("{PATH}?id={id}"), &Value::Null)?;
        let known = all.entry(id).or_default();
        for edge in told["directives"][0]["edges"].as_array().into_iter().flatten() {
            if let Ok(signed) = serde_json::from_value::<Signed>(edge["report"].clone()) {
                let report: Report = signed.open(REPORT, None)?;
                known.reports.insert(report.edge.clone(), report);
            }
        }
    }
    Ok(all)
}

/// Brings what other edges left on a stick to the collector, where it is their relay; in words, nothing where it is not.
pub(in crate::cli) fn bring(desk: &mut dyn Desk, stop: &Stop<()>, dir: &Path, own: &str) -> Result<Vec<String>> {
    let mut taken = 0;
    for (edge, reports) in stick::reports(dir)?.into_iter().filter(|(edge, _)| edge != own) {
        for some in reports.chunks(REPORTS_MAX) {
            match desk::ask(desk, stop, "POST", &format!("{PATH}/{edge}/reports"), &json!({"reports": some})) {
                Ok(told) => taken += told["taken"].as_u64().unwrap_or(0),
                Err(error) if error.kind == Kind::NotFound => return Ok(Vec::new()),
                Err(error) => return Err(error),
            }
        }
    }
    Ok(if taken == 0 { Vec::new() } else { vec![format!("reports of edges below: {taken} taken in")] })
}

/// Where this machine is a relay: leaves on a stick what waits for the edges whose batches or reports lie there, so that those that
/// no line reaches get it with the stick's next journey; in words, nothing where it is no relay.
pub(in crate::cli) fn leave(desk: &mut dyn Desk, stop: &Stop<()>, dir: &Path, own: &str) -> Result<Vec<String>> {
    let mut edges: BTreeSet<String> = stick::reports(dir)?.into_iter().map(|(edge, _)| edge).collect();
    edges.extend(names(&dir.join(FOLDER))?);
    let mut left = 0;
    for edge in edges.iter().filter(|edge| *edge != own && EdgeId::parse(edge).is_ok()) {
        let mut after = 0;
        loop {
            let page = match desk::ask(desk, stop, "GET", &format!("{PATH}/{edge}?after={after}"), &Value::Null) {
                Ok(page) => page,
                // no relay, or an edge that is not admitted here
                Err(error) if matches!(error.kind, Kind::NotFound | Kind::Denied) => break,
                Err(error) => return Err(error),
            };
            let page: Handed = serde_json::from_value(page).unwrap_or_default();
            for directive in page.directives {
                stick::add(dir, edge, directive)?;
                left += 1;
            }
            if !page.more || page.next <= after {
                break;
            }
            after = page.next;
        }
    }
    Ok(if left == 0 { Vec::new() } else { vec![format!("directives for edges below left on the stick: {left}")] })
}
