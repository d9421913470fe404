//! A client that speaks plain HTTP/1.1 on one kept connection. Must never try again by itself: an answer that did not
//! come is the caller's to judge. Invariant: one request, one answer or one error.

use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// Longest wait for an answer.
const PATIENCE: Duration = Duration::from_secs(20);

trait Wire: Read + Write + Send {}
impl<T: Read + Write + Send> Wire for T {}

enum Way {
    Net(SocketAddr),
    Socket(PathBuf),
}

/// One client.
pub struct Client {
    way: Way,
    wire: Option<BufReader<Box<dyn Wire>>>,
    patience: Duration,
}

/// What it was answered.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub text: String,
}

impl Answer {
    #[track_caller]
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.text).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// The value of a header line.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (have, value) = line.split_once(':')?;
            have.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    /// The results of `POST /v1/events`.
    #[track_caller]
    pub fn results(&self) -> Vec<Value> {
        self.json()["results"].as_array().unwrap_or_else(|| panic!("no results: {self:?}")).clone()
    }
}

impl Client {
    pub fn of(address: SocketAddr) -> Client {
        Client { way: Way::Net(address), wire: None, patience: PATIENCE }
    }

    pub fn of_socket(path: &Path) -> Client {
        Client { way: Way::Socket(path.to_owned()), wire: None, patience: PATIENCE }
    }

    pub fn post(&mut self, target: &str, body: &str) -> Result<Answer> {
        let out = self.exchange("POST", target, body);
        if out.is_err() {
            self.wire = None;
        }
        out
    }

    pub fn get(&mut self, target: &str) -> Result<Answer> {
        let out = self.exchange("GET", target, "");
        if out.is_err() {
            self.wire = None;
        }
        out
    }

    /// Waits so long for an answer.
    pub fn patient_for(mut self, patience: Duration) -> Client {
        self.patience = patience;
        self
    }

    fn connect(&self) -> Result<Box<dyn Wire>> {
        match &self.way {
            Way::Net(address) => {
                let stream = TcpStream::connect_timeout(address, self.patience)?;
                stream.set_nodelay(true)?;
                stream.set_read_timeout(Some(self.patience))?;
                stream.set_write_timeout(Some(self.patience))?;
                Ok(Box::new(stream))
            }
            Way::Socket(path) => {
                let stream = UnixStream::connect(path)?;
                stream.set_read_timeout(Some(self.patience))?;
                Ok(Box::new(stream))
            }
        }
    }

    fn exchange(&mut self, method: &str, target: &str, body: &str) -> Result<Answer> {
        if self.wire.is_none() {
            self.wire = Some(BufReader::new(self.connect()?));
        }
        let wire = self.wire.as_mut().ok_or(ErrorKind::NotConnected)?;
        let request = format!(
            "{method} {target} HTTP/1.1\r\nHost: shop.example\r\nContent-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        wire.get_mut().write_all(request.as_bytes())?;
        let mut head = String::new();
        while !head.ends_with("\r\n\r\n") {
            if wire.read_line(&mut head)? == 0 {
                return Err(Error::new(ErrorKind::UnexpectedEof, format!("closed after {head:?}")));
            }
        }
        let mut answer = Answer { status: 0, head, text: String::new() };
        let number = |text: Option<&str>| text.and_then(|t| t.parse().ok()).ok_or(ErrorKind::InvalidData);
        answer.status = answer.head.get(9..12).and_then(|code| code.parse().ok()).ok_or(ErrorKind::InvalidData)?;
        let mut bytes = vec![0; number(answer.header("content-length"))?];
        wire.read_exact(&mut bytes)?;
        answer.text = String::from_utf8(bytes).map_err(|_| ErrorKind::InvalidData)?;
        let closes = answer.header("connection").is_some_and(|v| v.eq_ignore_ascii_case("close"));
        if closes {
            self.wire = None;
        }
        Ok(answer)
    }
}
