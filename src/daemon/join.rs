//! Joining an upstream: the edge's id and key over there, its token and the target here.
//! Must never print or log the code or the token. Invariant: the token is on the disk before the target that names it.

use std::fs;
use std::path::Path;
use std::sync::Arc;

use serde::Deserialize;
use serde_json::{Value, json};

use crate::base::error::{Error, Kind, Result};
use crate::base::text::hex;
use crate::base::time::SystemClock;
use crate::cli::context::{JoinReport, JoinRequest};
use crate::config::{Config, upstream};
use crate::forward::client::{Client, ClientOptions};
use crate::store::Store;
use crate::store::edge::Edge;

/// A file in the data directory that makes the next start join.
pub const JOIN_FILE: &str = "join.json";

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct JoinFile {
    url: String,
    code: String,
    #[serde(default)]
    label: Option<String>,
    #[serde(default)]
    ca_file: Option<std::path::PathBuf>,
}

#[derive(Deserialize)]
struct Answer {
    token: String,
    receiver_key: String,
}

/// Joins, and writes what came of it. Errors: `Denied`, `Conflict`, `NotFound` as the upstream says; `Upstream`; `Config`;
/// `Storage`.
pub fn join(config: &Config, request: &JoinRequest) -> Result<JoinReport> {
    let (edge, public_key) = identity(config)?;
    let options = ClientOptions { ca_file: request.ca_file.clone(), ..ClientOptions::default() };
    let client = Client::open(&request.url, &options)?;
    let label = request.label.clone().unwrap_or_else(|| config.edge.label.clone());
    let body = json!({"code": request.code, "edge": edge, "public_key": public_key, "label": label}).to_string();
    let headers = [("Content-Type", "application/json")];
    let answer = client.send("POST", "/v1/edges/join", &headers, Some(body.as_bytes()))?;
    let status = answer.status;
    let bytes = answer.bytes()?;
    if status != 200 && status != 202 {
        return Err(refusal(status, &bytes));
    }
    let told: Answer = serde_json::from_slice(&bytes)
        .map_err(|e| Error::new(Kind::Upstream, "bad_answer", format!("the upstream's answer does not parse: {e}")))?;
    let joined = upstream::Joined {
        url: request.url.trim_end_matches('/').to_owned(),
        ca_file: request.ca_file.clone(),
        receiver_key: told.receiver_key,
    };
    let file = upstream::write(&config.data_dir, &joined, &told.token)?;
    Ok(JoinReport { edge, url: joined.url, waits: status == 202, file })
}

/// The edge's id and public key; minted now where this is the first start.
fn identity(config: &Config) -> Result<(String, String)> {
    let told = |edge: &Edge| (edge.id.to_string(), hex(&edge.signing.public()));
    if let Some(edge) = Edge::load(&config.data_dir)? {
        return Ok(told(&edge));
    }
    let store = Store::open(&config.store_options(), Arc::new(SystemClock))?;
    let out = told(&store.identity().edge);
    store.close()?;
    Ok(out)
}

fn refusal(status: u16, body: &[u8]) -> Error {
    let told: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |key: &str| told[key].as_str().unwrap_or_default().to_owned();
    let what = match text("what") {
        what if what.is_empty() => format!("the upstream answered with status {status}"),
        what => format!("the upstream says: {what}"),
    };
    let kind = match status {
        401 | 403 => Kind::Denied,
        404 | 405 => Kind::NotFound,
        409 => Kind::Conflict,
        400..=499 => Kind::Invalid,
        _ => Kind::Upstream,
    };
    Error::new(kind, "join", what).remedy(text("remedy"))
}

/// Takes the file that was laid down for the first start, where there is one; says whether a target was written. What does
/// not come about is logged, and tried again at the next start.
pub fn at_start(config: &Config) -> bool {
    let path = config.data_dir.join(JOIN_FILE);
    let Ok(text) = fs::read(&path) else { return false };
    let made = serde_json::from_slice::<JoinFile>(&text)
        .map_err(|e| Error::config(format!("{}: {e}", path.display())).code("join_file"))
        .and_then(|file| {
            let JoinFile { url, code, label, ca_file } = file;
            join(config, &JoinRequest { url, code, label, ca_file })
        })
        .and_then(|done| consume(&path).map(|()| done));
    match made {
        Ok(done) => {
            log::info!("joined {}; {}", done.url, if done.waits { "it waits for approval there" } else { "approved" });
            true
        }
        Err(error) => {
            log::error!("joining by {}: {error}; it is tried again at the next start", path.display());
            false
        }
    }
}

fn consume(path: &Path) -> Result<()> {
    fs::remove_file(path).map_err(|e| crate::base::error::io(format_args!("removing {}", path.display()), e))
}
