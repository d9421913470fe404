//! A receiver of the tests: one thread on a socket of its own, that answers as it is told to, lies and cuts connections.
//! It keeps what it was sent the way a receiver must: a batch is there once its whole body has come.

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A request as it came.
#[derive(Clone, Debug, Default)]
pub struct Asked {
    pub method: String,
    pub path: String,
    pub headers: BTreeMap<String, String>,
    pub body: Vec<u8>,
}

/// What happens to the next connection.
#[derive(Clone, Debug)]
pub enum Next {
    /// The whole request is read, kept, and answered with this text.
    Answer(String),
    /// As a receiver ought to: 201, or 200 where it was there.
    Well,
    /// Cut after so many bytes of the request.
    CutRequest(usize),
    /// Kept, and cut after so many bytes of the answer.
    CutAnswer(usize),
    /// Kept, and answered when told to.
    Late,
    /// Answered with this when the head is there, the body left unread.
    Unread(String),
}

/// The receiver.
pub struct Upstream {
    pub address: SocketAddr,
    next: Arc<Mutex<Vec<Next>>>,
    asked: Receiver<Asked>,
    /// What lies there, by path.
    pub kept: Arc<Mutex<BTreeMap<String, Vec<Vec<u8>>>>>,
    mute: Arc<AtomicBool>,
    /// Lets a late answer go.
    pub go: Sender<()>,
}

/// Whatever a connection is.
pub trait Wire: Read + Write {
    fn cut(&mut self);
}

impl Wire for TcpStream {
    fn cut(&mut self) {
        self.shutdown(Shutdown::Both).ok();
    }
}

pub fn answer(status: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
}

impl Upstream {
    pub fn start() -> Upstream {
        Upstream::over(|stream| Some(Box::new(stream)))
    }

    /// Behind a shell of the connection, TLS for one; `None` where the shell fails.
    pub fn over(shell: impl Fn(TcpStream) -> Option<Box<dyn Wire>> + Send + 'static) -> Upstream {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let next: Arc<Mutex<Vec<Next>>> = Arc::default();
        let kept: Arc<Mutex<BTreeMap<String, Vec<Vec<u8>>>>> = Arc::default();
        let ((told, asked), (go, late)) = (channel(), channel());
        let (plans, there) = (Arc::clone(&next), Arc::clone(&kept));
        let mute = Arc::new(AtomicBool::new(false));
        let muted = Arc::clone(&mute);
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(stream) = stream else { return };
                stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
                let Some(mut wire) = shell(stream) else { continue };
                let mut plan = plans.lock().unwrap();
                let next = if plan.is_empty() { Next::Well } else { plan.remove(0) };
                drop(plan);
                let side = Side { told: &told, kept: &there, late: &late, mute: muted.load(Ordering::SeqCst) };
                if !side.serve(&mut *wire, &next) {
                    plans.lock().unwrap().insert(0, next);
                }
                wire.cut();
            }
        });
        Upstream { address, next, asked, kept, mute, go }
    }

    pub fn then(&self, next: Next) {
        self.next.lock().unwrap().push(next);
    }

    pub fn answers(&self, status: &str, body: &str) {
        self.then(Next::Answer(answer(status, body)));
    }

    /// It has no answer to how far it is, and spends none of what was planned on that.
    pub fn says_nothing_of_itself(&self) {
        self.mute.store(true, Ordering::SeqCst);
    }

    /// The next request that came whole.
    pub fn asked(&self) -> Asked {
        self.asked.recv_timeout(Duration::from_secs(20)).unwrap()
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

struct Side<'a> {
    told: &'a Sender<Asked>,
    kept: &'a Mutex<BTreeMap<String, Vec<Vec<u8>>>>,
    late: &'a Receiver<()>,
    mute: bool,
}

impl Side<'_> {
    /// One connection; false where what was planned for it is still to come.
    fn serve(&self, wire: &mut dyn Wire, next: &Next) -> bool {
        let most = if let Next::CutRequest(most) = next { *most } else { usize::MAX };
        let head_only = matches!(next, Next::Unread(_));
        let Some(asked) = read(wire, most, head_only) else { return true };
        if self.mute && asked.path.contains("/v1/watermarks/") {
            wire.write_all(answer("404 Not Found", "").as_bytes()).ok();
            return false;
        }
        let mut same = false;
        if !head_only && asked.method == "PUT" {
            let mut kept = self.kept.lock().unwrap();
            let there = kept.entry(asked.path.clone()).or_default();
            same = there.last() == Some(&asked.body);
            if !same {
                there.push(asked.body.clone());
            }
        }
        self.told.send(asked).ok();
        let well = answer(if same { "200 OK" } else { "201 Created" }, "{\"kept\":true}");
        let text = match next {
            Next::Answer(text) | Next::Unread(text) => text.clone(),
            Next::CutAnswer(most) => well[..(*most).min(well.len())].to_owned(),
            Next::Late => {
                self.late.recv_timeout(Duration::from_secs(20)).ok();
                well
            }
            Next::Well | Next::CutRequest(_) => well,
        };
        wire.write_all(text.as_bytes()).ok();
        wire.flush().ok();
        true
    }
}

/// A request, or `None` where it was cut.
fn read(wire: &mut dyn Wire, most: usize, head_only: bool) -> Option<Asked> {
    let (mut bytes, mut one) = (Vec::new(), [0; 1]);
    while !bytes.ends_with(b"\r\n\r\n") {
        if bytes.len() >= most || wire.read(&mut one).ok()? == 0 {
            return None;
        }
        bytes.push(one[0]);
    }
    let head = String::from_utf8(bytes.clone()).unwrap();
    let mut lines = head.lines();
    let mut first = lines.next()?.split(' ');
    let (method, path) = (first.next()?.to_owned(), first.next()?.to_owned());
    let headers: BTreeMap<String, String> = lines
        .filter_map(|line| line.split_once(": ").map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())))
        .collect();
    let length: usize = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    if head_only {
        return Some(Asked { method, path, headers, body: Vec::new() });
    }
    if headers.contains_key("expect") {
        wire.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").ok()?;
    }
    let mut body = vec![0; length.min(most.saturating_sub(bytes.len()))];
    wire.read_exact(&mut body).ok()?;
    (body.len() == length).then_some(Asked { method, path, headers, body })
}
