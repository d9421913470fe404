//! Bodies as they are meant: content encoding undone, content type understood.
//! Must never parse them.

use std::borrow::Cow;

use crate::base::error::{Error, Result};
use crate::base::gzip;
use crate::http::request::Request;
use crate::ingest::accept::Format;
use crate::ingest::limits::Limits;

/// The body, decoded. Errors: `Invalid` with code `too_large`, `bad_gzip` or `unsupported_media`.
pub fn decoded<'a>(request: &'a Request, limits: &Limits) -> Result<Cow<'a, [u8]>> {
    match request.head.headers.get("content-encoding").map(str::trim) {
        None | Some("" | "identity") => Ok(Cow::Borrowed(&request.body)),
        Some(coding) if coding.eq_ignore_ascii_case("gzip") => {
            gzip::decompress(&request.body, limits.decoded_bytes_max).map(Cow::Owned)
        }
        Some(other) => {
            Err(Error::invalid(format!("Content-Encoding {:?} is not understood", crate::base::text::cut(other, 40)))
                .code("unsupported_media")
                .remedy("send gzip, or no encoding at all"))
        }
    }
}

/// How the body is written, by its content type; without one it is JSON.
pub fn format(request: &Request) -> Result<Format> {
    let full = request.head.headers.get("content-type").unwrap_or("application/json");
    if full == "application/json" {
        return Ok(Format::Json);
    }
    let name = full.split(';').next().unwrap_or("").trim().to_ascii_lowercase();
    match name.as_str() {
        // curl's default for -d: whoever types an example by hand means JSON
        "application/json" | "text/plain" | "application/x-www-form-urlencoded" | "" => Ok(Format::Json),
        "application/x-ndjson" | "application/jsonl" => Ok(Format::Ndjson),
        _ => Err(Error::invalid(format!("Content-Type {:?} is not understood", crate::base::text::cut(full, 80)))
            .code("unsupported_media")
            .remedy("send application/json, text/plain or application/x-ndjson")),
    }
}
