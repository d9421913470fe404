//! A receipt that somebody holds, against the ledger: who signed it, the entry it names, what it tells of the decision, the
//! notice and the evidence. Must never take a receipt's word for anything. Invariant: a receipt that is not signed by this edge
//! is looked at no further.

use std::path::Path;

use serde_json::Value;

use crate::base::digest::verify;
use crate::base::error::{Error, Result};
use crate::base::text::{hex, unhex, unhex_any};
use crate::consent::receipt::SIGNED_BEFORE;
use crate::consent::verify::{FaultKind, Verified, anchor};
use crate::domain::evidence::Evidence;
use crate::domain::ledger::EntryKind;
use crate::store::decisions::DecisionRow;
use crate::store::edge::Edge;
use crate::store::{ReadTx, Reading, decisions, epochs, ledger, notices};

/// A receipt as it was handed out, in the form `json`.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// What it is called where faults are told.
    pub name: &'a str,
    /// Its exact bytes.
    pub bytes: &'a [u8],
    /// The JSON object beside it: `key_id` and `signature`.
    pub proof: &'a str,
}

/// Verifies a receipt against the ledger of a data directory; faults and notes go into `out`.
/// Errors: `Invalid` with code `bad_receipt` for what is none, `NotFound` without a database, `Busy`, `Storage`.
pub fn receipt(data_dir: &Path, read_ms_max: u64, kept: &Kept<'_>, out: &mut Verified) -> Result<()> {
    let proof: Value =
        serde_json::from_str(kept.proof).map_err(|e| bad("its signature file does not parse").source(e))?;
    let keys = Edge::load(data_dir)?.map(|edge| edge.keys).unwrap_or_default();
    let signature: Option<[u8; 64]> = proof["signature"].as_str().and_then(|text| unhex(text).ok());
    let key = keys.iter().find(|key| proof["key_id"] == key.key_id.as_str());
    let text = [SIGNED_BEFORE, kept.bytes].concat();
    let holds = key.zip(signature).is_some_and(|(key, signature)| verify(&key.public, &text, &signature));
    if !holds {
        let what = format!("receipt {}: its signature does not hold, or its key was never this edge's", kept.name);
        out.finds(FaultKind::Signature, 0, what);
        out.sort();
        return Ok(());
    }
    let said: Value = serde_json::from_slice(kept.bytes).map_err(|e| bad("it is not of the form json").source(e))?;
    let no = said["wayside:ledger"]["number"].as_i64().ok_or_else(|| bad("it names no entry of the ledger"))?;
    Reading::open(data_dir, read_ms_max)?.read(|tx| {
        let folded = anchor(tx, &keys)?.map_or(0, |(read, _)| read.ledger_no);
        if no <= folded {
            out.notes.push(format!("receipt {}: signed; entry {no} is folded into the anchor at {folded}", kept.name));
            return Ok(());
        }
        for what in wrongs(tx, &said, no)? {
            out.finds(FaultKind::Chain, no, format!("receipt {}: {what}", kept.name));
        }
        out.sort();
        Ok(())
    })
}

fn bad(what: &str) -> Error {
    Error::invalid(format!("this is no receipt: {what}"))
        .code("bad_receipt")
        .remedy("give what `wayside consent receipt --out FILE` wrote, with FILE.sig beside it")
}

fn wrongs(tx: &ReadTx<'_>, said: &Value, no: i64) -> Result<Vec<&'static str>> {
    let place = &said["wayside:ledger"];
    let page = ledger::page(tx, no - 1, 1)?;
    let Some(found) = page.first().filter(|found| found.entry.no == no) else {
        return Ok(vec!["its decision has no entry in the ledger"]);
    };
    let mut out = Vec::new();
    let same = found.entry.kind == EntryKind::Decision
        && place["seq"] == found.entry.seq
        && place["hash"] == hex(&found.hash).as_str()
        && place["previous"] == hex(&found.entry.prev).as_str();
    if !same {
        out.push("the entry it names is another one");
    }
    if !opens(&place["evidence"]) {
        out.push("its evidence is not what the decision committed to");
    }
    let Some(row) = decisions::get(tx, crate::base::id::Seq(found.entry.seq))? else { return Ok(out) };
    if !tells(tx, said, &row)? {
        out.push("it tells otherwise of the decision than the ledger");
    }
    if let Some(digest) = row.notice_digest
        && !notices::version(tx, row.site_id, &row.notice)?.iter().any(|notice| notice.digest == digest)
    {
        out.push("the notice it names is not published here with that digest");
    }
    Ok(out)
}

/// Is the evidence what was committed to? Where it was erased only the commitment is there.
fn opens(evidence: &Value) -> bool {
    let (Some(nonce), Some(body)) = (evidence["nonce"].as_str(), evidence["body"].as_str()) else { return true };
    let nonce: Option<[u8; 16]> = unhex_any(nonce).ok().and_then(|bytes| bytes.try_into().ok());
    nonce.is_some_and(|nonce| evidence["commitment"] == hex(&Evidence::commitment(&nonce, body)).as_str())
}

fn tells(tx: &ReadTx<'_>, said: &Value, row: &DecisionRow) -> Result<bool> {
    let epoch = epochs::all(tx)?.into_iter().find(|epoch| epoch.id == row.epoch_id);
    let id = epoch.map(|epoch| format!("urn:wayside:{}:{}:{}", epoch.edge, epoch.epoch, row.seq.0));
    let (place, status, notice) = (&said["wayside:ledger"], &said["dpv:hasConsentStatus"], &said["dpv:hasNotice"]);
    let text = |value: &Value| value.as_str().map(str::to_owned);
    Ok(text(&said["dct:identifier"]) == id
        && said["dct:isPartOf"]["dct:identifier"] == row.decision_id.to_string().as_str()
        && said["dpv:hasDataSubject"]["dct:identifier"] == row.subject_ref.to_string().as_str()
        && place["before"] == row.before.0
        && place["after"] == row.after.0
        && text(&place["evidence"]["commitment"]) == row.evidence.map(|commitment| hex(&commitment))
        && status["dpv:hasIndicationMethod"] == row.method.as_str()
        && status["dct:date"] == row.received.rfc3339().as_str()
        && notice["dct:identifier"] == row.notice.as_str()
        && text(&notice["schema:sha256"]) == row.notice_digest.map(|digest| hex(&digest)))
}
