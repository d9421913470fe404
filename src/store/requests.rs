//! The `requests` and `request_people` tables: the register of what data subjects asked for, and whose rows each is about.
//! Must never hold a name, an address or a value that was asked about: people stand here by the numbers of their rows.
//! Invariant: rows change only forward in time, and go by age after they were closed.

use rusqlite::{OptionalExtension, Row};

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::id::Seq;
use crate::base::time::Millis;
use crate::domain::request::{Channel, Kind, Level, State};
use crate::store::{ReadTx, WriteTx, open, row};

/// A request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestRow {
    /// UUIDv7.
    pub id: [u8; 16],
    /// What is asked for.
    pub kind: Kind,
    /// How far it is.
    pub state: State,
    /// How who asks was known; `None` while nobody looked.
    pub level: Option<Level>,
    /// Which way it came.
    pub channel: Channel,
    /// Who wrote it down.
    pub opened_by: String,
    /// When it came.
    pub received: Millis,
    /// Until when it is due, extension included.
    pub due: Millis,
    /// Why it was extended.
    pub extension: Option<String>,
    /// How it was verified.
    pub verification: Option<String>,
    /// When it was closed.
    pub closed: Option<Millis>,
    /// What was answered: a reason, or what was done in numbers.
    pub answer: Option<String>,
    /// SHA-256 of the result.
    pub result_digest: Option<Hash>,
    /// When the files of the result go.
    pub result_expires: Option<Millis>,
    /// The newest line that tells targets of it.
    pub told_seq: Option<Seq>,
}

/// Whose rows a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Person {
    /// A visitor's row.
    Visitor(i64),
    /// An identity's row.
    Identity(i64),
}

const COLUMNS: &str = "request_id, kind, state, level, channel, opened_by, received_at, due_at, extension, verification, \
    closed_at, answer, result_digest, result_expires_at, told_seq";

fn from_row(r: &Row<'_>) -> rusqlite::Result<RequestRow> {
    let level = match r.get_ref(3)? {
        rusqlite::types::ValueRef::Null => None,
        word => Some(row::word(word, Level::parse)?),
    };
    Ok(RequestRow {
        id: r.get(0)?,
        kind: row::word(r.get_ref(1)?, Kind::parse)?,
        state: row::word(r.get_ref(2)?, State::parse)?,
        level,
        channel: row::word(r.get_ref(4)?, Channel::parse)?,
        opened_by: r.get(5)?,
        received: r.get(6)?,
        due: r.get(7)?,
        extension: r.get(8)?,
        verification: r.get(9)?,
        closed: r.get(10)?,
        answer: r.get(11)?,
        result_digest: r.get(12)?,
        result_expires: r.get(13)?,
        told_seq: r.get(14)?,
    })
}

/// Writes a request down, with whose rows it is about.
pub fn insert(tx: &WriteTx<'_>, request: &RequestRow, people: &[Person]) -> Result<()> {
    tx.execute(
        "INSERT INTO requests (request_id, kind, state, level, channel, opened_by, received_at, due_at, extension, \
         verification, closed_at, answer, result_digest, result_expires_at, told_seq) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, ?14, ?15)",
        rusqlite::params![
            request.id,
            request.kind.word(),
            request.state.word(),
            request.level.map(Level::word),
            request.channel.word(),
            request.opened_by,
            request.received,
            request.due,
            request.extension,
            request.verification,
            request.closed,
            request.answer,
            request.result_digest,
            request.result_expires,
            request.told_seq
        ],
    )?;
    for person in people {
        let (of, id) = match person {
            Person::Visitor(id) => ("visitor", id),
            Person::Identity(id) => ("identity", id),
        };
        tx.execute("INSERT INTO request_people (request_id, of, row_id) VALUES (?1, ?2, ?3)", (request.id, of, id))?;
    }
    Ok(())
}

/// Writes down how far a request is now: all but what it was opened with.
pub fn update(tx: &WriteTx<'_>, request: &RequestRow) -> Result<()> {
    tx.execute(
        "UPDATE requests SET state = ?2, level = ?3, due_at = ?4, extension = ?5, verification = ?6, closed_at = ?7, \
         answer = ?8, result_digest = ?9, result_expires_at = ?10, told_seq = ?11 WHERE request_id = ?1",
        rusqlite::params![
            request.id,
            request.state.word(),
            request.level.map(Level::word),
            request.due,
            request.extension,
            request.verification,
            request.closed,
            request.answer,
            request.result_digest,
            request.result_expires,
            request.told_seq
        ],
    )
    .map(|_| ())
}

/// One request.
pub fn get(tx: &ReadTx<'_>, id: &[u8; 16]) -> Result<Option<RequestRow>> {
    tx.conn()
        .prepare_cached(&format!("SELECT {COLUMNS} FROM requests WHERE request_id = ?1"))
        .and_then(|mut s| s.query_row([id], from_row).optional())
        .map_err(|e| open::error("reading a request", e))
}

/// Whose rows a request is about.
pub fn people(tx: &ReadTx<'_>, id: &[u8; 16]) -> Result<Vec<Person>> {
    tx.conn()
        .prepare_cached("SELECT of, row_id FROM request_people WHERE request_id = ?1 ORDER BY of DESC, row_id")
        .and_then(|mut s| {
            s.query_map([id], |r| {
                let (of, id): (String, i64) = (r.get(0)?, r.get(1)?);
                Ok(if of == "visitor" { Person::Visitor(id) } else { Person::Identity(id) })
            })?
            .collect()
        })
        .map_err(|e| open::error("reading whose request it is", e))
}

/// Requests, the newest first: of one state, or open ones due before, or of one channel; `skip` of them left out.
pub fn list(tx: &ReadTx<'_>, wanted: &Wanted) -> Result<Vec<RequestRow>> {
    tx.conn()
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM requests WHERE (?1 IS NULL OR state = ?1) AND (?2 IS NULL OR channel = ?2) \
             AND (?3 IS NULL OR closed_at IS NULL AND due_at < ?3) \
             ORDER BY received_at DESC, request_id DESC LIMIT ?4 OFFSET ?5"
        ))
        .and_then(|mut s| {
            let (state, channel) = (wanted.state.map(State::word), wanted.channel.map(Channel::word));
            s.query_map((state, channel, wanted.due_before, wanted.limit, wanted.skip), from_row)?.collect()
        })
        .map_err(|e| open::error("listing requests", e))
}

/// What [`list`] looks for; every part that is given narrows.
#[derive(Clone, Copy, Debug, Default)]
pub struct Wanted {
    /// In this state.
    pub state: Option<State>,
    /// That came this way.
    pub channel: Option<Channel>,
    /// Open, and due before.
    pub due_before: Option<Millis>,
    /// Rows at the most.
    pub limit: i64,
    /// Rows left out at the beginning.
    pub skip: i64,
}

/// Requests that are being carried out, the oldest first.
pub fn running(tx: &ReadTx<'_>) -> Result<Vec<RequestRow>> {
    tx.conn()
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM requests WHERE closed_at IS NULL AND state = 'running' ORDER BY received_at, request_id"
        ))
        .and_then(|mut s| s.query_map([], from_row)?.collect())
        .map_err(|e| open::error("listing the requests that are being carried out", e))
}

/// How many came this way.
pub fn count(tx: &ReadTx<'_>, channel: Channel) -> Result<i64> {
    tx.conn()
        .prepare_cached("SELECT count(*) FROM requests WHERE channel = ?1")
        .and_then(|mut s| s.query_row([channel.word()], |r| r.get(0)))
        .map_err(|e| open::error("counting requests", e))
}

/// When the request closed longest ago was closed.
pub fn oldest_closed(tx: &ReadTx<'_>) -> Result<Option<Millis>> {
    tx.conn()
        .prepare_cached("SELECT min(closed_at) FROM requests")
        .and_then(|mut s| s.query_row([], |r| r.get(0)))
        .map_err(|e| open::error("reading the oldest request", e))
}

/// Deletes requests closed before `before`, at most `limit` rows; returns how many.
pub fn delete_before(tx: &WriteTx<'_>, before: Millis, limit: i64) -> Result<usize> {
    let people = tx.execute(
        "DELETE FROM request_people WHERE (request_id, of, row_id) IN (SELECT p.request_id, p.of, p.row_id \
         FROM request_people p JOIN requests r ON r.request_id = p.request_id WHERE r.closed_at < ?1 LIMIT ?2)",
        (before, limit),
    )?;
    if people > 0 {
        return Ok(people);
    }
    tx.execute(
        "DELETE FROM requests WHERE request_id IN (SELECT request_id FROM requests WHERE closed_at < ?1 LIMIT ?2)",
        (before, limit),
    )
}

/// The open requests of a kind about a person, the oldest first.
pub fn open_of(tx: &ReadTx<'_>, person: Person, kind: Kind) -> Result<Vec<RequestRow>> {
    let (of, id) = match person {
        Person::Visitor(id) => ("visitor", id),
        Person::Identity(id) => ("identity", id),
    };
    tx.conn()
        .prepare_cached(&format!(
            "SELECT {COLUMNS} FROM requests WHERE closed_at IS NULL AND kind = ?3 AND EXISTS (SELECT 1 FROM request_people p \
             WHERE p.request_id = requests.request_id AND p.row_id = ?2 AND p.of = ?1) ORDER BY received_at"
        ))
        .and_then(|mut s| s.query_map((of, id, kind.word()), from_row)?.collect())
        .map_err(|e| open::error("looking for open requests", e))
}
