//! Two databases under one edge and epoch: which of them goes on is the operator's word, never the first come.
//! Must never kick one for the other by itself. Invariant: what went onward already is not taken back here.

use crate::base::error::{Error, Result};
use crate::base::id::EdgeId;
use crate::base::text::hex;
use crate::domain::token::Caller;
use crate::forward::relay::enrol::unknown;
use crate::forward::relay::{Relay, held};
use crate::forward::target::Key;
use crate::store::clashes::Fork;
use crate::store::received::Received;
use crate::store::{ReadTx, WriteTx, alarms, audit, clashes, known_edges, onward, received, streams};

/// Batches of one stream looked at together.
const STEP: i64 = 1_000;

/// Two batches that want one place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pair {
    /// The one that was refused.
    pub fork: Fork,
    /// The one that lies in its way, where it is remembered.
    pub lies: Option<Received>,
}

/// The pairs of an edge on which nothing was said yet. Errors: `Storage`.
pub fn pairs(tx: &ReadTx<'_>, edge: EdgeId) -> Result<Vec<Pair>> {
    let open = clashes::of_edge(tx, edge)?.into_iter().filter(|fork| fork.state == "open");
    open.map(|fork| {
        let mut lies = None;
        for no in [fork.batch_no, fork.batch_no - 1, fork.batch_no + 1] {
            if lies.is_none() {
                lies = received::get(tx, fork.stream_id, no)?;
            }
        }
        Ok(Pair { fork, lies })
    })
    .collect()
}

/// What the operator said.
#[derive(Clone, Debug)]
pub struct Word<'a> {
    /// The beginning of the digest of the batch whose database goes on.
    pub keep: &'a str,
    /// The beginning of the digest of the batch whose database begins anew.
    pub renew: &'a str,
}

impl Relay {
    /// Says of two databases which goes on; the other is told `renew` when it comes next. Returns how many pairs that
    /// settles. Errors: `NotFound`, `Conflict` with code `passed_on`, `Busy`, `Storage`.
    pub fn resolve(&self, edge: EdgeId, word: &Word<'_>, caller: &Caller) -> Result<usize> {
        let pairs = self.store.read(|tx| {
            known_edges::get(tx, edge)?.ok_or_else(|| unknown(edge))?;
            pairs(tx, edge)
        })?;
        let begins = |digest: &[u8], with: &str| with.len() >= 6 && hex(digest).starts_with(with);
        let mut settled = 0;
        let _turn = self.turn(edge);
        for pair in pairs {
            let lies = pair.lies.as_ref().map(|lies| lies.digest.as_slice());
            let other = &pair.fork.digest;
            if begins(other, word.renew) && lies.is_none_or(|lies| begins(lies, word.keep)) {
                let fork = pair.fork.clone();
                self.store.pen().call(move |tx| clashes::resolve(tx, &fork, "renew"))?;
                settled += 1;
            } else if let Some(there) = pair.lies.filter(|there| begins(&there.digest, word.renew))
                && begins(other, word.keep)
            {
                self.give_way(&pair.fork, &there)?;
                settled += 1;
            }
        }
        if settled == 0 {
            return Err(Error::not_found("no open pair of batches of this edge has digests that begin so")
                .code("no_fork")
                .remedy("wayside edge list shows both digests of each; give at least six digits"));
        }
        let (who, note) = (caller.who(), format!("keep {} renew {}", word.keep, word.renew));
        self.store.pen().call(move |tx| {
            if !clashes::of_edge(tx, edge)?.iter().any(|fork| fork.state == "open") {
                alarms::clear(tx, "fork", &edge.to_string())?;
            }
            audit::insert(tx, &who, "edge_resolved", Some(&edge.to_string()), Some(&note))
        })?;
        Ok(settled)
    }

    /// What lies here makes room for the other: files and rows from there on go, and their sender is to begin anew.
    fn give_way(&self, fork: &Fork, there: &Received) -> Result<()> {
        // what follows one came after it, or was put only once it had
        let (stream_id, from_no, there_no) = (there.stream_id, there.batch_no, there.no);
        let going = self.store.read(|tx| {
            if onward::highest_put(tx, stream_id)? >= there_no {
                return Err(Error::conflict("what lies here went onward already")
                    .code("passed_on")
                    .remedy("keep the one that lies here, and let the other begin anew"));
            }
            let mut all = Vec::new();
            loop {
                let after = all.last().map_or(from_no - 1, |one: &Received| one.batch_no);
                let step = received::of_stream(tx, stream_id, after, STEP)?;
                if step.is_empty() {
                    return Ok(all);
                }
                all.extend(step);
            }
        })?;
        let keys: Vec<Key> = going.iter().map(held::key).collect();
        let fork = fork.clone();
        self.store.pen().call(move |tx| {
            for one in &going {
                clashes::insert_renew(tx, stream_id, one.batch_no, &one.digest)?;
            }
            clashes::resolve(tx, &fork, "kept")?;
            let gone = received::delete_from(tx, stream_id, from_no)?;
            shorten(tx, &fork, from_no, gone)
        })?;
        // rows first: a file without a row is written over, a row without its file would be a lie
        for key in keys {
            self.files.discard(key)?;
        }
        Ok(())
    }
}

/// The stream ends before this number now.
fn shorten(tx: &WriteTx<'_>, fork: &Fork, from_no: i64, gone: usize) -> Result<()> {
    let Some(mut stream) = streams::get(tx, fork.stream)? else { return Ok(()) };
    stream.batch_count -= i64::try_from(gone).unwrap_or(0);
    stream.highest_no = from_no - 1;
    if stream.upto_no >= from_no {
        stream.upto_no = from_no - 1;
        let last = received::get(tx, stream.id, stream.upto_no)?;
        (stream.last_seq, stream.digest) = last.map_or((0, [0; 32]), |last| (last.last_seq, last.digest));
    }
    streams::update(tx, &stream)
}
