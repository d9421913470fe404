//! The `decisions` table: the only append, and its reading. Must never change a row: a trigger forbids it.
//! Owns writing all a decision changes in one place: row, entry of the ledger, standing, denials, floors, refusals,
//! rights log.
//! Must never decide what changes (`domain/consent.rs`).

mod content;

use rusqlite::{Connection, OptionalExtension, Row};

use crate::base::digest::Hash;
use crate::base::error::Result;
use crate::base::id::{ClientId, Salt, Seq, VisitorRef};
use crate::base::time::Millis;
use crate::domain::choice::Grant;
use crate::domain::code::Code;
use crate::domain::consent::{Change, Decision, Purposes, Signals};
use crate::domain::ledger::EntryKind;
use crate::domain::visitor::Visitor;
use crate::store::ledger::Appended;
use crate::store::{ReadTx, WriteTx, departed, disclosure, evidence, ledger, open};

mod effects;

pub(in crate::store) use self::content::{CONTENT, RESOLVED, leaf, leaf_of_row};
pub use self::content::{FIELDS, contents, first_no, unchained};

/// Who took a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Actor {
    /// The person, through the public door.
    Subject,
    /// A sender with an ingest token.
    Sender,
    /// The operator.
    Operator,
    /// This program.
    System,
}

impl Actor {
    /// Stable word.
    pub fn word(self) -> &'static str {
        match self {
            Actor::Subject => "subject",
            Actor::Sender => "sender",
            Actor::Operator => "operator",
            Actor::System => "system",
        }
    }
}

/// A decision row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DecisionRow {
    /// Its number of the one counter.
    pub seq: Seq,
    /// Its number in the ledger.
    pub ledger_no: i64,
    /// The client's id of it, or a minted one.
    pub decision_id: ClientId,
    /// The site's row.
    pub site_id: i64,
    /// Birth epoch.
    pub epoch_id: i64,
    /// Pseudonymous reference of the person.
    pub subject_ref: VisitorRef,
    /// `give`, `refuse`, `withdraw` ...
    pub action: String,
    /// Purposes named.
    pub purposes: Purposes,
    /// Granted before.
    pub before: Purposes,
    /// Granted after.
    pub after: Purposes,
    /// Did any part of it become current?
    pub current: bool,
    /// How it was taken.
    pub method: String,
    /// Who took it.
    pub actor: String,
    /// The notice version shown, or `none`.
    pub notice: String,
    /// Digest of that notice.
    pub notice_digest: Option<Hash>,
    /// Language shown.
    pub language: Option<String>,
    /// `Sec-GPC` was sent.
    pub gpc: bool,
    /// `DNT` was sent.
    pub dnt: bool,
    /// The screen showed the signal.
    pub signal_shown: bool,
    /// Client clock.
    pub client_at: Option<Millis>,
    /// Received.
    pub received: Millis,
    /// Corrected.
    pub corrected: Millis,
    /// When the choice ends.
    pub expires: Option<Millis>,
    /// The basis row in force.
    pub basis_id: i64,
    /// Destroyed with the row.
    pub salt: Salt,
    /// Commitment to evidence that lies elsewhere and can be removed.
    pub evidence: Option<Hash>,
    /// Hash of the ledger's entry before.
    pub prev: Hash,
    /// Hash of its own entry in the ledger.
    pub hash: Hash,
}

const COLUMNS: &str = "d.seq, d.decision_id, d.site_id, d.epoch_id, d.subject_ref, d.action, d.purposes, d.before, d.after, \
    d.current, d.method, d.actor, d.notice, d.language, d.gpc, d.dnt, d.signal_shown, d.client_at, d.received_at, \
    d.corrected_at, d.basis_id, d.salt, d.ledger_no, d.notice_digest, d.expires_at, d.evidence, l.prev, l.hash";
const FROM: &str = "FROM decisions d JOIN ledger l ON l.ledger_no = d.ledger_no";

fn from_row(r: &Row<'_>) -> rusqlite::Result<DecisionRow> {
    Ok(DecisionRow {
        seq: r.get(0)?,
        decision_id: r.get(1)?,
        site_id: r.get(2)?,
        epoch_id: r.get(3)?,
        subject_ref: r.get(4)?,
        action: r.get(5)?,
        purposes: r.get(6)?,
        before: r.get(7)?,
        after: r.get(8)?,
        current: r.get(9)?,
        method: r.get(10)?,
        actor: r.get(11)?,
        notice: r.get(12)?,
        language: r.get(13)?,
        gpc: r.get(14)?,
        dnt: r.get(15)?,
        signal_shown: r.get(16)?,
        client_at: r.get(17)?,
        received: r.get(18)?,
        corrected: r.get(19)?,
        basis_id: r.get(20)?,
        salt: r.get(21)?,
        ledger_no: r.get(22)?,
        notice_digest: r.get(23)?,
        expires: r.get(24)?,
        evidence: r.get(25)?,
        prev: r.get(26)?,
        hash: r.get(27)?,
    })
}

/// Where a decision is written down.
#[derive(Clone, Debug)]
pub struct Circumstances {
    /// The site's row.
    pub site_id: i64,
    /// The site's name, for the rights log.
    pub site: String,
    /// Keyed hash of site and visitor id.
    pub id_hash: Hash,
    /// Corrected time.
    pub at: Millis,
    /// Received time.
    pub received: Millis,
    /// Who decided.
    pub actor: Actor,
    /// Signals of the request.
    pub signals: Signals,
    /// The basis row in force.
    pub basis_id: i64,
    /// Digest of the notice the decision names.
    pub notice_digest: Option<Hash>,
    /// When the choice ends.
    pub expires: Option<Millis>,
    /// Commitment to evidence that lies elsewhere.
    pub evidence: Option<Hash>,
}

/// What a recorded decision came to.
#[derive(Clone, Debug)]
pub struct Recorded {
    /// The decision's row.
    pub row: DecisionRow,
    /// Taken before under the same id: nothing was changed now.
    pub repeated: bool,
    /// Purposes that stand on contract or law although they were named.
    pub stands: Purposes,
    /// The visitor's token, where the id was never seen before this decision.
    pub token: Option<String>,
    /// What opens the visitor from then on, where it was taken at a kiosk.
    pub code: Option<Code>,
}

/// Who records a decision that came with an event: `ingest` is handed one, so that it need not know `consent`.
pub type Recorder = fn(&WriteTx<'_>, &crate::domain::site::Seat, &ClientId, &Decision, &Asked<'_>) -> Result<Recorded>;

/// How a decision was asked for.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Who decided.
    pub actor: Actor,
    /// The visitor's token, where one came with it.
    pub token: Option<&'a str>,
    /// Signals of the request.
    pub signals: Signals,
    /// When it was received.
    pub received: Millis,
}

/// A decision taken before under that id.
pub fn find(tx: &ReadTx<'_>, site_id: i64, id: &ClientId) -> Result<Option<DecisionRow>> {
    let sql = format!("SELECT {COLUMNS} {FROM} WHERE d.decision_id = ?1 AND d.site_id = ?2");
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_row((id, site_id), from_row).optional())
        .map_err(|e| open::error("finding a decision", e))
}

/// The newest decision's number: what an attempt to send is checked against.
pub fn newest(tx: &ReadTx<'_>) -> Result<Seq> {
    tx.conn()
        .prepare_cached("SELECT coalesce(max(seq), 0) FROM decisions")
        .and_then(|mut s| s.query_row([], |r| r.get(0)))
        .map_err(|e| open::error("reading the newest decision", e))
}

/// Did anybody lose a right by a decision behind this number? Every one that grants no less than there was before is passed over.
pub fn narrowed_since(tx: &ReadTx<'_>, after: Seq) -> Result<bool> {
    tx.conn()
        .prepare_cached(
            "SELECT EXISTS (SELECT 1 FROM decisions d WHERE d.seq > ?1 AND (d.action <> 'give' OR d.before & ~d.after <> 0))",
        )
        .and_then(|mut s| s.query_row([after], |r| r.get(0)))
        .map_err(|e| open::error("looking for rights lost", e))
}

/// The decisions under a reference, oldest first.
pub fn of_subject(tx: &ReadTx<'_>, subject: VisitorRef, limit: i64) -> Result<Vec<DecisionRow>> {
    let sql = format!("SELECT {COLUMNS} {FROM} WHERE d.subject_ref = ?1 ORDER BY d.seq LIMIT ?2");
    tx.conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_map((subject, limit), from_row)?.collect())
        .map_err(|e| open::error("reading decisions", e))
}

/// A yes that became current.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// To what.
    pub purposes: Purposes,
    /// Until when it was said to hold; missing in rows from before there was an end.
    pub expires: Option<Millis>,
    /// Corrected time.
    pub at: Millis,
    /// The notice's version, or `none`.
    pub notice: String,
    /// Language shown.
    pub language: Option<String>,
}

/// Every yes of a person that became current, oldest first.
pub fn given(tx: &ReadTx<'_>, subject: VisitorRef) -> Result<Vec<Given>> {
    let row = |r: &Row<'_>| {
        Ok(Given { purposes: r.get(0)?, expires: r.get(1)?, at: r.get(2)?, notice: r.get(3)?, language: r.get(4)? })
    };
    tx.conn()
        .prepare_cached(
            "SELECT purposes, expires_at, corrected_at, notice, language FROM decisions \
             WHERE subject_ref = ?1 AND action = 'give' AND current = 1 ORDER BY seq",
        )
        .and_then(|mut s| s.query_map([subject], row)?.collect())
        .map_err(|e| open::error("reading what was granted", e))
}

/// Who tells until when each yes of a person holds: `ingest` is handed one, so that it need not know `consent`.
pub type Grants = fn(&ReadTx<'_>, &crate::domain::site::Seat, VisitorRef) -> Result<Vec<Grant>>;

/// How many decisions there are.
pub fn count(tx: &ReadTx<'_>) -> Result<i64> {
    tx.conn()
        .query_row("SELECT count(*) FROM decisions", [], |r| r.get(0))
        .map_err(|e| open::error("counting decisions", e))
}

/// The only append. Writes the row and everything the change changes: O(1), whatever the visitor has stored.
/// `visitor` = the visitor the decision is kept under; `None` keeps it under a fresh reference that never leaves.
/// Returns the row; the visitor, where given, carries its new standing and is kept.
pub fn append(
    tx: &WriteTx<'_>,
    decision: &Decision,
    change: &Change,
    visitor: Option<&mut Visitor>,
    c: &Circumstances,
) -> Result<DecisionRow> {
    if !change.is_of_the_standing_only() {
        tx.settle()?; // what refers to the visitor's row comes behind it
    }
    let ledger_no = ledger::next_no(tx)?;
    let floor = tx.last_seq();
    let seq = tx.next_seq();
    let mut row = DecisionRow {
        seq,
        ledger_no,
        decision_id: decision.id.clone().unwrap_or_else(|| ClientId::mint(c.received)),
        site_id: c.site_id,
        epoch_id: tx.identity().epoch_id,
        subject_ref: visitor.as_ref().map_or_else(VisitorRef::mint, |v| v.visitor_ref),
        action: decision.action.word().to_owned(),
        purposes: decision.purposes,
        before: change.before,
        after: change.standing.granted,
        current: change.current,
        method: decision.method.word().to_owned(),
        actor: c.actor.word().to_owned(),
        notice: decision.notice.clone(),
        notice_digest: c.notice_digest,
        language: decision.language.clone(),
        gpc: c.signals.gpc,
        dnt: c.signals.dnt,
        signal_shown: decision.signal_shown,
        client_at: decision.client_at,
        received: c.received,
        corrected: c.at,
        expires: c.expires,
        basis_id: c.basis_id,
        salt: Salt::mint(),
        evidence: c.evidence,
        prev: [0; 32],
        hash: [0; 32],
    };
    insert(tx, &row)?;
    let entry = ledger::append_decision(tx, seq.0)?;
    (row.prev, row.hash) = (entry.prev, entry.hash);
    if visitor.is_none() {
        departed::note(tx, row.subject_ref, c.received)?; // nothing but this decision is kept of this person
    }
    effects::remember(tx, (decision, change), &row, c, visitor.is_some())?;
    if let Some(visitor) = visitor {
        effects::apply(tx, visitor, change, c, seq, floor)?;
        disclosure::tell(tx, &row, visitor, change.floors, floor)?;
    }
    Ok(row)
}

fn insert(tx: &WriteTx<'_>, d: &DecisionRow) -> Result<()> {
    tx.execute(
        "INSERT INTO decisions (seq, decision_id, site_id, epoch_id, subject_ref, action, purposes, before, after, \
         current, method, actor, notice, language, gpc, dnt, signal_shown, client_at, received_at, corrected_at, basis_id, \
         salt, ledger_no, notice_digest, expires_at, evidence) VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12, ?13, \
         ?14, ?15, ?16, ?17, ?18, ?19, ?20, ?21, ?22, ?23, ?24, ?25, ?26)",
        rusqlite::params![
            d.seq,
            d.decision_id,
            d.site_id,
            d.epoch_id,
            d.subject_ref,
            d.action,
            d.purposes,
            d.before,
            d.after,
            d.current,
            d.method,
            d.actor,
            d.notice,
            d.language,
            d.gpc,
            d.dnt,
            d.signal_shown,
            d.client_at,
            d.received,
            d.corrected,
            d.basis_id,
            d.salt,
            d.ledger_no,
            d.notice_digest,
            d.expires,
            d.evidence,
        ],
    )
    .map(|_| ())
}

/// A decision by its number.
pub fn get(tx: &ReadTx<'_>, seq: Seq) -> Result<Option<DecisionRow>> {
    tx.conn()
        .prepare_cached(&format!("SELECT {COLUMNS} {FROM} WHERE d.seq = ?1"))
        .and_then(|mut s| s.query_row([seq], from_row).optional())
        .map_err(|e| open::error("finding a decision", e))
}

/// Numbers of all decisions, oldest first.
pub(in crate::store) fn all_seqs(conn: &Connection) -> Result<Vec<i64>> {
    conn.prepare("SELECT seq FROM decisions ORDER BY seq")
        .and_then(|mut s| s.query_map([], |r| r.get(0))?.collect())
        .map_err(|e| open::error("listing the decisions", e))
}

/// Removes what these decisions say (pairs of `seq` and `ledger_no`); their entries stay in the ledger, with the one that
/// says why. `kind` = `prune` or `erasure`.
pub fn clear(tx: &WriteTx<'_>, kind: EntryKind, which: &[(i64, i64)]) -> Result<Option<Appended>> {
    let nos: Vec<i64> = which.iter().map(|(_, no)| *no).collect();
    let why = ledger::explain(tx, kind, &ledger::entries_of(tx, &nos)?)?;
    tx.window(|tx| {
        // prepared while the window is open, and forgotten when it closes
        let mut delete = tx
            .conn()
            .prepare("DELETE FROM decisions WHERE seq = ?1")
            .map_err(|e| open::error("removing contents of the ledger", e))?;
        for (seq, _) in which {
            evidence::delete(tx, Seq(*seq))?;
            delete.execute([seq]).map_err(|e| open::error("removing a content of the ledger", e))?;
        }
        Ok(why)
    })
}

/// Number and number in the ledger of a person's decisions, oldest first, at most `limit`.
pub fn places(tx: &ReadTx<'_>, subject: VisitorRef, limit: i64) -> Result<Vec<(i64, i64)>> {
    tx.conn()
        .prepare_cached("SELECT seq, ledger_no FROM decisions WHERE subject_ref = ?1 ORDER BY seq LIMIT ?2")
        .and_then(|mut s| s.query_map((subject, limit), |r| Ok((r.get(0)?, r.get(1)?)))?.collect())
        .map_err(|e| open::error("listing a person's decisions", e))
}
