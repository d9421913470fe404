//! `wayside import`: web server logs as page views. Must never read a log: the importer does.
//! Invariant: with `--json` the keys are stable, and standard output holds that one object.

use std::time::Instant;

use clap::ValueEnum;

use crate::base::error::{Error, Result};
use crate::cli::Context;
use crate::cli::context::ImportRequest;
use crate::cli::output::span_text;
use crate::cli::progress::{Progress, Unit};
use crate::cli::table::pairs;
use crate::domain::consent::{LawfulBasis, PurposeBook};
use crate::ingest::import::{ImportOptions, Source, Tally};

const AFTER: &str = "Example:
  wayside import --format combined --basis legitimate_interest access.log access.log.1.gz
  zcat access.log.*.gz | wayside import --format combined --basis legitimate_interest -
  wayside import --format combined --basis legitimate_interest --follow access.log

Without --basis only counters that name nobody are kept. Importing a file again goes on where it ended.";

/// Formats that can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Format {
    /// The combined format of Apache and nginx.
    Combined,
}

/// Flags of `import`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// The format of the log.
    #[arg(long, value_enum)]
    format: Format,
    /// Files, plain or gzip; `-` is standard input.
    #[arg(value_name = "FILE", required = true)]
    files: Vec<String>,
    /// Go on with the last file as it grows, across rotation.
    #[arg(long)]
    follow: bool,
    /// The site the log belongs to; needed where several are configured.
    #[arg(long, value_name = "SITE")]
    site: Option<String>,
    /// The lawful basis of keeping visitors: legitimate_interest, contract or legal_obligation.
    #[arg(long, value_name = "BASIS", value_parser = basis)]
    basis: Option<LawfulBasis>,
    /// What the events may be used for, separated by commas.
    #[arg(long, value_name = "WORDS", value_delimiter = ',', default_value = "measure")]
    purposes: Vec<String>,
    /// Print the totals as one JSON object.
    #[arg(long)]
    json: bool,
}

fn basis(word: &str) -> Result<LawfulBasis, String> {
    use LawfulBasis::{Consent, Contract, LegalObligation, LegitimateInterest};
    [LegitimateInterest, Contract, LegalObligation, Consent]
        .into_iter()
        .find(|basis| basis.word() == word)
        .ok_or_else(|| "use legitimate_interest, contract or legal_obligation".to_owned())
}

/// The site meant: the one named, else the only one configured.
fn site(args: &Args, context: &Context) -> Result<String> {
    let known: Vec<&str> = context.history.books.iter().map(|(site, _)| site.as_str()).collect();
    match (&args.site, known.as_slice()) {
        (Some(site), _) => Ok(site.clone()),
        (None, [only]) => Ok((*only).to_owned()),
        (None, []) => Ok(ImportOptions::default().site),
        (None, _) => Err(Error::invalid("several sites are configured")
            .code("site")
            .remedy(format!("name one with --site: {}", known.join(", ")))),
    }
}

/// Imports and prints the totals.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let site = site(args, context)?;
    let books = &context.history.books;
    let book = books.iter().find(|(name, _)| *name == site).map_or_else(PurposeBook::default, |(_, book)| book.clone());
    let options = ImportOptions {
        site,
        basis: args.basis,
        purposes: book.set(args.purposes.iter().map(String::as_str))?,
        follow: args.follow,
        ..ImportOptions::default()
    };
    options.check()?;
    let request = ImportRequest { sources: args.files.iter().map(|name| Source::parse(name)).collect(), options };
    let mut desk = context.desk()?;
    if args.basis.is_none() {
        context.output.note("no --basis is stated: only counters are kept, no visitors and no visits")?;
    }
    let began = Instant::now();
    let mut progress = Progress::start("import", Unit::Bytes, context.interactive);
    let err = &mut context.output.err;
    let tally = (context.import)(&request, &mut *desk, &mut |done, total| progress.at(done, total, &mut **err));
    progress.end();
    let tally = tally?;
    if args.json {
        context.output.json(&tally)?;
        return Ok(0);
    }
    let took = span_text(i64::try_from(began.elapsed().as_millis()).unwrap_or(i64::MAX));
    context.output.line(&format!("{} lines in {took}", tally.lines))?;
    context.output.lines(pairs("  ", &rows(&tally)))?;
    Ok(0)
}

fn rows(t: &Tally) -> Vec<(String, String)> {
    let rows = [
        ("page views", t.page_views, "of robots included"),
        ("  of robots", t.robots, ""),
        ("assets", t.assets, "images, scripts, styles, downloads: skipped"),
        ("other method", t.other_method, "not GET: skipped"),
        ("other status", t.other_status, "neither 2xx nor 304: skipped"),
        ("malformed", t.malformed, "not of the format: skipped"),
        ("duplicates", t.duplicates, "taken by an earlier import"),
        ("visitors", t.visitors, "first seen now"),
        ("visits", t.visits, "begun now"),
    ];
    let width = rows.iter().map(|(_, n, _)| n.to_string().len()).max().unwrap_or(0);
    rows.iter().map(|(name, n, about)| ((*name).to_owned(), format!("{n:>width$}  {about}"))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_json_keys_are_stable() {
        let value = serde_json::to_value(Tally::default()).unwrap();
        let mut keys: Vec<&str> = value.as_object().unwrap().keys().map(String::as_str).collect();
        keys.sort_unstable();
        let mut wanted = [
            "lines",
            "malformed",
            "page_views",
            "assets",
            "other_method",
            "other_status",
            "robots",
            "visitors",
            "visits",
            "duplicates",
        ];
        wanted.sort_unstable();
        assert_eq!(keys, wanted);
    }

    #[test]
    fn bases_are_read_by_their_word() {
        assert_eq!(basis("legitimate_interest"), Ok(LawfulBasis::LegitimateInterest));
        assert!(basis("because").is_err());
    }
}
