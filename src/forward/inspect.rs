//! Looking at a batch as files: do manifest and lines belong together, is each line what was sealed?
//! Needs no database and no secret. Must never change a file. Invariant: a batch that passes is the one that was signed,
//! but for lines that were taken out as holes, each of which keeps its number and digest.

use serde::Deserialize;

use crate::base::digest::Hash;
use crate::base::error::{Error, Result};
use crate::base::gzip;
use crate::base::text::{hex, unhex};
use crate::domain::batch::{Manifest, SealedPart};
use crate::domain::line::{digest, line_hash};

/// Most bytes a batch may decode to.
pub(in crate::forward) const LINES_BYTES_MAX: usize = 256 << 20;

/// What a sound batch holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Inspected {
    /// The signed part.
    pub part: SealedPart,
    /// The key that signed.
    pub public_key: [u8; 32],
    /// Lines that are holes.
    pub holes: i64,
}

/// The fields every line has.
#[derive(Deserialize)]
struct Stub<'a> {
    #[serde(borrow)]
    kind: std::borrow::Cow<'a, str>,
    seq: i64,
    #[serde(borrow, default)]
    line_sha256: Option<std::borrow::Cow<'a, str>>,
}

/// Checks one batch: signature (under `expected`, where given), then its lines. Errors: `Invalid` with code
/// `bad_manifest`, `bad_signature`, `bad_gzip`, `bad_line` or `digest_mismatch`.
pub fn batch(manifest: &[u8], gz: &[u8], expected: Option<&[u8; 32]>) -> Result<Inspected> {
    let manifest = parse(manifest)?;
    let part = manifest.open(expected)?;
    let public_key = unhex::<32>(&manifest.public_key)?;
    let ndjson = gzip::decompress(gz, LINES_BYTES_MAX)?;
    let read = lines(&ndjson)?;
    if hex(&digest(&read.hashes)) != part.digest {
        let what =
            format!("the lines do not give the sealed digest ({} lines, sealed {})", read.hashes.len(), part.count);
        return Err(Error::invalid(what).code("digest_mismatch"));
    }
    if read.ends != Some((part.first_seq, part.last_seq)) {
        return Err(Error::invalid("the lines do not begin and end where the sealed part says").code("bad_line"));
    }
    if read.holes != manifest.holes {
        let what = format!("{} lines are holes, the manifest says {}", read.holes, manifest.holes);
        return Err(Error::invalid(what).code("bad_manifest"));
    }
    Ok(Inspected { part, public_key, holes: read.holes })
}

/// A manifest's text. Errors: `Invalid` with code `bad_manifest`.
pub fn parse(manifest: &[u8]) -> Result<Manifest> {
    serde_json::from_slice(manifest)
        .map_err(|e| Error::invalid(format!("the manifest does not parse: {e}")).code("bad_manifest"))
}

/// What lines give: their hashes in order, first and last number, how many are holes.
#[derive(Debug)]
pub(in crate::forward) struct Read {
    pub(in crate::forward) hashes: Vec<Hash>,
    pub(in crate::forward) ends: Option<(i64, i64)>,
    pub(in crate::forward) holes: i64,
}

/// Hashes lines. Errors: `Invalid` with code `bad_line`, the line's number named.
pub(in crate::forward) fn lines(ndjson: &[u8]) -> Result<Read> {
    let mut out = Read { hashes: Vec::new(), ends: None, holes: 0 };
    let body = ndjson.strip_suffix(b"\n").unwrap_or(ndjson);
    for (i, line) in body.split(|byte| *byte == b'\n').enumerate() {
        let bad = |what: String| Error::invalid(format!("line {}: {what}", i + 1)).code("bad_line");
        let stub: Stub<'_> = serde_json::from_slice(line).map_err(|e| bad(e.to_string()))?;
        if out.ends.is_some_and(|(_, last)| stub.seq <= last) {
            return Err(bad(format!("its number {} does not rise", stub.seq)));
        }
        out.ends = Some((out.ends.map_or(stub.seq, |(first, _)| first), stub.seq));
        if stub.kind == "hole" {
            let text = stub.line_sha256.ok_or_else(|| bad("a hole without its digest".to_owned()))?;
            out.hashes.push(unhex::<32>(&text).map_err(|e| bad(e.what))?);
            out.holes += 1;
        } else {
            out.hashes.push(line_hash(line));
        }
    }
    Ok(out)
}

/// The first site that lines tell of and that is not `only`; holes tell of none. Errors: `Invalid` with code `bad_line`.
pub(in crate::forward) fn other_site(ndjson: &[u8], only: &str) -> Result<Option<String>> {
    #[derive(Deserialize)]
    struct Sited<'a> {
        #[serde(borrow, default)]
        site: Option<std::borrow::Cow<'a, str>>,
    }
    for line in ndjson.split(|byte| *byte == b'\n').filter(|line| !line.is_empty()) {
        let line: Sited<'_> = serde_json::from_slice(line)
            .map_err(|e| Error::invalid(format!("a line does not parse: {e}")).code("bad_line"))?;
        if let Some(site) = line.site.filter(|site| site != only) {
            return Ok(Some(site.into_owned()));
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_must_parse_rise_and_keep_their_digests() {
        let good = format!(
            "{{\"kind\":\"event\",\"seq\":3}}\n{{\"kind\":\"hole\",\"seq\":5,\"line_sha256\":\"{}\"}}\n",
            "0a".repeat(32)
        );
        let read = lines(good.as_bytes()).unwrap();
        assert_eq!((read.ends, read.holes, read.hashes[1]), (Some((3, 5)), 1, [10; 32]));
        assert_eq!(read.hashes[0], line_hash(b"{\"kind\":\"event\",\"seq\":3}"));
        for bad in [
            "",
            "{}",
            "nonsense",
            "{\"kind\":\"hole\",\"seq\":1}",
            "{\"kind\":\"event\",\"seq\":1}\n{\"kind\":\"event\",\"seq\":1}",
        ] {
            assert_eq!(lines(bad.as_bytes()).unwrap_err().code, "bad_line", "{bad}");
        }
    }
}
