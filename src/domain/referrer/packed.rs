//! A referrer as a row keeps it: its parts stand in its address already, so most of its JSON need not be stored.
//! Must never lose a field. Invariant: [`whole`] of [`Referrer::packed`] is the referrer's own JSON.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Medium, Referrer};

/// What cannot be read off the address.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Packed<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
    /// The registrable domain, where it is not the host: the list of public suffixes changes, a line must not.
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    domain: Option<Cow<'a, str>>,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    name: Option<Cow<'a, str>>,
    medium: Medium,
    #[serde(borrow, default, skip_serializing_if = "Option::is_none")]
    keywords: Option<Cow<'a, str>>,
}

/// Host, path, query and fragment of a stored address.
fn parts(url: &str) -> Option<(&str, &str, &str, &str)> {
    let (_, rest) = url.split_once("://")?;
    let (rest, fragment) = rest.split_once('#').unwrap_or((rest, ""));
    let (rest, query) = rest.split_once('?').unwrap_or((rest, ""));
    let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
    let host = match authority.find(']') {
        Some(end) => &authority[..=end],
        None => authority.split_once(':').map_or(authority, |(host, _)| host),
    };
    Some((host, path, query, fragment))
}

fn json(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("invariant: referrers have string keys")
}

impl Referrer {
    /// What a row keeps of it: JSON; the whole where the address does not tell the parts.
    pub fn packed(&self) -> String {
        let told = (self.hostname.as_str(), self.pathname.as_str(), self.query_string.as_str(), self.fragment.as_str());
        if parts(&self.url) != Some(told) {
            return json(self);
        }
        json(&Packed {
            url: self.url.as_str().into(),
            domain: (self.domain != self.hostname).then(|| self.domain.as_str().into()),
            name: self.name.as_deref().map(Into::into),
            medium: self.medium,
            keywords: self.keywords.as_deref().map(Into::into),
        })
    }
}

/// The whole JSON of what a row keeps; anything else comes back as it is.
pub fn whole(kept: &str) -> Cow<'_, str> {
    let Ok(packed) = serde_json::from_str::<Packed<'_>>(kept) else { return kept.into() };
    let Some((host, path, query, fragment)) = parts(&packed.url) else { return kept.into() };
    let own = |text: Option<&str>| text.map(str::to_owned);
    let referrer = Referrer {
        hostname: host.to_owned(),
        domain: packed.domain.as_deref().unwrap_or(host).to_owned(),
        pathname: path.to_owned(),
        query_string: query.to_owned(),
        fragment: fragment.to_owned(),
        name: own(packed.name.as_deref()),
        medium: packed.medium,
        keywords: own(packed.keywords.as_deref()),
        url: packed.url.into_owned(),
    };
    json(&referrer).into()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::address::{UrlRules, read_referrer_url};
    use crate::domain::referrer::ReferrerBook;

    #[test]
    fn nothing_is_lost_by_packing() {
        let rules = UrlRules { keep_fragment: true, ..UrlRules::default() };
        for url in [
            "https://www.google.com/",
            "https://www.google.co.uk/search?q=oak%20table&x=\"1\"#a?b/c",
            "https://shop.example",
            "https://shop.example:8443/p?redirect=https://x.example/?y#z",
            "https://shop.example./p",
            "http://[2001:db8::1]:81/p",
            "http://192.0.2.7/p",
            "kiosk://Counter/start",
            "kiosk://Counter",
            "android-app://com.example.app/path",
            "https://b\u{fc}cher.example/\u{fc}?\u{fc}",
            "/bare/path?x=1",
        ] {
            let Some(address) = read_referrer_url(url, &rules) else { continue };
            let referrer = ReferrerBook::builtin().classify(address, "other.example", &[], None);
            let packed = referrer.packed();
            assert_eq!(whole(&packed), serde_json::to_string(&referrer).unwrap(), "{url}");
        }
    }

    #[test]
    fn an_ordinary_referrer_is_little_more_than_its_address() {
        let referrer = Referrer {
            url: "https://shop.example/a?b=c".to_owned(),
            hostname: "shop.example".to_owned(),
            domain: "shop.example".to_owned(),
            pathname: "/a".to_owned(),
            query_string: "b=c".to_owned(),
            medium: Medium::Internal,
            ..Referrer::default()
        };
        assert_eq!(referrer.packed(), r#"{"url":"https://shop.example/a?b=c","medium":"internal"}"#);
    }

    #[test]
    fn what_was_never_packed_comes_back_as_it_is() {
        for text in ["{\"medium\":\"search\"}", "{}", "no JSON"] {
            assert_eq!(whole(text), text);
        }
    }
}
