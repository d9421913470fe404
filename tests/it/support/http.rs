//! A blocking HTTP/1.1 client over a plain stream: whole requests, keep-alive, raw bytes.
//! Must never repair what it sends: tests mean every byte. Invariant: an answer is read to its end, no further.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use super::PATIENCE;

/// A request as it will be sent.
#[derive(Clone, Debug)]
pub struct Request {
    method: String,
    target: String,
    headers: Vec<(String, String)>,
    body: Option<Vec<u8>>,
}

/// `POST target`.
pub fn post(target: &str) -> Request {
    Request::new("POST", target)
}

/// `GET target`.
pub fn get(target: &str) -> Request {
    Request::new("GET", target)
}

impl Request {
    pub fn new(method: &str, target: &str) -> Self {
        Request { method: method.to_owned(), target: target.to_owned(), headers: Vec::new(), body: None }
    }

    pub fn header(mut self, name: &str, value: &str) -> Self {
        self.headers.push((name.to_owned(), value.to_owned()));
        self
    }

    /// The ingest token every test daemon knows by its file `token`.
    pub fn token(self) -> Self {
        self.header("Authorization", &format!("Bearer {}", super::TOKEN))
    }

    pub fn body(mut self, bytes: impl Into<Vec<u8>>) -> Self {
        self.body = Some(bytes.into());
        self
    }

    pub fn json(self, value: &Value) -> Self {
        self.header("Content-Type", "application/json").body(value.to_string())
    }

    /// The same request with its body compressed.
    pub fn gzip(mut self) -> Self {
        let mut packer = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::best());
        packer.write_all(&self.body.take().unwrap_or_default()).unwrap();
        self.body = Some(packer.finish().unwrap());
        self.header("Content-Encoding", "gzip")
    }

    fn bytes(&self) -> Vec<u8> {
        let mut head = format!("{} {} HTTP/1.1\r\nHost: localhost\r\n", self.method, self.target);
        for (name, value) in &self.headers {
            head.push_str(&format!("{name}: {value}\r\n"));
        }
        if let Some(body) = &self.body {
            head.push_str(&format!("Content-Length: {}\r\n", body.len()));
        }
        head.push_str("\r\n");
        [head.as_bytes(), self.body.as_deref().unwrap_or_default()].concat()
    }
}

/// What came back.
#[derive(Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: Vec<u8>,
}

impl std::fmt::Debug for Answer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {:?} {}", self.status, self.headers, String::from_utf8_lossy(&self.body))
    }
}

impl Answer {
    /// The value of a header, by its name in lower case.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(have, _)| have == name).map(|(_, value)| value.as_str())
    }

    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|e| panic!("no JSON ({e}): {self:?}"))
    }

    /// The outcome words of `results`, in order, after checking the status and that there is nothing else.
    #[track_caller]
    pub fn outcomes(&self, status: u16) -> Vec<String> {
        assert_eq!(self.status, status, "{self:?}");
        let body = self.json();
        let results = body["results"].as_array().unwrap_or_else(|| panic!("no results: {self:?}"));
        assert_eq!(body.as_object().unwrap().len(), 1, "{self:?}");
        results.iter().map(|one| one["outcome"].as_str().unwrap_or("?").to_owned()).collect()
    }

    /// The first of `results`.
    #[track_caller]
    pub fn first(&self) -> Value {
        let body = self.json();
        assert!(body["results"][0].is_object(), "{self:?}");
        body["results"][0].clone()
    }

    /// The one field that is wrong, of a single event that is invalid.
    #[track_caller]
    pub fn wrong_field(&self) -> String {
        assert_eq!(self.outcomes(422), ["invalid"], "{self:?}");
        self.first()["field"].as_str().unwrap_or_else(|| panic!("no field: {self:?}")).to_owned()
    }
}

/// A connection, kept open between requests.
pub struct Client<S> {
    stream: S,
}

impl Client<TcpStream> {
    pub fn open(address: SocketAddr) -> Self {
        let stream = TcpStream::connect(address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Client { stream }
    }
}

impl Client<UnixStream> {
    /// The control socket.
    pub fn control(socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        Client { stream }
    }
}

impl<S: Read + Write> Client<S> {
    #[track_caller]
    pub fn send(&mut self, request: &Request) -> Answer {
        // the daemon may answer and close before it has read a body it will not take
        let _ = self.stream.write_all(&request.bytes());
        self.answer(request.method == "HEAD")
    }

    /// Bytes as they are.
    pub fn raw(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.stream.write_all(bytes.as_ref());
    }

    /// Reads one answer of known length.
    #[track_caller]
    pub fn answer(&mut self, without_body: bool) -> Answer {
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") {
            match self.stream.read(&mut byte) {
                Ok(1) => head.push(byte[0]),
                Ok(_) => panic!("closed after {:?}", String::from_utf8_lossy(&head)),
                Err(e) => panic!("{e} after {:?}", String::from_utf8_lossy(&head)),
            }
        }
        let head = String::from_utf8(head).unwrap();
        let mut lines = head.trim_end().split("\r\n");
        let first = lines.next().unwrap();
        let status = first.split(' ').nth(1).and_then(|word| word.parse().ok()).unwrap_or_else(|| panic!("{first}"));
        let headers: Vec<(String, String)> = lines
            .map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line:?} is no header")))
            .map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned()))
            .collect();
        let mut answer = Answer { status, headers, body: Vec::new() };
        let length: usize = answer.header("content-length").map_or(0, |text| text.parse().unwrap());
        if !without_body && status != 204 {
            answer.body = vec![0; length];
            self.stream.read_exact(&mut answer.body).unwrap();
        }
        answer
    }

    /// The daemon has closed this connection and said nothing more.
    #[track_caller]
    pub fn is_closed(&mut self) {
        let mut rest = Vec::new();
        match self.stream.read_to_end(&mut rest) {
            Ok(_) => {}
            Err(e) if e.kind() == ErrorKind::ConnectionReset => {}
            Err(e) => panic!("still open: {e}"),
        }
        assert!(rest.is_empty(), "{:?}", String::from_utf8_lossy(&rest));
    }
}
