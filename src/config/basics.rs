//! Checks of the edge, the log, the door, the visits, and of what lies between tables.
//! Must never repeat a rule that its owner can be asked for. Invariant: each finding names one key and a remedy.

use std::net::IpAddr;

use crate::config::findings::Findings;
use crate::config::{Config, Severity};
use crate::consent::proofs::KeepProof;
use crate::domain::network::Networks;
use crate::forward::options::PersonalFields;
use crate::ingest::options::PersonalStore;

const LABEL_CHARACTERS_MAX: usize = 64;

pub(super) fn check(config: &Config, findings: &mut Findings) {
    edge(config, findings);
    door(config, findings);
    proxies(config, findings);
    visits(config, findings);
    personal(config, findings);
    pressure(config, findings);
}

/// The address to listen on, where it can be told.
pub(super) fn listens_on(config: &Config) -> Option<IpAddr> {
    config.door.address().ok().map(|address| address.ip().to_canonical())
}

/// Can other machines reach the door?
pub(super) fn reachable(config: &Config) -> bool {
    listens_on(config).is_some_and(|ip| !ip.is_loopback())
}

fn edge(config: &Config, findings: &mut Findings) {
    let label = &config.edge.label;
    if label.chars().count() > LABEL_CHARACTERS_MAX || label.chars().any(char::is_control) {
        findings.error(
            "edge.label",
            format!("longer than {LABEL_CHARACTERS_MAX} characters, or with control characters in it"),
            "write a short name, for example \"branch 12\"",
        );
    }
    if config.log.parse::<log::LevelFilter>().is_err() {
        findings.error("log", format!("{:?} is no level", config.log), "write off, error, warn, info, debug or trace");
    }
}

fn door(config: &Config, findings: &mut Findings) {
    if let Err(e) = config.door.address() {
        findings.refused("door.listen", e);
        return;
    }
    if !findings.any_under("door")
        && let Err(e) = config.door.check()
    {
        findings.refused("door", e);
    }
    let elsewhere = |origin: &String| origin != "loopback";
    if reachable(config) && !config.sites.iter().any(|site| site.allowed_origins.iter().any(elsewhere)) {
        findings.warn(
            "door.listen",
            format!(
                "{} can be reached from other machines, but no site admits an origin of theirs",
                config.door.listen
            ),
            "name the origins of your pages in allowed_origins of a [[site]], or listen on 127.0.0.1",
        );
    }
    let (per_address, all) = (config.door.connections_per_address_max, config.door.connections_max);
    if per_address > all {
        findings.clash(
            Severity::Warning,
            ["door.connections_per_address_max", "door.connections_max"],
            format!("connections_per_address_max = {per_address} has no effect beside connections_max = {all}"),
            "write a smaller number, or 0 for no limit",
        );
    }
}

fn proxies(config: &Config, findings: &mut Findings) {
    for (n, entry) in config.trusted_proxies.iter().enumerate() {
        let key = format!("trusted_proxies[{n}]");
        if let Err(e) = Networks::parse(std::slice::from_ref(entry)) {
            findings.refused(key, e);
        } else if entry.trim().ends_with("/0") {
            findings.warn(
                key,
                format!("{entry:?} trusts every sender, so anyone can claim any address"),
                "name the addresses of your own proxies only",
            );
        }
    }
}

fn visits(config: &Config, findings: &mut Findings) {
    let visits = &config.visits;
    let (idle, away, ends) = (visits.idle_after_minutes, visits.away_after_minutes, visits.ends_after_minutes);
    if idle > away {
        findings.clash(
            Severity::Warning,
            ["visits.idle_after_minutes", "visits.away_after_minutes"],
            format!("idle_after_minutes = {idle} is later than away_after_minutes = {away}"),
            "let a visitor be idle first, then away",
        );
    }
    if away > ends {
        findings.clash(
            Severity::Warning,
            ["visits.away_after_minutes", "visits.ends_after_minutes"],
            format!("away_after_minutes = {away} is later than ends_after_minutes = {ends}"),
            "let a visitor be away before the visit ends",
        );
    }
}

fn personal(config: &Config, findings: &mut Findings) {
    if let Err(error) = config.personal.deny_list() {
        findings.refused("personal.deny_words", error);
    }
    if config.personal.store == PersonalStore::Sealed {
        return;
    }
    for (n, target) in config.targets.iter().enumerate() {
        if target.personal == PersonalFields::Include {
            findings.warn(
                format!("target[{n}].personal"),
                "personal fields would leave to this target, but none are stored (personal.store = \"off\")",
                "write personal = \"exclude\"",
            );
        }
    }
}

/// Where the keys of personal fields lie: what the built-in values leave to the operator.
pub(super) fn keys(config: &Config, findings: &mut Findings) {
    if config.personal.store == PersonalStore::Off {
        return;
    }
    let root = crate::store::root::path(&config.data_dir, config.personal.root_key_file.as_deref());
    if root.starts_with(&config.data_dir) {
        findings.warn(
            "personal.root_key_file",
            "the root key lies beside the data it opens: who copies the data directory can read personal fields",
            "name a file outside of data_dir, or hand root.key over as a credential of the service manager",
        );
    }
    match &config.personal.keys_copy {
        None => findings.warn(
            "personal.keys_copy",
            "there is no copy of keys.db: if that file is lost, so is every personal field, backups included",
            "name a file on another disk; it is overwritten in place",
        ),
        Some(copy) if copy.starts_with(&config.data_dir) => findings.warn(
            "personal.keys_copy",
            "the copy of keys.db lies in the data directory: both are lost with the same disk",
            "name a file on another disk",
        ),
        Some(_) => {}
    }
}

/// What stays after an erasure, and whether it can.
pub(super) fn proofs(config: &Config, findings: &mut Findings) {
    if config.erase.keep_proof == KeepProof::Restricted && config.erase.proof_key.is_none() {
        findings.warn(
            "erase.proof_key",
            "no key is named: nothing will prove that an erased person had consented, although keep_proof = \"restricted\"",
            "make a key pair with `wayside consent proof-key --out FILE` and write its public half, or say keep_proof = \"none\"",
        );
    }
}

/// Numbers that only make sense beside each other.
fn pressure(config: &Config, findings: &mut Findings) {
    let limits = &config.ingest.limits;
    let (body, decoded, attribute) = (limits.body_bytes_max, limits.decoded_bytes_max, limits.attribute_bytes_max);
    if decoded < body {
        findings.clash(
            Severity::Error,
            ["ingest.limits.decoded_bytes_max", "ingest.limits.body_bytes_max"],
            format!("decoded_bytes_max = {decoded} is less than body_bytes_max = {body}"),
            "a body does not shrink when it is decoded: make decoded_bytes_max at least as large",
        );
    }
    if !findings.any_under("ingest.limits")
        && let Err(e) = limits.check()
    {
        findings.refused("ingest.limits", e);
    }
    let total = config.door.body_bytes_total_max;
    if body > total {
        findings.clash(
            Severity::Error,
            ["ingest.limits.body_bytes_max", "door.body_bytes_total_max"],
            format!("ingest.limits.body_bytes_max = {body} is more than door.body_bytes_total_max = {total}"),
            "a body of that size would never be admitted: lower the one or raise the other",
        );
    }
    if attribute > body {
        findings.clash(
            Severity::Warning,
            ["ingest.limits.attribute_bytes_max", "ingest.limits.body_bytes_max"],
            format!("attribute_bytes_max = {attribute} is more than body_bytes_max = {body}"),
            "an attribute of that size hardly fits into a request: lower it",
        );
    }
    let (connections, threads) = (config.store.read_connections, config.door.read_threads);
    if connections < threads {
        findings.clash(
            Severity::Warning,
            ["store.read_connections", "door.read_threads"],
            format!("store.read_connections = {connections} is less than door.read_threads = {threads}"),
            "write at least as many connections, or threads wait for each other",
        );
    }
    let (ledger, rows) = (config.retention.ledger_months, config.retention.visits_months);
    if ledger < rows {
        findings.clash(
            Severity::Warning,
            ["retention.ledger_months", "retention.visits_months"],
            format!("ledger_months = {ledger} is less than visits_months = {rows}"),
            "keep the proof of consent at least as long as the rows that rest on it",
        );
    }
    if let Err(error) = config.erase.recipient() {
        findings.error(
            "erase.proof_key",
            error.what.clone(),
            "write the 64 hex digits that `wayside consent proof-key` printed",
        );
    }
    if config.upkeep.start_quiet_minutes < 10 {
        findings.warn(
            "upkeep.start_quiet_minutes",
            "less than 10 minutes: a machine that starts with a wrong clock may remove rows too early",
            "write 10 or more",
        );
    }
}
