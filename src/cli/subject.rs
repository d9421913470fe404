//! `wayside subject`: requests of data subjects: open, list, show, run, extend, refuse, close, and what is due.
//! Must never carry one out itself: whoever holds the store does. Invariant: `due` ends with 1 where something is due, for cron.

use clap::Subcommand;
use serde_json::{Value, json};

use crate::base::error::{Error, Result};
use crate::cli::output::{shown, time_text};
use crate::cli::table::{Table, pairs};
use crate::cli::{Context, desk};

const AFTER: &str = "Example:
  wayside subject open access --visitor demo --verified by-mail
  wayside subject run 0192f3a0-0000-7000-8000-000000000001
  wayside subject due --days 7";

/// Flags of `subject`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write a request into the register.
    #[command(
        after_help = "Example:\n  wayside subject open rectify --site shop --identity anna --verified order-number"
    )]
    Open(Open),
    /// List requests, the newest first.
    #[command(after_help = "Example:\n  wayside subject list --state verified")]
    List(List),
    /// Show one request.
    #[command(after_help = "Example:\n  wayside subject show 0192f3a0-0000-7000-8000-000000000001")]
    Show(Show),
    /// Carry a request out.
    #[command(
        after_help = "Example:\n  wayside subject run 0192f3a0-0000-7000-8000-000000000001 --replace old@shop.example=new@shop.example"
    )]
    Run(Run),
    /// Extend a request to three months, within its first, with the reason the person is told.
    #[command(
        after_help = "Example:\n  wayside subject extend 0192f3a0-0000-7000-8000-000000000001 --reason many-at-once"
    )]
    Extend(Reasoned),
    /// Refuse a request, with the reason the person is told.
    #[command(
        after_help = "Example:\n  wayside subject refuse 0192f3a0-0000-7000-8000-000000000001 --reason third-this-week"
    )]
    Refuse(Reasoned),
    /// Close a request that was carried out by hand, or whose person cannot be identified.
    #[command(
        after_help = "Example:\n  wayside subject close 0192f3a0-0000-7000-8000-000000000001 --as unidentifiable --note no-id-known"
    )]
    Close(Close),
    /// At a relay: put what every edge below answered into one file.
    #[command(
        after_help = "Example:\n  wayside subject export 0192f3a0-0000-7000-8000-000000000001 --output copy.json"
    )]
    Export(Export),
    /// Tell which requests are due; ends with 1 where there are any.
    #[command(after_help = "Example:\n  wayside subject due --days 7")]
    Due(Due),
}

#[derive(Debug, clap::Args)]
struct Open {
    /// access, rectify, erase, restrict, object or portability.
    kind: String,
    /// The client's id of the visitor, or the reference in batches.
    #[arg(long, value_name = "ID")]
    visitor: Option<String>,
    /// The site's own name for the customer.
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// The code of a kiosk's receipt: it alone shows that its visit is meant.
    #[arg(long, value_name = "LETTERS", conflicts_with_all = ["visitor", "identity"])]
    code: Option<String>,
    /// The site; every site without.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// How who asks was verified; without it the request waits for that.
    #[arg(long, value_name = "HOW")]
    verified: Option<String>,
    /// To rectify at a relay: a wrong value and the right one, for the edges below; may be given several times.
    #[arg(long, value_name = "OLD=NEW")]
    replace: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only in this state.
    #[arg(long, value_name = "STATE")]
    state: Option<String>,
    /// Requests at the most.
    #[arg(long, value_name = "N", default_value_t = 50)]
    limit: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The request's id.
    id: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Run {
    /// The request's id.
    id: String,
    /// How who asks was verified, where that is not written down yet.
    #[arg(long, value_name = "HOW")]
    verified: Option<String>,
    /// To rectify: the wrong value and the right one, wherever the wrong one stands.
    #[arg(long, value_name = "OLD=NEW")]
    replace: Vec<String>,
    /// To rectify: the same in one field or attribute only.
    #[arg(long, value_name = "FIELD=OLD=NEW")]
    set: Vec<String>,
    /// Write the result (JSON) into this file.
    #[arg(long, value_name = "FILE")]
    output: Option<std::path::PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Reasoned {
    /// The request's id.
    id: String,
    /// The reason, in words the person may read.
    #[arg(long, value_name = "WORDS")]
    reason: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Close {
    /// The request's id.
    id: String,
    /// answered or unidentifiable.
    #[arg(long = "as", value_name = "STATE", value_parser = ["answered", "unidentifiable"])]
    state: String,
    /// What was done, without personal data.
    #[arg(long, value_name = "WORDS")]
    note: String,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Export {
    /// The request's id.
    id: String,
    /// The file it is written into.
    #[arg(long, value_name = "FILE")]
    output: std::path::PathBuf,
}

#[derive(Debug, clap::Args)]
struct Due {
    /// Within so many days.
    #[arg(long, value_name = "N", default_value_t = 7)]
    days: u32,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

const PATH: &str = "/v1/subject/requests";

/// Does what was asked.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let one = |id: &str, action: &str| format!("{}{action}", desk::target(PATH, &[]) + "/" + &escaped(id));
    let (method, target, body, json) = match &args.what {
        What::Open(o) => {
            let named = json!({"kind": o.kind, "visitor": o.visitor, "identity": o.identity, "code": o.code, "site": o.site, "verified": o.verified, "replace": anywhere(&o.replace)?});
            ("POST", PATH.to_owned(), named, o.json)
        }
        What::List(l) => return list(l, context),
        What::Due(d) => return due(d, context),
        What::Export(e) => return export(e, &one(&e.id, "/edges"), context),
        What::Show(s) => ("GET", one(&s.id, ""), Value::Null, s.json),
        What::Run(r) => ("POST", one(&r.id, "/run"), json!({"verified": r.verified, "replace": terms(r)?}), r.json),
        What::Extend(r) => ("POST", one(&r.id, "/extend"), json!({"reason": r.reason}), r.json),
        What::Refuse(r) => ("POST", one(&r.id, "/close"), json!({"as": "refused", "note": r.reason}), r.json),
        What::Close(c) => ("POST", one(&c.id, "/close"), json!({"as": c.state, "note": c.note}), c.json),
    };
    let mut desk = context.desk()?;
    let answer = desk::ask(&mut *desk, &context.stop, method, &target, &body)?;
    if let What::Run(Run { output: Some(path), id, .. }) = &args.what
        && !answer["result_sha256"].is_null()
    {
        let reply = desk::send(&mut *desk, &context.stop, "GET", &one(id, "/result"), ("application/json", b""))?;
        if reply.status >= 400 {
            return Err(desk::refusal(&reply));
        }
        std::fs::write(path, &reply.body)
            .map_err(|e| crate::base::error::io(format_args!("writing {}", path.display()), e))?;
    }
    if json {
        context.output.json(&answer)?;
    } else {
        context.output.lines(told(&answer))?;
    }
    Ok(0)
}

/// An id as one segment of a path.
fn escaped(id: &str) -> String {
    desk::target("", &[("", Some(id))]).split_off(2)
}

fn wrong(text: &str) -> Error {
    Error::invalid(format!("{text:?} is no correction")).remedy("write OLD=NEW, or with --set FIELD=OLD=NEW")
}

fn anywhere(replace: &[String]) -> Result<Vec<Value>> {
    let one = |text: &String| {
        let (existing, updated) = text.split_once('=').ok_or_else(|| wrong(text))?;
        Ok(json!({"existing": existing, "updated": updated}))
    };
    replace.iter().map(one).collect()
}

fn terms(run: &Run) -> Result<Vec<Value>> {
    let placed = run.set.iter().map(|text| {
        let (field, rest) = text.split_once('=').ok_or_else(|| wrong(text))?;
        let (existing, updated) = rest.split_once('=').ok_or_else(|| wrong(text))?;
        Ok(json!({"field": field, "existing": existing, "updated": updated}))
    });
    let mut out = anywhere(&run.replace)?;
    for one in placed {
        out.push(one?);
    }
    Ok(out)
}

fn told(request: &Value) -> Vec<String> {
    let keys = [
        ("id", "request"),
        ("kind", "kind"),
        ("state", "state"),
        ("level", "known by"),
        ("verification", "verified"),
        ("opened_by", "opened by"),
        ("received_at", "received"),
        ("due_at", "due"),
        ("days_left", "days left"),
        ("extension", "extended because"),
        ("visitors", "visitors"),
        ("identities", "identities"),
        ("closed_at", "closed"),
        ("answer", "answer"),
        ("result_sha256", "SHA-256 of the result"),
        ("result_expires_at", "result until"),
    ];
    let there = keys.into_iter().filter(|(key, _)| !request[*key].is_null());
    let mut list: Vec<(String, String)> =
        there.map(|(key, name)| (name.to_owned(), shown(key, &request[key]))).collect();
    for erasure in request["erasures"].as_array().into_iter().flatten() {
        let waiting = erasure["waiting"].as_str().map_or_else(String::new, |why| format!(", waits: {why}"));
        let how = format!("{}{waiting}", shown("", &erasure["step"]));
        list.push((format!("erasure {}", shown("", &erasure["erasure_id"])), how));
    }
    for target in request["targets"].as_array().into_iter().flatten() {
        list.push((format!("target {}", shown("", &target["target"])), shown("", &target["state"])));
    }
    list.extend(request["edges"].as_array().into_iter().flatten().map(edge_line));
    pairs("", &list)
}

fn export(args: &Export, target: &str, context: &mut Context) -> Result<u8> {
    let mut desk = context.desk()?;
    let merged = desk::ask(&mut *desk, &context.stop, "GET", target, &Value::Null)?;
    std::fs::write(&args.output, serde_json::to_vec_pretty(&merged).expect("invariant: string keys"))
        .map_err(|e| crate::base::error::io(format_args!("writing {}", args.output.display()), e))?;
    let (edges, open) =
        (merged["edges"].as_object().map_or(0, serde_json::Map::len), merged["open"].as_u64().unwrap_or(0));
    context.output.line(&format!("{edges} edges, {open} of them have not answered: {}", args.output.display()))?;
    Ok(0)
}

/// How far an edge below is, in words.
fn edge_line(edge: &Value) -> (String, String) {
    let label = match edge["label"].as_str() {
        None | Some("") => shown("", &edge["edge"]),
        Some(label) => label.to_owned(),
    };
    let since = shown("since_at", &edge["since"]);
    let (late, what) = (if edge["late"] == true { "late: " } else { "" }, shown("", &edge["what"]));
    let state = match edge["state"].as_str() {
        Some("silent") => format!("waiting since {since} ({what})"),
        Some("waiting") => format!("waiting since {since}: {what}"),
        _ => format!("{}: {what}", shown("", &edge["state"])),
    };
    (format!("edge {label}"), format!("{late}{state}"))
}

fn list(args: &List, context: &mut Context) -> Result<u8> {
    let limit = args.limit.to_string();
    let target = desk::target(PATH, &[("state", args.state.as_deref()), ("limit", Some(&limit))]);
    let rows = fetch(&target, context)?;
    if args.json {
        context.output.json(&rows)?;
    } else {
        listed(&rows, "no requests", context)?;
    }
    Ok(0)
}

fn due(args: &Due, context: &mut Context) -> Result<u8> {
    let days = args.days.to_string();
    let rows = fetch(&desk::target(PATH, &[("due_days", Some(&days))]), context)?;
    if args.json {
        context.output.json(&rows)?;
    } else {
        listed(&rows, &format!("nothing is due within {days} days"), context)?;
        for row in &rows {
            for edge in row["edges"].as_array().into_iter().flatten().filter(|edge| edge["late"] == true) {
                let (name, how) = edge_line(edge);
                context.output.line(&format!("{} {name}: {how}", shown("id", &row["id"])))?;
            }
        }
    }
    Ok(u8::from(!rows.is_empty()))
}

fn fetch(target: &str, context: &mut Context) -> Result<Vec<Value>> {
    let mut desk = context.desk()?;
    let answer = desk::ask(&mut *desk, &context.stop, "GET", target, &Value::Null)?;
    Ok(answer["requests"].as_array().cloned().unwrap_or_default())
}

fn listed(rows: &[Value], none: &str, context: &mut Context) -> Result<()> {
    if rows.is_empty() {
        return context.output.note(none);
    }
    let mut table = Table::new(&["=id", "kind", "state", "=received", "=due", ">days left", "answer"]);
    for row in rows {
        let cell = |key: &str| shown(key, &row[key]);
        let day = |key: &str| time_text(row[key].as_str().unwrap_or("")).chars().take(10).collect::<String>();
        table.row([
            cell("id"),
            cell("kind"),
            cell("state"),
            day("received_at"),
            day("due_at"),
            cell("days_left"),
            cell("answer"),
        ]);
    }
    context.output.lines(table.lines())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn corrections_are_read() {
        let run = |replace: &[&str], set: &[&str]| Run {
            id: "x".into(),
            verified: None,
            replace: replace.iter().map(|s| (*s).to_owned()).collect(),
            set: set.iter().map(|s| (*s).to_owned()).collect(),
            output: None,
            json: false,
        };
        let wanted =
            [json!({"existing": "a", "updated": "b=c"}), json!({"field": "email", "existing": "a", "updated": "b"})];
        assert_eq!(terms(&run(&["a=b=c"], &["email=a=b"])).unwrap(), wanted);
        assert!(terms(&run(&["a"], &[])).is_err() && terms(&run(&[], &["a=b"])).is_err());
    }

    #[test]
    fn an_id_stays_one_segment() {
        assert_eq!(escaped("a/b?c"), "a%2Fb%3Fc");
    }
}
