//! One batch over the wire: begun once, gone on with after a break in the very bytes it began in.
//! Must never judge the lines. Invariant: bytes that are whole are those whose hash the other side named.

use std::fs::{self, File};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use crate::base::digest::sha256;
use crate::base::error::{Error, Result, io};
use crate::base::text::hex;
use crate::domain::delivery::MANIFEST_HEADER;
use crate::forward::client::{Answer, Client, cut_off};
use crate::forward::dir::{make_dirs, read_if_there, remove, write_whole};
use crate::forward::take::{later, refusal, strange};

/// Below the job's folder: what has not come to its end.
const PART: &str = "part";
/// Most bytes of a compressed batch.
const GZ_BYTES_MAX: u64 = 256 << 20;

/// A batch that came whole.
#[derive(Debug)]
pub struct Fetched {
    /// The lines, gzip.
    pub gz: Vec<u8>,
    /// The manifest, one line of JSON.
    pub manifest: String,
    part: PathBuf,
}

impl Fetched {
    /// It lies elsewhere now: what was needed to go on is removed. Errors: `Storage`.
    pub fn forget(&self) -> Result<()> {
        remove(&self.part)?;
        remove(&tag_of(&self.part))
    }
}

/// What came.
#[derive(Debug)]
pub enum Came {
    /// The batch.
    Whole(Fetched),
    /// Nothing, for good: rows of it were removed before this cursor was there.
    Gone,
}

fn tag_of(part: &Path) -> PathBuf {
    part.with_extension("etag")
}

/// Fetches a batch. Errors: `Busy` where it broke off; the next call goes on. Those of the other side.
pub fn fetch(client: &Client, own: &Path, key: &str, query: &str) -> Result<Came> {
    let folder = own.join(PART);
    make_dirs(&folder)?;
    let part = folder.join(format!("{}.gz", key.replace('/', "-")));
    let tag = read_if_there(&tag_of(&part))?.and_then(|bytes| String::from_utf8(bytes).ok());
    let have = fs::metadata(&part).map_or(0, |meta| meta.len());
    let range = format!("bytes={have}-");
    let mut headers = Vec::new();
    if let Some(tag) = tag.as_deref().filter(|_| have > 0) {
        headers.extend([("range", range.as_str()), ("if-range", tag)]);
    }
    let answer = client.send("GET", &format!("/v1/batches/{key}{query}"), &headers, None).map_err(later)?;
    match answer.status {
        200 => whole(client, answer, &part, None),
        206 if answer.header("etag") == tag.as_deref() => whole(client, answer, &part, Some(have)),
        // we have as much as there is (it came whole, and could not be put where it belongs), or more: begin anew
        206 | 416 => {
            remove(&part)?;
            remove(&tag_of(&part))?;
            if have > 0 {
                return fetch(client, own, key, query);
            }
            Err(Error::busy(format!("{key} begins anew")).code("begin_anew").remedy("try again"))
        }
        410 => gone(answer),
        _ => Err(refusal(answer)),
    }
}

fn gone(answer: Answer) -> Result<Came> {
    let error = refusal(answer);
    if error.code == "gone" { Err(error) } else { Ok(Came::Gone) }
}

/// Writes the body behind `have` bytes, or from the beginning; whole it has the hash the tag names.
fn whole(client: &Client, answer: Answer, part: &Path, have: Option<u64>) -> Result<Came> {
    let tag = answer.header("etag").unwrap_or_default().to_owned();
    let manifest = answer.header(MANIFEST_HEADER).ok_or_else(|| strange(client, "no manifest"))?.to_owned();
    let told = answer.length();
    if have.is_none() {
        remove(part)?;
        write_whole(&tag_of(part), tag.as_bytes())?;
    }
    let doing = |e| io(format_args!("writing {}", part.display()), e);
    let mut file = File::options().create(true).append(true).open(part).map_err(doing)?;
    let mut reader = answer.reader().take(GZ_BYTES_MAX);
    let (mut buffer, mut read) = (vec![0; 1 << 16], 0);
    loop {
        let n = match reader.read(&mut buffer) {
            Ok(0) => break,
            Ok(n) => n,
            Err(e) => return Err(later(cut_off(&e))), // what has come stays for the next time
        };
        file.write_all(&buffer[..n]).map_err(doing)?;
        read += n as u64;
    }
    if told.is_some_and(|told| told != read) {
        return Err(later(cut_off(&std::io::Error::other("it ended early"))));
    }
    drop(file);
    let gz = fs::read(part).map_err(|e| io(format_args!("reading {}", part.display()), e))?;
    if format!("\"{}\"", hex(&sha256(&gz))) != tag {
        remove(part)?;
        remove(&tag_of(part))?;
        return Err(Error::busy("bytes were changed under way").code("changed_under_way").remedy("try again"));
    }
    Ok(Came::Whole(Fetched { gz, manifest, part: part.to_owned() }))
}
