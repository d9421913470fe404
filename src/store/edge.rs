//! Who this installation is, outside the database: `edge.json` (edge, epochs, machine) and `edge.key` (the secrets).
//! Must never lose the hash secret: tokens, refusals and `rights.log` mean nothing without it.
//! Invariant: minted at the first start and never at install; both files are there, whole and of one kin, or nothing starts.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::base::digest::{HashKey, SigningKey, sha256};
use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, Epoch, random_bytes};
use crate::base::text::{hex, unhex};
use crate::base::time::Millis;
use crate::store::epochs::Reason;
use crate::store::hardware::{Fingerprint, Hardware, is_other};
use crate::store::{files, open, rights_log};

pub(in crate::store) const RECORD: &str = "edge.json";
const KEY: &str = "edge.key";

/// This installation, in its current epoch.
#[derive(Debug)]
pub struct Edge {
    /// Its id.
    pub id: EdgeId,
    /// The current generation of the database.
    pub epoch: Epoch,
    /// The generation before, of this or an earlier edge; the chain of batches goes on from there.
    pub previous: Option<Epoch>,
    /// Why the current epoch began.
    pub reason: Reason,
    /// When it began.
    pub started_at: Millis,
    /// Signs batches.
    pub signing: SigningKey,
    /// First 16 hex digits of the SHA-256 of the public key.
    pub key_id: String,
    /// Every public key that ever signed here, oldest first: old batches are verified with them.
    pub keys: Vec<KnownKey>,
    /// Key of content hashes, id hashes and visitor tokens; stays the same through damage and other hardware.
    pub(in crate::store) hash_key: HashKey,
}

/// A public key and its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KnownKey {
    /// As in a batch's sealed part.
    pub key_id: String,
    /// The 32 bytes of Ed25519.
    pub public: [u8; 32],
}

/// What loading had to mint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Minted {
    /// Nothing: the edge is known.
    No,
    /// Everything: this is the first start.
    First,
    /// A new edge id, signing key and epoch: the machine is another one.
    OtherHardware,
}

impl Edge {
    /// Loads the edge, or mints it at the first start and on other hardware. With `pin` another machine is taken in as
    /// this edge's own. Errors: `Config` if a file is missing or damaged, `Storage`.
    pub fn load_or_mint(data_dir: &Path, hardware: &Hardware, pin: bool, now: Millis) -> Result<(Edge, Minted)> {
        match (Record::read(data_dir)?, Secrets::read(data_dir)?) {
            (None, None) => first(data_dir, Secrets::mint(), hardware, now),
            // a first start that was cut off between the two files: nothing had been recorded yet
            (None, Some(secrets)) if is_blank(data_dir) => first(data_dir, secrets, hardware, now),
            (None, Some(_)) => Err(lost(data_dir, RECORD, KEY)),
            (Some(_), None) => Err(lost(data_dir, KEY, RECORD)),
            (Some(record), Some(secrets)) => known(data_dir, record, secrets, hardware, pin, now),
        }
    }

    /// Loads the edge without minting; `None` before the first start. Errors: as [`Edge::load_or_mint`].
    pub fn load(data_dir: &Path) -> Result<Option<Edge>> {
        match (Record::read(data_dir)?, Secrets::read(data_dir)?) {
            (None, _) => Ok(None),
            (Some(_), None) => Err(lost(data_dir, KEY, RECORD)),
            (Some(record), Some(secrets)) => {
                let secrets = secrets.of(&record)?;
                record.edge(&secrets).map(Some)
            }
        }
    }

    /// Mints a new epoch of the same edge. Errors: `Config` without an edge, `Storage`.
    pub fn new_epoch(data_dir: &Path, reason: Reason, now: Millis) -> Result<Edge> {
        let (Some(mut record), Some(secrets)) = (Record::read(data_dir)?, Secrets::read(data_dir)?) else {
            return Err(lost(data_dir, RECORD, KEY));
        };
        let secrets = secrets.of(&record)?;
        let edge = record.newest()?.edge.clone();
        record.epochs.push(Began::now(edge, &secrets, reason, now));
        record.write(data_dir)?;
        record.edge(&secrets)
    }
}

fn is_blank(data_dir: &Path) -> bool {
    !open::database_path(data_dir).exists() && !rights_log::path(data_dir).exists()
}

fn lost(data_dir: &Path, gone: &str, there: &str) -> Error {
    Error::config(format!("{} is missing, {there} beside it is there", data_dir.join(gone).display())).code("edge_files").remedy(
        "bring the missing file back from a copy of the data directory; or move edge.json and edge.key away together: then a \
         new edge is minted, stored rows keep their origin, and visitor tokens handed out so far no longer hold",
    )
}

fn damaged(file: &str, what: &str) -> Error {
    Error::config(format!("{file} is damaged: {what}"))
        .code("edge_files")
        .remedy("bring edge.json and edge.key back from a copy of the data directory, or move both away together")
}

fn first(data_dir: &Path, secrets: Secrets, hardware: &Hardware, now: Millis) -> Result<(Edge, Minted)> {
    // a database whose edge files were taken away together came from elsewhere
    let reason = if is_blank(data_dir) { Reason::FirstStart } else { Reason::Restore };
    secrets.write(data_dir)?;
    let epochs = vec![Began::now(EdgeId::mint().to_string(), &secrets, reason, now)];
    let record = Record { epochs, machine: hardware.fingerprint(&secrets.hash_key()) };
    record.write(data_dir)?;
    Ok((record.edge(&secrets)?, Minted::First))
}

fn known(
    data_dir: &Path,
    mut record: Record,
    found: Secrets,
    hardware: &Hardware,
    pin: bool,
    now: Millis,
) -> Result<(Edge, Minted)> {
    let more = found.older.is_some();
    let secrets = found.of(&record)?;
    if more {
        secrets.write(data_dir)?; // the rest of a change of machine that was cut off
    }
    let present = hardware.fingerprint(&secrets.hash_key());
    let other = is_other(&record.machine, &present);
    if other && !pin {
        // the new seed lies beside the old one until edge.json names it: a cut at any point leaves a pair that fits
        let minted = Secrets { seed: random_bytes(), older: Some(secrets.seed), ..secrets };
        minted.write(data_dir)?;
        record.epochs.push(Began::now(EdgeId::mint().to_string(), &minted, Reason::OtherHardware, now));
        record.machine = present;
        record.write(data_dir)?;
        let only = Secrets { older: None, ..minted };
        only.write(data_dir)?;
        return Ok((record.edge(&only)?, Minted::OtherHardware));
    }
    let machine = if other { present } else { record.machine.joined(&present) };
    if machine != record.machine {
        record.machine = machine;
        record.write(data_dir)?;
    }
    Ok((record.edge(&secrets)?, Minted::No))
}

/// `edge.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Record {
    /// Oldest first; the last is the current one.
    epochs: Vec<Began>,
    machine: Fingerprint,
}

#[derive(Debug, Serialize, Deserialize)]
struct Began {
    epoch: String,
    edge: String,
    public_key: String,
    reason: Reason,
    started_at: String,
}

impl Began {
    fn now(edge: String, secrets: &Secrets, reason: Reason, now: Millis) -> Began {
        let public_key = hex(&SigningKey::from_seed(secrets.seed).public());
        Began { epoch: Epoch::mint().to_string(), edge, public_key, reason, started_at: now.rfc3339() }
    }

    fn epoch(&self) -> Result<Epoch> {
        Epoch::parse(&self.epoch).map_err(|e| damaged(RECORD, "an epoch").source(e))
    }
}

impl Record {
    fn read(data_dir: &Path) -> Result<Option<Record>> {
        let Some(text) = files::read_text(&data_dir.join(RECORD))? else { return Ok(None) };
        let record: Record =
            serde_json::from_str(&text).map_err(|e| damaged(RECORD, "it is not the JSON it was").source(e))?;
        record.newest()?;
        Ok(Some(record))
    }

    fn newest(&self) -> Result<&Began> {
        self.epochs.last().ok_or_else(|| damaged(RECORD, "it names no epoch"))
    }

    fn write(&self, data_dir: &Path) -> Result<()> {
        let mut text = serde_json::to_string_pretty(self).map_err(|e| Error::storage("writing edge.json").source(e))?;
        text.push('\n');
        files::write_whole(&data_dir.join(RECORD), text.as_bytes())
    }

    fn edge(&self, secrets: &Secrets) -> Result<Edge> {
        let now = self.newest()?;
        let before = self.epochs.len().checked_sub(2).and_then(|at| self.epochs.get(at));
        let mut keys: Vec<KnownKey> = Vec::new();
        for began in &self.epochs {
            let public = unhex(&began.public_key).map_err(|e| damaged(RECORD, "a public key").source(e))?;
            if keys.last().is_none_or(|last| last.public != public) {
                keys.push(KnownKey { key_id: key_id(&public), public });
            }
        }
        let signing = SigningKey::from_seed(secrets.seed);
        Ok(Edge {
            id: EdgeId::parse(&now.edge).map_err(|e| damaged(RECORD, "the edge's id").source(e))?,
            epoch: now.epoch()?,
            previous: before.map(Began::epoch).transpose()?,
            reason: now.reason,
            started_at: Millis::parse(&now.started_at).ok_or_else(|| damaged(RECORD, "the start of an epoch"))?,
            key_id: key_id(&signing.public()),
            signing,
            keys,
            hash_key: secrets.hash_key(),
        })
    }
}

fn key_id(public: &[u8; 32]) -> String {
    hex(&sha256(public)[..8])
}

/// `edge.key`: a line of hex each for the signing seed, the hash secret and, in the middle of a change of machine, the
/// seed before.
struct Secrets {
    seed: [u8; 32],
    hash: [u8; 32],
    older: Option<[u8; 32]>,
}

impl Secrets {
    fn mint() -> Secrets {
        Secrets { seed: random_bytes(), hash: random_bytes(), older: None }
    }

    fn read(data_dir: &Path) -> Result<Option<Secrets>> {
        let Some(text) = files::read_text(&data_dir.join(KEY))? else { return Ok(None) };
        // what is wrong with a secret is never quoted
        let lines: Option<Vec<[u8; 32]>> = text.lines().map(|line| unhex(line.trim()).ok()).collect();
        match lines.as_deref() {
            Some([seed, hash]) => Ok(Some(Secrets { seed: *seed, hash: *hash, older: None })),
            Some([seed, hash, older]) => Ok(Some(Secrets { seed: *seed, hash: *hash, older: Some(*older) })),
            _ => Err(damaged(KEY, "expected two lines of 64 hex digits")),
        }
    }

    /// The secrets whose signing key the record names.
    fn of(self, record: &Record) -> Result<Secrets> {
        let named = &record.newest()?.public_key;
        let fits = |seed: &[u8; 32]| hex(&SigningKey::from_seed(*seed).public()) == *named;
        let seed = [Some(self.seed), self.older].into_iter().flatten().find(fits);
        let seed = seed.ok_or_else(|| damaged(KEY, "it does not belong to the edge.json beside it"))?;
        Ok(Secrets { seed, hash: self.hash, older: None })
    }

    fn write(&self, data_dir: &Path) -> Result<()> {
        let mut text = format!("{}\n{}\n", hex(&self.seed), hex(&self.hash));
        if let Some(older) = &self.older {
            text.push_str(&hex(older));
            text.push('\n');
        }
        files::write_whole(&data_dir.join(KEY), text.as_bytes())
    }

    fn hash_key(&self) -> HashKey {
        HashKey::new(&self.hash)
    }
}

#[cfg(test)]
mod tests;
