//! Checks of receiving other edges' batches. Must never open anything.
//! Invariant: each finding names one key and a remedy.

use crate::config::findings::Findings;
use crate::config::{Config, Severity, basics, upstream};

pub(super) fn check(config: &Config, findings: &mut Findings) {
    let relay = &config.relay;
    for (n, name) in relay.onward.iter().enumerate() {
        if config.targets.iter().any(|target| target.name == *name) {
            continue;
        }
        if name == upstream::NAME {
            findings.warn(
                format!("relay.onward[{n}]"),
                "nothing goes onward before this wayside has joined its upstream",
                "join it: wayside join",
            );
        } else {
            findings.error(
                format!("relay.onward[{n}]"),
                format!("{name:?} is no target"),
                "name a [[target]] of this file, or leave it out",
            );
        }
    }
    if relay.batch_bytes_max > u64::try_from(config.door.body_bytes_total_max).unwrap_or(u64::MAX) {
        findings.clash(
            Severity::Error,
            ["relay.batch_bytes_max", "door.body_bytes_total_max"],
            "a batch of batch_bytes_max does not fit into door.body_bytes_total_max",
            "write a smaller number, or raise door.body_bytes_total_max",
        );
    }
    let tls = config.door.tls_cert_file.is_some();
    if relay.enabled && !tls && basics::reachable(config) && config.trusted_proxies.is_empty() {
        findings.warn(
            "relay.enabled",
            "the door speaks no TLS, so batches are taken from this machine only",
            "set tls_cert_file and tls_key_file in [door], or name a proxy that speaks TLS in trusted_proxies",
        );
    }
}
