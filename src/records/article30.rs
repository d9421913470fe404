//! The record of processing activities (GDPR Art. 30(1)), from the configuration in force and the rows that are stored.
//! Must never invent what only the operator knows: it says what is to be filled in. Invariant: letters (a) to (g) all have their
//! place, and every basis other than consent stands with its assessment or the want of one.

use serde::Serialize;

use crate::base::error::Result;
use crate::domain::consent::{LawfulBasis, Purposes, WithoutConsent};
use crate::domain::notice::{Controller, Role};
use crate::domain::site::{KeepIp, Site};
use crate::records::fields::{Field, fields};
use crate::records::paper::{OPEN, Paper, or_open, plain, yes};
use crate::records::setup::{Guards, Limits};
use crate::records::{Records, Setup, Told, Use, told, uses};
use crate::store::census::{self, Window};
use crate::store::{ReadTx, sites};

/// The whole record.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Record {
    /// The newest time the rows know of, RFC 3339; `None` in an empty database.
    pub rows_until: Option<String>,
    /// (a) Who answers for it.
    pub controller: Controller,
    /// The installation's name.
    pub label: String,
    /// Each site is one activity.
    pub activities: Vec<Activity>,
    /// (g) How it is protected.
    pub measures: Vec<Measure>,
    /// What only the operator can fill in, or should mend.
    pub open: Vec<String>,
}

/// The processing of one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Activity {
    /// The site.
    pub site: String,
    /// Version of the notice in force; `None` without one.
    pub notice: Option<String>,
    /// (b) What for.
    pub purposes: Vec<PurposeEntry>,
    /// What happens without the right to measure: `count`, `drop` or `consent_exempt`.
    pub without_consent: WithoutConsent,
    /// (c) Whose data.
    pub people: People,
    /// (c) Which data.
    pub data: Vec<Field>,
    /// (d) Who receives it.
    pub recipients: Vec<Recipient>,
    /// (e) Recipients in other countries, as the notice says.
    pub transfers: Vec<String>,
    /// (f) When it is removed.
    pub limits: Vec<Limit>,
}

/// A purpose and what it rests on.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct PurposeEntry {
    /// Its word.
    pub purpose: String,
    /// Its lawful basis.
    pub basis: LawfulBasis,
    /// The provision.
    pub article: &'static str,
    /// Document and date behind a basis other than consent.
    pub assessment: Option<String>,
    /// Visitors whose newest rows were taken for it, and who have not said no since.
    pub people: i64,
}

/// How many people and rows.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct People {
    /// Visitors of whom something is stored.
    pub visitors: i64,
    /// Customers known by name, sealed.
    pub identities: i64,
    /// Decisions.
    pub decisions: i64,
    /// References they are of; more than visitors, since a no is kept without them.
    pub deciders: i64,
    /// When the oldest event was received.
    pub oldest_at: Option<String>,
}

/// Who receives rows.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Recipient {
    /// As the notice names it.
    pub name: String,
    /// `own`, `processor` or `third_party`.
    pub role: &'static str,
    /// The target.
    pub target: String,
    /// Personal fields may leave to it.
    pub personal: bool,
    /// The notice in force names it; `None` where nothing must be named or the text is not here.
    pub named: Option<bool>,
}

/// How long something stays.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limit {
    /// What.
    pub what: &'static str,
    /// How long.
    pub stays: String,
}

/// A technical or organisational measure.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Measure {
    /// What it does.
    pub what: &'static str,
    /// In force here.
    pub on: bool,
}

impl Records {
    /// The record of processing. Errors: `Busy` where counting takes over a minute, `Storage`.
    pub fn record(&self) -> Result<Record> {
        let setup = &self.setup;
        let (until, activities) = self.read(|tx| {
            let all = setup.sites.iter().map(|site| activity(tx, setup, site)).collect::<Result<Vec<Activity>>>()?;
            Ok((census::newest(tx)?, all))
        })?;
        let open = open(setup, &activities);
        Ok(Record {
            rows_until: until.map(|at| at.rfc3339()),
            controller: setup.controller.clone(),
            label: setup.label.clone(),
            activities,
            measures: measures(&setup.guards, &setup.sites),
            open,
        })
    }
}

fn activity(tx: &ReadTx<'_>, setup: &Setup, site: &Site) -> Result<Activity> {
    let told = told(tx, site)?;
    let (mut people, mut data, mut rights) = (People::default(), Vec::new(), Vec::new());
    if let Some(id) = sites::id(tx, site.id())? {
        rights = census::rights(tx, id)?;
        let rows = census::rows(tx, Some(id), Window::all())?;
        let mut personal = census::personal(tx, Some(id), Window::all())?;
        let identities = census::identities(tx, Some(id), Window::all())?;
        let decisions = census::decisions(tx, Some(id), Window::all())?;
        people = People {
            visitors: rights.iter().map(|(.., n)| n).sum(),
            identities: identities.people,
            decisions: decisions.values,
            deciders: decisions.people,
            oldest_at: census::oldest(tx, id)?.map(|at| at.rfc3339()),
        };
        personal.push(identities);
        data = fields(rows, personal);
    }
    let carried = rights.iter().fold(Purposes::NONE, |all, (flags, ..)| all.with(*flags));
    let may = |purpose: Purposes| -> i64 {
        rights.iter().filter(|(flags, no, _)| left(site, *flags, *no).has(purpose)).map(|(.., n)| n).sum()
    };
    let entry = |used: Use| PurposeEntry {
        people: may(used.purpose),
        purpose: used.word,
        basis: used.basis,
        article: article(used.basis),
        assessment: used.assessment,
    };
    Ok(Activity {
        site: site.id().to_owned(),
        notice: told.as_ref().map(|told| told.version.clone()),
        purposes: uses(site, told.as_ref(), carried).into_iter().map(entry).collect(),
        without_consent: site.options.without_consent,
        people,
        data,
        recipients: recipients(setup, told.as_ref()),
        transfers: transfers(told.as_ref()),
        limits: limits(&setup.limits),
    })
}

/// What rows may still be used for after a no: all that stands whatever is withdrawn, and nothing without measure.
fn left(site: &Site, flags: Purposes, no: Purposes) -> Purposes {
    let standing = site.gate.bases.standing().without(Purposes::DIRECT_MARKETING);
    let left = flags.without(no.without(standing));
    if left.has(Purposes::MEASURE) { left } else { Purposes::NONE }
}

/// The provision a basis stands in.
pub fn article(basis: LawfulBasis) -> &'static str {
    match basis {
        LawfulBasis::Consent => "Art. 6(1)(a)",
        LawfulBasis::Contract => "Art. 6(1)(b)",
        LawfulBasis::LegalObligation => "Art. 6(1)(c)",
        LawfulBasis::LegitimateInterest => "Art. 6(1)(f)",
    }
}

fn recipients(setup: &Setup, told: Option<&Told>) -> Vec<Recipient> {
    let notice = told.and_then(|told| told.notice.as_ref());
    let one = |target: &crate::records::setup::Target| Recipient {
        name: target.recipient.clone(),
        role: target.role.map_or("own", Role::word),
        target: target.name.clone(),
        personal: target.personal,
        named: target.role.and_then(|role| notice.map(|notice| notice.names(&target.recipient, role))),
    };
    setup.targets.iter().map(one).collect()
}

fn transfers(told: Option<&Told>) -> Vec<String> {
    let notice = told.and_then(|told| told.notice.as_ref());
    let abroad = notice.map(|n| n.recipients.as_slice()).unwrap_or_default().iter().filter(|r| !r.country.is_empty());
    abroad.map(|r| format!("{} ({}): {}", r.name, r.role.word(), r.country)).collect()
}

fn limits(l: &Limits) -> Vec<Limit> {
    let months = |n: u32| format!("{n} months");
    let days = |n: u32| format!("{n} days");
    let mut out = vec![
        Limit { what: "visits, pages, events", stays: format!("{} after they were received", months(l.visits_months)) },
        Limit { what: "personal fields", stays: format!("{} after the last visit", days(l.personal_days)) },
        Limit { what: "counters, which name nobody", stays: months(l.counts_months) },
        Limit { what: "decisions", stays: format!("{} after the last event", months(l.ledger_months)) },
        Limit { what: "keyed hashes of erased ids", stays: months(l.suppression_months) },
        Limit { what: "answers to data subjects", stays: days(l.results_days) },
        Limit { what: "rejected lines, values masked", stays: days(l.rejected_days) },
        Limit { what: "snapshots, databases kept aside", stays: days(l.snapshots_days) },
    ];
    if let Some(proof) = l.proof_months {
        out.push(Limit { what: "sealed proof of an erased person's consent", stays: months(proof) });
    }
    out
}

/// The measures, on or off; those that cannot be switched off stand first.
pub(in crate::records) fn measures(guards: &Guards, sites: &[Site]) -> Vec<Measure> {
    let every = |holds: fn(&Site) -> bool| sites.iter().all(holds);
    let measure = |what, on| Measure { what, on };
    vec![
        measure("without a right to measure no row under an identifier, judged at every event", true),
        measure("withdrawal: no later transmission carries a byte of what it covers", true),
        measure("decisions in a hash-chained ledger with signed checkpoints", true),
        measure("Sec-GPC and DNT lower sharing, profile, marketing and offers", true),
        measure("batches signed and chained; no personal field leaves unless a target includes it", true),
        measure("rows removed by age, freed pages overwritten", true),
        measure("erasure reaches rows, files, keys and logs, and searches for what is left", true),
        measure("actions on people's data are logged: who, what, when", true),
        measure("personal fields sealed per value under a key of their person", guards.sealed),
        measure("root key outside the data directory", guards.sealed && guards.root_key_apart),
        measure("companion copy of the keys", guards.sealed && guards.keys_copy),
        measure("special categories left out of events", guards.deny_special),
        measure("no profile, marketing or offers of declared minors", guards.minors_below.is_some()),
        measure("addresses of networks shortened or not kept", every(|s| s.options.keep_ip != KeepIp::Full)),
        measure("the door listens on this machine only", guards.loopback),
        measure("strangers are not told why an event was not kept", every(|s| !s.options.debug)),
    ]
}

fn open(setup: &Setup, activities: &[Activity]) -> Vec<String> {
    let c = &setup.controller;
    let mut out = Vec::new();
    for (what, value) in [("name", &c.name), ("address", &c.address), ("email", &c.email), ("dpo", &c.dpo)] {
        if value.trim().is_empty() {
            out.push(format!("[controller] {what} is empty"));
        }
    }
    for activity in activities {
        let site = &activity.site;
        if activity.notice.is_none() {
            out.push(format!("site {site}: no notice is in force"));
        }
        for p in activity.purposes.iter().filter(|p| p.basis != LawfulBasis::Consent && p.assessment.is_none()) {
            out.push(format!("site {site}: {} rests on {} without an assessment", p.purpose, p.basis.word()));
        }
        for r in activity.recipients.iter().filter(|r| r.named == Some(false)) {
            out.push(format!("site {site}: the notice does not name {}", r.name));
        }
    }
    out.push("joint controllers and a representative in the EU, where there are any".to_owned());
    out.push("safeguards of transfers to other countries (Art. 46, 49), where there are any".to_owned());
    out.push("organisational measures: who has access, training, disk encryption".to_owned());
    out
}

impl Record {
    /// The record as a page.
    pub fn markdown(&self) -> String {
        let mut page = Paper::default();
        page.heading(1, "Record of processing activities (GDPR Art. 30(1))");
        page.say(&format!(
            "From the configuration in force and the rows stored until {}.",
            self.rows_until.as_deref().unwrap_or("now: there are none yet")
        ));
        self.head(&mut page);
        for activity in &self.activities {
            activity.write(&mut page);
        }
        page.heading(2, "Technical and organisational measures (g)");
        page.table(["measure", "in force"], self.measures.iter().map(|m| [m.what.to_owned(), yes(m.on)]).collect());
        page.heading(2, "To be filled in or mended");
        page.list(self.open.iter().map(|what| plain(what)));
        page.done()
    }

    fn head(&self, page: &mut Paper) {
        let c = &self.controller;
        page.heading(2, "Controller (a)");
        let row = |what: &str, value: &str| [what.to_owned(), or_open(value)];
        page.table(
            ["", ""],
            vec![
                row("name", &c.name),
                row("address", &c.address),
                row("e-mail", &c.email),
                row("telephone", &c.phone),
                row("data protection officer", &c.dpo),
                row("supervisory authority", &c.authority),
                row("law", &c.jurisdiction),
                row("where the rows lie", &c.storage),
                row("installation", &self.label),
            ],
        );
    }
}

impl Activity {
    fn write(&self, page: &mut Paper) {
        page.heading(2, &format!("Activity: visits and events of site {}", plain(&self.site)));
        page.say(&format!("Notice in force: {}.", self.notice.as_deref().map_or(OPEN.to_owned(), plain)));
        page.heading(3, "Purposes (b)");
        let assessed = |p: &PurposeEntry| match (&p.assessment, p.basis) {
            (_, LawfulBasis::Consent) => "not needed".to_owned(),
            (Some(text), _) => plain(text),
            (None, _) => OPEN.to_owned(),
        };
        page.table(
            ["purpose", "lawful basis", "assessment", "people"],
            self.purposes
                .iter()
                .map(|p| {
                    let basis = format!("{} ({})", plain(p.basis.word()), p.article);
                    [plain(&p.purpose), basis, assessed(p), p.people.to_string()]
                })
                .collect(),
        );
        page.say(match self.without_consent {
            WithoutConsent::Count => "Without the right to measure a counter is raised that names nobody.",
            WithoutConsent::Drop => "Without the right to measure nothing is kept.",
            WithoutConsent::ConsentExempt => {
                "Without the right to measure rows are kept as audience measurement under the operator's own exemption; \
                 see `wayside exempt-report`."
            }
        });
        page.heading(3, "People and data (c)");
        let p = &self.people;
        page.say(&format!(
            "People are visitors of the site. Something is stored of {}. Known by a sealed name: {}. Decisions: {}, under {} \
             references. The oldest event was received {}.",
            p.visitors,
            p.identities,
            p.decisions,
            p.deciders,
            p.oldest_at.as_deref().unwrap_or("never: there is none")
        ));
        page.table(["data", "kept", "people", "values"], self.data.iter().map(data_row).collect());
        page.heading(3, "Recipients (d)");
        page.table(
            ["recipient", "in whose hands", "target", "personal fields", "named in the notice"],
            self.recipients
                .iter()
                .map(|r| {
                    let named = r.named.map_or_else(|| "-".to_owned(), yes);
                    [plain(&r.name), plain(r.role), plain(&r.target), yes(r.personal), named]
                })
                .collect(),
        );
        page.heading(3, "Transfers to other countries (e)");
        match self.transfers.is_empty() {
            true => page.say("The notice in force names none."),
            false => page.list(self.transfers.iter().map(|text| plain(text))),
        }
        page.heading(3, "Time limits (f)");
        page.table(["what", "stays"], self.limits.iter().map(|l| [l.what.to_owned(), l.stays.clone()]).collect());
    }
}

/// A row of a table of fields.
pub(in crate::records) fn data_row(field: &Field) -> [String; 4] {
    [plain(&field.what), field.kept.word().to_owned(), field.people.to_string(), field.values.to_string()]
}
