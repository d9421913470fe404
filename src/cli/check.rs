//! `wayside check`: the configuration in force, and every problem with its line and remedy.
//! Must never read the configuration itself. Invariant: exit code 78 exactly where a start would be refused.

use serde::Serialize;

use crate::base::error::Result;
use crate::cli::Context;

const AFTER: &str = "Example:
  wayside check --config /etc/wayside/config.toml
  wayside check --quiet          problems only";

/// Flags of `check`.
#[derive(Debug, clap::Args)]
#[command(after_help = AFTER)]
pub struct Args {
    /// Print problems only, not the configuration in force.
    #[arg(long, short)]
    quiet: bool,
    /// Print one JSON object: file, findings, effective.
    #[arg(long)]
    json: bool,
}

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Severity {
    /// It forbids a start.
    Error,
    /// It is doubtful.
    Warning,
}

/// One thing that is wrong with the configuration, or doubtful.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// How bad.
    pub severity: Severity,
    /// Line of the file, from 1.
    pub line: Option<usize>,
    /// Path of the key.
    pub key: String,
    /// What is wrong.
    pub what: String,
    /// What to do about it.
    pub remedy: String,
}

/// A configuration that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Checked {
    /// The file; `None` where there is none.
    pub file: Option<String>,
    /// What was found.
    pub findings: Vec<Finding>,
    /// What is in force, as TOML.
    pub effective: String,
}

impl Finding {
    /// `error: line 3, door.listen: what`.
    fn line(&self) -> String {
        let word = if self.severity == Severity::Error { "error" } else { "warning" };
        let line = self.line.map(|line| format!("line {line}"));
        let key = (!self.key.is_empty()).then(|| self.key.clone());
        let place: Vec<String> = [line, key, Some(self.what.clone())].into_iter().flatten().collect();
        match place.split_last() {
            Some((what, place)) if !place.is_empty() => format!("{word}: {}: {what}", place.join(", ")),
            _ => format!("{word}: {}", self.what),
        }
    }
}

/// Checks and prints.
pub fn run(args: &Args, context: &mut Context) -> Result<u8> {
    let checked = (context.check)()?;
    let errors = checked.findings.iter().filter(|f| f.severity == Severity::Error).count();
    let out = &mut context.output;
    if args.json {
        out.json(&checked)?;
    } else {
        if !args.quiet {
            out.line(&format!("# in force, from {}", checked.file.as_deref().unwrap_or("built-in defaults")))?;
            out.lines(checked.effective.lines().map(str::to_owned))?;
            out.line("")?;
        }
        for finding in &checked.findings {
            out.line(&finding.line())?;
            if !finding.remedy.is_empty() {
                out.line(&format!("  -> {}", finding.remedy))?;
            }
        }
        let warnings = checked.findings.len() - errors;
        let many = |n: usize, what: &str| format!("{n} {what}{}", if n == 1 { "" } else { "s" });
        out.line(&match (errors, warnings) {
            (0, 0) => "ok".to_owned(),
            (0, _) => format!("ok, with {}", many(warnings, "warning")),
            _ => format!("{}, {}: wayside would not start", many(errors, "error"), many(warnings, "warning")),
        })?;
    }
    Ok(if errors == 0 { 0 } else { 78 })
}
