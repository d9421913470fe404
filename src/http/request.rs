//! A request in plain types. Owns the reading of paths, query parameters and header values.
//! Must never know the HTTP library: handlers and their tests need none.
//! Invariant: header names are lower case; path and query are as received, still percent-encoded.

use std::net::IpAddr;

use crate::base::time::Millis;

/// Who sent a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Peer {
    /// Someone on the network, by the address of the connection (proxies are not looked through here).
    Net(IpAddr),
    /// Someone on this machine who may open the control socket.
    Control,
}

/// Everything of a request but its body.
#[derive(Clone, Debug)]
pub struct Head {
    /// The method as sent, for example `POST`.
    pub method: String,
    /// The path as received: percent-encoded, without the query.
    pub path: String,
    /// The query as received, without `?`; empty when there is none.
    pub query: String,
    /// The header lines.
    pub headers: Headers,
    /// Who sent it.
    pub peer: Peer,
    /// It came over TLS.
    pub secure: bool,
    /// When its head was complete, by our clock.
    pub received_at: Millis,
}

/// A request with its body.
#[derive(Clone, Debug)]
pub struct Request {
    /// Everything but the body.
    pub head: Head,
    /// The body as received: content encodings are not undone.
    pub body: Vec<u8>,
}

impl Head {
    /// The first query parameter of that name, percent-decoded and `+` read as a space.
    pub fn query_param(&self, name: &str) -> Option<String> {
        self.query_params().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// All query parameters in order, decoded; a parameter without `=` has an empty value.
    pub fn query_params(&self) -> impl Iterator<Item = (String, String)> {
        self.query.split('&').filter(|part| !part.is_empty()).map(|part| {
            let (key, value) = part.split_once('=').unwrap_or((part, ""));
            (percent_decode(key, true), percent_decode(value, true))
        })
    }

    /// The decoded segments between the slashes of the path. `/` has none; a doubled or trailing slash gives an
    /// empty segment, so that `//x` and `/x/` are never mistaken for `/x`. A decoded segment may contain `/`.
    pub fn path_segments(&self) -> Vec<String> {
        let path = self.path.strip_prefix('/').unwrap_or(&self.path);
        if path.is_empty() {
            return Vec::new();
        }
        path.split('/').map(|segment| percent_decode(segment, false)).collect()
    }
}

/// Undoes percent-encoding; what is no valid escape stays as it is, what is no UTF-8 becomes U+FFFD.
pub fn percent_decode(text: &str, plus_is_space: bool) -> String {
    if !text.bytes().any(|b| b == b'%' || (plus_is_space && b == b'+')) {
        return text.to_owned();
    }
    let digit = |b: Option<&u8>| b.and_then(|b| char::from(*b).to_digit(16)).and_then(|d| u8::try_from(d).ok());
    let bytes = text.as_bytes();
    let mut out = Vec::with_capacity(bytes.len());
    let mut at = 0;
    while let Some(&byte) = bytes.get(at) {
        at += 1;
        match byte {
            b'+' if plus_is_space => out.push(b' '),
            b'%' => match (digit(bytes.get(at)), digit(bytes.get(at + 1))) {
                (Some(high), Some(low)) => {
                    out.push(high * 16 + low);
                    at += 2;
                }
                _ => out.push(b'%'),
            },
            _ => out.push(byte),
        }
    }
    String::from_utf8(out).unwrap_or_else(|e| String::from_utf8_lossy(e.as_bytes()).into_owned())
}

/// The header lines of a request, in one buffer: two allocations however many lines there are.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers {
    text: String,
    lines: Vec<Line>,
}

/// Where a line lies in the buffer: name from `start` to `colon`, value from `colon` to `end`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Line {
    start: usize,
    colon: usize,
    end: usize,
}

impl Headers {
    /// Room for `lines` header lines of usual length.
    pub fn with_capacity(lines: usize) -> Self {
        Headers { text: String::with_capacity(lines * 40), lines: Vec::with_capacity(lines) }
    }

    /// Adds a line. The name is stored in lower case; bytes of the value that are no UTF-8 become U+FFFD.
    pub fn push(&mut self, name: &str, value: &[u8]) {
        let start = self.text.len();
        self.text.push_str(name);
        self.text[start..].make_ascii_lowercase();
        let colon = self.text.len();
        match std::str::from_utf8(value) {
            Ok(value) => self.text.push_str(value),
            Err(_) => self.text.push_str(&String::from_utf8_lossy(value)),
        }
        self.lines.push(Line { start, colon, end: self.text.len() });
    }

    /// The value of the first line of that name (given in lower case).
    pub fn get(&self, name: &str) -> Option<&str> {
        self.lines.iter().find(|line| self.is_named(line, name)).map(|line| &self.text[line.colon..line.end])
    }

    /// The values of all lines of that name (given in lower case), in order.
    pub fn get_all<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a str> {
        self.lines.iter().filter(|line| self.is_named(line, name)).map(|line| &self.text[line.colon..line.end])
    }

    /// Most names differ in length already.
    fn is_named(&self, line: &Line, name: &str) -> bool {
        line.colon - line.start == name.len()
            && self.text.as_bytes().get(line.start..line.colon) == Some(name.as_bytes())
    }

    /// All lines as (lower-case name, value).
    pub fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.lines.iter().map(|line| (&self.text[line.start..line.colon], &self.text[line.colon..line.end]))
    }

    /// How many lines there are.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Are there no lines?
    pub fn is_empty(&self) -> bool {
        self.lines.is_empty()
    }
}

impl<'a> FromIterator<(&'a str, &'a str)> for Headers {
    fn from_iter<T: IntoIterator<Item = (&'a str, &'a str)>>(pairs: T) -> Self {
        let mut out = Headers::default();
        for (name, value) in pairs {
            out.push(name, value.as_bytes());
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn head(path: &str, query: &str) -> Head {
        Head {
            method: "GET".into(),
            path: path.into(),
            query: query.into(),
            headers: Headers::default(),
            peer: Peer::Control,
            secure: false,
            received_at: Millis(0),
        }
    }

    #[test]
    fn query_parameters_are_decoded() {
        let head = head("/", "a=1&site=caf%C3%A9+x&flag&bad=%zz%4&a=2&&%2Bk=%2B");
        assert_eq!(head.query_param("site").as_deref(), Some("café x"));
        assert_eq!(head.query_param("a").as_deref(), Some("1"));
        assert_eq!(head.query_param("flag").as_deref(), Some(""));
        assert_eq!(head.query_param("bad").as_deref(), Some("%zz%4"));
        assert_eq!(head.query_param("+k").as_deref(), Some("+"));
        assert_eq!(head.query_param("none"), None);
        assert_eq!(percent_decode("%ff", true), "\u{fffd}");
    }

    #[test]
    fn segments_keep_what_a_file_path_would_swallow() {
        assert!(head("/", "").path_segments().is_empty());
        assert_eq!(head("/v1/events", "").path_segments(), ["v1", "events"]);
        assert_eq!(head("//..%2f..%2Fetc/", "").path_segments(), ["", "../../etc", ""]);
        assert_eq!(head("/a+b", "").path_segments(), ["a+b"]);
    }

    #[test]
    fn headers_are_found_by_lower_case_name() {
        let mut headers: Headers = [("Content-Type", "text/plain"), ("x-a", "1"), ("X-A", "2")].into_iter().collect();
        headers.push("bad", b"\xffx");
        assert_eq!(headers.get("content-type"), Some("text/plain"));
        assert_eq!(headers.get_all("x-a").collect::<Vec<_>>(), ["1", "2"]);
        assert_eq!(headers.get("bad"), Some("\u{fffd}x"));
        assert_eq!((headers.len(), headers.is_empty(), headers.get("x")), (4, false, None));
    }
}
