//! Floor 4: the command line. One file per command; each reads its flags, asks a work folder or the daemon, and prints.
//! Must never open the store or hold a rule. Commands that write go through the daemon where one runs; those that read
//! open the database read-only and need none.
//! Invariant: every command's help ends in an example that works.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;

use clap::{Parser, Subcommand};

use crate::base::error::{Error, Result};
use crate::base::text::clean;

pub mod ack;
pub mod audit;
pub mod backup;
pub mod batches;
pub mod breach;
pub mod carry;
pub mod cat;
pub mod check;
pub mod consent;
pub mod context;
pub mod cookies;
pub mod counts;
pub mod desk;
pub mod directive;
pub mod directives;
pub mod dpia;
pub mod edge;
pub mod edges;
pub mod erasures;
pub mod events;
pub mod exempt;
pub mod export;
pub mod forward;
pub mod image;
pub mod import;
pub mod join;
pub mod keys;
pub mod notice;
pub mod output;
pub mod pick;
pub mod progress;
pub mod proof;
pub mod pull;
pub mod reconcile;
pub mod record;
pub mod records;
pub mod restore;
pub mod schema;
pub mod serve;
pub mod status;
pub mod subject;
pub mod table;
pub mod tail;
pub mod token;
pub mod upkeep;
pub mod version;
pub mod visits;

pub use self::context::Context;
pub use self::desk::Desk;

const AFTER: &str = "Example:
  wayside serve                 start collecting, with built-in defaults
  wayside tail                  watch every event and its fate, in another terminal
  wayside status                is all well?

Exit codes: 0 done, 65 wrong data, 66 not found, 69 the other side failed, 74 disk or database failed,
75 busy (try again), 77 not allowed, 78 wrong configuration.";

/// Records visits and events on your own premises, consent first, and forwards sealed batches upstream.
#[derive(Debug, Parser)]
#[command(name = "wayside", version, after_help = AFTER, disable_help_subcommand = true, max_term_width = 100)]
pub struct Args {
    /// The configuration file; without one the built-in defaults hold.
    #[arg(long, global = true, value_name = "FILE")]
    pub config: Option<PathBuf>,
    /// The data directory: database, outbox, spool, control socket.
    #[arg(long, global = true, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// What is logged.
    #[arg(long, global = true, value_name = "LEVEL", value_parser = ["off", "error", "warn", "info", "debug", "trace"])]
    pub log: Option<String>,
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Collect events until stopped.
    Serve(serve::Args),
    /// Check the configuration and print what is in force.
    Check(check::Args),
    /// Record events and decisions from standard input, or one event from flags.
    Record(record::Args),
    /// Give, refuse, withdraw or show a visitor's consent.
    Consent(consent::Args),
    /// Write, check, publish and compare notices: what people are told before they decide.
    Notice(notice::Args),
    /// Import web server logs.
    Import(import::Args),
    /// List or show events.
    Events(events::Args),
    /// List or show visits.
    Visits(visits::Args),
    /// List the counters of events that were not kept.
    Counts(counts::Args),
    /// Watch events live, each with its outcome, reason and remedy.
    Tail(tail::Args),
    /// Tell whether all is well.
    Status(status::Args),
    /// List, show, verify or acknowledge sealed batches, or print files of them.
    #[command(visible_alias = "batch")]
    Batches(batches::Args),
    /// Seal and send what is due, now.
    Forward(forward::Args),
    /// Let this edge give way to another database that writes as the same edge.
    Edge(edge::Args),
    /// Carry batches to a stick, and acknowledgements back.
    Carry(carry::Args),
    /// Take batches from another wayside, verified, and acknowledge them.
    Pull(pull::Args),
    /// Acknowledge what `pull --no-ack` has taken.
    Ack(ack::Args),
    /// Print the columns of every kind of line, for a database.
    Schema(schema::Args),
    /// Write events or visits as NDJSON or CSV.
    Export(export::Args),
    /// Compare what was sealed with what a receiver has.
    Reconcile(reconcile::Args),
    /// Make this machine ready to be copied: without identity, keys or data.
    PrepareImage(image::Args),
    /// Copy the database while the collector goes on.
    Backup(backup::Args),
    /// Ask edges, as their centre, to erase, withdraw, correct or copy what they keep of a person.
    Directive(directive::Args),
    /// Keep the register of data-subject requests, and carry them out.
    Subject(subject::Args),
    /// Make a pair of keys for recovery, or recover the keys of personal fields.
    Keys(keys::Args),
    /// Put a backup in place of a database that is gone.
    Restore(restore::Args),
    /// Send this edge's batches to an upstream.
    Join(join::Args),
    /// Make, list or revoke tokens for the network.
    Token(token::Args),
    /// List, begin or acknowledge erasures of people.
    Erasures(erasures::Args),
    /// Tell who did what with people's data.
    Audit(audit::Args),
    /// Write the record of processing activities (GDPR Art. 30).
    Records(records::Args),
    /// Write the template of an impact assessment, filled in as far as it can be (GDPR Art. 35).
    Dpia(dpia::Args),
    /// Count whom and what a breach concerns (GDPR Art. 33 and 34).
    Breach(breach::Args),
    /// Write the table of what is kept in browsers, for the privacy policy.
    Cookies(cookies::Args),
    /// Prove the settings of sites that are measured under an exemption.
    ExemptReport(exempt::Args),
    /// Run the periodic care, now.
    Upkeep(upkeep::Args),
    /// Print versions.
    Version(version::Args),
}

/// The parsed command line; or, printed already, the exit code of help (0) and of a line that is wrong (65).
pub fn parse(line: impl IntoIterator<Item = OsString>) -> Result<Args, u8> {
    Args::try_parse_from(line).map_err(|error| {
        let code = if error.use_stderr() { 65 } else { 0 };
        // where nothing can be printed there is nobody to tell
        let _unprinted = error.print();
        code
    })
}

/// Runs a command; the exit code where it is not an error's. Errors: what the command could not do.
pub fn run(args: Args, mut context: Context) -> Result<u8> {
    let context = &mut context;
    let done = match args.command {
        Command::Serve(args) => serve::run(&args, context),
        Command::Check(args) => check::run(&args, context),
        Command::Record(args) => record::run(&args, context),
        Command::Consent(args) => consent::run(&args, context),
        Command::Notice(args) => notice::run(&args, context),
        Command::Import(args) => import::run(&args, context),
        Command::Events(args) => events::run(&args, context),
        Command::Visits(args) => visits::run(&args, context),
        Command::Counts(args) => counts::run(&args, context),
        Command::Tail(args) => tail::run(&args, context),
        Command::Status(args) => status::run(&args, context),
        Command::Batches(args) => batches::run(&args, context),
        Command::Forward(args) => forward::run(&args, context),
        Command::Edge(args) => edge::run(&args, context),
        Command::Carry(args) => carry::run(&args, context),
        Command::Pull(args) => pull::run(&args, context),
        Command::Ack(args) => ack::run(&args, context),
        Command::Schema(args) => schema::run(&args, context),
        Command::Export(args) => export::run(&args, context),
        Command::Reconcile(args) => reconcile::run(&args, context),
        Command::PrepareImage(args) => image::run(&args, context),
        Command::Backup(args) => backup::run(&args, context),
        Command::Directive(args) => directive::run(&args, context),
        Command::Subject(args) => subject::run(&args, context),
        Command::Keys(args) => keys::run(&args, context),
        Command::Restore(args) => restore::run(&args, context),
        Command::Join(args) => join::run(&args, context),
        Command::Token(args) => token::run(&args, context),
        Command::Erasures(args) => erasures::run(&args, context),
        Command::Audit(args) => audit::run(&args, context),
        Command::Records(args) => records::run(&args, context),
        Command::Dpia(args) => dpia::run(&args, context),
        Command::Breach(args) => breach::run(&args, context),
        Command::Cookies(args) => cookies::run(&args, context),
        Command::ExemptReport(args) => exempt::run(&args, context),
        Command::Upkeep(args) => upkeep::run(&args, context),
        Command::Version(args) => version::run(&args, context),
    };
    match done {
        // `wayside events list | head`: whoever reads has enough
        Err(error) if error.code == "broken_pipe" => Ok(0),
        other => other,
    }
}

/// Prints an error: what happened, and what to do about it.
pub fn print_error(error: &Error, err: &mut dyn Write) {
    let mut text = String::from("wayside: ");
    // an error may have several lines, each cleaned for itself
    text.push_str(&error.to_string().lines().map(clean).collect::<Vec<_>>().join("\n  "));
    if !error.remedy.is_empty() {
        text.push_str("\n  -> ");
        text.push_str(&clean(&error.remedy));
    }
    // where nothing can be printed there is nobody to tell
    let _unprinted = writeln!(err, "{text}");
}

#[cfg(test)]
mod tests;
