//! The configuration in force, as the operator's records are given it.
//! Must never hand over a secret: of keys and tokens it says only whether they are there.

use std::path::{Path, PathBuf};

use crate::base::error::Result;
use crate::config::Config;
use crate::consent::proofs::KeepProof;
use crate::daemon::facts::role;
use crate::domain::site::Site;
use crate::forward::options::{PersonalFields, TargetOptions};
use crate::ingest::options::PersonalStore;
use crate::records::Setup;
use crate::records::setup::{Guards, Limits, Target};

/// What records need to know. Errors: `Invalid` for a site that does not compile.
pub fn of(config: &Config) -> Result<Setup> {
    let (r, e) = (&config.retention, &config.erase);
    Ok(Setup {
        controller: config.controller.clone(),
        label: config.edge.label.clone(),
        sites: config.sites.iter().cloned().map(Site::compile).collect::<Result<_>>()?,
        targets: config.targets.iter().map(target).collect(),
        limits: Limits {
            visits_months: r.visits_months,
            personal_days: r.personal_days,
            counts_months: r.counts_months,
            ledger_months: r.ledger_months,
            suppression_months: r.suppression_months,
            rejected_days: r.rejected_days,
            results_days: r.results_days,
            snapshots_days: r.snapshots_days,
            proof_months: (e.keep_proof == KeepProof::Restricted && e.proof_key.is_some()).then_some(e.proof_months),
        },
        guards: guards(config),
    })
}

fn target(target: &TargetOptions) -> Target {
    Target {
        name: target.name.clone(),
        recipient: target.recipient_name.as_deref().unwrap_or(&target.name).trim().to_owned(),
        role: role(target),
        personal: target.personal == PersonalFields::Include,
        keep_days: target.keep_days,
    }
}

fn guards(config: &Config) -> Guards {
    let p = &config.personal;
    let whole = |path: &Path| std::path::absolute(path).unwrap_or_else(|_| path.to_owned());
    let apart = |file: &PathBuf| !whole(file).starts_with(whole(&config.data_dir));
    Guards {
        sealed: p.store == PersonalStore::Sealed,
        root_key_apart: p.root_key_file.as_ref().is_some_and(apart),
        keys_copy: p.keys_copy.is_some(),
        deny_special: p.deny_special,
        minors_below: p.minor_age(),
        loopback: config.door.address().is_ok_and(|address| address.ip().to_canonical().is_loopback()),
        places: config.geoip_file.is_some(),
    }
}
