//! Checks of the sites: names, origins, networks, purposes and their bases, and what an exemption forbids.
//! Must never compile a rule of its own where `Site`, `Networks` or `PurposeBook` can be asked.
//! Invariant: a site that passes here compiles.

use crate::config::Config;
use crate::config::basics::reachable;
use crate::config::findings::Findings;
use crate::domain::address::written_origin;
use crate::domain::consent::{LawfulBasis, PurposeBook, WithoutConsent};
use crate::domain::network::Networks;
use crate::domain::site::{ConsentSource, KeepIp, PurposeOptions, Site, SiteOptions};
use crate::domain::withdrawal::{OnWithdrawal, WITH_ROWS};
use crate::forward::options::Recipient;
use crate::ingest::options::PersonalStore;

/// Months that rows may stay under the French exemption for audience measurement (spec/consent-privacy-security 1.5).
const EXEMPT_MONTHS_MAX: u32 = 25;

pub(super) fn check(config: &Config, findings: &mut Findings) {
    if config.sites.is_empty() {
        findings.error(
            "site",
            "no site: nobody could send",
            "add a [[site]], or leave `site` out to have the built-in one",
        );
    }
    names(config, findings);
    for (n, site) in config.sites.iter().enumerate() {
        let at = format!("site[{n}]");
        let name = SiteOptions { id: site.id.clone(), ..SiteOptions::default() };
        if let Err(e) = Site::compile(name) {
            findings.refused(format!("{at}.id"), e);
        }
        origins(config, site, &at, findings);
        lists(site, &at, findings);
        purposes(&site.purposes, &at, findings);
        rights(config, site, &at, findings);
        exemption(config, site, &at, findings);
        if !findings.any_under(&at)
            && let Err(e) = Site::compile(site.clone())
        {
            findings.refused(at, e);
        }
    }
}

/// Each id and alias means one site.
fn names(config: &Config, findings: &mut Findings) {
    let mut taken: Vec<(&str, &str)> = Vec::new();
    for (n, site) in config.sites.iter().enumerate() {
        let aliases = site.aliases.iter().enumerate().map(|(a, alias)| (format!("site[{n}].aliases[{a}]"), alias));
        for (key, name) in std::iter::once((format!("site[{n}].id"), &site.id)).chain(aliases) {
            if name.trim().is_empty() && key.contains("aliases") {
                findings.error(key, "an empty alias", "remove it");
            } else if let Some((_, owner)) = taken.iter().find(|(known, _)| known == name) {
                findings.error(
                    key,
                    format!("{name:?} already names site {owner:?}"),
                    "give each site names of its own",
                );
            } else {
                taken.push((name, &site.id));
            }
        }
    }
}

fn origins(config: &Config, site: &SiteOptions, at: &str, findings: &mut Findings) {
    for (n, origin) in site.allowed_origins.iter().enumerate() {
        let key = format!("{at}.allowed_origins[{n}]");
        if origin == "loopback" {
            if reachable(config) {
                findings.warn(
                    key,
                    format!(
                        "pages opened as localhost may send, and {} can be reached from other machines",
                        config.door.listen
                    ),
                    "remove \"loopback\" once you are done with trying out",
                );
            }
        } else if origin == "*" {
            findings.error(
                key,
                "\"*\" would let any page in the world send",
                "name each origin, for example \"https://shop.example\"",
            );
        } else if let Err(what) = written_origin(origin) {
            findings.error(
                key,
                format!("{origin:?} can never match: {what}"),
                "write scheme, host and, if it is not the scheme's own, the port: \"https://shop.example\"",
            );
        }
    }
    if site.debug && reachable(config) {
        findings.warn(
            format!("{at}.debug"),
            format!(
                "every caller of {} is told why its events are not kept, and so what visitors decided",
                config.door.listen
            ),
            "write debug = false outside of development",
        );
    }
}

fn lists(site: &SiteOptions, at: &str, findings: &mut Findings) {
    for (n, entry) in site.ip_filters.iter().enumerate() {
        if let Err(e) = Networks::parse(std::slice::from_ref(entry)) {
            findings.refused(format!("{at}.ip_filters[{n}]"), e);
        }
    }
    for (n, host) in site.internal_hosts.iter().enumerate() {
        if host.is_empty() || host.contains(['/', ':', '*', ' ']) {
            let remedy = "write the bare host name, for example \"help.example\"";
            findings.error(format!("{at}.internal_hosts[{n}]"), format!("{host:?} is no host name"), remedy);
        }
    }
    let words = [
        ("excluded_query_parameters", &site.excluded_query_parameters),
        ("search_query_parameters", &site.search_query_parameters),
        ("allowed_events", &site.allowed_events),
    ];
    for (list, entries) in words {
        for (n, _) in entries.iter().enumerate().filter(|(_, entry)| entry.trim().is_empty()) {
            findings.error(format!("{at}.{list}[{n}]"), "an empty name", "remove it");
        }
    }
    if !crate::base::time::zone_known(&site.time_zone) {
        findings.error(
            format!("{at}.time_zone"),
            format!("{:?} is no time zone this machine knows", site.time_zone),
            "write an IANA name, for example \"Europe/Zurich\"",
        );
    }
}

fn purposes(purposes: &[PurposeOptions], at: &str, findings: &mut Findings) {
    let mut own: Vec<(String, u32)> = Vec::new();
    for (n, purpose) in purposes.iter().enumerate() {
        let key = format!("{at}.purposes[{n}]");
        let name = &purpose.name;
        if name.trim().is_empty() {
            findings.error(format!("{key}.name"), "a purpose without a name", "give it a word");
        } else if purposes[..n].iter().any(|other| other.name == *name) {
            findings.error(format!("{key}.name"), format!("{name:?} stands here twice"), "give each purpose one entry");
        } else if let Some(bit) = purpose.bit {
            own.push((name.clone(), bit));
            if let Err(e) = PurposeBook::new(own.clone()) {
                own.pop();
                findings.refused(format!("{key}.bit"), e);
            }
        } else if let Err(e) = PurposeBook::default().set([name.as_str()]) {
            let remedy = format!("{}; or give a word of your own a bit from 16 to 31", e.remedy);
            findings.error(format!("{key}.name"), e.what, remedy);
        }
        let documented = purpose.assessment.as_deref().is_some_and(|text| !text.trim().is_empty());
        if purpose.basis != LawfulBasis::Consent && !documented {
            findings.warn(
                format!("{key}.basis"),
                format!("{name:?} rests on {} and names no assessment", purpose.basis.word()),
                "name the document and its date in `assessment`",
            );
        }
        on_withdrawal(purpose, &key, findings);
    }
}

/// What is chosen for rows that are not there would only look as if it did something.
fn on_withdrawal(purpose: &PurposeOptions, key: &str, findings: &mut Findings) {
    let Some(chosen) = purpose.on_withdrawal else { return };
    let (key, name) = (format!("{key}.on_withdrawal"), &purpose.name);
    let rests = PurposeBook::default().find(name).is_some_and(|one| WITH_ROWS.has(one));
    if !rests {
        let what =
            format!("no stored row rests on {name:?} alone: a withdrawal takes its bit from rows, and nothing else");
        findings.warn(key, what, "remove it here; it works for \"measure\" and \"personal\"");
    } else if matches!(purpose.basis, LawfulBasis::Contract | LawfulBasis::LegalObligation) {
        let what = format!("{name:?} rests on {}, which no withdrawal takes away", purpose.basis.word());
        findings.warn(key, what, "remove it, or write the basis that can be taken back");
    } else if name == "personal" && chosen == OnWithdrawal::Anonymise {
        let what = "a personal field that no longer tells of its person is none";
        findings.error(key, what, "write on_withdrawal = \"delete\" or \"keep\"");
    }
}

fn rights(config: &Config, site: &SiteOptions, at: &str, findings: &mut Findings) {
    if site.consent_source == ConsentSource::Sender && config.ingest_token_files.is_empty() {
        findings.warn(
            format!("{at}.consent_source"),
            "senders may attach decisions only with an ingest token, and there is none",
            "name a token file in ingest_token_files, or write consent_source = \"server\"",
        );
    }
    if site.keep_ip == KeepIp::Full && config.personal.store == PersonalStore::Off {
        findings.warn(
            format!("{at}.keep_ip"),
            "whole addresses are personal fields, and those are not stored (personal.store = \"off\")",
            "write keep_ip = \"truncated\" or \"none\"",
        );
    }
}

/// An exemption holds for the publisher's own audience measurement only.
fn exemption(config: &Config, site: &SiteOptions, at: &str, findings: &mut Findings) {
    if site.without_consent != WithoutConsent::ConsentExempt {
        return;
    }
    let key = format!("{at}.without_consent");
    if site.keep_ip == KeepIp::Full {
        let remedy = "write keep_ip = \"truncated\" or \"none\", or without_consent = \"count\"";
        findings.error(&key, "\"consent_exempt\" forbids whole addresses (keep_ip = \"full\")", remedy);
    }
    for target in config.targets.iter().filter(|target| target.recipient == Recipient::ThirdParty) {
        findings.error(
            &key,
            format!("\"consent_exempt\" forbids third parties, and target {:?} is one", target.name),
            "remove that target, or write without_consent = \"count\"",
        );
    }
    if config.retention.visits_months > EXEMPT_MONTHS_MAX {
        findings.warn(
            &key,
            format!(
                "exempt rows may stay {EXEMPT_MONTHS_MAX} months, and visits_months = {}",
                config.retention.visits_months
            ),
            format!("write visits_months = {EXEMPT_MONTHS_MAX} or less"),
        );
    }
}
