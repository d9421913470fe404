//! Composes requests of data subjects: what the configuration says of recipients and times, and the work of other folders
//! that a request may need. Must never decide who may have what.

use std::sync::Arc;

use crate::base::error::Result;
use crate::config::Config;
use crate::domain::site::Seat;
use crate::forward::options::{PersonalFields, Recipient};
use crate::store::Store;
use crate::subject::circumstances::{Circumstances, Stay, Upstream};
use crate::subject::{Hooks, Subject};

/// Requests of data subjects of this collector. Errors: `Config` (the key of assertions).
pub(in crate::daemon) fn subject(config: &Config, store: &Arc<Store>, seats: &[Seat]) -> Result<Subject> {
    let upstream = |target: &crate::forward::options::TargetOptions| Upstream {
        target: target.name.clone(),
        recipient: match target.recipient {
            Recipient::Own => "own",
            Recipient::Processor => "processor",
            Recipient::ThirdParty => "third_party",
        },
        name: target.recipient_name.clone(),
        personal: target.personal == PersonalFields::Include,
    };
    let about = Circumstances {
        seats: seats.to_vec(),
        upstreams: config.targets.iter().map(upstream).collect(),
        stay: Stay {
            visits_months: config.retention.visits_months,
            personal_days: config.retention.personal_days,
            ledger_months: config.retention.ledger_months,
            results_days: config.retention.results_days,
        },
        controller: config.subject.controller.clone(),
        complaint: config.subject.complaint.clone(),
    };
    Subject::open(Arc::clone(store), about, &config.subject, Hooks::default())
}
