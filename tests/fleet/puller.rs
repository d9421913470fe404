//! A job that pulls from the relay of a fleet: the program's own, over a socket whose other end loses, doubles and cuts what
//! passes, and stops either machine. Must never keep an answer from being looked at. Invariant: what the job took lies in its
//! folder; a job that stops goes on from what lay on its disk then.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::{JoinHandle, spawn};

use tempfile::TempDir;
use wayside::base::time::Clock;
use wayside::forward::client::{Client, ClientOptions};
use wayside::forward::take::shelf::Folder;
use wayside::forward::take::{Job, JobOptions};
use wayside::http::reply::Reply;
use wayside::http::request::{Head, Headers, Peer, Request};
use wayside::http::service::Service;

use crate::machine::copy;
use crate::relay::Relay;
use crate::upstream::Upstream;

/// What goes wrong with one request of a job.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gap {
    None,
    LosesRequest,
    LosesAnswer,
    CutsAnswer,
    Twice,
    /// Nobody hears of it; it arrives some time later.
    Late,
    RelayStopsBefore,
    RelayStopsAfter,
    /// The job stops when it has asked, and when it was answered.
    JobStops,
}

impl Gap {
    pub const ALL: [Gap; 10] = [
        Gap::None,
        Gap::None,
        Gap::LosesRequest,
        Gap::LosesAnswer,
        Gap::CutsAnswer,
        Gap::Twice,
        Gap::Late,
        Gap::RelayStopsBefore,
        Gap::RelayStopsAfter,
        Gap::JobStops,
    ];
}

struct State {
    gap: Gap,
    after: u64,
    late: Vec<Request>,
    /// Where the job's folder is, and where it lay when the job stopped.
    folder: PathBuf,
    frozen: Option<PathBuf>,
}

pub struct Puller {
    root: TempDir,
    generation: u32,
    address: SocketAddr,
    relay: Arc<Relay>,
    state: Arc<Mutex<State>>,
    over: Arc<AtomicBool>,
    front: Option<JoinHandle<()>>,
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Puller {
    pub fn from(relay: &Arc<Relay>) -> Puller {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap();
        let folder = root.path().join("0");
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let state = State { gap: Gap::None, after: 0, late: Vec::new(), folder, frozen: None };
        let (state, over) = (Arc::new(Mutex::new(state)), Arc::new(AtomicBool::new(false)));
        let (at, ends, of) = (Arc::clone(&state), Arc::clone(&over), Arc::clone(relay));
        let front = spawn(move || {
            for stream in listener.incoming().flatten() {
                if ends.load(Ordering::Acquire) {
                    return;
                }
                answer(stream, &of, &at);
            }
        });
        Puller { root, generation: 0, address, relay: Arc::clone(relay), state, over, front: Some(front) }
    }

    /// Pulls until there is no more, or something goes wrong: the request after `after` good ones meets this. Says whether
    /// the job stopped in between.
    pub fn pull(&mut self, gap: Gap, after: u64) -> bool {
        {
            let mut state = lock(&self.state);
            (state.gap, state.after) = (gap, after);
        }
        let mut ended = self.rounds();
        let stopped = lock(&self.state).frozen.take();
        if let Some(frozen) = &stopped {
            self.generation += 1;
            let next = self.root.path().join(self.generation.to_string());
            std::fs::rename(frozen, &next).unwrap();
            std::fs::remove_dir_all(&lock(&self.state).folder).unwrap();
            lock(&self.state).folder = next;
            ended = Ok(());
        }
        if let Err(error) = ended {
            let later =
                matches!(error.code, "unreachable" | "cut_off" | "bad_answer" | "changed_under_way" | "refused");
            let later = later
                || matches!(
                    error.code,
                    "not_taken" | "consent_first" | "stale_fence" | "begin_anew" | "strange_answer"
                );
            assert!(later, "the job fails with {}: {error}", error.code);
        }
        stopped.is_some()
    }

    fn rounds(&self) -> wayside::base::error::Result<()> {
        let folder = lock(&self.state).folder.clone();
        let client = Client::open(&format!("http://{}", self.address), &ClientOptions::default()).unwrap();
        let options = JobOptions { limit: 3, holder: "job".to_owned(), ..JobOptions::default() };
        let mut job = Job::open(client, options, Box::new(Folder::at(&folder.join("to"))), &folder.join("own"))?;
        for _ in 0..1_000 {
            let round = job.round(0, &mut |_| Ok(()), &mut |_, _| ())?;
            assert_eq!(round.bad, [], "no batch is bad");
            assert_eq!(round.gone, Vec::<String>::new(), "none is gone");
            if !round.more {
                return job.end();
            }
        }
        panic!("a job never ends");
    }

    /// One of the late requests arrives.
    pub fn deliver_late(&self, dice: &mut crate::Dice) {
        let late = std::mem::take(&mut lock(&self.state).late);
        if !late.is_empty() {
            let at = usize::try_from(dice.roll(late.len() as u64)).unwrap();
            let _ = serve(&self.relay, late[at].clone());
        }
    }

    /// What a reader of its folder finds.
    pub fn shelf(&self) -> Upstream {
        let (mut out, root) = (Upstream::default(), lock(&self.state).folder.join("to"));
        let mut keys = Vec::new();
        walk(&root, "", &mut keys);
        keys.sort();
        for key in keys {
            let manifest = std::fs::read(root.join(format!("{key}.manifest.json"))).unwrap();
            let gz = std::fs::read(root.join(format!("{key}.ndjson.gz"))).unwrap();
            out.take(&key, &manifest, &gz);
        }
        out
    }

    pub fn close(mut self) {
        self.over.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address).unwrap());
        self.front.take().unwrap().join().unwrap();
    }
}

/// The keys of the batches below a folder.
fn walk(folder: &Path, before: &str, keys: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).into_iter().flatten() {
        let entry = entry.unwrap();
        let name = format!("{before}{}", entry.file_name().into_string().unwrap());
        if entry.file_type().unwrap().is_dir() {
            walk(&entry.path(), &format!("{name}/"), keys);
        } else if let Some(key) = name.strip_suffix(".ndjson.gz") {
            keys.push(key.to_owned());
        }
    }
}

/// One request of a connection, and its end.
fn answer(mut stream: TcpStream, relay: &Relay, state: &Mutex<State>) {
    let Some(request) = read(&stream, relay) else { return };
    let mut now = lock(state);
    let gap = match now.after {
        0 => std::mem::replace(&mut now.gap, Gap::None),
        _ => {
            now.after -= 1;
            Gap::None
        }
    };
    if now.frozen.is_some() {
        return; // whoever asks has stopped
    }
    match gap {
        Gap::LosesRequest => return,
        Gap::Late => return now.late.push(request),
        Gap::JobStops => {
            let to = now.folder.with_extension("frozen");
            copy(&now.folder, &to);
            now.frozen = Some(to);
        }
        _ => {}
    }
    drop(now);
    if gap == Gap::RelayStopsBefore {
        return relay.machine().crash();
    }
    let mut reply = serve(relay, request.clone());
    match gap {
        Gap::LosesAnswer | Gap::JobStops => return,
        Gap::RelayStopsAfter => return relay.machine().crash(),
        Gap::Twice => reply = serve(relay, request),
        _ => {}
    }
    let mut bytes = format!("HTTP/1.1 {} x\r\nconnection: close\r\n", reply.status);
    for (name, value) in &reply.headers {
        bytes.push_str(&format!("{name}: {value}\r\n"));
    }
    bytes.push_str(&format!("content-length: {}\r\n\r\n", reply.body.len()));
    let part = if gap == Gap::CutsAnswer { reply.body.len() / 2 } else { reply.body.len() };
    let _ = stream.write_all(bytes.as_bytes()).and_then(|()| stream.write_all(&reply.body[..part]));
}

fn read(stream: &TcpStream, relay: &Relay) -> Option<Request> {
    let mut reader = BufReader::new(stream);
    let mut first = String::new();
    reader.read_line(&mut first).ok().filter(|n| *n > 0)?;
    let mut words = first.split_whitespace();
    let (method, target) = (words.next()?.to_owned(), words.next()?);
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let mut headers = Headers::with_capacity(8);
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push(name, value.trim().as_bytes());
    }
    let length = headers.get("content-length").map_or(0, |text| text.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body).ok()?;
    let received_at = relay.machine().clock.now();
    let (path, query) = (path.to_owned(), query.to_owned());
    let head = Head { method, path, query, headers, peer: Peer::Control, secure: false, received_at };
    Some(Request { head, body })
}

/// Serves it, and looks at what leaves.
fn serve(relay: &Relay, request: Request) -> Reply {
    let path = request.head.path.clone();
    let machine = relay.machine();
    let (tell, told) = sync_channel(1);
    machine.house().app.serve(request, Box::new(move |reply| tell.send(reply).unwrap()));
    let reply = told.recv().unwrap();
    if reply.status == 200 && path.starts_with("/v1/batches/") {
        relay.look(&path, &reply.body);
    }
    reply
}
