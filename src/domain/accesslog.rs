//! One line of an Apache or nginx access log in the quoted combined format, and what kind of request it tells of.
//! Must never read a file or build an event. Invariant: a line is read to its end, or not at all.
//!
//! ```text
//! host ident user [17/May/2015:10:05:03 +0000] "request" status bytes "referer" "user agent"
//! ```
//! One space between fields; the first three hold printable ASCII without spaces; nothing follows the last quote but
//! one carriage return. Inside quotes a backslash takes the next byte with it: `\"` `\\` `\n` `\t` `\r` `\b` `\f` `\v`
//! and `\xHH` stand for one byte, any other pair for itself. Bytes that are not UTF-8 are read as U+FFFD.

use std::borrow::Cow;

use crate::base::time::{Millis, parse_clf};

/// A request as one line tells it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogLine<'a> {
    /// Address or name of the client, as logged.
    pub remote: &'a str,
    /// When the request came, by the log's own clock (whole seconds).
    pub at: Millis,
    /// Method as sent; empty where the request is no `METHOD target [HTTP/x.y]` (a lone `-`, bytes of a TLS handshake).
    /// Such a line is well formed all the same: it counts among the other methods.
    pub method: &'a str,
    /// What was asked for, escapes resolved; inner spaces are kept. Empty where `method` is.
    pub target: Cow<'a, str>,
    /// Status of the answer.
    pub status: u16,
    /// Where the visitor came from; `None` where the log says `-` or nothing.
    pub referrer: Option<Cow<'a, str>>,
    /// User agent as logged, escapes resolved; `-` where none was sent.
    pub user_agent: Cow<'a, str>,
}

/// What a line counts as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Class {
    /// A page was shown.
    PageView,
    /// The method is not GET.
    OtherMethod,
    /// GET, but the answer is neither 2xx nor 304.
    OtherStatus,
    /// A file that belongs to a page, or a download.
    Asset,
}

/// How the last segment of the path of an asset ends.
const ASSETS: [&str; 26] = [
    ".css", ".js", ".mjs", ".map", ".png", ".jpg", ".jpeg", ".gif", ".svg", ".ico", ".webp", ".avif", ".woff",
    ".woff2", ".ttf", ".eot", ".mp4", ".webm", ".mp3", ".pdf", ".zip", ".gz", ".tar", ".xml", ".txt", ".json",
];

impl LogLine<'_> {
    /// The user agent, where one was sent.
    pub fn agent(&self) -> Option<&str> {
        Some(self.user_agent.as_ref()).filter(|text| !matches!(*text, "" | "-"))
    }

    /// The path: what was asked for, before the first `?`.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or_default()
    }
}

/// Reads one line without its line feed; `None` where it is malformed.
pub fn parse(line: &[u8]) -> Option<LogLine<'_>> {
    let mut rest = line.strip_suffix(b"\r").unwrap_or(line);
    let remote = word(&mut rest)?;
    let (_ident, _user) = (word(&mut rest)?, word(&mut rest)?);
    let at = time(&mut rest)?;
    let request = quoted(&mut rest)?;
    expect(&mut rest, b' ')?;
    let status = status(word(&mut rest)?)?;
    let bytes = word(&mut rest)?;
    let counted = !bytes.is_empty() && bytes.bytes().all(|b| b.is_ascii_digit());
    let referrer = quoted(&mut rest)?;
    expect(&mut rest, b' ')?;
    let user_agent = quoted(&mut rest)?;
    if !rest.is_empty() || !(counted || bytes == "-") {
        return None;
    }
    let (method, target) = split_request(request).unwrap_or_default();
    let referrer = Some(unescape(referrer)).filter(|text| !matches!(text.as_ref(), "" | "-"));
    Some(LogLine { remote, at, method, target: unescape(target), status, referrer, user_agent: unescape(user_agent) })
}

/// What a line counts as, tested in this order: method, status, asset.
pub fn classify(line: &LogLine<'_>) -> Class {
    if line.method != "GET" {
        Class::OtherMethod
    } else if !matches!(line.status, 200..=299 | 304) {
        Class::OtherStatus
    } else if is_asset(line.path()) {
        Class::Asset
    } else {
        Class::PageView
    }
}

fn is_asset(path: &str) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default().as_bytes();
    let ends =
        |end: &&str| name.len() >= end.len() && name[name.len() - end.len()..].eq_ignore_ascii_case(end.as_bytes());
    ASSETS.iter().any(ends)
}

/// Takes a field of printable ASCII and the space behind it.
fn word<'a>(rest: &mut &'a [u8]) -> Option<&'a str> {
    let end = rest.iter().position(|b| !b.is_ascii_graphic())?;
    let field = std::str::from_utf8(&rest[..end]).ok()?;
    *rest = &rest[end..];
    expect(rest, b' ')?;
    (!field.is_empty()).then_some(field)
}

/// Takes `[time]` and the space behind it.
fn time(rest: &mut &[u8]) -> Option<Millis> {
    expect(rest, b'[')?;
    let end = rest.iter().position(|b| *b == b']')?;
    let text = std::str::from_utf8(&rest[..end]).ok()?;
    *rest = &rest[end + 1..];
    expect(rest, b' ')?;
    // Both servers write every part at its full width; a shorter time is a line cut or made by hand.
    if text.len() != "17/May/2015:10:05:03 +0000".len() {
        return None;
    }
    parse_clf(text)
}

/// Takes a quoted field; what it returns is still escaped.
fn quoted<'a>(rest: &mut &'a [u8]) -> Option<&'a [u8]> {
    expect(rest, b'"')?;
    let mut at = 0;
    loop {
        match rest.get(at)? {
            b'"' => break,
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
    let field = &rest[..at];
    *rest = &rest[at + 1..];
    Some(field)
}

fn expect(rest: &mut &[u8], byte: u8) -> Option<()> {
    *rest = rest.strip_prefix(&[byte])?;
    Some(())
}

fn status(text: &str) -> Option<u16> {
    let digits = text.len() == 3 && text.bytes().all(|b| b.is_ascii_digit());
    digits.then(|| text.parse().ok()).flatten()
}

/// `METHOD target [HTTP/x.y]`: what stands between the first space and the version is the target.
fn split_request(request: &[u8]) -> Option<(&str, &[u8])> {
    let end = request.iter().position(|b| *b == b' ')?;
    let (method, rest) = (std::str::from_utf8(&request[..end]).ok()?, &request[end + 1..]);
    let target = match rest.len().checked_sub(" HTTP/x.y".len()).map(|at| rest.split_at(at)) {
        Some((target, [b' ', b'H', b'T', b'T', b'P', b'/', major, b'.', minor]))
            if major.is_ascii_digit() && minor.is_ascii_digit() =>
        {
            target
        }
        _ => rest,
    };
    // RFC 9110, 5.6.2: what a method may be made of.
    let token = |b: u8| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b);
    (!method.is_empty() && method.bytes().all(token) && !target.is_empty()).then_some((method, target))
}

/// The text a quoted field stands for.
fn unescape(field: &[u8]) -> Cow<'_, str> {
    if !field.contains(&b'\\') {
        return String::from_utf8_lossy(field);
    }
    let mut out = Vec::with_capacity(field.len());
    let mut rest = field;
    while let Some((&first, after)) = rest.split_first() {
        let (byte, taken) = match (first, after) {
            (b'\\', [b'x', high, low, ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                (nibble(*high) << 4 | nibble(*low), 4)
            }
            (b'\\', [kind, ..]) => plain_escape(*kind).map_or((first, 1), |byte| (byte, 2)),
            _ => (first, 1),
        };
        out.push(byte);
        rest = &rest[taken..];
    }
    Cow::Owned(String::from_utf8_lossy(&out).into_owned())
}

fn plain_escape(kind: u8) -> Option<u8> {
    Some(match kind {
        b'"' | b'\\' => kind,
        b'n' => b'\n',
        b't' => b'\t',
        b'r' => b'\r',
        b'b' => 0x08,
        b'f' => 0x0c,
        b'v' => 0x0b,
        _ => return None,
    })
}

fn nibble(digit: u8) -> u8 {
    char::from(digit).to_digit(16).and_then(|n| u8::try_from(n).ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
