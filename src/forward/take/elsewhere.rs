//! A destination elsewhere: each batch is put to a receiver as it came (`PUT /v1/batches/<key>`).
//! Must never change a byte of it. Invariant: it counts as kept only once the receiver says so.

use std::path::{Path, PathBuf};

use crate::base::error::{Error, Result};
use crate::domain::batch::SealedPart;
use crate::domain::delivery::{MANIFEST_HEADER, Refused};
use crate::forward::client::Client;
use crate::forward::take::fetch::Fetched;
use crate::forward::take::later;
use crate::forward::take::shelf::{Shelf, key_of, put_aside};

/// A receiver.
#[derive(Debug)]
pub struct Elsewhere {
    client: Client,
    own: PathBuf,
}

impl Elsewhere {
    /// This receiver; `own` is a folder here for what does not verify.
    pub fn at(client: Client, own: &Path) -> Self {
        Elsewhere { client, own: own.to_owned() }
    }
}

impl Shelf for Elsewhere {
    fn put(&mut self, part: &SealedPart, fetched: &Fetched) -> Result<PathBuf> {
        let key = key_of(part);
        let headers = [
            ("content-type", "application/x-ndjson"),
            ("content-encoding", "gzip"),
            (MANIFEST_HEADER, fetched.manifest.as_str()),
        ];
        let answer =
            self.client.send("PUT", &format!("/v1/batches/{key}"), &headers, Some(&fetched.gz)).map_err(later)?;
        let status = answer.status;
        if status == 200 || status == 201 {
            return Ok(PathBuf::new());
        }
        let told: Refused =
            answer.bytes().ok().and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default();
        if status == 409 && told.digest.as_deref() == Some(&part.digest) {
            return Ok(PathBuf::new()); // the same batch
        }
        let what = format!("{} did not take {key}: {status} {}", self.client.base(), told.error);
        Err(match status {
            401 | 403 => Error::denied(what).code("refused_there"),
            408 | 429 | 500.. => Error::busy(what).code("refused_there").remedy("try again later"),
            409 => {
                Error::conflict(what).code("fork").remedy("another batch lies there under this key: compare both sides")
            }
            _ => Error::invalid(what).code("refused_there").remedy("look into the log of the receiver"),
        })
    }

    fn file(&self, _part: &SealedPart) -> Result<PathBuf> {
        Ok(PathBuf::new())
    }

    fn put_aside(&mut self, key: &str, fetched: Option<&Fetched>, why: &str) -> Result<()> {
        put_aside(&self.own, key, fetched, why)
    }
}
