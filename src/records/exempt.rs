//! The proof that a site measured under an exemption is measured as the exemption asks (France: Art. 82 of the law on data
//! processing; CNIL's conditions, which a publisher proves itself since July 2025): each condition, the setting in force, what
//! the rows say. Must never claim a condition wayside cannot see. Invariant: one row that contradicts a condition makes it fail.

use serde::Serialize;

use crate::base::error::{Error, Result};
use crate::base::time::DAY_MS;
use crate::domain::consent::{EXEMPT_LIFE_MS, WithoutConsent};
use crate::domain::notice::Role;
use crate::domain::site::{KeepIp, Site};
use crate::records::paper::{Paper, plain, yes};
use crate::records::{Records, told};
use crate::store::census::{self, Exempt};
use crate::store::sites;

/// Months that exempt rows may stay (CNIL: 25).
pub const ROWS_MONTHS_MAX: u32 = 25;

/// The report on every exempt site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The newest time the rows know of.
    pub rows_until: Option<String>,
    /// Each exempt site.
    pub sites: Vec<SiteReport>,
}

/// The report on one site.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct SiteReport {
    /// The site.
    pub site: String,
    /// All conditions wayside can see hold.
    pub holds: bool,
    /// Events kept under the exemption.
    pub events: i64,
    /// Different visitors they are of.
    pub people: i64,
    /// When the oldest of them was received.
    pub oldest_at: Option<String>,
    /// Each condition.
    pub conditions: Vec<Condition>,
}

/// One condition.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Condition {
    /// What the exemption asks.
    pub asked: &'static str,
    /// The setting or rule in force.
    pub in_force: String,
    /// What the rows say; empty where only the setting counts.
    pub rows: String,
    /// It holds; `None` where only the operator knows.
    pub holds: Option<bool>,
}

impl Records {
    /// The report on one site, or on every exempt one. Errors: `NotFound` where none is exempt, `Storage`.
    pub fn exempt(&self, only: Option<&str>) -> Result<Report> {
        let exempt = |site: &&Site| site.options.without_consent == WithoutConsent::ConsentExempt;
        let named = |site: &&Site| only.is_none_or(|name| site.answers_to(name));
        let chosen: Vec<&Site> = self.setup.sites.iter().filter(exempt).filter(named).collect();
        if chosen.is_empty() {
            return Err(Error::not_found(match only {
                Some(name) => format!("no site {name:?} is measured under an exemption"),
                None => "no site is measured under an exemption".to_owned(),
            })
            .code("not_exempt")
            .remedy("the report is for sites with without_consent = \"consent_exempt\""));
        }
        self.read(|tx| {
            let mut out = Report { rows_until: census::newest(tx)?.map(|at| at.rfc3339()), sites: Vec::new() };
            for site in chosen {
                let kept = match sites::id(tx, site.id())? {
                    Some(id) => census::exempt(tx, id)?,
                    None => Exempt::default(),
                };
                let notice = told(tx, site)?.map(|told| told.version);
                let conditions = self.conditions(site, &kept, notice.as_deref(), census::newest(tx)?);
                out.sites.push(SiteReport {
                    site: site.id().to_owned(),
                    holds: conditions.iter().all(|c| c.holds != Some(false)),
                    events: kept.events,
                    people: kept.people,
                    oldest_at: kept.oldest.map(|at| at.rfc3339()),
                    conditions,
                });
            }
            Ok(out)
        })
    }

    fn conditions(
        &self,
        site: &Site,
        kept: &Exempt,
        notice: Option<&str>,
        now: Option<crate::base::time::Millis>,
    ) -> Vec<Condition> {
        let days = |ms: i64| format!("{} days", ms / DAY_MS);
        let months = self.setup.limits.visits_months;
        let third: Vec<&str> = self
            .setup
            .targets
            .iter()
            .filter(|t| t.role == Some(Role::ThirdParty))
            .map(|t| t.recipient.as_str())
            .collect();
        let old = kept.oldest.zip(now).map(|(oldest, now)| now.since(oldest));
        let in_time = kept.oldest.zip(now).is_none_or(|(o, now)| o >= now.months_earlier(ROWS_MONTHS_MAX));
        let mut out = vec![
            condition(
                "audience measurement only",
                "exempt rows carry the purpose `measure` and no other".to_owned(),
                none(kept.other_purposes, "events with another purpose"),
                Some(kept.other_purposes == 0),
            ),
            condition(
                "nothing that names a person",
                "personal fields are left out of exempt events".to_owned(),
                none(kept.personal, "personal fields"),
                Some(kept.personal == 0),
            ),
            condition(
                "for the publisher alone: not passed on, not joined with others",
                match third.as_slice() {
                    [] => "exempt rows are never made into lines; no third party is a target".to_owned(),
                    some => format!("third parties are targets: {}", some.join(", ")),
                },
                none(kept.lines, "lines made of exempt rows"),
                Some(kept.lines == 0 && third.is_empty()),
            ),
            condition(
                "the identifier lives 13 months at most and is not renewed",
                format!("{} after first sight its events are counted only", days(EXEMPT_LIFE_MS)),
                kept.longest_id_ms.map_or_else(|| "no rows".to_owned(), |ms| format!("the longest lived {}", days(ms))),
                Some(kept.longest_id_ms.is_none_or(|ms| ms < EXEMPT_LIFE_MS)),
            ),
            condition(
                "rows stay 25 months at most",
                format!("visits_months = {months}"),
                old.map_or_else(|| "no rows".to_owned(), |ms| format!("the oldest is {} old", days(ms))),
                Some(months <= ROWS_MONTHS_MAX && in_time),
            ),
        ];
        out.extend(towards_people(site, kept, notice));
        out
    }
}

/// What people get and are told.
fn towards_people(site: &Site, kept: &Exempt, notice: Option<&str>) -> Vec<Condition> {
    vec![
        condition(
            "addresses of networks are shortened",
            format!("keep_ip = {:?}", ip_word(site.options.keep_ip)),
            String::new(),
            Some(site.options.keep_ip != KeepIp::Full),
        ),
        condition(
            "people can object",
            "POST /v1/consent with refuse or object; a no is judged at every event".to_owned(),
            none(kept.refused, "events of somebody who had said no"),
            Some(kept.refused == 0),
        ),
        condition(
            "people are told",
            notice.map_or("no notice is in force".to_owned(), |version| format!("notice {version} is in force")),
            String::new(),
            Some(notice.is_some()),
        ),
        condition("the objection is offered on every page", "the pages' own".to_owned(), String::new(), None),
        condition(
            "the identifier is not shared with other sites",
            "ids are kept by site; what pages send is theirs".to_owned(),
            String::new(),
            None,
        ),
    ]
}

fn condition(asked: &'static str, in_force: String, rows: String, holds: Option<bool>) -> Condition {
    Condition { asked, in_force, rows, holds }
}

/// A number that must be nought.
fn none(n: i64, what: &str) -> String {
    format!("{n} {what}")
}

fn ip_word(keep: KeepIp) -> &'static str {
    match keep {
        KeepIp::None => "none",
        KeepIp::Truncated => "truncated",
        KeepIp::Full => "full",
    }
}

impl Report {
    /// All conditions wayside can see hold, for every site.
    pub fn holds(&self) -> bool {
        self.sites.iter().all(|site| site.holds)
    }

    /// The report as a page.
    pub fn markdown(&self) -> String {
        let mut page = Paper::default();
        page.heading(1, "Measurement under an exemption: settings in force");
        page.say(&format!("Rows until {}.", self.rows_until.as_deref().unwrap_or("now: there are none yet")));
        for site in &self.sites {
            page.heading(2, &format!("Site {}", plain(&site.site)));
            page.say(match site.holds {
                true => "**Every condition that can be seen from here holds.**",
                false => "**Not every condition holds.**",
            });
            page.say(&format!(
                "{} events of {} visitors are kept under it, the oldest received {}.",
                site.events,
                site.people,
                site.oldest_at.as_deref().unwrap_or("never: there are none")
            ));
            let row = |c: &Condition| {
                let holds = c.holds.map_or_else(|| "yours to show".to_owned(), yes);
                let rows = if c.rows.is_empty() { "-".to_owned() } else { plain(&c.rows) };
                [c.asked.to_owned(), plain(&c.in_force).replace("\\`", "`"), rows, holds]
            };
            page.table(["asked", "in force", "rows", "holds"], site.conditions.iter().map(row).collect());
        }
        page.done()
    }
}
