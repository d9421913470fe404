//! Addresses of pages and referrers: parsed once, scrubbed before anything is kept, and cut into their parts.
//! The only file that names url. Must never fetch, and never let userinfo or an excluded parameter out.
//! Invariant: every part of an [`Address`] is printable ASCII without white space, whatever came in.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use url::Url;

use crate::base::error::{Error, Result};
use crate::base::piece::Piece;
use crate::base::text::cut;
use crate::domain::campaign::{self, Campaign, short_value};
use crate::domain::suffix;

mod plain;

use plain::Plain;

/// Longest address that is read: bytes. Percent-encoding can make the stored one up to three times as long.
pub const URL_BYTES_MAX: usize = 4096;

/// Schemes that are programs or private matters, not places.
const REFUSED_SCHEMES: [&str; 10] =
    ["javascript", "vbscript", "data", "blob", "filesystem", "about", "mailto", "tel", "sms", "view-source"];

/// What a site wants done with its addresses.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct UrlRules {
    /// Names of parameters that are removed before storing; compared decoded and without case, and `x` also names `x[]`.
    pub excluded_query_parameters: Vec<String>,
    /// Whether `#...` is kept. Excluded parameters are removed from it all the same.
    pub keep_fragment: bool,
    /// Names of parameters whose value is what the visitor searched for; the first that has one wins.
    pub search_query_parameters: Vec<String>,
}

/// An address in its parts, scrubbed. Parts that it does not have are empty.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Address {
    /// The whole address as it is stored; a path with query where no host was given.
    pub url: Piece,
    /// `https`, `file`, `kiosk`, ...; empty for a bare path.
    pub scheme: Cow<'static, str>,
    /// Host in lower case, international names in their ASCII form, IPv6 in brackets.
    pub hostname: Piece,
    /// Path, percent-encoded.
    pub pathname: Piece,
    /// Query without `?`, as it was sent, less excluded parameters.
    pub query_string: Piece,
    /// Fragment without `#`.
    pub fragment: Piece,
    /// Port, if it was given and is not the scheme's own.
    pub port: Option<u16>,
}

impl Address {
    /// The host's registrable domain; the host itself where it has none (IP address, single label, public suffix).
    pub fn domain(&self) -> String {
        registrable_domain(&self.hostname)
    }
}

/// A page's address and what was read from it before it was scrubbed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Landed {
    /// The scrubbed address.
    pub address: Address,
    /// What the visitor searched for on this site.
    pub search_query: Option<String>,
    /// The campaign that brought the visitor.
    pub campaign: Option<Campaign>,
}

/// Reads a page's address: http, https, file, an application's own scheme (`kiosk://...`), or a bare path (`/a?b=c`).
/// Campaign and search query are taken before excluded parameters and the fragment go. Errors: Invalid, `url`.
pub fn read_page_url(text: &str, rules: &UrlRules) -> Result<Landed> {
    if let Some(plain) = Plain::read(trimmed(text), |name| tells(name, rules)) {
        let told = plain.query.filter(|_| plain.told);
        let (campaign, search_query) = told.map(|query| from_query(query, rules)).unwrap_or_default();
        return Ok(Landed { address: plain_parts(&plain, rules), search_query, campaign });
    }
    any_page_url(text, rules)
}

/// The text without white space around it; looked for only where there may be some.
fn trimmed(text: &str) -> &str {
    match text.as_bytes() {
        [b'!'..=b'~', .., b'!'..=b'~'] => text,
        _ => text.trim(),
    }
}

fn any_page_url(text: &str, rules: &UrlRules) -> Result<Landed> {
    let (mut url, bare) = parse(text).map_err(|why| {
        Error::invalid(format!("page address {:?} {why}", cut(text, 80)))
            .code("url")
            .remedy("send an absolute address or a path that begins with /")
    })?;
    let query = url.query().unwrap_or_default();
    let mut names = query.split('&').flat_map(|one| one.split('=').next());
    let told = names.any(|name| name.contains(['%', '+']) || tells(name, rules));
    let (campaign, search_query) = if told { from_query(query, rules) } else { (None, None) };
    scrub(&mut url, rules);
    Ok(Landed { address: parts(&url, bare), search_query, campaign })
}

/// Campaign and search query; the query is decoded once, it is most of an address's cost.
fn from_query(query: &str, rules: &UrlRules) -> (Option<Campaign>, Option<String>) {
    let pairs: Vec<_> = query_pairs(query).collect();
    let searched = rules.search_query_parameters.iter().find_map(|wanted| {
        pairs.iter().filter(|(name, _)| name.eq_ignore_ascii_case(wanted)).find_map(|(_, value)| short_value(value))
    });
    (campaign::from_query(pairs), searched)
}

/// Does a parameter of that name, as it is written, tell of a campaign or a search? Most queries hold none, and need not be decoded.
fn tells(name: &str, rules: &UrlRules) -> bool {
    campaign::is_parameter(name) || rules.search_query_parameters.iter().any(|wanted| wanted.eq_ignore_ascii_case(name))
}

/// Reads a referrer's address; whatever has no host or makes no sense gives `None`.
/// Of one that is too long, the query is given up.
pub fn read_referrer_url(text: &str, rules: &UrlRules) -> Option<Address> {
    if let Some(plain) = Plain::read(trimmed(text), |_| false) {
        return Some(plain_parts(&plain, rules));
    }
    any_referrer_url(text, rules)
}

fn any_referrer_url(text: &str, rules: &UrlRules) -> Option<Address> {
    let text = if text.len() > URL_BYTES_MAX { text.split(['?', '#']).next()? } else { text };
    let (mut url, bare) = parse(text).ok()?;
    scrub(&mut url, rules);
    let address = parts(&url, bare);
    (!address.hostname.is_empty()).then_some(address)
}

/// Decoded parameters of a query, in their order; `+` is a space, bytes that are no UTF-8 become U+FFFD.
pub fn query_pairs(query: &str) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    url::form_urlencoded::parse(query.as_bytes())
}

fn parse(text: &str) -> std::result::Result<(Url, bool), &'static str> {
    let text = text.trim();
    if text.is_empty() {
        return Err("is empty");
    }
    if text.len() > URL_BYTES_MAX {
        return Err("is longer than 4096 bytes");
    }
    if text.chars().any(char::is_control) {
        return Err("holds a control character");
    }
    if text.starts_with('/') {
        return Ok((bare_path(text), true));
    }
    let mut url = Url::parse(text).map_err(|_| "is not an address")?;
    if url.cannot_be_a_base() || REFUSED_SCHEMES.contains(&url.scheme()) {
        return Err("has a scheme that is no place");
    }
    if url.scheme() == "file" {
        // A file server's name is none of a page's business, and two readers of addresses disagree where it ends.
        url.set_host(None).map_err(|_| "names a file server that cannot be removed")?;
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Refused for addresses without a host, which have no userinfo either; checked below all the same.
        let _ = url.set_username("");
        let _ = url.set_password(None);
        if !url.username().is_empty() || url.password().is_some() {
            return Err("holds a name or password that cannot be removed");
        }
    }
    Ok((url, false))
}

/// A path without host, put on a host that is dropped again. Set by parts, since `//evil.example/x` is a path here,
/// not the other host that joining would make of it.
fn bare_path(text: &str) -> Url {
    let (text, fragment) = text.split_once('#').map_or((text, None), |(before, after)| (before, Some(after)));
    let (path, query) = text.split_once('?').map_or((text, None), |(before, after)| (before, Some(after)));
    let mut url = Url::parse("http://bare.invalid/").expect("invariant: a constant address");
    url.set_path(path);
    url.set_query(query);
    url.set_fragment(fragment);
    url
}

fn scrub(url: &mut Url, rules: &UrlRules) {
    let query = url.query().map(|query| without_excluded(query, rules)).filter(|query| !query.is_empty());
    if url.query() != query.as_deref() {
        url.set_query(query.as_deref()); // writes the whole address anew
    }
    // Single-page applications put a whole path with query behind the #, sign-in services put parameters there.
    let fragment = url.fragment().filter(|_| rules.keep_fragment).map(|fragment| without_excluded(fragment, rules));
    if url.fragment().is_some() {
        url.set_fragment(fragment.as_deref().filter(|fragment| !fragment.is_empty()));
    }
}

/// The text without its excluded parameters and without empty ones; what stays is byte for byte as it was sent. A parameter
/// begins after any of `&;?#`, since careless pages append a second `?` and nest whole addresses.
fn without_excluded(text: &str, rules: &UrlRules) -> String {
    let mut out = String::with_capacity(text.len());
    let mut before = None;
    for piece in text.split_inclusive(['&', ';', '?', '#']) {
        let end = piece.trim_end_matches(['&', ';', '?', '#']).len();
        let (parameter, after) = piece.split_at(end);
        if !parameter.is_empty() && !is_excluded(parameter, rules) {
            // The first separator since the last one kept: `r?token=1&b=2` becomes `r?b=2`.
            out.push_str(before.take().filter(|_| !out.is_empty()).unwrap_or_default());
            out.push_str(parameter);
        }
        before = before.or(Some(after));
    }
    out
}

fn is_excluded(parameter: &str, rules: &UrlRules) -> bool {
    if rules.excluded_query_parameters.is_empty() {
        return false;
    }
    query_pairs(parameter).any(|(name, _)| {
        let stem = name.split('[').next().unwrap_or_default();
        rules.excluded_query_parameters.iter().any(|x| x.eq_ignore_ascii_case(&name) || x.eq_ignore_ascii_case(stem))
    })
}

/// The parts of an address that needs no rewriting but the removal of parameters.
fn plain_parts(plain: &Plain<'_>, rules: &UrlRules) -> Address {
    let given = plain.query.unwrap_or_default();
    let whole = plain.query.is_none() || plain.tidy && !may_exclude(given, rules);
    let query = if whole { Cow::Borrowed(given) } else { Cow::Owned(without_excluded(given, rules)) };
    let url = match (whole, query.is_empty()) {
        (true, _) => Piece::from(plain.whole),
        (_, true) => plain.before.into(),
        (_, false) => format!("{}?{query}", plain.before).into(),
    };
    // the parts lie in it one behind the other
    let end = plain.before.len();
    let path = end - plain.path.len();
    Address {
        scheme: plain.scheme.into(),
        hostname: url.part(path - plain.host.len()..path),
        pathname: url.part(path..end),
        query_string: url.part(url.len() - query.len()..url.len()),
        fragment: Piece::default(),
        port: None,
        url,
    }
}

/// May a parameter of a query be excluded? Of most the name shows that it is not, and nothing need be decoded.
fn may_exclude(query: &str, rules: &UrlRules) -> bool {
    !rules.excluded_query_parameters.is_empty()
        && query.split(['&', ';', '?']).any(|parameter| {
            let name = parameter.split('=').next().unwrap_or_default();
            name.bytes().any(|b| matches!(b, b'%' | b'+' | b'['))
                || rules.excluded_query_parameters.iter().any(|x| x.eq_ignore_ascii_case(name))
        })
}

fn parts(url: &Url, bare: bool) -> Address {
    let mut hostname = if bare { String::new() } else { url.host_str().unwrap_or_default().to_ascii_lowercase() };
    if hostname.ends_with('.') {
        hostname.pop();
    }
    Address {
        url: if bare { url[url::Position::BeforePath..].into() } else { url.as_str().into() },
        scheme: if bare { Cow::Borrowed("") } else { url.scheme().to_owned().into() },
        hostname: hostname.into(),
        pathname: url.path().into(),
        query_string: url.query().unwrap_or_default().into(),
        fragment: url.fragment().unwrap_or_default().into(),
        port: url.port(),
    }
}

/// What can be registered of a host by the public suffix list: `shop.example.co.uk` gives `example.co.uk`. The host itself,
/// in lower case, where there is no such thing: IP addresses, single labels, public suffixes such as `github.io`.
pub fn registrable_domain(host: &str) -> String {
    let mut host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    // an IPv4 address ends in a digit, which no top-level domain does; IPv6 stands in brackets or holds colons
    let numeric = host.ends_with(|c: char| c.is_ascii_digit()) || host.bytes().any(|b| b == b':');
    if host.starts_with('[') || numeric && host.parse::<IpAddr>().is_ok() {
        return host;
    }
    let above = suffix::registrable(&host).map_or(0, |domain| host.len() - domain.len());
    host.drain(..above);
    host
}

/// A path with what looks like a name, a number or a token replaced by `*`, so that counters hold no person: segments with
/// six or more digits, `@`, `%`, or over 24 characters.
pub fn path_template(pathname: &str) -> String {
    let personal = |segment: &str| {
        segment.contains(['@', '%'])
            || segment.chars().filter(char::is_ascii_digit).count() >= 6
            || segment.chars().count() > 24
    };
    pathname.split('/').map(|segment| if personal(segment) { "*" } else { segment }).collect::<Vec<_>>().join("/")
}

/// Scheme, host and effective port of an `Origin` header (RFC 6454, 7). Exact: only what a browser would write, so `null`,
/// paths, userinfo, a port that is the scheme's own, and upper case give `None`. Schemes without a port of their own
/// (`app://kiosk`) have none unless it is written.
pub fn origin_host(origin: &str) -> Option<(String, String, Option<u16>)> {
    if origin.len() > URL_BYTES_MAX {
        return None;
    }
    let url = Url::parse(origin).ok()?;
    let host = url.host_str().filter(|host| !host.is_empty())?;
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let refused = REFUSED_SCHEMES.contains(&url.scheme()) || url.scheme() == "file";
    let written = format!("{}://{host}{port}", url.scheme());
    (!refused && written == origin).then(|| (url.scheme().to_owned(), host.to_owned(), url.port_or_known_default()))
}

/// Scheme, host and port of an origin as a person writes it: brought to the form browsers send (lower case, without the
/// scheme's own port). Errors: what is behind or before it that no browser ever sends.
pub fn written_origin(text: &str) -> Result<(String, String, Option<u16>), &'static str> {
    let unreadable = "it is not a scheme and a host";
    let Ok(url) = Url::parse(text) else { return Err(unreadable) };
    if !url.username().is_empty() || url.password().is_some() || text.contains('@') {
        return Err("an origin has no user name and no password");
    }
    if REFUSED_SCHEMES.contains(&url.scheme()) || url.scheme() == "file" {
        return Err("pages of that scheme tell no origin");
    }
    let Some((_, rest)) = text.split_once("://") else { return Err(unreadable) };
    if rest.contains(['/', '?', '#', '\\']) {
        return Err("an origin ends with its host or port: no slash and no path behind it");
    }
    let port = url.port().map(|port| format!(":{port}")).unwrap_or_default();
    let host = url.host_str().unwrap_or_default().to_ascii_lowercase();
    origin_host(&format!("{}://{host}{port}", url.scheme())).ok_or(unreadable)
}

/// Whether a host is this machine: `localhost` and names below it (RFC 6761, 6.3), 127.0.0.0/8, ::1, with or without brackets.
pub fn is_loopback_host(host: &str) -> bool {
    let host = host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase();
    if let Ok(ip) = host.parse::<Ipv4Addr>() {
        return ip.is_loopback();
    }
    let inner = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')).unwrap_or(&host);
    if let Ok(ip) = inner.parse::<Ipv6Addr>() {
        return ip.to_canonical().is_loopback();
    }
    host == "localhost" || host.ends_with(".localhost")
}

#[cfg(test)]
mod tests;
