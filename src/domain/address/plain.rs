//! Addresses that are written already as the URL standard would write them, nearly all: their parts are cut out of the text,
//! without taking it apart and putting it together again. Must never change a byte.
//! Invariant: what [`Plain::read`] takes, the crate `url` reads into the same parts; everything else it leaves to it.

use super::URL_BYTES_MAX;

/// A byte of a host's label.
const HOST: u8 = 1;
/// A byte that stands for itself in path and query.
const REST: u8 = 2;
/// Such a byte that means something there as well: it separates, ends a name, or stands for another.
const MARK: u8 = 4;

const CLASSES: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut out = [0; 256];
    let mut b = 0;
    while b < 256 {
        let byte = b as u8;
        if byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.') {
            out[b] = HOST | REST;
        } else if byte.is_ascii_uppercase()
            || matches!(byte, b'_' | b'~' | b'!' | b'$' | b'(' | b')' | b'*' | b',' | b':' | b'@')
        {
            out[b] = REST;
        } else if matches!(byte, b'&' | b';' | b'/' | b'%' | b'=' | b'+') {
            out[b] = REST | MARK;
        }
        b += 1;
    }
    out
}

/// Such an address in its parts; it has neither userinfo, port nor fragment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Plain<'a> {
    pub(super) scheme: &'static str,
    pub(super) host: &'a str,
    pub(super) path: &'a str,
    /// Without `?`; `None` where there is no `?`.
    pub(super) query: Option<&'a str>,
    /// All before the query.
    pub(super) before: &'a str,
    /// The whole.
    pub(super) whole: &'a str,
    /// The query has parameters, and none of them is empty.
    pub(super) tidy: bool,
    /// A parameter has a name that was asked for, or one that must be decoded first.
    pub(super) told: bool,
}

impl<'a> Plain<'a> {
    /// Cuts up an address; `None` where it may have to be rewritten. `is_wanted` is asked of the names of parameters (between `&`).
    pub(super) fn read(text: &'a str, is_wanted: impl Fn(&str) -> bool) -> Option<Self> {
        let scheme = if text.starts_with("https://") {
            "https"
        } else if text.starts_with("http://") {
            "http"
        } else {
            return None;
        };
        if text.len() > URL_BYTES_MAX {
            return None;
        }
        let begin = scheme.len() + 3;
        let bytes = text.as_bytes();
        let mut slash = begin;
        while bytes.get(slash).is_some_and(|byte| CLASSES[usize::from(*byte)] & HOST != 0) {
            slash += 1;
        }
        let host = &text[begin..slash];
        if bytes.get(slash) != Some(&b'/') || !is_plain_host(host) {
            return None;
        }
        let end = path_end(bytes, slash)?;
        let query = text.get(end + 1..);
        let (tidy, told) = query.map_or(Some((false, false)), |query| judge(query, is_wanted))?;
        Some(Plain { scheme, host, path: &text[slash..end], query, before: &text[..end], whole: text, tidy, told })
    }
}

/// Where a path ends, before `?` or with the text; `None` where it is not plain. No segment begins with a dot, written so or as
/// `%2e`: no `.` or `..` that would be resolved.
fn path_end(bytes: &[u8], begin: usize) -> Option<usize> {
    let mut at = begin;
    while let Some(byte) = bytes.get(at) {
        let class = CLASSES[usize::from(*byte)];
        at += 1;
        if class & (REST | MARK) == REST {
            continue;
        }
        match (*byte, bytes.get(at..at + 2)) {
            (b'?', _) => return Some(at - 1),
            (b'/', _) if matches!(bytes.get(at), Some(b'.' | b'%')) => return None,
            (b'%', Some([b'2', b'e' | b'E'])) => return None, // a dot, wherever it stands
            _ if class == 0 => return None,
            _ => {}
        }
    }
    Some(at)
}

/// Does a query hold parameters, and is none of them empty (it begins and ends with a separator, or two stand together)? And does
/// it tell what is wanted? `None` where it is not plain.
fn judge(query: &str, is_wanted: impl Fn(&str) -> bool) -> Option<(bool, bool)> {
    let (mut tidy, mut told) = (true, false);
    // where the parameter begins, and where its name, as long as that goes on
    let (mut from, mut name) = (0, Some(0));
    for (at, byte) in query.bytes().enumerate() {
        let class = CLASSES[usize::from(byte)];
        if class & (REST | MARK) == REST {
            continue;
        }
        match byte {
            b'&' | b';' | b'?' => {
                tidy &= from < at;
                from = at + 1;
            }
            b'%' | b'+' => told |= name.is_some(),
            _ if class == 0 => return None,
            _ => {}
        }
        if matches!(byte, b'=' | b'&') {
            told |= name.is_some_and(|begin| is_wanted(&query[begin..at]));
            name = (byte == b'&').then_some(at + 1);
        }
    }
    told |= name.is_some_and(|begin| is_wanted(&query[begin..]));
    Some((tidy && from < query.len(), told))
}

/// A name in lower case whose last label begins with a letter, so that it is no IPv4 address, and no international one.
fn is_plain_host(host: &str) -> bool {
    let bytes = host.as_bytes();
    let (mut length, mut before, mut last_begins) = (0, b'.', b'0');
    for byte in bytes {
        match (*byte, before) {
            (b'.' | b'-', b'.' | b'-') | (b'.', _) if length == 0 || before == b'-' => return false,
            (b'-', b'-') => return false,
            (b'.', _) => length = 0,
            (other, _) => {
                if length == 0 {
                    last_begins = other;
                }
                length += 1;
                if length > 63 {
                    return false;
                }
            }
        }
        before = *byte;
    }
    bytes.len() <= 253 && length > 0 && before != b'-' && last_begins.is_ascii_lowercase()
}

#[cfg(test)]
mod tests {
    use super::super::tests::Dice;
    use super::*;

    #[test]
    fn ordinary_addresses_are_plain() {
        for text in [
            "https://shop.example/",
            "https://www.shop-1.example/catalogue/oak-table/1000?sort=price&page=3&view=grid",
            "http://a.b/x/y.html?a=b?c&d=/e",
            "https://shop.example/A%20b?",
        ] {
            assert!(Plain::read(text, |_| false).is_some(), "{text}");
        }
        for text in [
            "https://shop.example",
            "https://shop.example:443/",
            "https://u@shop.example/",
            "https://Shop.example/",
            "https://1.2.3.4/",
            "https://xn--bcher-kva.example/",
            "https://shop.example/#x",
            "https://shop.example/a/../b",
            "https://shop.example/a b",
            "https://shop.example/?a='b'",
            "ftp://shop.example/",
            "/path",
        ] {
            assert_eq!(Plain::read(text, |_| false), None, "{text}");
        }
    }

    fn judged_as_by_splitting(read: &Plain<'_>, text: &str, seed: u64) {
        let tidy = read.query.is_some_and(|query| query.split(['&', ';', '?']).all(|one| !one.is_empty()));
        let mut names = read.query.into_iter().flat_map(|query| query.split('&').flat_map(|one| one.split('=').next()));
        let told = names.any(|name| name == "a" || name.contains(['%', '+']));
        assert_eq!((read.whole, read.tidy, read.told), (text, tidy, told), "{text} (seed {seed})");
    }

    #[test]
    fn whatever_is_plain_the_standard_reads_the_same() {
        let (mut random, seed) = Dice::any();
        const PIECES: [&str; 44] = [
            "a",
            "z",
            "0",
            "9",
            "-",
            ".",
            "/",
            "?",
            "&",
            "=",
            "%",
            "%2e",
            "%2E",
            "%41",
            "%zz",
            "..",
            "/.",
            "//",
            "é",
            "xn--",
            ":",
            "@",
            "+",
            ";",
            ",",
            "!",
            "~",
            "_",
            "*",
            "(",
            "'",
            "\"",
            "|",
            "[",
            "]",
            "\\",
            "shop.example",
            "com",
            "A",
            "1.2",
            "0x7f",
            "#",
            "^",
            "localhost",
        ];
        let mut plain = 0;
        for _ in 0..60_000 {
            let mut text = if random.below(2) == 0 { "https://" } else { "http://" }.to_owned();
            for _ in 0..1 + random.below(3) {
                text.push_str(PIECES[random.below(PIECES.len())]);
            }
            text.push('/');
            for _ in 0..random.below(8) {
                text.push_str(PIECES[random.below(PIECES.len())]);
            }
            let Some(read) = Plain::read(&text, |name| name == "a") else { continue };
            plain += 1;
            let (url, _) = super::super::parse(&text).unwrap_or_else(|e| panic!("{text}: {e} (seed {seed})"));
            assert_eq!(url.as_str(), text, "seed {seed}");
            assert_eq!((url.host_str(), url.port()), (Some(read.host), None), "{text} (seed {seed})");
            assert_eq!((url.scheme(), url.path()), (read.scheme, read.path), "{text} (seed {seed})");
            assert_eq!((url.query(), url.fragment()), (read.query, None), "{text} (seed {seed})");
            assert!(url.username().is_empty() && url.password().is_none(), "{text} (seed {seed})");
            judged_as_by_splitting(&read, &text, seed);
        }
        assert!(plain > 1_000, "{plain} of 60,000 were plain (seed {seed})");
    }
}
