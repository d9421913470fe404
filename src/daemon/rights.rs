//! Composes requests of data subjects: what the configuration says of recipients and times, and the work of other folders
//! that a request may need: `erasure` erases, `consent` restricts and takes an objection. Must never decide who may have what.

use std::collections::BTreeSet;
use std::sync::Arc;

use crate::base::error::{Error, Result};
use crate::config::Config;
use crate::consent::{self, Actor};
use crate::domain::consent::{Action, Decision, Evidence, Method, Purposes, Signals};
use crate::domain::request::Level;
use crate::domain::site::Seat;
use crate::erasure;
use crate::forward::options::{PersonalFields, Recipient};
use crate::store::decisions::Asked;
use crate::store::requests::Person;
use crate::store::{ReadTx, Store, WriteTx, identities, visitors};
use crate::subject::circumstances::{Circumstances, Stay, Upstream};
use crate::subject::options::SubjectOptions;
use crate::subject::{Done, Hook, Hooks, Subject};

/// Visitors of one customer at the most: all of them change in one transaction, and none is left out silently.
const VISITORS_MAX: i64 = 1_000;

/// Who answers for the processing, and where people may complain: as `[subject]` says, else as `[controller]` does.
fn responsible(config: &Config) -> (String, String) {
    let (own, told) = (&config.subject, &config.controller);
    let contact = [&told.name, &told.address, &told.email].map(String::as_str);
    let contact: Vec<&str> = contact.into_iter().filter(|text| !text.is_empty()).collect();
    let controller = if own.controller.is_empty() { contact.join(", ") } else { own.controller.clone() };
    let said = own.complaint != SubjectOptions::default().complaint || told.authority.is_empty();
    (controller, if said { own.complaint.clone() } else { told.authority.clone() })
}

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
    let (controller, complaint) = responsible(config);
    let about = Circumstances {
        seats: seats.to_vec(),
        upstreams: config.targets.iter().map(upstream).collect(),
        stay: Stay {
            visits_months: config.retention.visits_months,
            personal_days: config.retention.personal_days,
            ledger_months: config.retention.ledger_months,
            results_days: config.retention.results_days,
        },
        controller,
        complaint,
    };
    // what is handed in travels to the pen, and must not hold the store: the pen would be left to close it
    let data_dir = store.data_dir().to_owned();
    let erase: Hook = Arc::new(move |tx, request, people| {
        let begun = erasure::begin_for(tx, &data_dir, request, people)?;
        let nothing = || Done { answer: "nothing is kept of whom it names".to_owned(), ..Done::default() };
        Ok(if begun == 0 { nothing() } else { Done { begun: true, ..Done::default() } })
    });
    let by = |action: Action| -> Hook {
        let seats = seats.to_vec();
        Arc::new(move |tx, request, people| decide(tx, &seats, action, (people, request.level)))
    };
    let hooks = Hooks { erase: Some(erase), restrict: Some(by(Action::Restrict)), object: Some(by(Action::Object)) };
    Subject::open(Arc::clone(store), about, &config.subject, hooks)
}

/// The visitors a request is about: those named, and those its customers were tied to. A restriction or an objection reaches a
/// device as a whole, others who use it too: it takes nothing from them that cannot be given back.
fn visitors_of(tx: &ReadTx<'_>, people: &[Person], level: Option<Level>) -> Result<BTreeSet<i64>> {
    let mut all = BTreeSet::new();
    for person in people {
        match person {
            Person::Visitor(id) => drop(all.insert(*id)),
            Person::Identity(id) if level.is_some_and(|level| level != Level::Device) => {
                let of = identities::visitors_of(tx, *id, VISITORS_MAX + 1)?;
                if of.len() > usize::try_from(VISITORS_MAX).unwrap_or(usize::MAX) {
                    return Err(Error::conflict(format!("the customer has more than {VISITORS_MAX} visitors"))
                        .code("too_many")
                        .remedy("open a request for each visitor: nothing was changed"));
                }
                all.extend(of);
            }
            Person::Identity(_) => {}
        }
    }
    Ok(all)
}

/// Records the same decision for each of them. Errors: `Conflict` where a site is not configured any more, or they are
/// too many.
pub(in crate::daemon) fn decide(
    tx: &WriteTx<'_>,
    seats: &[Seat],
    action: Action,
    (people, level): (&[Person], Option<Level>),
) -> Result<Done> {
    tx.settle()?;
    let (mut done, mut count) = (Done::default(), 0);
    for id in visitors_of(tx, people, level)? {
        let Some(visitor) = visitors::get(tx, id)?.filter(|v| !visitors::is_cut_off(v)) else { continue };
        let seat = seats.iter().find(|seat| seat.id == visitor.site_id).ok_or_else(|| {
            Error::conflict("the request is about a site that is not configured any more")
                .code("unknown_site")
                .remedy("configure the site again, or erase the person")
        })?;
        let decision = Decision {
            id: None,
            action,
            purposes: Purposes::NONE,
            method: Method::StaffStandalone,
            notice: "none".to_owned(),
            notice_digest: None,
            evidence: Evidence::default(),
            language: None,
            signal_shown: false,
            client_at: None,
            sent_at: None,
        };
        let asked = Asked { actor: Actor::Operator, token: None, signals: Signals::default(), received: tx.now() };
        consent::record(tx, seat, &visitor.key, &decision, &asked)?;
        if visitor.disclosed {
            done.told = Some(tx.last_seq()); // the line that tells of it is the last thing numbered
        }
        count += 1;
    }
    let what = if action == Action::Restrict { "only kept from now on" } else { "objected for" };
    done.answer = format!("{what}: {count} visitors");
    Ok(done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_name_the_controller_of_notices_unless_told_otherwise() {
        let mut config = Config::default();
        let nobody = SubjectOptions::default().complaint;
        assert_eq!(responsible(&config), (String::new(), nobody));
        config.controller.name = "Example Ltd".to_owned();
        config.controller.email = "privacy@shop.example".to_owned();
        config.controller.authority = "Authority, Town".to_owned();
        let (controller, complaint) = responsible(&config);
        assert_eq!((controller.as_str(), complaint.as_str()), ("Example Ltd, privacy@shop.example", "Authority, Town"));
        config.subject.controller = "The branch".to_owned();
        config.subject.complaint = "Another authority".to_owned();
        assert_eq!(responsible(&config), ("The branch".to_owned(), "Another authority".to_owned()));
    }
}
