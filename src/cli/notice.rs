//! `wayside notice`: write, check, preview, publish and compare what people are told before they decide.
//! Must never judge a notice itself (`domain::notice::lint`). Invariant: only `publish` and `register` change anything.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::json;

use crate::base::error::{Error, Result, io};
use crate::base::time::Millis;
use crate::cli::output::time_text;
use crate::cli::table::{Table, pairs};
use crate::cli::{Context, desk};
use crate::consent::page;
use crate::domain::consent::Purposes;
use crate::domain::notice::lint::{self, Facts, Finding};
use crate::domain::notice::{Draft, Notice, is_language, template};
use crate::history::notices::NoticeView;

const AFTER: &str = "Example:
  wayside notice new --from-config --lang de,en --out notice.toml
  wayside notice check notice.toml
  wayside notice preview notice.toml --out notice.html
  wayside notice publish notice.toml --valid-from 2027-01-01";

/// Longest draft that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1_048_576;

/// Flags of `notice`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER, arg_required_else_help = true)]
pub struct Args {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    /// Write a draft to edit, complete as far as the configuration tells.
    #[command(after_help = "Example:\n  wayside notice new --from-config --lang de,en --out notice.toml")]
    New(New),
    /// Tell what is wrong with a draft.
    #[command(after_help = "Example:\n  wayside notice check notice.toml")]
    Check(File),
    /// Write a draft as a page, as people will read it.
    #[command(after_help = "Example:\n  wayside notice preview notice.toml --lang de --out notice.html")]
    Preview(Preview),
    /// Publish a draft: from then on it stays as it is.
    #[command(after_help = "Example:\n  wayside notice publish notice.toml --valid-from 2027-01-01")]
    Publish(Publish),
    /// Make a notice of another consent tool known.
    #[command(
        after_help = "Example:\n  wayside notice register --name ExampleCMP --version 7 --url https://shop.example/privacy \
        --digest 2c26b46b68ffc68ff99b453c1d30413413422d706483bfa0f98a5e886266e7ae"
    )]
    Register(Register),
    /// Compare two versions, or files: what differs, and who must be asked again for what.
    #[command(after_help = "Example:\n  wayside notice diff 2026-11 notice.toml")]
    Diff(Diff),
    /// List published and registered notices.
    #[command(after_help = "Example:\n  wayside notice list")]
    List(List),
    /// Show a version.
    #[command(after_help = "Example:\n  wayside notice show 2026-11 --lang en")]
    Show(Show),
}

#[derive(Debug, clap::Args)]
struct New {
    /// Begin with what the configuration does; there is no other beginning.
    #[arg(long, required = true)]
    from_config: bool,
    /// Languages, separated by commas. de and en have text; others get the English one, marked for translation.
    #[arg(long, value_name = "TAGS", value_delimiter = ',', default_value = "en")]
    lang: Vec<String>,
    /// The version's name; today's date where it is not given.
    #[arg(long, value_name = "WORD")]
    version: Option<String>,
    /// Purposes to describe besides those of the configuration.
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    purposes: Vec<String>,
    /// The site; needed where several are configured.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Write it there; never over a file that exists.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct File {
    /// The draft.
    file: PathBuf,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Preview {
    /// The draft.
    file: PathBuf,
    /// Which language; the first where it is not given.
    #[arg(long, value_name = "TAG")]
    lang: Option<String>,
    /// Write it there instead of to standard output.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
}

#[derive(Debug, clap::Args)]
struct Publish {
    /// The draft.
    file: PathBuf,
    /// From when it is in force (UTC); now where it is not given.
    #[arg(long, value_name = "DATE")]
    valid_from: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Register {
    /// Name of the tool.
    #[arg(long)]
    name: String,
    /// Version of its configuration.
    #[arg(long, value_name = "WORD")]
    version: String,
    /// Where it can be read.
    #[arg(long)]
    url: String,
    /// SHA-256 of its configuration, 64 hex digits.
    #[arg(long, value_name = "HEX")]
    digest: String,
    /// The purposes it asks for; all where they are not given.
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    purposes: Vec<String>,
    /// The purposes to ask anew; all where they are not given.
    #[arg(long, value_name = "WORDS", value_delimiter = ',')]
    changed: Vec<String>,
    /// From when it is in force (UTC); now where it is not given.
    #[arg(long, value_name = "DATE")]
    valid_from: Option<String>,
    /// The site; needed where several are configured.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Diff {
    /// A published version, or a draft's file.
    before: String,
    /// A published version, or a draft's file.
    after: String,
    /// The site; needed where several are configured.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
}

#[derive(Debug, clap::Args)]
struct List {
    /// Only this site.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, clap::Args)]
struct Show {
    /// The version.
    version: String,
    /// Only this site.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Only this language.
    #[arg(long, value_name = "TAG")]
    lang: Option<String>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Does what was asked.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    match &args.what {
        What::New(args) => new(args, context),
        What::Check(args) => check(args, context),
        What::Preview(args) => preview(args, context),
        What::Publish(args) => publish(args, context),
        What::Register(args) => register(args, context),
        What::Diff(args) => diff(args, context),
        What::List(args) => list(args, context),
        What::Show(args) => show(args, context),
    }
}

fn facts<'a>(context: &'a Context, site: Option<&str>) -> Result<&'a Facts> {
    let known = || context.facts.iter().map(|facts| facts.site.as_str()).collect::<Vec<_>>().join(", ");
    match (site, context.facts.as_slice()) {
        (None, [only]) => Ok(only),
        (None, _) => {
            Err(Error::invalid("several sites are configured").remedy(format!("add --site with one of: {}", known())))
        }
        (Some(site), all) => all.iter().find(|facts| facts.site == site).ok_or_else(|| {
            Error::invalid(format!("no site {site:?} is configured")).remedy(format!("name one of: {}", known()))
        }),
    }
}

fn new(args: &New, context: &mut Context) -> Result<u8> {
    if let Some(tag) = args.lang.iter().find(|tag| !is_language(tag)) {
        return Err(Error::invalid(format!("{tag:?} is no language tag")).remedy("write it like de, en or pt-BR"));
    }
    let facts = facts(context, args.site.as_deref())?;
    if let Some(word) = args.purposes.iter().find(|word| !facts.words.contains(word)) {
        return Err(Error::invalid(format!("{word:?} is no purpose of the site"))
            .remedy(format!("use: {}", facts.words.join(", "))));
    }
    let today: String = context.clock.now().rfc3339().chars().take(10).collect();
    let version = args.version.clone().unwrap_or(today);
    let draft = template::draft(facts, &version, &args.lang, &args.purposes);
    let text = write(&draft)?;
    let Some(path) = &args.out else {
        context.output.lines(text.lines().map(str::to_owned))?;
        return Ok(0);
    };
    save(path, text.as_bytes(), true)?;
    let open = lint::check(&draft, facts).into_iter().filter(|finding| finding.error).count();
    context.output.line(&format!("wrote {}", path.display()))?;
    let next = if open > 0 { format!("{open} things are open") } else { "read it through".to_owned() };
    context.output.note(&format!("{next}: edit it, then wayside notice check {}", path.display()))?;
    Ok(0)
}

/// A draft as a file to edit.
fn write(draft: &Draft) -> Result<String> {
    let text = toml::to_string_pretty(draft).map_err(|e| Error::invalid(format!("the draft has no TOML form: {e}")))?;
    Ok(format!(
        "# A draft of a notice: what people are told before they decide. Edit it, then:\n\
         #   wayside notice check FILE       what is missing\n\
         #   wayside notice preview FILE     how it reads\n\
         #   wayside notice publish FILE     from then on this version stays as it is\n\
         # Text between ''' may run over several lines; an empty line begins a paragraph.\n\n{text}"
    ))
}

fn save(path: &Path, bytes: &[u8], fresh: bool) -> Result<()> {
    if fresh && path.exists() {
        return Err(
            Error::conflict(format!("{} exists", path.display())).remedy("name another file, or remove that one")
        );
    }
    std::fs::write(path, bytes).map_err(|e| io(format_args!("writing {}", path.display()), e))
}

/// Reads a draft. Errors: `NotFound`, `Invalid` with the place of what does not parse.
fn read(path: &Path) -> Result<Draft> {
    let size = std::fs::metadata(path).map_err(|e| {
        Error::not_found(format!("{}: {e}", path.display()))
            .remedy("name the file of a draft: wayside notice new writes one")
    })?;
    if size.len() > FILE_BYTES_MAX {
        return Err(Error::invalid(format!(
            "{} has {} bytes, at most {FILE_BYTES_MAX} are read",
            path.display(),
            size.len()
        )));
    }
    let text = std::fs::read_to_string(path).map_err(|e| io(format_args!("reading {}", path.display()), e))?;
    toml::from_str(&text).map_err(|e| {
        Error::invalid(format!("{}: {}", path.display(), e.to_string().trim_end()))
            .remedy("correct the line it names; wayside notice new shows every key")
    })
}

fn print(findings: &[Finding], context: &mut Context) -> Result<()> {
    for finding in findings {
        let word = if finding.error { "error" } else { "warning" };
        context.output.line(&format!("{word}: {}: {}", finding.place, finding.what))?;
        context.output.line(&format!("  -> {}", finding.remedy))?;
    }
    let errors = findings.iter().filter(|finding| finding.error).count();
    let warnings = findings.len() - errors;
    context.output.line(&match (errors, warnings) {
        (0, 0) => "ok".to_owned(),
        (0, _) => format!("ok, with {warnings} warnings"),
        _ => format!("{errors} errors, {warnings} warnings: it cannot be published"),
    })
}

fn check(args: &File, context: &mut Context) -> Result<u8> {
    let draft = read(&args.file)?;
    let findings = lint::check(&draft, facts(context, Some(&draft.site))?);
    if args.json {
        context.output.json(&findings)?;
    } else {
        print(&findings, context)?;
    }
    Ok(if findings.iter().any(|finding| finding.error) { 65 } else { 0 })
}

fn preview(args: &Preview, context: &mut Context) -> Result<u8> {
    let notices = read(&args.file)?.notices()?;
    let found = match &args.lang {
        None => notices.first(),
        Some(tag) => notices.iter().find(|notice| notice.language == *tag),
    };
    let notice =
        found.ok_or_else(|| Error::not_found("the draft has no such language").remedy("add [language.TAG] to it"))?;
    let text = page::own(notice);
    match &args.out {
        Some(path) => {
            save(path, text.as_bytes(), false)?;
            context.output.line(&format!("wrote {}", path.display()))?;
        }
        None => context.output.lines(text.lines().map(str::to_owned))?,
    }
    Ok(0)
}

/// A day, or an instant. Errors: `Invalid`.
fn day(text: Option<&str>) -> Result<Option<Millis>> {
    let Some(text) = text else { return Ok(None) };
    let whole = if text.len() == 10 { format!("{text}T00:00:00Z") } else { text.to_owned() };
    Millis::parse(&whole).map(Some).ok_or_else(|| {
        Error::invalid(format!("{text:?} is no date")).remedy("write it like 2027-01-01 or 2027-01-01T06:00:00Z")
    })
}

fn publish(args: &Publish, context: &mut Context) -> Result<u8> {
    let draft = read(&args.file)?;
    let findings = lint::check(&draft, facts(context, Some(&draft.site))?);
    if findings.iter().any(|finding| finding.error) {
        print(&findings, context)?;
        return Ok(65);
    }
    let body = json!({"draft": draft, "validFrom": day(args.valid_from.as_deref())?});
    let mut desk = context.desk()?;
    let answer = desk::ask(&mut *desk, &context.stop, "POST", "/v1/notices", &body)?;
    if args.json {
        context.output.json(&answer)?;
        return Ok(0);
    }
    for row in answer["published"].as_array().into_iter().flatten() {
        let text = |key: &str| row[key].as_str().unwrap_or("-").to_owned();
        let line = format!(
            "published {} in {}, in force from {}",
            text("version"),
            text("language"),
            time_text(&text("valid_from"))
        );
        context.output.line(&line)?;
        context.output.line(&format!("  digest {}", text("digest")))?;
    }
    Ok(0)
}

fn register(args: &Register, context: &mut Context) -> Result<u8> {
    let body = json!({
        "notice": {"name": args.name, "version": args.version, "url": args.url, "purposes": args.purposes,
                   "changed": args.changed},
        "digest": args.digest,
        "validFrom": day(args.valid_from.as_deref())?,
    });
    let target = desk::target("/v1/notices/external", &[("site", args.site.as_deref())]);
    let mut desk = context.desk()?;
    let answer = desk::ask(&mut *desk, &context.stop, "POST", &target, &body)?;
    if args.json {
        context.output.json(&answer)?;
        return Ok(0);
    }
    let from = answer["registered"]["valid_from"].as_str().unwrap_or("-");
    context.output.line(&format!("registered {} {}, in force from {}", args.name, args.version, time_text(from)))?;
    Ok(0)
}

/// The languages of a version, from a draft's file or as published.
fn version(which: &str, site: Option<&str>, context: &Context) -> Result<Vec<Notice>> {
    let path = Path::new(which);
    if path.exists() {
        return read(path)?.notices();
    }
    let found = context.history()?.notices(site, Some(which), context.clock.now())?;
    let notices: Vec<Notice> = found.into_iter().filter_map(|view| view.notice).collect();
    if notices.is_empty() {
        return Err(Error::invalid(format!("of the external notice {which:?} only the digest is known")));
    }
    Ok(notices)
}

fn diff(args: &Diff, context: &mut Context) -> Result<u8> {
    let facts = facts(context, args.site.as_deref())?;
    let site = Some(facts.site.as_str());
    let book = context.history.books.iter().find(|(name, _)| *name == facts.site).map(|(_, book)| book.clone());
    let (before, after) = (version(&args.before, site, context)?, version(&args.after, site, context)?);
    let mut lines = Vec::new();
    let book = book.unwrap_or_default();
    let mut asked = Purposes::NONE;
    for new in &after {
        let Some(old) = before.iter().find(|old| old.language == new.language) else {
            lines.push(format!("{}: a new language", new.language));
            continue;
        };
        asked = asked.with(new.changed_since(old, &book));
        lines.extend(differences(old, new));
    }
    let gone = before.iter().filter(|old| !after.iter().any(|new| new.language == old.language));
    lines.extend(gone.map(|old| format!("{}: the language is gone", old.language)));
    if lines.is_empty() {
        lines.push("no difference".to_owned());
    }
    lines.push(match asked.names(&book).as_slice() {
        [] => "nobody has to be asked again".to_owned(),
        words => format!("to be asked again: {}", words.join(", ")),
    });
    context.output.lines(lines)?;
    Ok(0)
}

fn differences(old: &Notice, new: &Notice) -> Vec<String> {
    let (before, after) = (old.fields(), new.fields());
    let text = |list: &[(String, String)], key: &str| list.iter().find(|(k, _)| k == key).map(|(_, text)| text.clone());
    let mut keys: Vec<&String> = before.iter().map(|(key, _)| key).collect();
    keys.extend(after.iter().map(|(key, _)| key).filter(|key| !before.iter().any(|(k, _)| k == *key)));
    let mut out = Vec::new();
    for key in keys {
        let (was, is) = (text(&before, key), text(&after, key));
        if was != is {
            out.push(format!("{} {key}:", new.language));
            out.extend(was.filter(|text| !text.is_empty()).map(|text| format!("  - {text}")));
            out.extend(is.filter(|text| !text.is_empty()).map(|text| format!("  + {text}")));
        }
    }
    out
}

fn list(args: &List, context: &mut Context) -> Result<u8> {
    let found = context.history()?.notices(args.site.as_deref(), None, context.clock.now())?;
    if args.json {
        let bare: Vec<NoticeView> = found.into_iter().map(|view| NoticeView { notice: None, ..view }).collect();
        context.output.json(&bare)?;
        return Ok(0);
    }
    if found.is_empty() {
        context.output.line("no notice is published")?;
        return Ok(0);
    }
    let mut table = Table::new(&["site", "version", "language", "=in force from", "now", "digest"]);
    for view in found {
        table.row([
            view.site,
            view.version,
            view.language,
            time_text(&view.valid_from),
            if view.in_force { "yes" } else { "" }.to_owned(),
            view.digest.chars().take(16).collect(),
        ]);
    }
    context.output.lines(table.lines())?;
    Ok(0)
}

fn show(args: &Show, context: &mut Context) -> Result<u8> {
    let mut found = context.history()?.notices(args.site.as_deref(), Some(&args.version), context.clock.now())?;
    found.retain(|view| args.lang.as_ref().is_none_or(|tag| *tag == view.language));
    if found.is_empty() {
        return Err(Error::not_found("the notice has no such language").remedy("leave --lang out to see all of them"));
    }
    if args.json {
        context.output.json(&found)?;
        return Ok(0);
    }
    for view in found {
        let mut list = vec![
            ("site".to_owned(), view.site),
            ("version".to_owned(), view.version),
            ("language".to_owned(), view.language),
            ("digest".to_owned(), view.digest),
            ("in force from".to_owned(), time_text(&view.valid_from)),
        ];
        if let Some(external) = view.external {
            list.push(("name".to_owned(), external.name));
            list.push(("url".to_owned(), external.url));
        }
        list.extend(view.notice.iter().flat_map(Notice::fields).filter(|(_, text)| !text.is_empty()));
        context.output.lines(pairs("", &list))?;
        context.output.line("")?;
    }
    Ok(0)
}
