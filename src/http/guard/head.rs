//! Checks one head line by line as it arrives. Owns the rules of RFC 9112 that keep a request from being read in two ways.
//! Must never look at a line twice (a head that drips in byte by byte costs no more than one that comes at once).
//! Invariant: `Whole` is said only of a head whose every line was checked.

use std::io::BufRead;

use super::{Limits, REFUSED_METHOD, Refusal, TARGET_BYTES_MAX};

/// What is known of a head that is arriving.
#[derive(Debug, Default)]
pub(super) struct HeadScan {
    /// Where the first unchecked line begins.
    line: usize,
    /// Up to where an end of line was looked for.
    searched: usize,
    /// The request line was checked.
    begun: bool,
    headers: usize,
    old_version: bool,
    hosts: usize,
    length: Option<u64>,
    chunked: bool,
}

/// How much of a head was there.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Seen {
    /// Not all of it.
    Part,
    /// All of it: `bytes` long, followed by a body of `length` bytes or a chunked one.
    Whole { bytes: usize, length: u64, chunked: bool },
}

type Checked<T> = Result<T, Refusal>;

impl HeadScan {
    /// Looks at `bytes`, the head from its first byte on as far as it has arrived.
    pub(super) fn look(&mut self, bytes: &[u8], limits: Limits) -> Checked<Seen> {
        loop {
            let Some(found) = line_feed(&bytes[self.searched..]) else {
                self.searched = bytes.len();
                if !self.begun && bytes.len() - self.line > TARGET_BYTES_MAX + 64 {
                    return Err(Refusal::TargetTooLong);
                }
                return if bytes.len() > limits.head_bytes_max { Err(Refusal::HeadTooLarge) } else { Ok(Seen::Part) };
            };
            let end = self.searched + found;
            if end >= limits.head_bytes_max {
                return Err(Refusal::HeadTooLarge);
            }
            let Some(line) = bytes[self.line..end].strip_suffix(b"\r") else {
                return Err(Refusal::Malformed("a line ends without a carriage return"));
            };
            self.line = end + 1;
            self.searched = end + 1;
            match (line.is_empty(), self.begun) {
                // RFC 9112 section 2.2: an empty line before the request line is to be ignored.
                (true, false) => {}
                (true, true) => return self.whole(),
                (false, false) => self.request_line(line)?,
                (false, true) => self.header(line, limits)?,
            }
        }
    }

    fn request_line(&mut self, line: &[u8]) -> Checked<()> {
        self.begun = true;
        let mut words = line.split(|b| *b == b' ');
        let (Some(method), Some(target), Some(version), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return Err(Refusal::Malformed("the request line is not `method target version`"));
        };
        if method.is_empty() || !method.iter().all(|b| is_token(*b)) || method == REFUSED_METHOD.as_bytes() {
            return Err(Refusal::Malformed("the method is no word"));
        }
        if method == b"CONNECT" {
            return Err(Refusal::Tunnel);
        }
        self.old_version = match version {
            b"HTTP/1.1" => false,
            b"HTTP/1.0" => true,
            _ => return Err(Refusal::Malformed("the version is neither HTTP/1.1 nor HTTP/1.0")),
        };
        if target.len() > TARGET_BYTES_MAX {
            return Err(Refusal::TargetTooLong);
        }
        let absolute = |scheme: &[u8]| target.get(..scheme.len()).is_some_and(|t| t.eq_ignore_ascii_case(scheme));
        let known = target.starts_with(b"/") || target == b"*" || absolute(b"http://") || absolute(b"https://");
        if !known || !target.iter().all(u8::is_ascii_graphic) {
            return Err(Refusal::Malformed("the request target is no path"));
        }
        Ok(())
    }

    fn header(&mut self, line: &[u8], limits: Limits) -> Checked<()> {
        self.headers += 1;
        if self.headers > limits.headers_max {
            return Err(Refusal::TooManyHeaders);
        }
        if matches!(line.first(), Some(b' ' | b'\t')) {
            return Err(Refusal::Malformed("a header line is folded"));
        }
        let Some(colon) = line.iter().position(|b| !is_token(*b)) else {
            return Err(Refusal::Malformed("a header line has no colon"));
        };
        let (name, value) = (&line[..colon], &line[colon..]);
        if name.is_empty() || value.first() != Some(&b':') {
            return Err(Refusal::Malformed("a header name has a character that names must not have"));
        }
        let value = &value[1..];
        if may_hold_control(value) && value.iter().any(|b| is_control(*b)) {
            return Err(Refusal::Malformed("a header value has a control character"));
        }
        // Only three names matter here, told apart by length first.
        match name.len() {
            4 if name.eq_ignore_ascii_case(b"host") => self.host(trim(value)),
            14 if name.eq_ignore_ascii_case(b"content-length") => self.content_length(trim(value)),
            17 if name.eq_ignore_ascii_case(b"transfer-encoding") => self.transfer_encoding(trim(value)),
            _ => Ok(()),
        }
    }

    fn host(&mut self, value: &[u8]) -> Checked<()> {
        self.hosts += 1;
        if self.hosts > 1 {
            return Err(Refusal::Malformed("there is more than one Host"));
        }
        let allowed = |b: &u8| b.is_ascii_alphanumeric() || b"-._~%!$&'()*+,;=:[]".contains(b);
        if value.is_empty() || !value.iter().all(allowed) {
            return Err(Refusal::Malformed("the Host names no host"));
        }
        Ok(())
    }

    fn content_length(&mut self, value: &[u8]) -> Checked<()> {
        if self.length.is_some() {
            return Err(Refusal::Malformed("there is more than one Content-Length"));
        }
        // 19 digits always fit; no sign, no list, no hexadecimal.
        if value.is_empty() || value.len() > 19 || !value.iter().all(u8::is_ascii_digit) {
            return Err(Refusal::Malformed("the Content-Length is no number"));
        }
        self.length = Some(value.iter().fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')));
        Ok(())
    }

    fn transfer_encoding(&mut self, value: &[u8]) -> Checked<()> {
        if self.chunked || !value.eq_ignore_ascii_case(b"chunked") {
            return Err(Refusal::Malformed("the Transfer-Encoding is not `chunked`"));
        }
        self.chunked = true;
        Ok(())
    }

    fn whole(&self) -> Checked<Seen> {
        if self.hosts == 0 {
            return Err(Refusal::Malformed("there is no Host"));
        }
        if self.chunked && self.length.is_some() {
            return Err(Refusal::Malformed("there are both a Content-Length and a Transfer-Encoding"));
        }
        if self.chunked && self.old_version {
            return Err(Refusal::Malformed("HTTP/1.0 has no Transfer-Encoding"));
        }
        Ok(Seen::Whole { bytes: self.line, length: self.length.unwrap_or(0), chunked: self.chunked })
    }
}

/// RFC 9110 section 5.6.2.
fn is_token(byte: u8) -> bool {
    const TABLE: [bool; 256] = {
        let mut table = [false; 256];
        let mut at = 0;
        while at < 128 {
            table[at] = (at as u8).is_ascii_alphanumeric();
            at += 1;
        }
        let marks = b"!#$%&'*+-.^_`|~";
        at = 0;
        while at < marks.len() {
            table[marks[at] as usize] = true;
            at += 1;
        }
        table
    };
    TABLE[usize::from(byte)]
}

/// Where the first line feed is. `skip_until` searches with the C library's `memchr`; a slice never fails to be read.
fn line_feed(bytes: &[u8]) -> Option<usize> {
    let mut rest = bytes;
    let skipped = rest.skip_until(b'\n').unwrap_or(0);
    let last = skipped.checked_sub(1)?;
    (bytes[last] == b'\n').then_some(last)
}

/// Is any byte below the space, or above `~`? Eight at a time; the bytes of other alphabets and tabs come with the control characters.
pub(super) fn may_hold_control(bytes: &[u8]) -> bool {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x80 * ONES;
    let mut eights = bytes.chunks_exact(8);
    let mut seen = 0;
    for eight in &mut eights {
        let word = u64::from_le_bytes(eight.try_into().unwrap_or_default());
        // the high bit of a byte of 0x7f and more, and of one below 0x20; of ASCII no sum reaches into the next byte
        seen |= word | word.wrapping_add(ONES) | !(word.wrapping_add(ONES * 0x60));
    }
    seen & HIGH != 0 || eights.remainder().iter().any(|b| is_control(*b))
}

pub(super) fn is_control(byte: u8) -> bool {
    (byte < b' ' && byte != b'\t') || byte == 0x7f
}

fn trim(value: &[u8]) -> &[u8] {
    value.trim_ascii() // control characters other than the tab were refused before
}
