//! Notices: publishing and registering them, which one is in force, and which one a decision means.
//! Must never change a published notice. Invariant: a grant names a notice that was in force, by version and digest, and only
//! purposes that notice describes; only decisions from before the first notice name none.

use serde::{Deserialize, Serialize};

use crate::base::digest::Hash;
use crate::base::error::{Error, Result};
use crate::base::text::{cut, hex};
use crate::base::time::Millis;
use crate::domain::consent::{Action, Decision, Purposes};
use crate::domain::ledger::EntryKind;
use crate::domain::notice::lint::{self, Facts};
use crate::domain::notice::{Draft, External, NONE, VERSION_BYTES_MAX};
use crate::domain::site::Seat;
use crate::store::notices::{self, Body, ELSEWHERE, NoticeRow};
use crate::store::{ReadTx, WriteTx, ledger, visitors};

/// A notice to publish.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Publish {
    /// All its languages.
    pub draft: Draft,
    /// From when it is in force; now where it is missing.
    pub valid_from: Option<Millis>,
}

/// A notice of somebody else's consent tool to register.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Register {
    /// What it is.
    pub notice: External,
    /// SHA-256 of the tool's configuration, as 64 hex digits.
    pub digest: String,
    /// From when it is in force; now where it is missing.
    pub valid_from: Option<Millis>,
}

/// One language of a published notice, in short.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Published {
    /// The version.
    pub version: String,
    /// The language; `und` for an external notice.
    pub language: String,
    /// SHA-256, as hex.
    pub digest: String,
    /// From when it is in force.
    pub valid_from: String,
}

fn published(row: &NoticeRow) -> Published {
    Published {
        version: row.version.clone(),
        language: row.language.clone(),
        digest: hex(&row.digest),
        valid_from: row.valid_from.rfc3339(),
    }
}

/// Publishes a notice in all its languages. Errors: `Invalid` with code `notice` naming every fault the lint finds;
/// `Conflict` where the version exists.
pub fn publish(tx: &WriteTx<'_>, seat: &Seat, facts: &Facts, request: &Publish) -> Result<Vec<Published>> {
    let faults: Vec<String> = lint::check(&request.draft, facts)
        .into_iter()
        .filter(|finding| finding.error)
        .map(|finding| format!("{}: {}", finding.place, finding.what))
        .collect();
    if !faults.is_empty() {
        return Err(Error::invalid(format!("the notice cannot be published:\n{}", faults.join("\n")))
            .code("notice")
            .remedy("correct it; `wayside notice check FILE` says what to do about each"));
    }
    fresh(tx, seat, &request.draft.version)?;
    let now = tx.now();
    let mut out = Vec::new();
    for notice in request.draft.notices()? {
        let row = NoticeRow {
            id: 0,
            site_id: seat.id,
            version: notice.version.clone(),
            language: notice.language.clone(),
            digest: notice.digest(),
            valid_from: from(request.valid_from, now)?,
            published: now,
            body: Body::Own(Box::new(notice)),
        };
        notices::insert(tx, &row)?;
        out.push(published(&row));
    }
    on_record(tx, seat, "own", &out)?;
    end_choices(tx, seat, &request.draft.version)?;
    Ok(out)
}

/// Content of a `notice` entry of the ledger: so a publication, and when it came, can be proved, and no notice changed later.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::consent) struct OnRecord {
    pub site: String,
    pub version: String,
    pub origin: String,
    pub valid_from: String,
    pub languages: Vec<Told>,
}

/// One language of a published notice.
#[derive(Debug, Serialize, Deserialize)]
pub(in crate::consent) struct Told {
    pub language: String,
    pub sha256: String,
}

fn on_record(tx: &WriteTx<'_>, seat: &Seat, origin: &str, all: &[Published]) -> Result<()> {
    let Some(first) = all.first() else { return Ok(()) };
    let told = |p: &Published| Told { language: p.language.clone(), sha256: p.digest.clone() };
    let detail = OnRecord {
        site: seat.site.id().to_owned(),
        version: first.version.clone(),
        origin: origin.to_owned(),
        valid_from: first.valid_from.clone(),
        languages: all.iter().map(told).collect(),
    };
    ledger::note(tx, EntryKind::Notice, &detail).map(|_| ())
}

/// Registers an external notice. Errors: `Invalid`; `Conflict` where the version exists.
pub fn register(tx: &WriteTx<'_>, seat: &Seat, request: &Register) -> Result<Published> {
    let notice = &request.notice;
    let bad = |what: &str, remedy: &str| Error::invalid(what.to_owned()).code("notice").remedy(remedy.to_owned());
    let version = &notice.version;
    if version.trim().is_empty() || version.len() > VERSION_BYTES_MAX || version == NONE {
        return Err(bad("the version is none", "name the tool's version in 1 to 64 bytes; not \"none\""));
    }
    if notice.name.trim().is_empty() || notice.name.len() > 200 || notice.url.len() > 2_048 {
        return Err(bad("the name or the address is none", "give a name of at most 200 bytes, and the address"));
    }
    let digest = crate::base::text::unhex::<32>(&request.digest).map_err(|_| {
        bad("the digest is no SHA-256", "give 64 hex digits, for example from sha256sum of the tool's file")
    })?;
    seat.site.book.set(notice.purposes.iter().chain(&notice.changed).map(String::as_str))?;
    fresh(tx, seat, version)?;
    let row = NoticeRow {
        id: 0,
        site_id: seat.id,
        version: version.clone(),
        language: ELSEWHERE.to_owned(),
        digest,
        valid_from: from(request.valid_from, tx.now())?,
        published: tx.now(),
        body: Body::External(notice.clone()),
    };
    notices::insert(tx, &row)?;
    let out = published(&row);
    on_record(tx, seat, "external", std::slice::from_ref(&out))?;
    end_choices(tx, seat, version)?;
    Ok(out)
}

fn fresh(tx: &ReadTx<'_>, seat: &Seat, version: &str) -> Result<()> {
    if notices::version(tx, seat.id, version)?.is_empty() {
        return Ok(());
    }
    Err(Error::conflict(format!("version {version:?} of the notice is published already, and stays as it is"))
        .code("notice_version")
        .remedy("give the changed notice a version of its own"))
}

/// A notice is never in force before it was published: nobody can have seen it.
fn from(asked: Option<Millis>, now: Millis) -> Result<Millis> {
    match asked {
        Some(at) if at < now.day() => Err(Error::invalid(format!("{at} lies in the past"))
            .code("valid_from")
            .remedy("nobody was shown this notice then; name today or a later day")),
        // midnight of today means from now on
        Some(at) => Ok(at.max(now)),
        None => Ok(now),
    }
}

/// Which notice a decision means.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Meant {
    /// The version, or `none`.
    pub version: String,
    /// Its digest in the language shown.
    pub digest: Option<Hash>,
}

impl Meant {
    fn none() -> Meant {
        Meant { version: NONE.to_owned(), digest: None }
    }
}

/// The notice that a decision of corrected time `at` means. A no is never refused for the notice it names: one that is not
/// known counts as none. Errors: `Invalid` with code `notice_unknown`, `notice_digest`, `notice_missing`,
/// `notice_not_in_force` or `notice_purpose`, for a grant.
pub fn meant(tx: &ReadTx<'_>, seat: &Seat, decision: &Decision, at: Millis, received: Millis) -> Result<Meant> {
    match find(tx, seat, decision, at, received) {
        Err(error) if decision.action != Action::Give && error.code.starts_with("notice") => Ok(Meant::none()),
        found => found,
    }
}

fn find(tx: &ReadTx<'_>, seat: &Seat, decision: &Decision, at: Millis, received: Millis) -> Result<Meant> {
    let current = |tx| -> Result<String> {
        let rows = notices::in_force(tx, seat.id, received)?;
        Ok(rows.first().map_or_else(|| NONE.to_owned(), |row| row.version.clone()))
    };
    if decision.notice == NONE {
        let first = notices::first_from(tx, seat.id)?;
        return match first {
            Some(first) if at >= first && decision.action == Action::Give => {
                Err(Error::invalid("the decision does not say which notice the person was shown")
                    .code("notice_missing")
                    .remedy(format!("add \"notice\": its version; in force is {:?}", current(tx)?)))
            }
            _ => Ok(Meant::none()),
        };
    }
    let rows = notices::version(tx, seat.id, &decision.notice)?;
    let Some(row) = the_one(&rows, decision)? else {
        let remedy = format!(
            "name a published version (in force is {:?}), or make this one known: wayside notice publish, or register",
            current(tx)?
        );
        return Err(Error::invalid(format!(
            "there is no notice {:?} of site {:?}",
            cut(&decision.notice, 80),
            seat.site.id()
        ))
        .code("notice_unknown")
        .remedy(remedy));
    };
    if received < row.valid_from {
        return Err(Error::invalid(format!("the notice {:?} is not in force before {}", row.version, row.valid_from))
            .code("notice_not_in_force")
            .remedy(format!("show the one in force: {:?}", current(tx)?)));
    }
    let told = described(row, seat);
    let beyond = decision.purposes.without(told);
    if decision.action == Action::Give && !beyond.is_none() {
        let names = beyond.names(&seat.site.book).join(", ");
        return Err(Error::invalid(format!("the notice {:?} does not tell of: {names}", row.version))
            .code("notice_purpose")
            .remedy("leave these purposes out, or publish a notice that describes them"));
    }
    Ok(Meant { version: row.version.clone(), digest: Some(row.digest) })
}

/// The row by its digest where one is given, else by its language.
fn the_one<'a>(rows: &'a [NoticeRow], decision: &Decision) -> Result<Option<&'a NoticeRow>> {
    let Some(digest) = decision.notice_digest else {
        return Ok(notices::in_language(rows, decision.language.as_deref()));
    };
    match rows.iter().find(|row| row.digest == digest) {
        None if !rows.is_empty() => Err(Error::invalid(format!(
            "the notice {:?} has another digest than {}",
            cut(&decision.notice, 80),
            hex(&digest)
        ))
        .code("notice_digest")
        .remedy("the person was shown something else than what is published: publish that as a version of its own")),
        found => Ok(found),
    }
}

/// The purposes a notice tells of; all where an external one does not say.
pub fn described(row: &NoticeRow, seat: &Seat) -> Purposes {
    let book = &seat.site.book;
    match &row.body {
        Body::Own(notice) => notice.described(book),
        Body::External(external) if external.purposes.is_empty() => Purposes::ALL,
        Body::External(external) => {
            external.purposes.iter().filter_map(|word| book.find(word)).fold(Purposes::NONE, Purposes::with)
        }
    }
}

/// What a yes under `before` does not cover any more once `now` is in force: consent is to what was told (GDPR Art. 4(11)).
/// Narrower than what is asked anew: where nothing shows that a purpose is another one (no notice was named, or another tool
/// does not say what it changed), the yes goes on until it is answered anew.
fn outdated(before: &[NoticeRow], shown: Option<&str>, now: &[NoticeRow], seat: &Seat) -> Purposes {
    let silent = |row: &NoticeRow| matches!(&row.body, Body::External(external) if external.changed.is_empty());
    if before.is_empty() || now.iter().any(silent) { Purposes::NONE } else { changed(before, shown, now, seat) }
}

/// From when a yes under this version does not cover which purposes any more; each purpose once.
pub(in crate::consent) fn ends(
    tx: &ReadTx<'_>,
    seat: &Seat,
    version: &str,
    shown: Option<&str>,
) -> Result<Vec<(Purposes, Millis)>> {
    let (mut out, mut gone) = (Vec::new(), Purposes::NONE);
    let later = notices::later(tx, seat.id, version)?;
    if later.is_empty() {
        return Ok(out);
    }
    let before = notices::version(tx, seat.id, version)?;
    for (newer, from) in later {
        let changed = outdated(&before, shown, &notices::version(tx, seat.id, &newer)?, seat).without(gone);
        if !changed.is_none() {
            gone = gone.with(changed);
            out.push((changed, from));
        }
    }
    Ok(out)
}

/// Lets choices be looked at again when this version comes into force, where one of before told a purpose otherwise. One
/// statement over the site's visitors: a notice is published seldom, and no event may slip through meanwhile.
fn end_choices(tx: &WriteTx<'_>, seat: &Seat, version: &str) -> Result<()> {
    let now = notices::version(tx, seat.id, version)?;
    let Some(from) = now.first().map(|row| row.valid_from) else { return Ok(()) };
    let mut all = Purposes::NONE;
    for before in notices::of_site(tx, seat.id)?.chunk_by(|a, b| a.version == b.version) {
        if before.first().is_some_and(|row| row.version != version) {
            for row in before {
                all = all.with(outdated(before, Some(&row.language), &now, seat));
            }
        }
    }
    if all.is_none() { Ok(()) } else { visitors::end_by(tx, seat.id, all, from).map(|_| ()) }
}

/// What the version `now` tells otherwise than `before` did, in the language the person was `shown`, else in one both have.
/// `before` empty = the person was shown no notice: everything is new.
pub fn changed(before: &[NoticeRow], shown: Option<&str>, now: &[NoticeRow], seat: &Seat) -> Purposes {
    let book = &seat.site.book;
    let all = || now.first().map_or(Purposes::NONE, |row| described(row, seat));
    let same_version = |old: &NoticeRow, new: &NoticeRow| old.version == new.version;
    let pairs =
        now.iter().filter_map(|new| before.iter().find(|old| old.language == new.language).map(|old| (old, new)));
    let pair = pairs.min_by_key(|(old, _)| Some(old.language.as_str()) != shown);
    match pair {
        None => all(),
        Some((old, new)) if same_version(old, new) || old.digest == new.digest => Purposes::NONE,
        Some((NoticeRow { body: Body::Own(old), .. }, NoticeRow { body: Body::Own(new), .. })) => {
            new.changed_since(old, book)
        }
        Some((_, NoticeRow { body: Body::External(new), .. })) if !new.changed.is_empty() => {
            new.changed.iter().filter_map(|word| book.find(word)).fold(Purposes::NONE, Purposes::with)
        }
        Some(_) => all(),
    }
}
