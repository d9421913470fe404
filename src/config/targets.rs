//! Checks of the targets: names, folders, recipients.
//! Must never open a target. Invariant: a folder that passes here lies inside the data directory and is no one else's.

use std::path::{Component, Path, PathBuf};

use crate::base::time;
use crate::config::findings::Findings;
use crate::config::{Config, Severity, carried, pushes};
use crate::forward::options::{Recipient, TargetKind, TargetOptions};
use crate::forward::schedule::Window;

const NAME_BYTES_MAX: usize = 64;
/// What else lies in the data directory. Names that begin with `wayside` are the database and what belongs to it.
const TAKEN: [&str; 8] = ["lock", "control.sock", "rights.log", "spool", "keys", "snapshots", "backup", "aside"];

pub(super) fn check(config: &Config, findings: &mut Findings) {
    let mut folders: Vec<PathBuf> = Vec::new();
    for (n, target) in config.targets.iter().enumerate() {
        let at = format!("target[{n}]");
        name(config, n, target, &at, findings);
        pushes::check(target, &at, findings);
        recipient(target, &at, findings);
        times(target, &at, findings);
        if target.kind == TargetKind::Carry {
            carried::check(target, &at, findings);
        }
        if target.kind != TargetKind::Dir {
            continue;
        }
        match folder(&config.data_dir, &target.path) {
            Err(what) => findings.error(
                format!("{at}.path"),
                format!("{:?} {what}", target.path),
                "write a folder of its own, relative to the data directory, for example \"outbox\"",
            ),
            Ok(folder) if folders.iter().any(|other| other.starts_with(&folder) || folder.starts_with(other)) => {
                findings.error(
                    format!("{at}.path"),
                    format!("{:?} belongs to another target", target.path),
                    "give each target a folder of its own",
                )
            }
            Ok(folder) => folders.push(folder),
        }
        if config.quota.disk_budget_bytes.is_some_and(|budget| target.keep_bytes > budget) {
            findings.clash(
                Severity::Warning,
                [&format!("{at}.keep_bytes"), "quota.disk_budget_bytes"],
                "keep_bytes is more than quota.disk_budget_bytes: waiting files alone may use up the budget",
                "write a smaller number",
            );
        }
    }
}

fn name(config: &Config, n: usize, target: &TargetOptions, at: &str, findings: &mut Findings) {
    let name = &target.name;
    let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(word) {
        findings.error(format!("{at}.name"), format!("{name:?}"), "use 1 to 64 letters, digits, '-', '_' or '.'");
    } else if config.targets[..n].iter().any(|other| other.name == *name) {
        findings.error(
            format!("{at}.name"),
            format!("{name:?} names two targets"),
            "give each target a name of its own",
        );
    }
}

/// The folder as seen from the data directory, or why it will not do.
fn folder(data_dir: &Path, path: &Path) -> Result<PathBuf, &'static str> {
    let outside = "does not lie inside the data directory";
    let inner = if path.is_absolute() {
        let root = std::path::absolute(data_dir).map_err(|_| outside)?;
        path.strip_prefix(root).map_err(|_| outside)?.to_owned()
    } else {
        path.to_owned()
    };
    let mut clean = PathBuf::new();
    for part in inner.components() {
        match part {
            Component::Normal(part) => clean.push(part),
            Component::CurDir => {}
            _ => return Err(outside),
        }
    }
    let first = clean.components().next().map(|part| part.as_os_str().to_string_lossy().to_lowercase());
    match first {
        None => Err("is the data directory itself"),
        Some(first) if first.starts_with("wayside") || TAKEN.contains(&first.as_str()) => {
            Err("is used for something else in the data directory")
        }
        Some(_) => Ok(clean),
    }
}

/// When batches leave over the network.
fn times(target: &TargetOptions, at: &str, findings: &mut Findings) {
    for window in &target.windows {
        if let Err(error) = Window::parse(window) {
            findings.error(format!("{at}.windows"), error.what, "write times of day like \"22:00-06:00\"");
        }
    }
    let zone = &target.time_zone;
    if !zone.is_empty() && !time::zone_known(zone) {
        findings.error(
            format!("{at}.time_zone"),
            format!("{zone:?} is no time zone"),
            "write one like \"Europe/Berlin\"",
        );
    }
}

fn recipient(target: &TargetOptions, at: &str, findings: &mut Findings) {
    if target.recipient == Recipient::Own {
        return;
    }
    let named = target.recipient_name.as_deref().map(str::trim).filter(|name| !name.is_empty());
    match named {
        None => findings.error(
            format!("{at}.recipient"),
            "rows would leave to somebody without a name",
            "say who in recipient_name, in the words of the notice",
        ),
        Some(name) => findings.warn(
            format!("{at}.recipient"),
            format!("rows leave to {name:?}, whom no published notice names yet"),
            "name this recipient in the notice before you ask for consent",
        ),
    }
}
