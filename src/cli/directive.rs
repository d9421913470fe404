//! `wayside directive`: what a centre asks of its edges for a person's sake, signed; and what they report. At the centre it needs no
//! collector. Must never carry one out itself: the edge's collector does. Invariant: nothing leaves here unsigned.

use std::collections::BTreeMap;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::mpsc::Receiver as Stop;

use clap::Subcommand;
use serde_json::{Value, json};

use crate::base::age::Identity;
use crate::base::digest::SigningKey;
use crate::base::error::{Error, Result, io};
use crate::base::id::{EdgeId, VisitorRef, mint_uuid, random_bytes, uuid_text};
use crate::base::text::hex;
use crate::base::time::Millis;
use crate::cli::table::Table;
use crate::cli::{Context, Desk, desk, directives};
use crate::domain::directive::{ALL, Action, Correction, DIRECTIVE, Directive, REPORT, Report};
use crate::domain::request;
use crate::domain::signed::{FORMAT, Signed};
use crate::forward::carry::dir::{keys, known_key};
use crate::forward::directives::centre::{opened, reply_key, signing};
use crate::forward::directives::stick;

const AFTER: &str = "Example:
  wayside directive key --file centre.key                          once, at the centre
  wayside directive give erase --key centre.key --visitor 00112233445566778899aabbccddeeff --stick /media/stick
  wayside carry in /media/stick                                    at each edge
  wayside directive reports /media/stick                           at the centre";

/// Flags of `directive`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Make the centre's key, or print the public half of the one there is.
    #[command(after_help = "Example:\n  wayside directive key --file centre.key")]
    Key(Key),
    /// Sign a directive, and put it on a stick or print it.
    #[command(after_help = GIVE)]
    Give(Give),
    /// At an edge: hand directives on a stick to the collector, and leave its reports there.
    #[command(after_help = "Example:\n  wayside directive take /media/stick")]
    Take(Take),
    /// What edges report, and the copies they sent, put together.
    #[command(after_help = REPORTS)]
    Reports(Reports),
}

const GIVE: &str = "Example:
  wayside directive give access --key centre.key --reply-key carry.key --identity c-17 --site shop --stick /media/stick
  wayside directive give rectify --key centre.key --visitor 00112233445566778899aabbccddeeff --replace Ana=Anna

Whoever finds the stick reads whom a directive names: prefer the reference that batches carry to a customer's name.";

const REPORTS: &str = "Example:
  wayside directive reports                     at a relay: what the edges below said
  wayside directive reports /media/stick --reply-key carry.key --export copy.json";

#[derive(Debug, clap::Args)]
struct Key {
    /// The file the secret key is in, or is to be.
    #[arg(long, value_name = "FILE")]
    file: PathBuf,
}

fn action(word: &str) -> Result<Action, String> {
    Action::parse(word)
        .filter(|action| *action != Action::Renew)
        .ok_or_else(|| "use erase, withdraw, restrict, object, access or rectify".to_owned())
}

fn edge(text: &str) -> Result<String, String> {
    match text {
        ALL => Ok(ALL.to_owned()),
        text => EdgeId::parse(text).map(|edge| edge.to_string()).map_err(|_| "use 32 hex digits, or all".to_owned()),
    }
}

fn correction(text: &str) -> Result<Correction, String> {
    let (existing, updated) = text.split_once('=').ok_or("write it as OLD=NEW")?;
    Ok(Correction { field: None, existing: existing.to_owned(), updated: updated.to_owned() })
}

#[derive(Debug, clap::Args)]
struct Give {
    /// erase, withdraw, restrict, object, access or rectify.
    #[arg(value_parser = action)]
    action: Action,
    /// The file with the centre's secret key.
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The edge it is for, 32 hex digits; without it for all.
    #[arg(long, value_name = "HEX", default_value = ALL, value_parser = edge)]
    edge: String,
    /// The person, as batches name them: 32 hex digits.
    #[arg(long, value_name = "REF", required_unless_present = "identity")]
    visitor: Option<String>,
    /// The person, as the site's own systems name the customer.
    #[arg(long, value_name = "NAME")]
    identity: Option<String>,
    /// Only at this site.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// For rectify: a wrong value and the right one; may be given several times.
    #[arg(long, value_name = "OLD=NEW", value_parser = correction)]
    replace: Vec<Correction>,
    /// For access: the file with the secret key copies are encrypted to, as `carry key` made it.
    #[arg(long, value_name = "FILE")]
    reply_key: Option<PathBuf>,
    /// The folder a stick is mounted at; without it the directive is printed.
    #[arg(long, value_name = "DIR")]
    stick: Option<PathBuf>,
    /// At a relay: hand it to this machine's collector, for the edges below.
    #[arg(long, conflicts_with = "stick")]
    here: bool,
}

#[derive(Debug, clap::Args)]
struct Take {
    /// The folder the stick is mounted at.
    dir: PathBuf,
}

#[derive(Debug, clap::Args)]
struct Reports {
    /// The folder the stick is mounted at; may be given several times. Without one, what this machine's collector, a relay, was
    /// told by the edges below.
    dirs: Vec<PathBuf>,
    /// The file with the secret key copies are encrypted to.
    #[arg(long, value_name = "FILE")]
    reply_key: Option<PathBuf>,
    /// Write the copies of all edges into this file: one JSON object with a part for each edge.
    #[arg(long, value_name = "FILE", requires = "reply_key")]
    export: Option<PathBuf>,
    /// With sticks: the folder `carry in --to` fills; an edge is believed under the key that signed its batches there.
    #[arg(long, value_name = "DIR")]
    batches: Option<PathBuf>,
    /// With sticks: the public key of an edge that is believed, 64 hex digits; may be given several times.
    #[arg(long, value_name = "HEX")]
    public_key: Vec<String>,
    /// An edge that must answer, 32 hex digits; may be given several times: those that have not are named.
    #[arg(long, value_name = "HEX", value_parser = edge)]
    edge: Vec<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Makes a key, signs, hands over, or shows.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    match &args.what {
        What::Key(args) => key(args, context),
        What::Give(args) => give(args, context),
        What::Take(args) => {
            let mut desk = context.desk()?;
            let told = take(&mut *desk, &context.stop, &args.dir)?;
            context.output.lines(told)?;
            Ok(0)
        }
        What::Reports(args) => reports(args, context),
    }
}

fn key(args: &Key, context: &mut Context) -> Result<u8> {
    let path = &args.file;
    let key = match signing(path) {
        Err(error) if error.code == "no_key_file" => {
            let seed: [u8; 32] = random_bytes();
            let doing = |e| io(format_args!("writing {}", path.display()), e);
            let mut file =
                std::fs::File::options().write(true).create_new(true).mode(0o600).open(path).map_err(doing)?;
            file.write_all(format!("{}\n", hex(&seed)).as_bytes()).and_then(|()| file.sync_all()).map_err(doing)?;
            context.output.note("made a key: keep the file, and a copy of it elsewhere")?;
            SigningKey::from_seed(seed)
        }
        found => found?,
    };
    context.output.lines(["[directives]".to_owned(), format!("centre_key = \"{}\"", hex(&key.public()))])?;
    Ok(0)
}

fn give(args: &Give, context: &mut Context) -> Result<u8> {
    let key = signing(&args.key)?;
    if let Some(visitor) = &args.visitor {
        VisitorRef::parse(visitor).map_err(|e| e.remedy("name the visitor_ref that batches carry: 32 hex digits"))?;
    }
    let reply_to = args.reply_key.as_deref().map(reply_key).transpose()?.map(|key| key.recipient().to_string());
    if args.action == Action::Access && reply_to.is_none() {
        return Err(Error::invalid("nobody could read the copies")
            .code("reply_key")
            .remedy("name a key with --reply-key"));
    }
    if (args.action == Action::Rectify) == args.replace.is_empty() {
        return Err(Error::invalid("what is to be corrected goes with rectify, and with nothing else")
            .remedy("add --replace OLD=NEW to rectify"));
    }
    let now = context.clock.now();
    let directive = Directive {
        format: FORMAT,
        kind: DIRECTIVE.to_owned(),
        id: uuid_text(&mint_uuid(now)),
        edge: args.edge.clone(),
        issued_at: now.rfc3339(),
        due_at: request::due(now).rfc3339(),
        action: args.action,
        visitor_ref: args.visitor.clone(),
        site: args.site.clone(),
        identity: args.identity.clone(),
        corrections: args.replace.clone(),
        reply_to,
        renew: None,
    };
    let signed = Signed::of(&directive, &key);
    match &args.stick {
        None if args.here => hand_over(&signed, context)?,
        Some(dir) => {
            crate::forward::carry::stick::there(dir)?;
            let path = stick::add(dir, &args.edge, signed)?;
            context.output.line(&format!(
                "{} {} for {}, due {}: {}",
                directive.id,
                args.action.word(),
                args.edge,
                directive.due_at,
                path.display()
            ))?;
        }
        None => context.output.json(&signed)?,
    }
    Ok(0)
}

/// Hands the directives on a stick to the collector, and leaves its reports there; in words, nothing where there are none.
pub(in crate::cli) fn take(desk: &mut dyn Desk, stop: &Stop<()>, dir: &Path) -> Result<Vec<String>> {
    let about = desk::ask(desk, stop, "GET", "/v1/carry", &Value::Null)?;
    let edge = about["edge"].as_str().unwrap_or_default().to_owned();
    if !dir.join(stick::FOLDER).is_dir() {
        return directives::leave(desk, stop, dir, &edge);
    }
    let directives = stick::directives(dir, &edge)?;
    let told = desk::ask(desk, stop, "POST", "/v1/directives", &json!({"directives": directives}))?;
    let reports: Vec<Signed> = serde_json::from_value(told["reports"].clone()).unwrap_or_default();
    let mut lines = vec![format!("directives: {} new, {} reports left", told["taken"], reports.len())];
    let refused = told["refused"].as_array().into_iter().flatten().filter_map(Value::as_str);
    lines.extend(refused.map(|what| format!("not believed: {what}")));
    lines.extend(told["kept"].as_u64().filter(|kept| *kept > 0).map(|kept| format!("kept for edges below: {kept}")));
    lines.extend(directives::bring(desk, stop, dir, &edge)?);
    lines.extend(directives::leave(desk, stop, dir, &edge)?);
    if !reports.is_empty() {
        stick::leave(dir, &edge, reports)?;
    }
    Ok(lines)
}

/// Gives a directive to the collector of this machine, a relay.
fn hand_over(signed: &Signed, context: &mut Context) -> Result<()> {
    let mut desk = context.desk()?;
    let told = desk::ask(&mut *desk, &context.stop, "POST", "/v1/directives", &json!({"directives": [signed]}))?;
    let directive: Directive = signed.open(DIRECTIVE, None)?;
    if told["kept"] == 0 && told["taken"] == 0 {
        let why = told["refused"][0].as_str().unwrap_or("no edge has joined here").to_owned();
        return Err(Error::denied(why).code("not_kept").remedy("at a relay: set [directives] centre_key"));
    }
    context.output.line(&format!(
        "{} {} for {}, due {}: wayside directive reports shows how far each edge is",
        directive.id,
        directive.action.word(),
        directive.edge,
        directive.due_at
    ))
}

/// What is known of one directive.
#[derive(Default)]
pub(in crate::cli) struct Known {
    /// The directive, where a stick has it.
    asked: Option<Directive>,
    /// The newest report of each edge.
    pub(in crate::cli) reports: BTreeMap<String, Report>,
}

fn reports(args: &Reports, context: &mut Context) -> Result<u8> {
    let identity = args.reply_key.as_deref().map(reply_key).transpose()?;
    if args.dirs.is_empty() {
        return directives::register((args.json, args.export.as_deref(), identity.as_ref()), context);
    }
    let mut all = BTreeMap::<String, Known>::new();
    let mut strange = Vec::new();
    let keys = keys(&args.public_key)?;
    let known = |edge: &str, key: &str| -> Result<bool> {
        let by_batches = args.batches.as_deref().map_or(Ok(None), |batches| known_key(batches, edge))?;
        let named = args.batches.is_some() || !keys.is_empty();
        Ok(!named || keys.iter().chain(&by_batches).any(|known| hex(known) == key))
    };
    for dir in &args.dirs {
        gather(dir, &known, (&mut all, &mut strange))?;
    }
    if args.batches.is_none() && keys.is_empty() {
        context
            .output
            .note("reports hold under the keys they bring themselves: name --batches or --public-key to be sure")?;
    }
    for what in &strange {
        context.output.note(what)?;
    }
    if let Some(path) = &args.export {
        let merged = merged(&all, identity.as_ref())?;
        std::fs::write(path, serde_json::to_vec_pretty(&merged).expect("invariant: string keys"))
            .map_err(|e| io(format_args!("writing {}", path.display()), e))?;
    }
    let now = context.clock.now();
    let rows = all.iter().flat_map(|(id, known)| rows(id, known, &args.edge, now)).collect::<Vec<[String; 5]>>();
    if args.json {
        let keys = ["directive", "edge", "state", "since", "what"];
        let each = rows.iter().map(|row| {
            keys.iter().zip(row).map(|(k, v)| ((*k).to_owned(), json!(v))).collect::<serde_json::Map<_, _>>()
        });
        context.output.json(&each.collect::<Vec<_>>())?;
    } else {
        let mut table = Table::new(&["directive", "edge", "state", "=since", "what"]);
        rows.into_iter().for_each(|row| table.row(row));
        context.output.lines(table.lines())?;
    }
    Ok(0)
}

/// Is an edge known by this key?
type ByKey<'a> = &'a dyn Fn(&str, &str) -> Result<bool>;

fn gather(
    dir: &Path,
    known: ByKey<'_>,
    (all, strange): (&mut BTreeMap<String, Known>, &mut Vec<String>),
) -> Result<()> {
    for signed in stick::every(dir)? {
        match signed.open::<Directive>(DIRECTIVE, None) {
            Ok(directive) => {
                let id = directive.id.clone();
                all.entry(id).or_default().asked = Some(directive);
            }
            Err(error) => strange.push(error.what),
        }
    }
    for (edge, reports) in stick::reports(dir)? {
        for signed in reports {
            match signed.open::<Report>(REPORT, None) {
                Ok(report) if report.edge == edge && !known(&edge, &signed.public_key)? => {
                    strange.push(format!("a report of {edge} is signed by a key it is not known by"));
                }
                Ok(report) if report.edge == edge => {
                    let newest = &mut all.entry(report.directive.clone()).or_default().reports;
                    let older = newest
                        .get(&edge)
                        .is_none_or(|there| (there.copy.is_some(), &there.at) <= (report.copy.is_some(), &report.at));
                    if older {
                        newest.insert(edge.clone(), report);
                    }
                }
                Ok(report) => strange.push(format!("a report of {} lies under the name of {edge}", report.edge)),
                Err(error) => strange.push(format!("{edge}: {}", error.what)),
            }
        }
    }
    Ok(())
}

/// Each edge of a directive, those that have not answered too.
fn rows(id: &str, known: &Known, edges: &[String], now: Millis) -> Vec<[String; 5]> {
    let mut out = Vec::new();
    let text = |text: &str| text.to_owned();
    for (edge, report) in &known.reports {
        out.push([text(id), edge.clone(), text(report.state.word()), report.taken_at.clone(), report.what.clone()]);
    }
    if let Some(asked) = &known.asked {
        let silent = edges.iter().filter(|edge| asked.is_for(edge) && !known.reports.contains_key(*edge));
        let late = Millis::parse(&asked.due_at).is_some_and(|due| due < now);
        let what = format!("{} due {}", if late { "overdue:" } else { "no answer yet," }, asked.due_at);
        out.extend(silent.map(|edge| [text(id), edge.clone(), text("silent"), asked.issued_at.clone(), what.clone()]));
    }
    out
}

/// The copies of all edges: by directive, then by edge.
pub(in crate::cli) fn merged(all: &BTreeMap<String, Known>, identity: Option<&Identity>) -> Result<Value> {
    let mut out = serde_json::Map::new();
    for (id, known) in all {
        let mut parts = serde_json::Map::new();
        for (edge, report) in &known.reports {
            let mut part = json!({"state": report.state.word(), "what": report.what, "at": report.at});
            if let (Some(copy), Some(identity)) = (&report.copy, identity) {
                part["copy"] =
                    opened(copy, identity).map_err(|e| e.context(format_args!("the copy of edge {edge}")))?;
            }
            parts.insert(edge.clone(), part);
        }
        out.insert(id.clone(), json!({"edges": parts}));
    }
    Ok(Value::Object(out))
}
