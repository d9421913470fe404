//! A wayside daemon as a child process in a folder of its own, and a look at what it stored.
//! Must never wait by time: a daemon is up when it has said where it listens. Invariant: it is ended when dropped.

use std::fs::{self, File};
use std::io::{BufRead, BufReader};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::OpenOptionsExt;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc::channel;

use rusqlite::types::ValueRef;
use rusqlite::{Connection, OpenFlags};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::{Answer, Client, PATIENCE, Request, post};

/// The ingest token in the file `token` beside the configuration.
pub const TOKEN: &str = "path-tests-0123456789abcdef";

/// A folder with a configuration and a data directory, whether a daemon runs on it or not.
pub struct Home {
    folder: TempDir,
    configured: bool,
}

/// How a daemon ended that would not run.
#[derive(Debug)]
pub struct Refused {
    pub code: Option<i32>,
    pub log: String,
}

/// A running daemon.
pub struct Daemon {
    pub home: Home,
    pub address: SocketAddr,
    pub pid: u32,
    child: Option<Child>,
    _stdout: BufReader<ChildStdout>,
}

impl Home {
    /// With this configuration; an empty text means no file at all, as at a first try.
    pub fn new(config: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let private = |name: &str, text: &str| {
            let mut file = File::options();
            let mut file = file.write(true).create_new(true).mode(0o600).open(folder.path().join(name)).unwrap();
            std::io::Write::write_all(&mut file, text.as_bytes()).unwrap();
        };
        private("token", TOKEN);
        private("wayside.toml", config);
        Home { folder, configured: !config.is_empty() }
    }

    /// The data directory.
    pub fn data(&self) -> PathBuf {
        self.folder.path().join("data")
    }

    /// The database file.
    pub fn database(&self) -> PathBuf {
        self.data().join("wayside.db")
    }

    /// What all daemons here have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.path().join("log")).unwrap_or_default()
    }

    /// A program with the settings of these tests and none of the caller's own.
    fn command(&self) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_wayside"));
        let log = File::options().create(true).append(true).open(self.folder.path().join("log")).unwrap();
        for name in ["WAYSIDE_CONFIG", "WAYSIDE_DATA_DIR", "WAYSIDE_LOG"] {
            command.env_remove(name);
        }
        command.env("WAYSIDE_LISTEN", "127.0.0.1:0").current_dir(self.folder.path());
        command.args(["--data-dir", "data"]).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        if self.configured {
            command.args(["--config", "wayside.toml"]);
        }
        command.arg("serve");
        command
    }

    /// Starts a daemon and waits until it says where it listens.
    #[track_caller]
    pub fn start(self) -> Daemon {
        let mut child = self.command().spawn().unwrap();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let (said, heard) = channel();
        std::thread::spawn(move || {
            let mut line = String::new();
            let read = stdout.read_line(&mut line);
            let _ = said.send(read.map(|_| (line, stdout)));
        });
        let Ok(Ok((line, stdout))) = heard.recv_timeout(PATIENCE) else {
            let _ = child.kill();
            panic!("the daemon did not say where it listens: {}", self.log());
        };
        let address = line.split("://").nth(1).and_then(|rest| rest.split(',').next()).and_then(|a| a.parse().ok());
        let Some(address) = address else {
            let ended = child.wait();
            panic!("the daemon said {line:?} and ended with {ended:?}: {}", self.log());
        };
        let pid = child.id();
        Daemon { home: self, address, pid, child: Some(child), _stdout: stdout }
    }

    /// Starts a daemon that must refuse to run.
    #[track_caller]
    pub fn refuses(&self) -> Refused {
        let before = self.log().len();
        let mut child = self.command().spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap()).read_line(&mut line).unwrap();
        if !line.is_empty() {
            let _ = child.kill();
        }
        let status = child.wait().unwrap();
        assert!(line.is_empty(), "it serves: {line:?}");
        Refused { code: status.code(), log: self.log().split_off(before) }
    }
}

impl Daemon {
    /// Without any configuration.
    #[track_caller]
    pub fn plain() -> Self {
        Home::new("").start()
    }

    /// With this configuration.
    #[track_caller]
    pub fn with(config: &str) -> Self {
        Home::new(config).start()
    }

    /// A new connection to the public door.
    pub fn connect(&self) -> Client<TcpStream> {
        Client::open(self.address)
    }

    /// A new connection to the control socket.
    pub fn control(&self) -> Client<UnixStream> {
        Client::control(&self.home.data().join("control.sock"))
    }

    /// One request on a connection of its own.
    #[track_caller]
    pub fn send(&self, request: &Request) -> Answer {
        self.connect().send(request)
    }

    /// `POST /v1/events` with this JSON.
    #[track_caller]
    pub fn events(&self, body: &Value) -> Answer {
        self.send(&post("/v1/events").json(body))
    }

    /// `POST /v1/consent` with this JSON.
    #[track_caller]
    pub fn decide(&self, body: &Value) -> Answer {
        self.send(&post("/v1/consent").json(body))
    }

    /// A grant of a visitor never seen before; returns its token.
    #[track_caller]
    pub fn give(&self, visitor: &str, purposes: &[&str]) -> String {
        let answer = self.decide(&json!({"visitor": visitor, "action": "give", "purposes": purposes}));
        assert_eq!(answer.status, 200, "{answer:?}");
        answer.json()["visitorToken"].as_str().unwrap_or_else(|| panic!("no token: {answer:?}")).to_owned()
    }

    /// It answers, stores, and holds nothing back: whatever was sent before did no harm.
    #[track_caller]
    pub fn still_serves(&self) {
        let health = self.send(&super::get("/v1/health"));
        assert_eq!((health.status, health.json()["status"].as_str()), (200, Some("ok")), "{health:?}");
    }

    /// Runs upkeep now: what it does by itself at moments of its own is done afterwards.
    #[track_caller]
    pub fn upkeep(&self) {
        let answer = self.control().send(&post("/v1/upkeep"));
        assert_eq!(answer.status, 200, "{answer:?}");
    }

    /// All rows of a query as JSON arrays; blobs as lowercase hex.
    #[track_caller]
    pub fn rows(&self, sql: &str) -> Vec<Value> {
        rows(&self.home.database(), sql)
    }

    /// The first column of the only row of a query.
    #[track_caller]
    pub fn value(&self, sql: &str) -> Value {
        let rows = self.rows(sql);
        assert_eq!(rows.len(), 1, "{sql}: {rows:?}");
        rows[0][0].clone()
    }

    /// How many rows a table or a query after `FROM` has.
    #[track_caller]
    pub fn count(&self, from: &str) -> i64 {
        self.value(&format!("SELECT count(*) FROM {from}")).as_i64().unwrap()
    }

    /// The sum of all counters.
    #[track_caller]
    pub fn counted(&self) -> i64 {
        self.value("SELECT coalesce(sum(n), 0) FROM counts").as_i64().unwrap()
    }

    /// Nothing at all is kept of events: no row and no counter.
    #[track_caller]
    pub fn stored_nothing(&self) {
        let tables = ["events", "visits", "pages", "visitors", "sessions", "personal", "counts", "decisions", "agents"];
        let kept: Vec<_> = tables.iter().map(|table| (table, self.count(table))).filter(|(_, n)| *n > 0).collect();
        assert!(kept.is_empty(), "{kept:?}");
    }

    /// Ends it the way an init system does.
    #[track_caller]
    pub fn stop(mut self) -> Home {
        let mut child = self.child.take().unwrap();
        let told = Command::new("kill").args(["-TERM", &child.id().to_string()]).status().unwrap();
        assert!(told.success());
        let ended: ExitStatus = child.wait().unwrap();
        assert!(ended.success(), "{ended:?}: {}", self.home.log());
        self.into_home()
    }

    /// Ends it the way a power cut does.
    pub fn kill(mut self) -> Home {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
        self.into_home()
    }

    fn into_home(mut self) -> Home {
        let nothing = Home { folder: tempfile::tempdir().unwrap(), configured: false };
        std::mem::replace(&mut self.home, nothing)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let ended = child.try_wait();
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                eprintln!("the daemon had ended: {ended:?}; its log:\n{}", self.home.log());
            }
        }
    }
}

/// All rows of a query on a database file that may be in use.
#[track_caller]
pub fn rows(database: &Path, sql: &str) -> Vec<Value> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let open = Connection::open_with_flags(database, flags).unwrap();
    open.busy_timeout(PATIENCE).unwrap();
    let mut statement = open.prepare(sql).unwrap_or_else(|e| panic!("{sql}: {e}"));
    let columns = statement.column_count();
    let cell = |value: ValueRef<'_>| match value {
        ValueRef::Null => Value::Null,
        ValueRef::Integer(number) => json!(number),
        ValueRef::Real(number) => json!(number),
        ValueRef::Text(text) => json!(String::from_utf8_lossy(text)),
        ValueRef::Blob(bytes) => json!(bytes.iter().map(|b| format!("{b:02x}")).collect::<String>()),
    };
    let found = statement.query_map([], |row| {
        (0..columns).map(|at| row.get_ref(at).map(cell)).collect::<rusqlite::Result<Vec<Value>>>().map(Value::Array)
    });
    found.unwrap().collect::<rusqlite::Result<Vec<Value>>>().unwrap()
}

/// Every file below a folder with its bytes, sockets left out.
pub fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            found.extend(files(&entry.path()));
        } else if kind.is_file() {
            found.push((entry.path(), fs::read(entry.path()).unwrap()));
        }
    }
    found
}
