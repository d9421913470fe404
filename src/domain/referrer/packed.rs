//! A referrer as a row keeps it: its parts stand in its address already, so most of its JSON need not be stored.
//! `s1https://www.google.com/<TAB>Google` is medium, labels of the host before its registrable domain, address, name and
//! search words. Must never lose a field: what does not fit is kept as JSON.
//! Invariant: [`whole`] of [`Referrer::packed`] is the referrer's own JSON.

use std::borrow::Cow;

use serde::{Deserialize, Serialize};

use super::{Medium, Referrer};

/// What schema version 1 kept where the address told the parts.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Old<'a> {
    #[serde(borrow)]
    url: Cow<'a, str>,
    #[serde(borrow, default)]
    domain: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    name: Option<Cow<'a, str>>,
    medium: Medium,
    #[serde(borrow, default)]
    keywords: Option<Cow<'a, str>>,
}

/// A letter for each medium; they are stored, so they never change.
const LETTERS: [(u8, Medium); 6] = [
    (b'i', Medium::Internal),
    (b's', Medium::Search),
    (b'o', Medium::Social),
    (b'e', Medium::Email),
    (b'p', Medium::Paid),
    (b'u', Medium::Unknown),
];

/// A packed referrer in its fields.
struct Packed<'a> {
    url: &'a str,
    medium: Medium,
    /// Labels of the host that stand before its registrable domain: the list of public suffixes changes, a line must not.
    above: usize,
    name: Option<&'a str>,
    keywords: Option<&'a str>,
}

fn unpack(kept: &str) -> Option<Packed<'_>> {
    let [letter, digit, ..] = kept.as_bytes() else { return None };
    let medium = LETTERS.iter().find(|(known, _)| known == letter)?.1;
    let above = usize::from(digit.checked_sub(b'0').filter(|digit| *digit < 10)?);
    let mut fields = kept[2..].split('\t');
    let url = fields.next()?;
    let mut text = || fields.next().filter(|text| !text.is_empty());
    Some(Packed { url, medium, above, name: text(), keywords: text() })
}

/// The host without so many labels at its beginning.
fn domain_of(host: &str, above: usize) -> Option<&str> {
    (0..above).try_fold(host, |rest, _| rest.split_once('.').map(|(_, rest)| rest))
}

/// The address in what a row keeps.
pub fn url_of(kept: &str) -> Option<Cow<'_, str>> {
    if let Some(packed) = unpack(kept) {
        return Some(packed.url.into());
    }
    #[derive(Deserialize)]
    struct Url<'a> {
        #[serde(borrow)]
        url: Cow<'a, str>,
    }
    serde_json::from_str::<Url<'_>>(kept).ok().map(|told| told.url)
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
    /// What a row keeps of it: JSON, the whole, where the address does not tell the parts.
    pub fn packed(&self) -> String {
        self.short().unwrap_or_else(|| json(self))
    }

    fn short(&self) -> Option<String> {
        let told = (self.hostname.as_str(), self.pathname.as_str(), self.query_string.as_str(), self.fragment.as_str());
        if parts(&self.url) != Some(told) {
            return None;
        }
        let before = self.hostname.strip_suffix(self.domain.as_str())?;
        let above = before.bytes().filter(|b| *b == b'.').count();
        let texts = [self.name.as_deref(), self.keywords.as_deref()];
        let fits = above < 10
            && (before.is_empty() || before.ends_with('.'))
            && texts.iter().flatten().all(|text| !text.is_empty() && !text.as_bytes().contains(&b'\t'));
        if !fits {
            return None;
        }
        let letter = LETTERS.iter().find(|(_, medium)| *medium == self.medium)?.0;
        let [name, keywords] = texts.map(Option::unwrap_or_default);
        let mut out = String::with_capacity(self.url.len() + name.len() + keywords.len() + 4);
        out.push(char::from(letter));
        out.push(char::from(b'0' + u8::try_from(above).ok()?));
        out.push_str(&self.url);
        for text in
            [name, keywords].into_iter().take(if keywords.is_empty() { usize::from(!name.is_empty()) } else { 2 })
        {
            out.push('\t');
            out.push_str(text);
        }
        Some(out)
    }
}

/// The whole JSON of what a row keeps; anything else comes back as it is.
pub fn whole(kept: &str) -> Cow<'_, str> {
    let packed = unpack(kept);
    let found = match &packed {
        Some(packed) => parts(packed.url).and_then(|told| {
            let domain = domain_of(told.0, packed.above)?;
            Some(referrer((packed.url, told), domain, packed.medium, [packed.name, packed.keywords]))
        }),
        None => serde_json::from_str::<Old<'_>>(kept).ok().and_then(|old| {
            let told = parts(&old.url)?;
            let domain = old.domain.as_deref().unwrap_or(told.0);
            Some(referrer((&old.url, told), domain, old.medium, [old.name.as_deref(), old.keywords.as_deref()]))
        }),
    };
    found.map_or(kept.into(), |referrer| json(&referrer).into())
}

/// An address and its host, path, query and fragment.
type Told<'a> = (&'a str, (&'a str, &'a str, &'a str, &'a str));

fn referrer((url, told): Told<'_>, domain: &str, medium: Medium, [name, keywords]: [Option<&str>; 2]) -> Referrer {
    Referrer {
        url: url.into(),
        hostname: told.0.into(),
        domain: domain.into(),
        pathname: told.1.into(),
        query_string: told.2.into(),
        fragment: told.3.into(),
        name: name.map(str::to_owned),
        medium,
        keywords: keywords.map(str::to_owned),
    }
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
            url: "https://shop.example/a?b=c".into(),
            hostname: "shop.example".into(),
            domain: "shop.example".into(),
            pathname: "/a".into(),
            query_string: "b=c".into(),
            medium: Medium::Internal,
            ..Referrer::default()
        };
        assert_eq!(referrer.packed(), "i0https://shop.example/a?b=c");
        assert_eq!(url_of("i0https://shop.example/a?b=c").as_deref(), Some("https://shop.example/a?b=c"));
    }

    #[test]
    fn every_field_fits_or_the_whole_is_kept() {
        let google = Referrer {
            url: "https://www.google.co.uk/search?q=oak".into(),
            hostname: "www.google.co.uk".into(),
            domain: "google.co.uk".into(),
            pathname: "/search".into(),
            query_string: "q=oak".into(),
            name: Some("Google".to_owned()),
            medium: Medium::Search,
            keywords: Some("oak".to_owned()),
            ..Referrer::default()
        };
        assert_eq!(google.packed(), "s1https://www.google.co.uk/search?q=oak\tGoogle\toak");
        let mut some = vec![google.clone()];
        some.push(Referrer { name: None, ..google.clone() });
        some.push(Referrer { keywords: None, ..google.clone() });
        some.push(Referrer { name: Some("a\tb".to_owned()), ..google.clone() });
        some.push(Referrer { name: Some(String::new()), ..google.clone() });
        some.push(Referrer { domain: "other.example".into(), ..google.clone() });
        some.push(Referrer { domain: "oogle.co.uk".into(), ..google.clone() });
        some.extend(LETTERS.map(|(_, medium)| Referrer { medium, ..google.clone() }));
        for one in some {
            assert_eq!(whole(&one.packed()), serde_json::to_string(&one).unwrap());
            assert_eq!(url_of(&one.packed()).as_deref(), Some(google.url.as_str()));
        }
    }

    #[test]
    fn what_schema_version_1_kept_is_read_still() {
        let kept = r#"{"url":"https://www.google.com/","domain":"google.com","name":"Google","medium":"search"}"#;
        let read: Referrer = serde_json::from_str(&whole(kept)).unwrap();
        assert_eq!((read.hostname.as_str(), read.domain.as_str()), ("www.google.com", "google.com"));
        assert_eq!(url_of(kept).as_deref(), Some("https://www.google.com/"));
    }

    #[test]
    fn what_was_never_packed_comes_back_as_it_is() {
        for text in ["{\"medium\":\"search\"}", "{}", "no JSON"] {
            assert_eq!(whole(text), text);
        }
    }
}
