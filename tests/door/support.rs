//! A house with a door and an echo behind it, and clients that speak raw bytes.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

use wayside::base::error::Error;
use wayside::base::time::{ManualClock, Millis};
use wayside::http::reply::Reply;
use wayside::http::request::{Head, Peer, Request};
use wayside::http::server::{Door, DoorOptions, Plan, Responder, Service, start};

/// Echoes; `/later` is answered by another thread, `/hold` when the test says so; `/wait` keeps its thread until then.
pub struct Echo {
    pub later: Mutex<Sender<Responder>>,
    pub held: Mutex<Vec<Responder>>,
    pub holding: Mutex<Sender<()>>,
    pub gate: Mutex<Receiver<()>>,
    pub served: AtomicUsize,
}

impl Service for Echo {
    fn plan(&self, head: &Head) -> Plan {
        match head.path.as_str() {
            "/blocking" | "/panic-blocking" | "/wait" => Plan::blocking(1_000),
            "/big" => Plan::inline(1 << 20),
            "/panic-plan" => panic!("on purpose"),
            "/refused" => Plan::refuse(Reply::from_error(&Error::denied("no").code("token_missing"))),
            _ => Plan::inline(1_000),
        }
    }

    fn serve(&self, request: Request, done: Responder) {
        self.served.fetch_add(1, Ordering::SeqCst);
        match request.head.path.as_str() {
            "/panic" | "/panic-blocking" => panic!("on purpose"),
            "/later" => self.later.lock().unwrap().send(done).unwrap(),
            "/hold" => {
                self.held.lock().unwrap().push(done);
                self.holding.lock().unwrap().send(()).unwrap();
            }
            "/wait" => {
                self.holding.lock().unwrap().send(()).unwrap();
                self.gate.lock().unwrap().recv().unwrap();
                done(Reply::empty(204));
            }
            "/long" => done(Reply::bytes(200, "text/plain", vec![b'x'; 8 << 20])),
            _ => {
                let thread = std::thread::current().name().unwrap_or("?").to_owned();
                let text =
                    format!("{} {} {}", request.head.method, request.head.path, String::from_utf8_lossy(&request.body));
                let by = if request.head.peer == Peer::Control { "control" } else { "net" };
                done(
                    Reply::bytes(200, "text/plain", text.into_bytes())
                        .with_header("x-thread", thread)
                        .with_header("x-peer", by)
                        .with_header("x-secure", request.head.secure.to_string()),
                );
            }
        }
    }

    fn shape_error(&self, head: &Head, error: Error) -> Reply {
        Reply::from_error(&error).with_header("x-shaped", head.path.as_str())
    }
}

pub struct House {
    pub door: Option<Door>,
    pub address: SocketAddr,
    pub echo: Arc<Echo>,
    pub holding: Receiver<()>,
    pub open: Sender<()>,
}

pub fn house(options: DoorOptions) -> House {
    house_at(options, None)
}

pub fn house_at(options: DoorOptions, socket: Option<&Path>) -> House {
    let (later, waiting) = channel::<Responder>();
    let (holding, held) = channel();
    let (open, gate) = channel();
    std::thread::spawn(move || {
        waiting.iter().for_each(|done| done(Reply::bytes(202, "text/plain", b"later".to_vec())))
    });
    let echo = Arc::new(Echo {
        later: Mutex::new(later),
        held: Mutex::default(),
        holding: Mutex::new(holding),
        gate: Mutex::new(gate),
        served: AtomicUsize::new(0),
    });
    let options = DoorOptions { listen: "127.0.0.1:0".into(), ..options };
    let service: Arc<dyn Service> = Arc::clone(&echo) as Arc<dyn Service>;
    let door = start(&options, socket, Arc::new(ManualClock::at(Millis(7))), service).unwrap();
    House { address: door.local_addr(), door: Some(door), echo, holding: held, open }
}

/// Deadlines short enough for a test.
pub fn brief() -> DoorOptions {
    DoorOptions { head_timeout_ms: 300, request_timeout_ms: 300, idle_timeout_ms: 300, ..DoorOptions::default() }
}

impl House {
    pub fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).unwrap();
        stream.set_nodelay(true).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        stream
    }

    /// Sends bytes and reads until the door closes.
    pub fn send(&self, bytes: impl AsRef<[u8]>) -> String {
        let mut stream = self.connect();
        let _ = stream.write_all(bytes.as_ref()); // the door may have closed before the end
        to_end(&mut stream)
    }

    /// An honest request on a new connection is served at once.
    pub fn serves(&self) {
        let begun = Instant::now();
        let reply = self.send("POST /good HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        assert!(reply.starts_with("HTTP/1.1 200 OK\r\n") && reply.ends_with("\r\n\r\nPOST /good ok"), "{reply}");
        assert!(begun.elapsed() < Duration::from_secs(5), "took {:?}", begun.elapsed());
    }
}

pub fn to_end(stream: &mut TcpStream) -> String {
    let mut bytes = Vec::new();
    match stream.read_to_end(&mut bytes) {
        Ok(_) => {}
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionReset => {}
        Err(e) => panic!("the door did not close: {e}; so far {:?}", String::from_utf8_lossy(&bytes)),
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Reads one reply of known length and leaves the connection open.
pub fn one(stream: &mut TcpStream) -> String {
    let mut text = Vec::new();
    let mut byte = [0];
    while !text.ends_with(b"\r\n\r\n") {
        assert_eq!(stream.read(&mut byte).unwrap(), 1, "closed after {:?}", String::from_utf8_lossy(&text));
        text.push(byte[0]);
    }
    let head = String::from_utf8(text).unwrap();
    let length = head.split("content-length: ").nth(1).and_then(|rest| rest.lines().next()).unwrap().parse().unwrap();
    let mut body = vec![0; length];
    stream.read_exact(&mut body).unwrap();
    head + std::str::from_utf8(&body).unwrap()
}

pub fn status(reply: &str) -> u16 {
    reply.get(9..12).and_then(|code| code.parse().ok()).unwrap_or(0)
}
