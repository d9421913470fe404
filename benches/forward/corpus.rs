//! The rows to be forwarded: page views of a real access log, taken in by `wayside import`.
//! Owns how a log becomes as many rows as wanted; must never write a row itself.

use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use flate2::read::MultiGzDecoder;
use wayside::domain::accesslog::{Class, classify, parse};

use crate::Result;

/// A log of 10,000 lines that is not part of the project; see `../shared/data/README.md`.
const REAL: &str = "../shared/data/access-log-10k.log.gz";
/// The project's own, for everybody else.
const OWN: &str = "tests/corpus/access.log";

/// The page views of a log.
pub struct Corpus {
    /// Where it was read from.
    pub name: String,
    /// Their lines, from behind the address.
    lines: Vec<(String, Vec<u8>)>,
}

impl Corpus {
    /// The log of `WAYSIDE_BENCH_LOG`, else the real one beside the checkout, else the project's own.
    pub fn load() -> Result<Corpus> {
        let real = std::env::var("WAYSIDE_BENCH_LOG").unwrap_or_else(|_| REAL.to_owned());
        let path = if Path::new(&real).exists() { PathBuf::from(real) } else { PathBuf::from(OWN) };
        let mut bytes = fs::read(&path)?;
        if bytes.starts_with(&[0x1f, 0x8b]) {
            let mut plain = Vec::new();
            std::io::Read::read_to_end(&mut MultiGzDecoder::new(bytes.as_slice()), &mut plain)?;
            bytes = plain;
        }
        let mut lines = Vec::new();
        for line in bytes.split(|byte| *byte == b'\n') {
            let Some(read) = parse(line) else { continue };
            if classify(&read) == Class::PageView {
                let remote = read.remote.to_owned();
                lines.push((remote.clone(), line[remote.len()..].to_vec()));
            }
        }
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if lines.is_empty() {
            return Err(format!("{name} holds no page view").into());
        }
        Ok(Corpus { name, lines })
    }

    /// Page views in it.
    pub fn len(&self) -> usize {
        self.lines.len()
    }

    /// Imports `rows` page views into a fresh data directory: the log again and again, each time with other visitors.
    /// Nothing is sealed meanwhile.
    pub fn import(&self, program: &Path, config: &Path, data_dir: &Path, rows: usize) -> Result<()> {
        let mut command = Command::new(program);
        command.arg("--config").arg(config).arg("--data-dir").arg(data_dir);
        command.args(["import", "--format", "combined", "--basis", "legitimate_interest", "-"]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::null()).spawn()?;
        let mut stdin = std::io::BufWriter::new(child.stdin.take().ok_or("no standard input")?);
        for i in 0..rows {
            let (remote, rest) = &self.lines[i % self.lines.len()];
            let turn = i / self.lines.len();
            write!(stdin, "2001:db8:{:x}:{:x}::{:x}", turn >> 16, turn & 0xffff, short(remote))?;
            stdin.write_all(rest)?;
            stdin.write_all(b"\n")?;
        }
        stdin.flush()?;
        drop(stdin);
        let status = child.wait()?;
        if status.success() { Ok(()) } else { Err(format!("wayside import ended with {status}").into()) }
    }
}

/// A short name of an address: 16 bits, FNV-1a folded. Two visitors of thousands may fall together.
fn short(remote: &str) -> u32 {
    let hash = remote.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    (hash >> 16) ^ (hash & 0xffff)
}
