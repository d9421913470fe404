//! `wayside consent verify`, `checkpoint`, `prove` and `proof-key`: does the ledger hold, how far was it signed, what allowed
//! an event? The secret key of sealed proofs is read here and goes nowhere.
//! Must never judge the ledger itself (`consent/verify.rs`). Invariant: but for the record of who
//! opened sealed proofs nothing here changes the database.

use std::path::PathBuf;

use serde_json::Value;

use crate::base::cell::RecipientKey;
use crate::base::error::{Error, Result, io};
use crate::cli::output::{shown, time_text};
use crate::cli::progress::{Progress, Unit};
use crate::cli::table::pairs;
use crate::cli::{Context, desk};
use crate::consent::{proofs, prove, verify};

/// Longest a read of the ledger may take, ms: pages are read one by one.
const READ_MS_MAX: u64 = 30_000;

/// Flags of `verify`.
#[derive(Debug, clap::Args)]
pub struct Verify {
    /// A checkpoint kept elsewhere: a line of the consent lane, or what `wayside consent checkpoint --json` printed.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,
    /// A receipt in the form json, its signature beside it in FILE.sig; may be given more than once.
    #[arg(long, value_name = "FILE")]
    receipt: Vec<PathBuf>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Flags of `checkpoint`.
#[derive(Debug, clap::Args)]
pub struct Checkpoint {
    /// Print one JSON object, to be kept elsewhere.
    #[arg(long)]
    json: bool,
}

/// Flags of `prove`.
#[derive(Debug, clap::Args)]
pub struct Prove {
    /// The event's id.
    #[arg(long, value_name = "ID", required_unless_present = "sealed")]
    event: Option<String>,
    /// Open the sealed proofs of erased persons instead.
    #[arg(long, conflicts_with_all = ["event", "site"], requires_all = ["key", "reason"])]
    sealed: bool,
    /// The file with the secret key of `proof-key`.
    #[arg(long, value_name = "FILE")]
    key: Option<PathBuf>,
    /// Why they are opened; kept in the audit.
    #[arg(long, value_name = "TEXT")]
    reason: Option<String>,
    /// Of the sealed proofs only those with this text in them: a visitor_ref, a decision's id, a hash of the ledger.
    #[arg(long, value_name = "TEXT")]
    find: Option<String>,
    /// The site; needed where several have an event of that id.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// Print one JSON object.
    #[arg(long)]
    json: bool,
}

/// Flags of `proof-key`.
#[derive(Debug, clap::Args)]
pub struct ProofKey {
    /// Where the secret key is written (mode 0600); it must not exist.
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

/// Makes the key pair proofs are sealed to.
pub fn proof_key(args: &ProofKey, context: &mut Context) -> Result<u8> {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let key = RecipientKey::mint();
    let failed = |e| io(format_args!("writing {}", args.out.display()), e);
    let mut file = std::fs::File::options().write(true).create_new(true).mode(0o600).open(&args.out).map_err(failed)?;
    writeln!(file, "{}", key.secret_text()).and_then(|()| file.sync_all()).map_err(failed)?;
    context.output.line(&format!("proof_key = \"{}\"", key.recipient()))?;
    context.output.note("put this line into [erase] of the configuration, and keep the file away from this machine")?;
    Ok(0)
}

fn sealed(args: &Prove, context: &mut Context) -> Result<u8> {
    let path = args.key.as_deref().unwrap_or(std::path::Path::new(""));
    let key = std::fs::read_to_string(path).map_err(|e| io(format_args!("reading {}", path.display()), e))?;
    RecipientKey::parse(&key)?; // a key that is none is said before anything is put on record
    let body = serde_json::json!({"reason": args.reason});
    let answer = {
        let mut desk = context.desk()?;
        desk::ask(&mut *desk, &context.stop, "POST", "/v1/consent/proofs", &body)?
    };
    let list = answer["proofs"].as_array().cloned().unwrap_or_default();
    let mut opened = proofs::open(&key, &list)?;
    if let Some(text) = &args.find {
        opened.retain(|one| one.decision.to_string().contains(text));
    }
    proofs::against(&context.data_dir, READ_MS_MAX, &mut opened)?;
    context.output.json(&opened)?;
    context.output.note(&format!("{} sealed proofs looked into; the reason is in the audit", list.len()))?;
    if let Some(bad) = opened.iter().find(|one| !one.holds || one.ledger == Some(proofs::Live::Other)) {
        let no = &bad.decision["ledger_no"];
        return Err(Error::invalid(format!("the ledger does not have a sealed decision as its entry {no}"))
            .code("proof")
            .remedy(
                "see \"holds\" and \"ledger\" above; `wayside consent verify` tells whether the ledger itself holds",
            ));
    }
    Ok(0)
}

/// A receipt on the disk, with its signature beside it.
fn receipt(path: &std::path::Path, context: &Context, out: &mut verify::Verified) -> Result<()> {
    let beside = PathBuf::from(format!("{}.sig", path.display()));
    let failed = |path: &std::path::Path, e| io(format_args!("reading {}", path.display()), e);
    let bytes = std::fs::read(path).map_err(|e| failed(path, e))?;
    let proof = std::fs::read_to_string(&beside).map_err(|e| failed(&beside, e))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let kept = verify::Kept { name: &name, bytes: &bytes, proof: &proof };
    verify::receipt(&context.data_dir, READ_MS_MAX, &kept, out)
}

/// Verifies the ledger; the exit code tells what kind of fault was found.
pub fn verify(args: &Verify, context: &mut Context) -> Result<u8> {
    let against = match &args.against {
        None => None,
        Some(path) => {
            let text = std::fs::read_to_string(path).map_err(|e| io(format_args!("reading {}", path.display()), e))?;
            Some(verify::parse_checkpoint(&text)?)
        }
    };
    let mut progress = Progress::start("verify", Unit::Of("entries"), context.interactive);
    let err = &mut context.output.err;
    let verified = verify::beside(&context.data_dir, READ_MS_MAX, against.as_ref(), &mut |done, all| {
        progress.at(done, all, &mut **err)
    });
    progress.end();
    let mut verified = verified?;
    for path in &args.receipt {
        receipt(path, context, &mut verified)?;
    }
    if args.json {
        context.output.json(&verified)?;
        return Ok(verified.exit_code());
    }
    for fault in &verified.faults {
        let kind = shown("kind", &serde_json::to_value(fault.kind).unwrap_or_default());
        context.output.line(&format!("entry {}: {kind}: {}", fault.ledger_no, fault.what))?;
    }
    for note in &verified.notes {
        context.output.line(&format!("note: {note}"))?;
    }
    if verified.anchor_no > 0 {
        let upto = verified.anchor_no;
        context
            .output
            .line(&format!("note: entries up to {upto} were removed by age; a signed anchor stands for them"))?;
    }
    let counted = format!(
        "{} entries, {} contents, {} removed with an entry that says why, {} checkpoints, {} entries not signed yet",
        verified.entries, verified.contents, verified.cleared, verified.checkpoints, verified.unsigned
    );
    context.output.line(&match verified.fault_count {
        0 => format!("ok: {counted}"),
        n => format!("{n} faults in {counted}"),
    })?;
    if verified.fault_count > 0 {
        context.output.line(
            "keep database, edge.json and every checkpoint received as they are; compare with a backup and with the upstream",
        )?;
    }
    Ok(verified.exit_code())
}

/// Shows the newest checkpoint.
pub fn checkpoint(args: &Checkpoint, context: &mut Context) -> Result<u8> {
    let newest = verify::newest_checkpoint(&context.data_dir, READ_MS_MAX)?;
    if args.json {
        context.output.json(&newest)?;
        return Ok(0);
    }
    let list = [
        ("entry", newest.ledger_no.to_string()),
        ("hash", newest.hash),
        ("signed", time_text(&newest.at)),
        ("signature", newest.signature),
    ];
    context.output.lines(pairs("", &list.map(|(name, value)| (name.to_owned(), value))))?;
    context.output.note("keep it elsewhere with `wayside consent checkpoint --json`, and verify against it later")?;
    Ok(0)
}

/// Shows what allowed an event.
pub fn prove(args: &Prove, context: &mut Context) -> Result<u8> {
    let Some(event) = &args.event else { return sealed(args, context) };
    let books = context.history.books.clone();
    let book =
        move |site: &str| books.iter().find(|(of, _)| of.as_str() == site).map(|(_, b)| b.clone()).unwrap_or_default();
    let proof = prove::event(&context.data_dir, READ_MS_MAX, args.site.as_deref(), event, &book)?;
    if args.json {
        context.output.json(&proof)?;
        return Ok(0);
    }
    let value = serde_json::to_value(&proof).map_err(|e| Error::storage("showing a proof").source(e))?;
    let fields = |value: &Value, skip: &[&str]| -> Vec<(String, String)> {
        let known = value.as_object().into_iter().flatten();
        let told = known.filter(|(key, value)| !skip.contains(&key.as_str()) && !value.is_null());
        told.map(|(key, value)| (key.replace('_', " "), shown(key, value))).collect()
    };
    context.output.lines(pairs("", &fields(&value, &["decision", "grant", "notice"])))?;
    for name in ["decision", "grant"] {
        if value[name].is_object() {
            context.output.line(if name == "grant" { "the yes before it" } else { name })?;
            context.output.lines(pairs("  ", &fields(&value[name], &[])))?;
        }
    }
    if let Some(notice) = &proof.notice {
        context.output.line("notice")?;
        context.output.lines(pairs("  ", &fields(&value["notice"], &["own", "external"])))?;
        context.output.lines(told(notice))?;
    }
    if [&proof.decision, &proof.grant].into_iter().flatten().any(|d| !d.holds)
        || proof.notice.as_ref().is_some_and(|notice| !notice.holds)
    {
        return Err(Error::invalid("the decision or its notice is not what the ledger says")
            .code("proof")
            .remedy("see \"holds\" above; `wayside consent verify` tells the first bad entry"));
    }
    Ok(0)
}

/// What a notice told.
fn told(notice: &prove::ProvenNotice) -> Vec<String> {
    let mut list: Vec<(String, String)> = Vec::new();
    let mut add = |name: &str, text: &str| {
        if !text.trim().is_empty() {
            list.push((name.to_owned(), text.trim().to_owned()));
        }
    };
    if let Some(external) = &notice.external {
        add("name", &external.name);
        add("address", &external.url);
    }
    if let Some(own) = &notice.own {
        add("title", &own.title);
        add("text", &own.text);
        for p in &own.purposes {
            add(&p.name, &format!("{}: {} ({})", p.title, p.text, p.basis.word()));
        }
        for (name, text) in [
            ("withdrawal", &own.withdrawal),
            ("retention", &own.retention),
            ("rights", &own.rights),
            ("complaint", &own.complaint),
        ] {
            add(name, text);
        }
        for r in &own.recipients {
            add("recipient", &format!("{} ({})", r.name, r.role.word()));
        }
        add("controller", &own.controller.name);
    }
    pairs("  ", &list)
}
