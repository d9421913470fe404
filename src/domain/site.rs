//! A site: a web site or app that sends events (a deployment, in Journey's words), and its rules.
//! Owns the configured shape and the compiled rules; must never do I/O.
//! Invariant: without configuration there is one site, `default`, that admits loopback origins.

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::domain::address::UrlRules;
use crate::domain::consent::{BasisTable, Gate, LawfulBasis, PurposeBook, Purposes, WithoutConsent};
use crate::domain::network::Networks;
use crate::domain::withdrawal::OnWithdrawal;

/// Where a site's decisions come from (contract 2).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ConsentSource {
    /// Only decisions recorded here count.
    #[default]
    Server,
    /// A sender with an ingest token may attach decisions.
    Sender,
}

/// The basis of one purpose, as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct PurposeOptions {
    /// `measure`, `personal`, `profile`, `engage_support`, `share`, `marketing`, `engage_sales`, or a word of your own.
    pub name: String,
    /// Bit 16 to 31, for a word of your own only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bit: Option<u32>,
    /// `consent`, `legitimate_interest`, `contract` or `legal_obligation`.
    #[serde(default)]
    pub basis: LawfulBasis,
    /// Document and date of the assessment behind a basis other than consent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub assessment: Option<String>,
    /// What becomes of stored rows when the purpose is taken back; none = by the basis they were taken in under.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub on_withdrawal: Option<OnWithdrawal>,
}

/// How much of the client's address is kept.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum KeepIp {
    /// None of it.
    #[default]
    None,
    /// IPv4 /24, IPv6 /48.
    Truncated,
    /// All of it, as a personal field.
    Full,
}

/// One site, as configured.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct SiteOptions {
    /// Its name in requests, rows and batches: letters, digits, `-`, `_`, `.`; at most 64.
    pub id: String,
    /// Other names of it: a vendor's organisation or deployment ids.
    pub aliases: Vec<String>,
    /// Origins whose pages may send, for example `https://shop.example`; `loopback` stands for every loopback origin.
    pub allowed_origins: Vec<String>,
    /// Where decisions come from.
    pub consent_source: ConsentSource,
    /// What happens without the right to measure.
    pub without_consent: WithoutConsent,
    /// Months that a choice holds, a yes as well as a no; then people are asked again.
    pub choice_months: u32,
    /// Every caller gets reason and remedy.
    pub debug: bool,
    /// Query parameters removed before an address is stored.
    pub excluded_query_parameters: Vec<String>,
    /// Keep `#…` of addresses.
    pub keep_fragment: bool,
    /// Query parameters whose value is a search on the site.
    pub search_query_parameters: Vec<String>,
    /// Hosts that count as this site in referrers.
    pub internal_hosts: Vec<String>,
    /// Addresses and networks (CIDR) whose events are not taken.
    pub ip_filters: Vec<String>,
    /// How much of the client's address is kept.
    pub keep_ip: KeepIp,
    /// IANA time zone of reports.
    pub time_zone: String,
    /// Only these event names are taken; empty = all well-formed names.
    pub allowed_events: Vec<String>,
    /// Purposes with another basis than consent, and words of your own.
    pub purposes: Vec<PurposeOptions>,
}

impl Default for SiteOptions {
    fn default() -> Self {
        SiteOptions {
            id: "default".to_owned(),
            aliases: Vec::new(),
            allowed_origins: vec!["loopback".to_owned()],
            consent_source: ConsentSource::Server,
            without_consent: WithoutConsent::Count,
            choice_months: 6,
            debug: false,
            excluded_query_parameters: Vec::new(),
            keep_fragment: false,
            search_query_parameters: vec!["q".to_owned(), "query".to_owned(), "search".to_owned()],
            internal_hosts: Vec::new(),
            ip_filters: Vec::new(),
            keep_ip: KeepIp::None,
            time_zone: "UTC".to_owned(),
            allowed_events: Vec::new(),
            purposes: Vec::new(),
        }
    }
}

impl SiteOptions {
    /// The one site of a daemon without configuration: debug is on, so that a newcomer sees why.
    pub fn builtin() -> Self {
        SiteOptions { debug: true, ..SiteOptions::default() }
    }
}

/// A site's compiled rules.
#[derive(Clone, Debug)]
pub struct Site {
    /// The configured options.
    pub options: SiteOptions,
    /// Its words for purposes.
    pub book: PurposeBook,
    /// Bases and the rule for the undecided.
    pub gate: Gate,
    /// What is cut from addresses.
    pub url_rules: UrlRules,
    /// Networks that are filtered.
    pub filters: Networks,
}

impl Site {
    /// Compiles the options. Errors: `Invalid` naming the field.
    pub fn compile(options: SiteOptions) -> Result<Self> {
        let named = |e: Error, field: &str| e.context(format!("site {:?}, {field}", options.id));
        let word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
        if options.id.is_empty() || options.id.len() > 64 || !options.id.chars().all(word) {
            return Err(Error::invalid(format!("site id {:?}", options.id))
                .remedy("use 1 to 64 letters, digits, '-', '_' or '.'"));
        }
        let own = options.purposes.iter().filter_map(|p| p.bit.map(|bit| (p.name.clone(), bit))).collect();
        let book = PurposeBook::new(own).map_err(|e| named(e, "purposes"))?;
        let mut bases = BasisTable::default();
        for purpose in &options.purposes {
            let set: Purposes = book.set([purpose.name.as_str()]).map_err(|e| named(e, "purposes"))?;
            bases.set(set, purpose.basis);
        }
        let filters = Networks::parse(&options.ip_filters).map_err(|e| named(e, "ip_filters"))?;
        Ok(Site {
            gate: Gate { bases, without_consent: options.without_consent },
            url_rules: UrlRules {
                excluded_query_parameters: options.excluded_query_parameters.clone(),
                keep_fragment: options.keep_fragment,
                search_query_parameters: options.search_query_parameters.clone(),
            },
            book,
            filters,
            options,
        })
    }

    /// Its name.
    pub fn id(&self) -> &str {
        &self.options.id
    }

    /// Does `name` mean this site?
    pub fn answers_to(&self, name: &str) -> bool {
        self.options.id == name || self.options.aliases.iter().any(|alias| alias == name)
    }

    /// May a page of this origin (the `Origin` header) send to the site?
    pub fn admits(&self, origin: &str) -> bool {
        let Some((scheme, host, port)) = crate::domain::address::origin_host(origin) else { return false };
        self.options.allowed_origins.iter().any(|allowed| match allowed.as_str() {
            "loopback" => crate::domain::address::is_loopback_host(&host),
            other => crate::domain::address::written_origin(other) == Ok((scheme.clone(), host.clone(), port)),
        })
    }
}

/// A site with its rows in the database.
#[derive(Clone, Debug)]
pub struct Seat {
    /// The site.
    pub site: std::sync::Arc<Site>,
    /// Its row.
    pub id: i64,
    /// The row of its lawful bases; 0 where consent alone carries everything.
    pub basis_id: i64,
}

impl Seat {
    /// What a visitor's no is kept under when the id itself may not be kept.
    pub fn id_hash(
        &self,
        key: &crate::base::digest::HashKey,
        visitor: &crate::base::id::ClientId,
    ) -> crate::base::digest::Hash {
        crate::domain::visitor::id_hash(key, self.site.id(), visitor)
    }
}
