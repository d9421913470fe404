//! The `notices` table: every notice that was ever published or registered, one row for each language of a version.
//! Must never change or remove a row: triggers forbid it. Invariant: a version of a site is published once, whole.

use rusqlite::{OptionalExtension, Row};

use crate::base::digest::Hash;
use crate::base::error::{Error, Result};
use crate::base::time::Millis;
use crate::domain::notice::{External, Notice, best_language};
use crate::store::{ReadTx, WriteTx, open};

/// Language of a notice whose text lies elsewhere (BCP 47: undetermined).
pub const ELSEWHERE: &str = "und";

/// A notice's body.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Body {
    /// Our own, with its text.
    Own(Box<Notice>),
    /// Of somebody else's consent tool.
    External(External),
}

/// A notice in one language.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NoticeRow {
    /// Its number among all notices; later published is higher.
    pub id: i64,
    /// The site's row.
    pub site_id: i64,
    /// Its version.
    pub version: String,
    /// Its language; [`ELSEWHERE`] for an external one.
    pub language: String,
    /// SHA-256 of its canonical encoding, or as its tool says.
    pub digest: Hash,
    /// From when it is in force.
    pub valid_from: Millis,
    /// When it came here.
    pub published: Millis,
    /// What it says.
    pub body: Body,
}

const COLUMNS: &str =
    "n.notice_id, n.site_id, n.version, n.language, n.digest, n.valid_from, n.published_at, n.origin, n.body";

/// The row, and its body as text.
type Raw = (NoticeRow, String, String);

fn from_row(r: &Row<'_>) -> rusqlite::Result<Raw> {
    let row = NoticeRow {
        id: r.get(0)?,
        site_id: r.get(1)?,
        version: r.get(2)?,
        language: r.get(3)?,
        digest: r.get(4)?,
        valid_from: r.get(5)?,
        published: r.get(6)?,
        body: Body::External(External {
            name: String::new(),
            version: String::new(),
            url: String::new(),
            purposes: Vec::new(),
            changed: Vec::new(),
        }),
    };
    Ok((row, r.get(7)?, r.get(8)?))
}

fn read((mut row, origin, body): Raw) -> Result<NoticeRow> {
    let broken = |e| Error::storage(format!("notice {:?} cannot be read", row.version)).code("damaged").source(e);
    row.body = match origin.as_str() {
        "own" => Body::Own(Box::new(serde_json::from_str(&body).map_err(broken)?)),
        _ => Body::External(serde_json::from_str(&body).map_err(broken)?),
    };
    Ok(row)
}

fn list(tx: &ReadTx<'_>, behind: &str, params: impl rusqlite::Params) -> Result<Vec<NoticeRow>> {
    let sql = format!("SELECT {COLUMNS} FROM notices n {behind}");
    let rows: Vec<Raw> = tx
        .conn()
        .prepare_cached(&sql)
        .and_then(|mut s| s.query_map(params, from_row)?.collect())
        .map_err(|e| open::error("reading notices", e))?;
    rows.into_iter().map(read).collect()
}

/// Keeps a notice for ever. Errors: `Storage`; whether the version is there already is the caller's to ask.
pub fn insert(tx: &WriteTx<'_>, row: &NoticeRow) -> Result<()> {
    let (origin, body) = match &row.body {
        Body::Own(notice) => ("own", serde_json::to_string(notice)),
        Body::External(external) => ("external", serde_json::to_string(external)),
    };
    let body = body.expect("invariant: a notice has string keys");
    tx.execute(
        "INSERT INTO notices (site_id, version, language, digest, valid_from, published_at, origin, body) \
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8)",
        (row.site_id, &row.version, &row.language, row.digest, row.valid_from, row.published, origin, body),
    )
    .map(|_| ())
}

/// All languages of a version.
pub fn version(tx: &ReadTx<'_>, site_id: i64, version: &str) -> Result<Vec<NoticeRow>> {
    list(tx, "WHERE n.site_id = ?1 AND n.version = ?2 ORDER BY n.language", (site_id, version))
}

/// The languages of the version that was in force at this time: the one that began last.
pub fn in_force(tx: &ReadTx<'_>, site_id: i64, at: Millis) -> Result<Vec<NoticeRow>> {
    let found: Option<String> = tx
        .conn()
        .prepare_cached(
            "SELECT version FROM notices WHERE site_id = ?1 AND valid_from <= ?2 \
             ORDER BY valid_from DESC, notice_id DESC LIMIT 1",
        )
        .and_then(|mut s| s.query_row((site_id, at), |r| r.get(0)).optional())
        .map_err(|e| open::error("looking for the notice in force", e))?;
    found.map_or_else(|| Ok(Vec::new()), |found| version(tx, site_id, &found))
}

/// When the site's first notice began, if it has one.
pub fn first_from(tx: &ReadTx<'_>, site_id: i64) -> Result<Option<Millis>> {
    tx.conn()
        .prepare_cached("SELECT min(valid_from) FROM notices WHERE site_id = ?1")
        .and_then(|mut s| s.query_row([site_id], |r| r.get(0)))
        .map_err(|e| open::error("looking for the first notice", e))
}

/// Versions of a site that came into force after this one, or will, in that order, each with its time; none where the version
/// is not known.
pub fn later(tx: &ReadTx<'_>, site_id: i64, version: &str) -> Result<Vec<(String, Millis)>> {
    tx.conn()
        .prepare_cached(
            "SELECT n.version, min(n.valid_from) FROM notices n \
             JOIN (SELECT max(valid_from) AS at, max(notice_id) AS id FROM notices WHERE site_id = ?1 AND version = ?2) o \
             WHERE n.site_id = ?1 AND n.version <> ?2 AND (n.valid_from, n.notice_id) > (o.at, o.id) \
             GROUP BY n.version ORDER BY min(n.valid_from), min(n.notice_id)",
        )
        .and_then(|mut s| s.query_map((site_id, version), |r| Ok((r.get(0)?, r.get(1)?)))?.collect())
        .map_err(|e| open::error("looking for later notices", e))
}

/// Every notice of a site, oldest first.
pub fn of_site(tx: &ReadTx<'_>, site_id: i64) -> Result<Vec<NoticeRow>> {
    list(tx, "WHERE n.site_id = ?1 ORDER BY n.notice_id", [site_id])
}

/// The row for an asked language among those of one version.
pub fn in_language<'a>(rows: &'a [NoticeRow], asked: Option<&str>) -> Option<&'a NoticeRow> {
    let there: Vec<&str> = rows.iter().map(|row| row.language.as_str()).collect();
    let best = best_language(&there, asked)?;
    rows.iter().find(|row| row.language == best)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::base::time::ManualClock;
    use crate::store::{Store, StoreOptions, sites};

    fn external(version: &str, site_id: i64, from: i64) -> NoticeRow {
        let external = External {
            name: "tool".to_owned(),
            version: version.to_owned(),
            url: String::new(),
            purposes: Vec::new(),
            changed: Vec::new(),
        };
        NoticeRow {
            id: 0,
            site_id,
            version: version.to_owned(),
            language: ELSEWHERE.to_owned(),
            digest: [9; 32],
            valid_from: Millis(from),
            published: Millis(from),
            body: Body::External(external),
        }
    }

    #[test]
    fn a_notice_stays_as_it_was_published() {
        let dir = tempfile::tempdir().unwrap();
        let clock = Arc::new(ManualClock::at(Millis(1_700_000_000_000)));
        let store = Store::open(&StoreOptions::at(dir.path()), clock).unwrap();
        let site = store.pen().call(|tx| sites::intern(tx, "shop")).unwrap();
        store
            .pen()
            .call(move |tx| {
                insert(tx, &external("1", site, 10))?;
                insert(tx, &external("2", site, 20))
            })
            .unwrap();
        for sql in [
            "UPDATE notices SET digest = x'00'",
            "DELETE FROM notices",
            "INSERT OR REPLACE INTO notices SELECT * FROM notices WHERE version = '1'",
        ] {
            store.pen().call(move |tx| tx.execute(sql, [])).unwrap_err();
        }
        let again = store.pen().call(move |tx| insert(tx, &external("1", site, 30)));
        assert!(again.is_err(), "a version is published once");
        let found = |at| store.read(|tx| in_force(tx, site, Millis(at))).unwrap();
        assert_eq!(found(9), []);
        assert_eq!(found(19).iter().map(|row| row.version.as_str()).collect::<Vec<_>>(), ["1"]);
        assert_eq!(found(20)[0].version, "2");
        assert_eq!(found(20)[0].body, external("2", site, 20).body);
        assert_eq!(store.read(|tx| first_from(tx, site)).unwrap(), Some(Millis(10)));
        assert_eq!(store.read(|tx| of_site(tx, site)).unwrap().len(), 2);
        store.close().unwrap();
    }
}
