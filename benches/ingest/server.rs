//! The daemon as a child process, and what the kernel says of it. Owns its start and stop; must never send an event.
//! Linux only: `/proc` is where CPU time and memory come from.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Error, Read, Result};
use std::net::SocketAddr;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};

/// A running daemon.
pub struct Server {
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
    data_dir: PathBuf,
}

/// CPU time and memory at one moment.
#[derive(Clone, Debug, Default)]
pub struct Reading {
    /// Nanoseconds on a CPU since start, by thread name (`read-1`, `read-2`, ... are one).
    pub threads: BTreeMap<String, u64>,
    /// The whole process in clock ticks of 10 ms, for comparison.
    pub ticks: u64,
    /// Commit groups since the database file was made.
    pub groups: u32,
}

impl Reading {
    /// Nanoseconds of all threads.
    pub fn cpu_ns(&self) -> u64 {
        self.threads.values().sum()
    }

    /// What was spent since an earlier reading.
    pub fn since(&self, earlier: &Reading) -> Reading {
        let spent = |(name, ns): (&String, &u64)| (name.clone(), ns - earlier.threads.get(name).unwrap_or(&0));
        Reading {
            threads: self.threads.iter().map(spent).collect(),
            ticks: self.ticks - earlier.ticks,
            groups: self.groups.wrapping_sub(earlier.groups),
        }
    }
}

impl Server {
    /// Starts the program and waits until it listens. `cpu` = pin it there with taskset.
    pub fn start(program: &Path, data_dir: &Path, config: &Path, cpu: Option<&str>) -> Result<Server> {
        let mut command = match cpu {
            Some(cpu) => {
                let mut command = Command::new("taskset");
                command.args(["-c", cpu]).arg(program);
                command
            }
            None => Command::new(program),
        };
        command.arg("--config").arg(config).arg("--data-dir").arg(data_dir).arg("serve");
        command.env("WAYSIDE_LISTEN", "127.0.0.1:0").stdin(Stdio::null()).stdout(Stdio::piped());
        let mut child = command.spawn()?;
        let stdout = child.stdout.take().ok_or_else(|| Error::other("no standard output"))?;
        let mut lines = BufReader::new(stdout);
        let mut first = String::new();
        lines.read_line(&mut first)?;
        std::thread::spawn(move || lines.read_to_end(&mut Vec::new()));
        let address = first.split("http://").nth(1).and_then(|rest| rest.split([',', '/', ' ']).next());
        let address = address.and_then(|text| text.trim().parse().ok());
        let address =
            address.ok_or_else(|| Error::other(format!("the daemon did not say where it listens: {first:?}")))?;
        Ok(Server { address, child, data_dir: data_dir.to_owned() })
    }

    fn proc(&self, file: &str) -> PathBuf {
        PathBuf::from(format!("/proc/{}/{file}", self.child.id()))
    }

    /// What it has spent by now.
    pub fn read(&self) -> Result<Reading> {
        let mut out = Reading { groups: self.groups()?, ..Reading::default() };
        for task in fs::read_dir(self.proc("task"))? {
            let task = task?.path();
            let both = ["comm", "schedstat"].map(|file| fs::read_to_string(task.join(file)));
            let [Ok(name), Ok(ns)] = both else { continue }; // a thread of the start that has ended since it was listed
            let name = name.trim_end().trim_end_matches(|c: char| c.is_ascii_digit() || c == '-').to_owned();
            *out.threads.entry(name).or_default() += number(ns.split(' ').next());
        }
        let stat = fs::read_to_string(self.proc("stat"))?;
        let after_name: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        out.ticks = number(after_name.get(11).copied()) + number(after_name.get(12).copied());
        Ok(out)
    }

    /// SQLite counts commits in the head of the shared-memory file beside the log.
    fn groups(&self) -> Result<u32> {
        let mut count = [0; 4];
        fs::File::open(self.data_dir.join("wayside.db-shm"))?.read_exact_at(&mut count, 8)?;
        Ok(u32::from_ne_bytes(count))
    }

    /// Waits until it rests (seals are made, answers sent), at most 20 s; the reading then.
    pub fn settle(&self) -> Result<Reading> {
        let begin = Instant::now();
        let mut last = self.read()?;
        loop {
            std::thread::sleep(Duration::from_millis(300));
            let next = self.read()?;
            if next.since(&last).cpu_ns() < 3_000_000 || begin.elapsed() > Duration::from_secs(20) {
                return Ok(next);
            }
            last = next;
        }
    }

    /// `VmRSS` and `VmHWM` in KiB.
    pub fn memory(&self) -> Result<(u64, u64)> {
        let status = fs::read_to_string(self.proc("status"))?;
        let field = |name: &str| {
            number(
                status.lines().find_map(|line| line.strip_prefix(name)).and_then(|rest| rest.split_whitespace().next()),
            )
        };
        Ok((field("VmRSS:"), field("VmHWM:")))
    }

    /// Asks it to stop (SIGTERM) and waits: its log is then written into the database file.
    pub fn stop(mut self) -> Result<()> {
        let pid = i32::try_from(self.child.id())
            .ok()
            .and_then(Pid::from_raw)
            .ok_or_else(|| Error::other("no such process"))?;
        kill_process(pid, Signal::TERM)?;
        let status = self.child.wait()?;
        if status.success() { Ok(()) } else { Err(Error::other(format!("the daemon ended with {status}"))) }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // after an orderly stop it has ended already, and this does nothing
        if matches!(self.child.try_wait(), Ok(None)) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

/// Nanoseconds the calling thread has been on a CPU.
pub fn own_thread_ns() -> Result<u64> {
    Ok(number(fs::read_to_string("/proc/thread-self/schedstat")?.split(' ').next()))
}

fn number(text: Option<&str>) -> u64 {
    text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
}
