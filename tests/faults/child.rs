//! A daemon as a process of its own, in a folder of its own. Owns its start, its stop and its words.
//! Must never signal a process it did not start. Invariant: no daemon outlives its test.

use std::fs::File;
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use crate::client::Client;
use crate::support::pass;

/// Longest start, stop or command.
const PATIENCE: Duration = Duration::from_secs(90);

/// The program under test.
pub const WAYSIDE: &str = env!("CARGO_BIN_EXE_wayside");

/// A site whose events need no consent, sealed soon, looked after often.
pub const SHOP: &str = r#"
log = "info"
[edge]
pin = true
[upkeep]
visits_every_seconds = 1
retention_every_seconds = 1
[quota]
disk_budget_bytes = 100000000000
[forward]
seal_after_seconds = 1
[[site]]
id = "shop"
debug = true
[[site.purposes]]
name = "measure"
basis = "legitimate_interest"
assessment = "interest assessment 1, 2026-01-31"
"#;

/// The folder of one daemon: its configuration, its data and what it said.
pub struct Home {
    folder: PathBuf,
    _temporary: Option<tempfile::TempDir>,
}

impl Home {
    pub fn new(config: &str) -> Home {
        let temporary = tempfile::tempdir().unwrap();
        let mut home = Home::at(temporary.path(), config);
        home._temporary = Some(temporary);
        home
    }

    /// In a folder the caller keeps.
    pub fn at(folder: &Path, config: &str) -> Home {
        std::fs::write(folder.join("wayside.toml"), config).unwrap();
        Home { folder: folder.to_owned(), _temporary: None }
    }

    pub fn folder(&self) -> &Path {
        &self.folder
    }

    pub fn data(&self) -> PathBuf {
        self.folder.join("data")
    }

    /// Everything its daemons said on stderr.
    pub fn log(&self) -> String {
        std::fs::read_to_string(self.folder.join("log")).unwrap_or_default()
    }

    fn arguments(&self) -> [String; 4] {
        let text = |path: PathBuf| path.to_str().unwrap().to_owned();
        ["--config".into(), text(self.folder.join("wayside.toml")), "--data-dir".into(), text(self.data())]
    }

    /// `wayside` with this folder's configuration and data; the caller adds the command.
    pub fn wayside(&self) -> Command {
        self.through(WAYSIDE, &[])
    }

    /// The same through another program that executes it.
    pub fn through(&self, program: &str, before: &[&str]) -> Command {
        let mut command = Command::new(program);
        let log = File::options().create(true).append(true).open(self.folder.join("log")).unwrap();
        command.args(before).args(self.arguments()).stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        command.env("WAYSIDE_LISTEN", "127.0.0.1:0").env_remove("WAYSIDE_CONFIG").env_remove("WAYSIDE_LOG");
        command
    }

    /// Starts a daemon and waits until it listens.
    #[track_caller]
    pub fn start(&self) -> Daemon {
        self.start_by(self.wayside())
    }

    /// Starts it by a command of [`Home::wayside`] or [`Home::through`].
    #[track_caller]
    pub fn start_by(&self, mut command: Command) -> Daemon {
        let mut child = command.arg("serve").spawn().unwrap();
        let (send, said) = channel();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        std::thread::spawn(move || {
            let mut first = String::new();
            let _ = stdout.read_line(&mut first);
            let _ = send.send(first);
            let _ = stdout.read_to_end(&mut Vec::new()); // so that it is never stopped by a full pipe
        });
        let first = said.recv_timeout(PATIENCE).unwrap_or_default();
        let Some(address) = address_in(&first) else {
            let _ = child.kill();
            panic!("the daemon did not start: {:?}, said {first:?}; log:\n{}", child.wait(), self.tail());
        };
        Daemon { child, address, socket: self.data().join("control.sock"), log: self.folder.join("log") }
    }

    /// Starts a daemon, and kills it after so long wherever it is.
    pub fn start_and_kill(&self, after: Duration) {
        let mut child = self.wayside().arg("serve").stdout(Stdio::null()).spawn().unwrap();
        pass(after);
        child.kill().unwrap();
        child.wait().unwrap();
    }

    /// Runs a command to its end.
    #[track_caller]
    pub fn run(&self, arguments: &[&str]) -> Output {
        let child = self.wayside().args(arguments).stderr(Stdio::piped()).spawn().unwrap();
        let pid = rustix::process::Pid::from_child(&child);
        let (send, ended) = channel();
        std::thread::spawn(move || send.send(child.wait_with_output()));
        match ended.recv_timeout(PATIENCE) {
            Ok(output) => output.unwrap(),
            Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                let _ = rustix::process::kill_process(pid, rustix::process::Signal::KILL);
                panic!("`wayside {}` did not end", arguments.join(" "));
            }
        }
    }

    /// The end of the log.
    pub fn tail(&self) -> String {
        let log = self.log();
        let lines: Vec<&str> = log.lines().collect();
        lines[lines.len().saturating_sub(40)..].join("\n")
    }
}

/// The address in `wayside 0.1.0 listens on http://ADDR, data in DIR`.
fn address_in(line: &str) -> Option<SocketAddr> {
    line.split("http://").nth(1)?.split(',').next()?.trim().parse().ok()
}

/// A daemon that listens.
pub struct Daemon {
    child: Child,
    pub address: SocketAddr,
    socket: PathBuf,
    log: PathBuf,
}

impl Daemon {
    pub fn client(&self) -> Client {
        Client::of(self.address)
    }

    /// The operator's way in.
    pub fn control(&self) -> Client {
        Client::of_socket(&self.socket)
    }

    /// Memory it holds at most so far, KiB.
    pub fn peak_kib(&self) -> u64 {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
        line.split_whitespace().nth(1).unwrap().parse().unwrap()
    }

    /// Descriptors it holds now.
    pub fn descriptors(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.child.id())).unwrap().count()
    }

    /// Has it ended by itself?
    pub fn ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().unwrap()
    }

    /// SIGKILL: no destructor runs, nothing is flushed.
    pub fn kill(mut self) {
        assert_eq!(self.ended(), None, "it had ended before it was killed");
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM, and waits for its end.
    #[track_caller]
    pub fn stop(mut self) {
        rustix::process::kill_process(rustix::process::Pid::from_child(&self.child), rustix::process::Signal::TERM)
            .unwrap();
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.ended() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "it did not stop");
            pass(Duration::from_millis(5));
        };
        let said = std::fs::read_to_string(&self.log).unwrap_or_default();
        assert!(status.success(), "it stopped with {status}; log:\n{said}");
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
