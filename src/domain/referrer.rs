//! Where a visit came from: medium, brand and search words of a referrer.
//! Owns the book of known referrers (`referrers.txt`, compiled in). Must never see what was scrubbed from an address.
//! Invariant: every referrer gets a medium; a listed host is found by the longest name that fits.

use std::collections::HashMap;
use std::ops::Deref;

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::piece::Piece;
use crate::base::text::cut;
use crate::domain::address::{Address, query_pairs, registrable_domain};
use crate::domain::campaign::{Campaign, short_value};

mod packed;

pub use packed::{url_of, whole};

/// One line a source; its head tells the format, origin, date and licence.
const BOOK: &str = include_str!("referrers.txt");

/// Kind of a referrer, as the Journey API names them.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Medium {
    /// The same site, or a host that the operator calls his own.
    Internal,
    /// A search engine.
    Search,
    /// A social network, forum or messenger.
    Social,
    /// Web mail.
    Email,
    /// A bought click.
    Paid,
    /// Everything else.
    #[default]
    Unknown,
}

impl Medium {
    const ALL: [Medium; 6] =
        [Medium::Internal, Medium::Search, Medium::Social, Medium::Email, Medium::Paid, Medium::Unknown];

    /// The word that is stored and sent.
    pub fn as_str(self) -> &'static str {
        match self {
            Medium::Internal => "internal",
            Medium::Search => "search",
            Medium::Social => "social",
            Medium::Email => "email",
            Medium::Paid => "paid",
            Medium::Unknown => "unknown",
        }
    }

    /// The medium of a word, in any case; errors: Invalid, `referrer_medium`.
    pub fn parse(word: &str) -> Result<Self> {
        Self::ALL.into_iter().find(|medium| medium.as_str().eq_ignore_ascii_case(word)).ok_or_else(|| {
            Error::invalid(format!("unknown referrer medium {:?}", cut(word, 40)))
                .code("referrer_medium")
                .remedy("one of internal, search, social, email, paid, unknown")
        })
    }
}

/// A referrer with what is known of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Referrer {
    /// The scrubbed address.
    pub url: Piece,
    /// Its host.
    pub hostname: Piece,
    /// Its registrable domain.
    pub domain: Piece,
    /// Its path.
    pub pathname: Piece,
    /// Its query without `?`.
    pub query_string: Piece,
    /// Its fragment without `#`; empty unless the site keeps fragments.
    pub fragment: Piece,
    /// Brand of a known source: `Google`, `Yahoo!`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Kind of source.
    pub medium: Medium,
    /// What was searched for there, where the search engine still tells.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keywords: Option<String>,
}

/// A known source at one host.
#[derive(Clone, Copy, Debug)]
struct Source {
    medium: Medium,
    name: &'static str,
    /// The address's path begins so; empty for any.
    path: &'static str,
    /// Parameters with the search words, separated by spaces.
    parameters: &'static str,
}

/// The known sources, by host.
#[derive(Clone, Debug)]
pub struct ReferrerBook {
    /// `google.*` or a whole host -> its sources, those with the longest path first.
    sources: HashMap<&'static str, Vec<Source>>,
}

impl ReferrerBook {
    /// The book that is compiled in. Reading it takes under a millisecond: build one and share it.
    pub fn builtin() -> Self {
        let mut sources: HashMap<&'static str, Vec<Source>> = HashMap::new();
        for (host, source) in BOOK.lines().filter_map(read_line).flatten() {
            sources.entry(host).or_default().push(source);
        }
        for at_host in sources.values_mut() {
            at_host.sort_by_key(|source| std::cmp::Reverse(source.path.len()));
        }
        ReferrerBook { sources }
    }

    /// What a referrer is to a page on `page_host`.
    ///
    /// Internal: the page's host, a host of the same registrable domain (shops, check-outs and help pages of one owner live
    /// side by side there, and the tracker's cookie spans them), or one of `internal_hosts` (`*.example.com` stands for
    /// everything below). Public suffixes such as `github.io` belong to many owners: there only the same host is internal.
    /// Then paid, by the campaign or by an address that only advertisements use; then the book.
    pub fn classify(
        &self,
        referrer: Address,
        page_host: &str,
        internal_hosts: &[String],
        campaign: Option<&Campaign>,
    ) -> Referrer {
        self.classify_by(referrer, page_host, internal_hosts, campaign, registrable_domain)
    }

    /// [`ReferrerBook::classify`] for who remembers the registrable domains of hosts.
    pub fn classify_by<D: Deref<Target = str>>(
        &self,
        referrer: Address,
        page_host: &str,
        internal_hosts: &[String],
        campaign: Option<&Campaign>,
        domain_of: impl Fn(&str) -> D,
    ) -> Referrer {
        let domain = domain_of(&referrer.hostname);
        let internal = is_internal(&referrer, &domain, page_host, internal_hosts, domain_of);
        let source = if internal { None } else { self.find(&referrer, &domain) };
        let (medium, name) = if internal {
            (Medium::Internal, None)
        } else {
            let medium = source.map_or(Medium::Unknown, |source| source.medium);
            let medium = if campaign.is_some_and(Campaign::is_paid) { Medium::Paid } else { medium };
            let webmail = medium == Medium::Unknown && referrer.hostname.starts_with("webmail.");
            (if webmail { Medium::Email } else { medium }, source.map(|source| source.name.to_owned()))
        };
        let keywords = source.and_then(|source| {
            source.parameters.split(' ').filter(|parameter| !parameter.is_empty()).find_map(|parameter| {
                query_pairs(&referrer.query_string)
                    .find_map(|(name, value)| if name == parameter { short_value(&value) } else { None })
            })
        });
        Referrer {
            domain: match referrer.hostname.strip_suffix(&*domain) {
                Some(above) => referrer.hostname.part(above.len()..referrer.hostname.len()),
                None => (*domain).into(),
            },
            url: referrer.url,
            hostname: referrer.hostname,
            pathname: referrer.pathname,
            query_string: referrer.query_string,
            fragment: referrer.fragment,
            name,
            medium,
            keywords,
        }
    }

    /// The source at the longest listed name of the host, `search.yahoo.com` before `yahoo.*`.
    fn find(&self, referrer: &Address, domain: &str) -> Option<Source> {
        let starred = starred_domain(domain);
        let mut host = referrer.hostname.as_str();
        loop {
            let with_star = starred.as_ref().and_then(|starred| {
                let above = host.strip_suffix(domain)?;
                self.sources.get(format!("{above}{starred}").as_str())
            });
            let lists = [self.sources.get(host), with_star];
            let fits = |source: &&Source| referrer.pathname.starts_with(source.path);
            if let Some(source) = lists.into_iter().flatten().flatten().filter(fits).max_by_key(|s| s.path.len()) {
                return Some(*source);
            }
            // Beyond the registrable domain too: blogs of many owners stand below one listed host.
            host = host.split_once('.')?.1;
        }
    }
}

/// `google.co.uk` -> `google.*`, for endings that are countries' or the old general ones; `google.github.io` stays itself.
fn starred_domain(domain: &str) -> Option<String> {
    let (name, ending) = domain.split_once('.')?;
    let country = match ending.split_once('.') {
        None => (2..=3).contains(&ending.len()),
        Some((kind, country)) => matches!(kind, "co" | "com" | "org" | "net" | "ne" | "or") && country.len() == 2,
    };
    country.then(|| format!("{name}.*"))
}

fn is_internal<D: Deref<Target = str>>(
    referrer: &Address,
    domain: &str,
    page_host: &str,
    internal_hosts: &[String],
    domain_of: impl Fn(&str) -> D,
) -> bool {
    let host = referrer.hostname.as_str();
    if host.is_empty() {
        return false;
    }
    if host == page_host {
        return true; // most often, and nothing to write anew
    }
    let page_host = page_host.strip_suffix('.').unwrap_or(page_host).to_ascii_lowercase();
    if host == page_host || (!page_host.is_empty() && *domain == *domain_of(&page_host)) {
        return true;
    }
    internal_hosts.iter().any(|own| {
        let own = own.strip_suffix('.').unwrap_or(own).to_ascii_lowercase();
        match own.strip_prefix("*.") {
            Some(parent) => host.strip_suffix(parent).is_some_and(|above| above.ends_with('.')),
            None => host == own,
        }
    })
}

/// The sources of one line of the book; `None` for comments. A test proves that no line is malformed.
fn read_line(line: &'static str) -> Option<impl Iterator<Item = (&'static str, Source)>> {
    let mut fields = line.split('|');
    let (medium, name, hosts) = (Medium::parse(fields.next()?).ok()?, fields.next()?, fields.next()?);
    let parameters = fields.next().unwrap_or_default();
    Some(hosts.split(' ').map(move |host| {
        let (host, path) = host.split_at(host.find('/').unwrap_or(host.len()));
        (host, Source { medium, name, path, parameters })
    }))
}

#[cfg(test)]
mod tests;
