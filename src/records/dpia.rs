//! The template of a data protection impact assessment (GDPR Art. 35), filled in as far as configuration and rows tell.
//! Must never judge proportionality, which is the operator's; it may say that an assessment is required, never that none is.
//! Invariant: where a profile is formed of anybody, or may be, it reads `required`.

use serde::Serialize;

use crate::base::error::Result;
use crate::domain::consent::{LawfulBasis, Purposes, WithoutConsent};
use crate::domain::notice::Role;
use crate::domain::site::{KeepIp, Site};
use crate::records::article30::{Measure, Record, data_row, measures};
use crate::records::paper::{OPEN, Paper, or_open, plain, yes};
use crate::records::{Records, Setup};

/// The template.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Assessment {
    /// An assessment must be made before processing.
    pub required: bool,
    /// Why, or why it is left to the operator.
    pub because: String,
    /// What raises the risk.
    pub flags: Vec<Flag>,
    /// What lowers it, on or off.
    pub measures: Vec<Measure>,
    /// What is processed: the record of processing.
    pub record: Record,
}

/// Something that raises the risk.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Flag {
    /// What.
    pub what: &'static str,
    /// It is so here.
    pub raised: bool,
    /// What was found.
    pub found: String,
}

impl Records {
    /// The template of an assessment. Errors: as [`Records::record`].
    pub fn assessment(&self) -> Result<Assessment> {
        let record = self.record()?;
        let profiled = profiled(&record);
        let because = if profiled.is_empty() {
            "No purpose `profile` is configured, announced or carried by a row. Whether another ground makes an assessment \
             necessary (large scale, public places, a list of your authority) is yours to say: go through the flags."
                .to_owned()
        } else {
            format!(
                "Profiles of people are formed or may be (site {}): systematic evaluation of personal aspects, Art. 35(3)(a).",
                profiled.join(", ")
            )
        };
        Ok(Assessment {
            required: !profiled.is_empty(),
            because,
            flags: flags(&self.setup, &record),
            measures: measures(&self.setup.guards, &self.setup.sites),
            record,
        })
    }
}

/// The sites where a profile is formed or may be.
fn profiled(record: &Record) -> Vec<String> {
    let profile = Purposes::PROFILE.names(&Default::default()).join("");
    let sites = record.activities.iter().filter(|a| a.purposes.iter().any(|p| p.purpose == profile));
    sites.map(|a| a.site.clone()).collect()
}

fn flags(setup: &Setup, record: &Record) -> Vec<Flag> {
    let flag = |what, found: Vec<String>| Flag { what, raised: !found.is_empty(), found: found.join("; ") };
    let sites = |holds: &dyn Fn(&Site) -> bool| -> Vec<String> {
        setup.sites.iter().filter(|s| holds(s)).map(|s| format!("site {}", s.id())).collect()
    };
    let purposes = |holds: &dyn Fn(&crate::records::article30::PurposeEntry) -> bool| -> Vec<String> {
        let all = record.activities.iter().flat_map(|a| a.purposes.iter().map(move |p| (&a.site, p)));
        all.filter(|(_, p)| holds(p)).map(|(site, p)| format!("{} of site {site}", p.purpose)).collect()
    };
    let targets = |holds: &dyn Fn(&crate::records::setup::Target) -> bool| -> Vec<String> {
        setup.targets.iter().filter(|t| holds(t)).map(|t| t.recipient.clone()).collect()
    };
    let when = |holds: bool, text: &str| if holds { vec![text.to_owned()] } else { Vec::new() };
    let engages = ["engage_support", "engage_sales"];
    let visitors: i64 = record.activities.iter().map(|a| a.people.visitors).sum();
    vec![
        flag("profiles of people (35(3)(a))", profiled(record).iter().map(|site| format!("site {site}")).collect()),
        flag("systematic observation under an identifier", vec![format!("{visitors} visitors are stored")]),
        flag("special categories may be stored (35(3)(b))", when(!setup.guards.deny_special, "deny_special is off")),
        flag("minors are treated as everybody", when(setup.guards.minors_below.is_none(), "personal.minors is ignore")),
        flag("offers made by a program", purposes(&|p| engages.contains(&p.purpose.as_str()))),
        flag("advertising", purposes(&|p| p.purpose == "marketing")),
        flag("a basis other than consent", purposes(&|p| p.basis != LawfulBasis::Consent)),
        flag(
            "a basis other than consent without an assessment",
            purposes(&|p| p.basis != LawfulBasis::Consent && p.assessment.is_none()),
        ),
        flag("measured under an exemption", sites(&|s| s.options.without_consent == WithoutConsent::ConsentExempt)),
        flag("whole addresses of networks", sites(&|s| s.options.keep_ip == KeepIp::Full)),
        flag("places by address", when(setup.guards.places, "geoip_file is set")),
        flag("rows leave to third parties", targets(&|t| t.role == Some(Role::ThirdParty))),
        flag("personal fields leave this machine", targets(&|t| t.personal)),
        flag(
            "keys lie beside what they open",
            when(setup.guards.sealed && !setup.guards.root_key_apart, "root.key is in the data directory"),
        ),
    ]
}

impl Assessment {
    /// The template as a page.
    pub fn markdown(&self) -> String {
        let mut page = Paper::default();
        page.heading(1, "Data protection impact assessment (GDPR Art. 35)");
        let word = if self.required { "required" } else { "to be decided by you" };
        page.say(&format!("**{word}.** {}", plain_but_ticks(&self.because)));
        page.say(&format!(
            "Controller: {}. Advice of the data protection officer: {OPEN}.",
            or_open(&self.record.controller.name)
        ));
        page.heading(2, "1. What is processed, and what for (35(7)(a))");
        for a in &self.record.activities {
            page.heading(3, &format!("Site {}", plain(&a.site)));
            page.table(
                ["purpose", "lawful basis", "people"],
                a.purposes
                    .iter()
                    .map(|p| {
                        [plain(&p.purpose), format!("{} ({})", plain(p.basis.word()), p.article), p.people.to_string()]
                    })
                    .collect(),
            );
            page.table(["data", "kept", "people", "values"], a.data.iter().map(data_row).collect());
            page.table(["what", "stays"], a.limits.iter().map(|l| [l.what.to_owned(), l.stays.clone()]).collect());
        }
        page.heading(2, "2. Is it necessary and proportionate? (35(7)(b))");
        page.say(&format!(
            "Each purpose against what could be reached with counters alone (`without_consent = \"count\"`): {OPEN}."
        ));
        page.heading(2, "3. What raises the risk (35(7)(c))");
        page.table(
            ["flag", "raised", "found"],
            self.flags.iter().map(|f| [f.what.to_owned(), yes(f.raised), plain(&f.found)]).collect(),
        );
        page.say(&format!("Harm that may come of it, how likely and how grave, for each flag raised: {OPEN}."));
        page.heading(2, "4. What lowers it (35(7)(d))");
        page.table(["measure", "in force"], self.measures.iter().map(|m| [m.what.to_owned(), yes(m.on)]).collect());
        page.heading(2, "5. Views and decision");
        page.list([
            format!("Views of data subjects or their representatives (35(9)): {OPEN}"),
            format!("What risk remains, and whether the authority is asked first (Art. 36): {OPEN}"),
            format!("Decided by, on: {OPEN}"),
        ]);
        page.done()
    }
}

/// Our own words with a term in backticks, and the names of sites between them.
fn plain_but_ticks(text: &str) -> String {
    plain(text).replace("\\`", "`")
}
