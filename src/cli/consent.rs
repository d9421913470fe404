//! `wayside consent`: give, refuse and withdraw in a visitor's name, and show what was decided.
//! Must never decide what a decision changes. Invariant: showing needs no daemon and changes nothing.

use std::path::PathBuf;

use clap::Subcommand;
use serde_json::{Map, Value, json};

use crate::base::error::{Result, io};
use crate::cli::output::{shown, time_text};
use crate::cli::table::{Table, pairs};
use crate::cli::{Context, desk, proof};
use crate::history::person::ConsentView;

const AFTER: &str = "Example:
  wayside consent give demo --purposes measure,personal
  wayside consent show demo";

/// Flags of `consent`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// The visitor agreed.
    #[command(
        after_help = "Example:\n  wayside consent give demo --purposes measure,personal --method staff_standalone"
    )]
    Give(Decide),
    /// The visitor said no.
    #[command(after_help = "Example:\n  wayside consent refuse demo --purposes marketing")]
    Refuse(Decide),
    /// The visitor takes back what was given.
    #[command(after_help = "Example:\n  wayside consent withdraw demo --purposes measure    takes back everything")]
    Withdraw(Decide),
    /// Write the signed receipt of a visitor's decision.
    #[command(
        after_help = "Example:\n  wayside consent receipt demo --out receipt.json\n  wayside consent receipt demo --format html --language de --out receipt.html"
    )]
    Receipt(Receipt),
    /// The visitor objects: to what rests on legitimate interest, and to direct marketing.
    #[command(after_help = "Example:\n  wayside consent object demo    to all of it; name --purposes for less")]
    Object(Ask),
    /// Only keep what is stored of the visitor: nothing leaves, is read, or is collected until it is released.
    #[command(after_help = "Example:\n  wayside consent restrict demo --site shop")]
    Restrict(Ask),
    /// The restriction is over: what is permitted leaves again.
    #[command(after_help = "Example:\n  wayside consent release demo --site shop")]
    Release(Ask),
    /// Show what a visitor decided, and what it amounts to.
    #[command(after_help = "Example:\n  wayside consent show demo --site default")]
    Show(Show),
    /// Check the ledger of decisions: chain, contents, signed checkpoints.
    #[command(after_help = VERIFY_AFTER)]
    Verify(proof::Verify),
    /// Show the newest signed checkpoint of the ledger, to be kept elsewhere.
    #[command(after_help = "Example:\n  wayside consent checkpoint --json")]
    Checkpoint(proof::Checkpoint),
    /// Show the decision that allowed an event, and the notice it refers to.
    #[command(after_help = "Example:\n  wayside consent prove --event 018f3a2b-0000-7000-8000-000000000011")]
    Prove(proof::Prove),
    /// Make the key pair that proofs of erased persons are sealed to.
    #[command(after_help = "Example:\n  wayside consent proof-key --out proof.key")]
    ProofKey(proof::ProofKey),
}

const VERIFY_AFTER: &str =
    "Exit codes: 0 it holds, 2 the chain is broken, 3 a signature does not hold, 4 its end is missing, \
5 the clock went back and no entry says so.

Example:
  wayside consent verify
  wayside consent verify --against checkpoint.json";

#[derive(Debug, clap::Args)]
struct Decide {
    /// The visitor's id, as the site sends it.
    visitor: String,
    /// What it is about, separated by commas; all others rest on measure.
    #[arg(long, value_name = "WORDS", value_delimiter = ',', default_value = "measure")]
    purposes: Vec<String>,
    /// The site; needed where several are configured.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// How it was taken, for example staff_standalone or kiosk_touch.
    #[arg(long, value_name = "WORD")]
    method: Option<String>,
    /// The version of the notice that was shown.
    #[arg(long, value_name = "VERSION")]
    notice: Option<String>,
    /// The language it was shown in.
    #[arg(long, value_name = "LANG")]
    language: Option<String>,
    /// The decision's id; the same id again changes nothing.
    #[arg(long, value_name = "ID")]
    decision_id: Option<String>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

/// As [`Decide`], where naming no purpose is the rule.
#[derive(Debug, clap::Args)]
struct Ask {
    /// The visitor's id, as the site sends it.
    visitor: String,
    /// What an objection is about, separated by commas; nothing for restrict and release.
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    purposes: Vec<String>,
    /// The site; needed where several are configured.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// How it was told, for example staff_standalone.
    #[arg(long, value_name = "WORD")]
    method: Option<String>,
    /// The decision's id; the same id again changes nothing.
    #[arg(long, value_name = "ID")]
    decision_id: Option<String>,
    /// Print the answer as JSON.
    #[arg(long)]
    json: bool,
}

impl Ask {
    fn decide(&self) -> Decide {
        Decide {
            visitor: self.visitor.clone(),
            purposes: self.purposes.clone(),
            site: self.site.clone(),
            method: self.method.clone(),
            notice: None,
            language: None,
            decision_id: self.decision_id.clone(),
            json: self.json,
        }
    }
}

#[derive(Debug, clap::Args)]
#[command(group = clap::ArgGroup::new("whose").required(true).args(["visitor", "code"]))]
struct Receipt {
    /// The visitor's id.
    visitor: Option<String>,
    /// The code of a kiosk's receipt instead of an id.
    #[arg(long, value_name = "LETTERS")]
    code: Option<String>,
    /// The decision's number; the newest where it is not given.
    #[arg(long, value_name = "SEQ")]
    decision: Option<i64>,
    /// The form.
    #[arg(long, value_name = "FORM", default_value = "json", value_parser = ["json", "kantara", "html"])]
    format: String,
    /// Language of the page.
    #[arg(long, value_name = "LANG")]
    language: Option<String>,
    /// The site; needed where several are configured.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Write it there, and the signature beside it with .sig; else only the receipt is printed.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The visitor's id, or a visitor_ref.
    visitor: String,
    /// Only this site.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Records or shows.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    match &args.what {
        What::Give(decide) => record("give", decide, context),
        What::Refuse(decide) => record("refuse", decide, context),
        What::Withdraw(decide) => record("withdraw", decide, context),
        What::Receipt(receipt) => self::receipt(receipt, context),
        What::Object(ask) => record("object", &ask.decide(), context),
        What::Restrict(ask) => record("restrict", &ask.decide(), context),
        What::Release(ask) => record("release", &ask.decide(), context),
        What::Show(show) => self::show(show, context),
        What::Verify(args) => proof::verify(args, context),
        What::Checkpoint(args) => proof::checkpoint(args, context),
        What::Prove(args) => proof::prove(args, context),
        What::ProofKey(args) => proof::proof_key(args, context),
    }
}

fn body(action: &str, d: &Decide) -> Value {
    let mut body = Map::new();
    body.insert("visitor".to_owned(), json!(d.visitor));
    body.insert("action".to_owned(), json!(action));
    body.insert("purposes".to_owned(), json!(d.purposes));
    let fields = [
        ("site", &d.site),
        ("method", &d.method),
        ("notice", &d.notice),
        ("language", &d.language),
        ("decisionId", &d.decision_id),
    ];
    for (name, value) in fields {
        if let Some(value) = value {
            body.insert(name.to_owned(), json!(value));
        }
    }
    Value::Object(body)
}

fn record(action: &str, decide: &Decide, context: &mut Context) -> Result<u8> {
    let mut desk = context.desk()?;
    let answer = desk::ask(&mut *desk, &context.stop, "POST", "/v1/consent", &body(action, decide))?;
    if decide.json {
        context.output.json(&answer)?;
        return Ok(0);
    }
    let word = answer["outcome"].as_str().unwrap_or("recorded");
    let about = if decide.purposes.is_empty() { String::new() } else { format!(" {}", decide.purposes.join(", ")) };
    context.output.line(&format!("{word}: {action}{about} by {}", decide.visitor))?;
    let names =
        [("granted", "granted now"), ("denied", "denied now"), ("stands", "stands all the same (contract or law)")];
    let mut list = Vec::new();
    for (key, name) in names {
        let value = &answer[key];
        let told = value.as_array().is_some_and(|set| !set.is_empty()) || (key == "granted" && !value.is_null());
        if told {
            list.push((name.to_owned(), shown(key, value)));
        }
    }
    if answer["current"] == json!(false) {
        list.push(("in force".to_owned(), "no: a later decision stands".to_owned()));
    }
    for (key, name) in [("decisionId", "decision"), ("seq", "number"), ("visitorToken", "visitor token")] {
        if !answer[key].is_null() {
            list.push((name.to_owned(), shown(key, &answer[key])));
        }
    }
    context.output.lines(pairs("  ", &list))?;
    Ok(0)
}

fn receipt(args: &Receipt, context: &mut Context) -> Result<u8> {
    let decision = args.decision.map(|seq| seq.to_string());
    let target = desk::target(
        "/v1/consent/receipt",
        &[
            ("site", args.site.as_deref()),
            ("visitor", args.visitor.as_deref()),
            ("format", Some(args.format.as_str())),
            ("language", args.language.as_deref()),
            ("decision", decision.as_deref()),
        ],
    );
    let headers: Vec<(&str, &str)> = args.code.iter().map(|code| ("wayside-code", code.as_str())).collect();
    let reply = context.desk()?.send("GET", &target, &headers, Vec::new())?;
    if reply.status >= 400 {
        return Err(desk::refusal(&reply));
    }
    let Some(path) = &args.out else {
        context.output.lines(String::from_utf8_lossy(&reply.body).lines().map(str::to_owned))?;
        return Ok(0);
    };
    let header = |name: &str| reply.header(name).unwrap_or_default().to_owned();
    let proof = json!({
        "algorithm": "Ed25519",
        "key_id": header("wayside-key-id"),
        "public_key": header("wayside-public-key"),
        "signature": header("wayside-signature"),
    });
    let beside = PathBuf::from(format!("{}.sig", path.display()));
    let save = |path: &PathBuf, bytes: &[u8]| {
        std::fs::write(path, bytes).map_err(|e| io(format_args!("writing {}", path.display()), e))
    };
    save(path, &reply.body)?;
    save(&beside, format!("{proof}\n").as_bytes())?;
    context.output.line(&format!("wrote {} and {}", path.display(), beside.display()))?;
    Ok(0)
}

fn show(args: &Show, context: &mut Context) -> Result<u8> {
    let found = context.history()?.consent(args.site.as_deref(), &args.visitor)?;
    if args.json {
        context.output.json(&found)?;
        return Ok(0);
    }
    for view in &found {
        context.output.lines(lines(view))?;
    }
    Ok(0)
}

/// A no to measuring is a no to everything: said so, instead of every word there is.
fn denied(set: &[String]) -> String {
    match set {
        [] => "nothing".to_owned(),
        set if set.iter().any(|word| word == "measure") => "everything (all purposes rest on measure)".to_owned(),
        set => set.join(", "),
    }
}

/// What was withdrawn, and up to where; what a withdrawal of measuring took along needs no line of its own.
fn withdrawn(view: &ConsentView) -> impl Iterator<Item = (&str, i64)> {
    let whole = view.floors.get("measure").copied().unwrap_or(0);
    view.floors
        .iter()
        .filter(move |(purpose, seq)| *purpose == "measure" || **seq > whole)
        .map(|(purpose, seq)| (purpose.as_str(), *seq))
}

fn lines(view: &ConsentView) -> Vec<String> {
    let words = |set: &[String]| if set.is_empty() { "nothing".to_owned() } else { set.join(", ") };
    let mut list = vec![
        ("visitor".to_owned(), view.visitor.clone()),
        ("site".to_owned(), view.site.clone()),
        ("granted".to_owned(), words(&view.granted)),
        ("denied".to_owned(), denied(&view.denied)),
    ];
    match (&view.visitor_ref, &view.denied_at) {
        (Some(reference), _) => list.push(("visitor_ref".to_owned(), reference.clone())),
        (None, Some(at)) => list.push(("kept".to_owned(), format!("without the id, since {}", time_text(at)))),
        (None, None) => {}
    }
    if view.restricted {
        list.push(("restricted".to_owned(), "only kept: nothing leaves, is read or is collected".to_owned()));
    }
    list.extend(withdrawn(view).map(|(purpose, seq)| {
        let what = if purpose == "measure" { "everything" } else { purpose };
        ("withdrawn".to_owned(), format!("{what} of all rows up to number {seq}"))
    }));
    let mut out = pairs("", &list);
    let mut table = Table::new(&["=time", ">seq", "action", "purposes", "granted after", "by", "method", "notice"]);
    for d in &view.decisions {
        let action = if d.current { d.action.clone() } else { format!("{} (not in force)", d.action) };
        table.row([
            time_text(&d.corrected_at),
            d.seq.to_string(),
            action,
            d.purposes.join(" "),
            words(&d.after),
            d.actor.clone(),
            d.method.clone(),
            d.notice.clone(),
        ]);
    }
    if !table.is_empty() {
        out.push(String::new());
        out.extend(table.lines());
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_whole_withdrawal_is_one_line() {
        let told = |list: &[(&str, i64)]| {
            let floors = list.iter().map(|(word, seq)| ((*word).to_owned(), *seq)).collect();
            let view = ConsentView { floors, ..ConsentView::default() };
            withdrawn(&view).map(|(word, seq)| format!("{word} {seq}")).collect::<Vec<_>>()
        };
        assert_eq!(
            told(&[("marketing", 7), ("measure", 7), ("purpose_31", 7), ("share", 9)]),
            ["measure 7", "share 9"]
        );
        assert_eq!(told(&[("share", 3)]), ["share 3"]);
        assert!(told(&[]).is_empty());
    }

    #[test]
    fn only_what_is_said_is_sent() {
        let decide = Decide {
            visitor: "demo".to_owned(),
            purposes: vec!["measure".to_owned()],
            site: None,
            method: None,
            notice: Some("v3".to_owned()),
            language: None,
            decision_id: None,
            json: false,
        };
        let wanted = json!({"visitor": "demo", "action": "give", "purposes": ["measure"], "notice": "v3"});
        assert_eq!(body("give", &decide), wanted);
    }
}
