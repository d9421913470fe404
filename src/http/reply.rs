//! A reply in plain types. Owns the one mapping of errors to HTTP statuses.
//! Must never know the HTTP library. Invariant: every error is answered as `{error, what, remedy}`.

use serde::Serialize;

use crate::base::error::{Error, Kind};

/// What goes back to the client. `Content-Length`, `Date` and `Connection` are the door's business.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reply {
    /// HTTP status.
    pub status: u16,
    /// Header lines, names in lower case.
    pub headers: Vec<(String, String)>,
    /// The body.
    pub body: Vec<u8>,
}

/// The body of every error.
#[derive(Serialize)]
struct ErrorBody<'a> {
    error: &'a str,
    what: &'a str,
    remedy: &'a str,
}

impl Reply {
    /// A JSON body. What cannot be serialized becomes an internal error (500).
    pub fn json(status: u16, body: &(impl Serialize + ?Sized)) -> Self {
        match serde_json::to_vec(body) {
            Ok(bytes) => Reply::bytes(status, "application/json", bytes),
            Err(e) => Reply::from_error(&internal(format!("the answer could not be written as JSON: {e}"))),
        }
    }

    /// A body of any type.
    pub fn bytes(status: u16, content_type: &str, body: Vec<u8>) -> Self {
        Reply { status, headers: vec![("content-type".to_owned(), content_type.to_owned())], body }
    }

    /// No body.
    pub fn empty(status: u16) -> Self {
        Reply { status, headers: Vec::new(), body: Vec::new() }
    }

    /// An error: its status by kind and code, `Retry-After` where trying again helps, and what to do as JSON.
    pub fn from_error(error: &Error) -> Self {
        let body = ErrorBody { error: error.code, what: &error.what, remedy: &error.remedy };
        let status = status_of(error.kind, error.code);
        let bytes = serde_json::to_vec(&body).unwrap_or_default(); // three strings always serialize
        let reply = Reply::bytes(status, "application/json", bytes);
        match status {
            503 => reply.with_header("retry-after", "1"),
            507 => reply.with_header("retry-after", "30"),
            _ => reply,
        }
    }

    /// The whole reply as bytes of HTTP/1.1 that closes the connection, for a client there is no room for.
    pub fn last_words(&self) -> Vec<u8> {
        let mut head =
            format!("HTTP/1.1 {} -\r\nconnection: close\r\ncontent-length: {}\r\n", self.status, self.body.len());
        for (name, value) in &self.headers {
            head.extend([name, ": ", value, "\r\n"]);
        }
        head.push_str("\r\n");
        [head.as_bytes(), &self.body].concat()
    }

    /// The same reply with one more header line. A name or value that HTTP forbids is left out when sent.
    pub fn with_header(mut self, name: &str, value: impl Into<String>) -> Self {
        self.headers.push((name.to_ascii_lowercase(), value.into()));
        self
    }

    /// The value of the first header line of that name (given in lower case).
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }
}

/// Something of ours broke; nothing was acknowledged.
pub fn internal(what: impl Into<String>) -> Error {
    Error::storage(what).code("internal").remedy("try again; if it stays, look into the log of the daemon")
}

/// The one place where an error becomes a status.
fn status_of(kind: Kind, code: &str) -> u16 {
    match (kind, code) {
        (Kind::Invalid, "too_large") => 413,
        (Kind::Invalid, "unsupported_media") => 415,
        (Kind::Invalid, "unprocessable" | "bad_rows" | "unknown_schema") => 422,
        (Kind::Invalid, "too_slow") => 408,
        (Kind::Invalid, "uri_too_long") => 414,
        (Kind::Invalid, "head_too_large") => 431,
        (Kind::Invalid, _) => 400,
        (Kind::Denied, "token_missing" | "token_unknown") => 401,
        (Kind::Denied, _) => 403,
        (Kind::NotFound, "method_not_allowed") => 405,
        (Kind::NotFound, _) => 404,
        (Kind::Conflict, _) => 409,
        (Kind::Busy, _) => 503,
        (Kind::Upstream, _) => 502,
        (Kind::Storage, "disk_full") => 507,
        (Kind::Storage | Kind::Config, _) => 500,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_its_status() {
        let cases = [
            (Error::invalid("x"), 400),
            (Error::invalid("x").code("too_large"), 413),
            (Error::invalid("x").code("unsupported_media"), 415),
            (Error::invalid("x").code("unprocessable"), 422),
            (Error::invalid("x").code("too_slow"), 408),
            (Error::invalid("x").code("uri_too_long"), 414),
            (Error::invalid("x").code("head_too_large"), 431),
            (Error::denied("x"), 403),
            (Error::denied("x").code("token_missing"), 401),
            (Error::denied("x").code("token_unknown"), 401),
            (Error::not_found("x"), 404),
            (Error::not_found("x").code("method_not_allowed"), 405),
            (Error::conflict("x"), 409),
            (Error::busy("x"), 503),
            (Error::new(Kind::Upstream, "upstream", "x"), 502),
            (Error::storage("x"), 500),
            (Error::storage("x").code("disk_full"), 507),
            (Error::config("x"), 500),
            (internal("x"), 500),
        ];
        for (error, status) in cases {
            assert_eq!(Reply::from_error(&error).status, status, "{error:?}");
        }
    }

    #[test]
    fn an_error_says_what_and_what_to_do() {
        let reply = Reply::from_error(&Error::busy("the \"queue\" is full").remedy("try again"));
        assert_eq!(reply.header("retry-after"), Some("1"));
        assert_eq!(reply.header("content-type"), Some("application/json"));
        let text = String::from_utf8(reply.body).unwrap();
        assert_eq!(text, r#"{"error":"busy","what":"the \"queue\" is full","remedy":"try again"}"#);
        let full = Reply::from_error(&Error::storage("x").code("disk_full"));
        assert_eq!(full.header("retry-after"), Some("30"));
    }
}
