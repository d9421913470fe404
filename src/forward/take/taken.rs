//! What a job has taken: of each lane and epoch the last batch, its digest, who signs, and what is acknowledged.
//! Must never forget before it is told. Invariant: written whole and on the disk before anything is acknowledged.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use crate::base::error::{Error, Result};
use crate::base::id::{EdgeId, Epoch};
use crate::domain::batch::SealedPart;
use crate::domain::event::Lane;
use crate::forward::dir::{read_if_there, write_whole};

/// The file below the job's folder.
const FILE: &str = "taken.json";

/// One lane of an epoch of an edge.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Way {
    /// Edge, 32 hex digits.
    pub edge: String,
    /// Epoch, 16 hex digits.
    pub epoch: String,
    /// Lane.
    pub lane: String,
}

impl Way {
    /// Way and number of a key. Errors: `Invalid` with code `key`.
    pub fn of_key(key: &str) -> Result<(Way, i64)> {
        let bad = || Error::invalid(format!("{:?} is no batch's key", crate::base::text::cut(key, 120))).code("key");
        let parts: Vec<&str> = key.split('/').collect();
        let [edge, epoch, lane, no] = parts[..] else { return Err(bad()) };
        EdgeId::parse(edge).map_err(|_| bad())?;
        Epoch::parse(epoch).map_err(|_| bad())?;
        Lane::parse(lane).ok_or_else(bad)?;
        let no = no.parse().ok().filter(|n: &i64| *n > 0 && no.len() == 12).ok_or_else(bad)?;
        Ok((Way { edge: edge.to_lowercase(), epoch: epoch.to_lowercase(), lane: lane.to_owned() }, no))
    }

    /// Is a signed part of this way?
    pub fn is_of(&self, part: &SealedPart) -> bool {
        (&part.edge, &part.epoch, &part.lane) == (&self.edge, &self.epoch, &self.lane)
    }

    /// Once this way has stopped, may the other go on? Nothing of an edge goes past its consent lane.
    pub fn holds_up(&self, other: &Way) -> bool {
        self == other || (self.edge == other.edge && self.lane == Lane::Consent.word())
    }

    fn text(&self) -> String {
        format!("{}/{}/{}", self.edge, self.epoch, self.lane)
    }
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
struct End {
    batch_no: i64,
    digest: String,
    public_key: String,
    acked_no: i64,
}

/// What a job has taken.
#[derive(Debug)]
pub struct Taken {
    file: PathBuf,
    ends: BTreeMap<String, End>,
}

impl Taken {
    /// What was remembered in this folder. Errors: `Storage`; `Invalid` with code `damaged_state`.
    pub fn load(folder: &Path) -> Result<Taken> {
        let file = folder.join(FILE);
        let ends = match read_if_there(&file)? {
            None => BTreeMap::new(),
            Some(bytes) => serde_json::from_slice(&bytes).map_err(|e| {
                Error::invalid(format!("{} does not parse: {e}", file.display()))
                    .code("damaged_state")
                    .remedy("remove it: what is not acknowledged is then taken once more")
            })?,
        };
        Ok(Taken { file, ends })
    }

    /// Was this batch taken before?
    pub fn has(&self, way: &Way, batch_no: i64) -> bool {
        self.ends.get(&way.text()).is_some_and(|end| end.batch_no >= batch_no)
    }

    /// The last batch taken of a way: number and digest.
    pub fn at(&self, way: &Way) -> Option<(i64, &str)> {
        self.ends.get(&way.text()).map(|end| (end.batch_no, end.digest.as_str()))
    }

    /// Who signed the batches of this edge and epoch until now.
    pub fn signer(&self, way: &Way) -> Option<&str> {
        let same = format!("{}/{}/", way.edge, way.epoch);
        self.ends.iter().find(|(text, _)| text.starts_with(&same)).map(|(_, end)| end.public_key.as_str())
    }

    /// A batch is here for good. Errors: `Storage`.
    pub fn took(&mut self, way: &Way, batch_no: i64, digest: &str, public_key: &str) -> Result<()> {
        let acked_no = self.ends.get(&way.text()).map_or(0, |end| end.acked_no);
        let end = End { batch_no, digest: digest.to_owned(), public_key: public_key.to_owned(), acked_no };
        self.ends.insert(way.text(), end);
        self.save()
    }

    /// It was acknowledged up to there. Errors: `Storage`.
    pub fn acked(&mut self, way: &Way, upto: i64) -> Result<()> {
        if let Some(end) = self.ends.get_mut(&way.text()) {
            end.acked_no = end.acked_no.max(upto);
            self.save()?;
        }
        Ok(())
    }

    /// What was taken and is not acknowledged: the last batch of each way.
    pub fn open(&self) -> Vec<(Way, i64, String)> {
        let open = self.ends.iter().filter(|(_, end)| end.acked_no < end.batch_no);
        let way = |text: &str| {
            let mut parts = text.splitn(3, '/').map(str::to_owned);
            Some(Way { edge: parts.next()?, epoch: parts.next()?, lane: parts.next()? })
        };
        open.filter_map(|(text, end)| Some((way(text)?, end.batch_no, end.digest.clone()))).collect()
    }

    fn save(&self) -> Result<()> {
        let text = serde_json::to_vec_pretty(&self.ends).expect("invariant: what was taken has string keys");
        write_whole(&self.file, &text)
    }
}
