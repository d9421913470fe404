//! Gzip in and out. Owns flate2; must never read a file or decide what is compressed.
//! Invariant: decoding stops at its limit before it has allocated more than that.

use std::io::{Read, Write};

use crate::base::error::{Error, Result};

/// Compresses into one gzip member. `level` 1 (fast) to 9 (small).
pub fn compress(bytes: &[u8], level: u32) -> Vec<u8> {
    let room = bytes.len() / 5 + 64;
    let mut out = flate2::write::GzEncoder::new(Vec::with_capacity(room), flate2::Compression::new(level));
    out.write_all(bytes).and_then(|()| out.finish()).expect("invariant: writing to memory cannot fail")
}

/// Decompresses one or more gzip members, at most `bytes_max` bytes of result.
/// Errors: `Invalid` with code `too_large` beyond the limit, `bad_gzip` for damaged or trailing bytes.
pub fn decompress(bytes: &[u8], bytes_max: usize) -> Result<Vec<u8>> {
    let mut out = Vec::with_capacity(bytes.len().saturating_mul(4).min(bytes_max));
    let limit = u64::try_from(bytes_max).unwrap_or(u64::MAX).saturating_add(1);
    let read = flate2::read::MultiGzDecoder::new(bytes).take(limit).read_to_end(&mut out);
    match read {
        Ok(_) if out.len() > bytes_max => {
            Err(Error::invalid(format!("the body decodes to more than {bytes_max} bytes"))
                .code("too_large")
                .remedy("send fewer events per request"))
        }
        Ok(_) => Ok(out),
        Err(error) => Err(Error::invalid(format!("the body is not valid gzip: {error}"))
            .code("bad_gzip")
            .remedy("compress the whole body as gzip, or leave Content-Encoding out")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn decoding_stops_at_the_limit() {
        let bomb = compress(&vec![0u8; 1_000_001], 9);
        assert_eq!(decompress(&bomb, 1_000_000).unwrap_err().code, "too_large");
        assert_eq!(decompress(&bomb, 1_000_001).unwrap().len(), 1_000_001);
    }

    #[test]
    fn damaged_gzip_is_an_error() {
        let mut good = compress(b"hello", 6);
        good.truncate(good.len() - 3);
        assert_eq!(decompress(&good, 100).unwrap_err().code, "bad_gzip");
        assert_eq!(decompress(b"plain", 100).unwrap_err().code, "bad_gzip");
        let mut trailing = compress(b"hello", 6);
        trailing.extend_from_slice(b"GET / HTTP/1.1");
        assert_eq!(decompress(&trailing, 100).unwrap_err().code, "bad_gzip");
    }
}
