//! Answers requests of the register whose erasures are done. Must never answer one of which anything is left on this machine.
//! Invariant: a request to erase stays `running` from the transaction that begins its erasures until this; a crash in between
//! changes nothing but when it is answered.

use crate::base::digest::{Hash, sha256};
use crate::base::error::Result;
use crate::base::id::uuid_text;
use crate::domain::request::{Kind, State};
use crate::store::erasures::{self, ErasureRow, Whose};
use crate::store::requests::{self, RequestRow};
use crate::store::{Store, WriteTx, audit};

/// Answers every request that is done; returns how many. Errors: `Busy`, `Storage`.
pub(in crate::erasure) fn answer(store: &Store) -> Result<usize> {
    let due = store.read(|tx| {
        let running = requests::running(tx)?.into_iter().filter(|request| request.kind == Kind::Erase);
        let mut due = Vec::new();
        for request in running {
            if done(&erasures::of_request(tx, &request.id)?) {
                due.push(request.id);
            }
        }
        Ok(due)
    })?;
    let mut answered = 0;
    for id in due {
        answered += usize::from(store.pen().call(move |tx| close(tx, &id))?);
    }
    Ok(answered)
}

/// Is it all done on this machine?
fn done(all: &[ErasureRow]) -> bool {
    !all.is_empty() && all.iter().all(ErasureRow::is_done_here)
}

fn close(tx: &WriteTx<'_>, id: &[u8; 16]) -> Result<bool> {
    let all = erasures::of_request(tx, id)?;
    let Some(request) = requests::get(tx, id)?.filter(|r| r.state == State::Running && done(&all)) else {
        return Ok(false);
    };
    let rows: i64 = all.iter().map(|e| e.row_count).sum();
    let stays = all.iter().any(|e| !matches!(e.whose, Whose::Visitor(_)));
    let words = match stays {
        true => format!("{rows} rows erased; what belongs to others on the same devices stays"),
        false => format!("{rows} rows erased; no file of this machine holds an id of the person any more"),
    };
    audit::insert(tx, "system", "request_answered", Some(&uuid_text(id)), Some(&words))?;
    let answered = RequestRow {
        state: State::Answered,
        closed: Some(tx.now()),
        answer: Some(words),
        result_digest: digest(&all),
        told_seq: all.iter().filter_map(|e| e.told_seq).max(),
        ..request
    };
    requests::update(tx, &answered)?;
    Ok(true)
}

/// The digest of the one search, or over those of several erasures in their order.
fn digest(all: &[ErasureRow]) -> Option<Hash> {
    let mut each: Vec<Hash> = all.iter().filter_map(|e| e.result_digest).collect();
    each.dedup();
    match each.as_slice() {
        [] => None,
        [only] => Some(*only),
        several => Some(sha256(&several.concat())),
    }
}
