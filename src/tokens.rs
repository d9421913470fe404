//! Floor 3: tokens. Makes, revokes and knows them; ingest tokens also lie in files, one per file.
//! Must never log, keep or show a token after it was made: only digests stay, in memory and in the table.
//! Invariant: every known digest is compared, each in constant time, so that time tells nothing of which came close.

use std::path::PathBuf;
use std::sync::{Arc, PoisonError, RwLock};

use crate::base::digest::{Hash, same_secret, sha256};
use crate::base::error::{Error, Result};
use crate::base::id::{mint_uuid, random_bytes, uuid_bytes, uuid_text};
use crate::base::text::hex;
use crate::base::time::{DAY_MS, HOUR_MS, Millis};
use crate::domain::token::{self, Caller, Scope, Scopes};
pub use crate::store::tokens::TokenRow;
use crate::store::{Store, audit, tokens};

/// Fewest bytes of a token in a file.
const BYTES_MIN: usize = 16;
/// Longest name of a token, bytes.
const NAME_BYTES_MAX: usize = 64;
/// Tokens that may hold at one time, those of edges not counted.
const HELD_MAX: usize = 1_000;
/// Longest life that may be asked for, days.
const DAYS_MAX: i64 = 3_650;

/// The tokens of this collector.
pub struct Tokens {
    store: Arc<Store>,
    files: Vec<Hash>,
    /// What the table holds: read at start, and again after each change, which only this process makes.
    rows: RwLock<Arc<Vec<TokenRow>>>,
}

/// What a new token is to be.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// What the operator calls it.
    pub name: String,
    /// What it opens.
    pub scopes: Vec<Scope>,
    /// Days it holds; for ever without.
    pub days: Option<i64>,
}

/// A token just made: the only time it can be read.
pub struct Made {
    /// The token itself.
    pub secret: String,
    /// Its row.
    pub row: TokenRow,
}

impl Tokens {
    /// Reads the files and the table. Errors: `Config` naming the file that is missing, unreadable or too short; `Storage`.
    pub fn open(store: Arc<Store>, files: &[PathBuf]) -> Result<Self> {
        let files = read_files(files)?;
        let rows = store.read(tokens::list)?;
        Ok(Tokens { store, files, rows: RwLock::new(Arc::new(rows)) })
    }

    fn rows(&self) -> Arc<Vec<TokenRow>> {
        Arc::clone(&self.rows.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads the table again: a token was made or revoked beside this. Errors: `Busy`, `Storage`.
    pub fn reload(&self) -> Result<()> {
        let rows = Arc::new(self.store.read(tokens::list)?);
        *self.rows.write().unwrap_or_else(PoisonError::into_inner) = rows;
        Ok(())
    }

    /// Whose token or pass this is; `None` for one that is unknown, revoked or past its time. Never waits for the disk.
    pub fn admit(&self, given: &str) -> Option<Caller> {
        let now = self.store.now();
        let digest = sha256(given.as_bytes());
        let file = self.files.iter().fold(false, |found, known| same_secret(known, &digest) | found);
        let rows = self.rows();
        let by_digest =
            rows.iter().fold(None, |found, row| if same_secret(&row.digest, &digest) { Some(row) } else { found });
        let by_pass = || {
            let id = token::pass_holder(&self.store.identity().hash_key, given, now)?;
            rows.iter().find(|row| row.id == id)
        };
        match by_digest.or_else(by_pass).filter(|row| row.holds(now)) {
            Some(row) => {
                self.note_use(row, now);
                Some(Caller::Token { name: row.name.clone(), scopes: row.scopes, edge: row.edge })
            }
            None => {
                let scopes = Scopes::of(&[Scope::Ingest]);
                file.then(|| Caller::Token { name: "ingest file".to_owned(), scopes, edge: None })
            }
        }
    }

    /// Writes the use of a token down, at most once an hour. A note that is lost in a full queue is no harm.
    fn note_use(&self, row: &TokenRow, now: Millis) {
        let hour = now.hour();
        if row.last_used.is_some_and(|at| hour.since(at) < HOUR_MS) {
            return;
        }
        let mut rows = self.rows.write().unwrap_or_else(PoisonError::into_inner);
        let mut copy = rows.as_ref().clone();
        let Some(own) = copy.iter_mut().find(|one| one.id == row.id) else { return };
        if own.last_used.is_some_and(|at| hour.since(at) < HOUR_MS) {
            return;
        }
        own.last_used = Some(hour);
        *rows = Arc::new(copy);
        drop(rows);
        let id = row.id;
        let told = |done: Result<()>| {
            if let Err(error) = done {
                log::warn!("noting the use of a token: {error}");
            }
        };
        if let Err(error) = self.store.pen().submit(1, move |tx| tokens::used(tx, &id, hour), told) {
            log::debug!("noting the use of a token: {error}");
        }
    }

    /// Every token, oldest first.
    pub fn list(&self) -> Vec<TokenRow> {
        self.rows().as_ref().clone()
    }

    /// Makes a token. Errors: `Invalid` (name, scopes, days), `Conflict` (a name in use, too many), `Busy`, `Storage`.
    pub fn create(&self, wanted: &Wanted, caller: &Caller) -> Result<Made> {
        let name = wanted.name.trim();
        let plain = |c: char| c.is_alphanumeric() || " ._-@".contains(c);
        if name.is_empty() || name.len() > NAME_BYTES_MAX || !name.chars().all(plain) {
            return Err(Error::invalid("the name of a token is 1 to 64 letters, digits, spaces or . _ - @")
                .code("token_name")
                .remedy("name it after the program that will use it"));
        }
        if wanted.scopes.is_empty() {
            return Err(Error::invalid("a token without a scope opens nothing")
                .code("token_scopes")
                .remedy("name scopes: ingest, read, subject, sync, admin"));
        }
        if wanted.scopes.contains(&Scope::Push) {
            return Err(Error::invalid("a token of the scope push belongs to one edge")
                .code("token_scopes")
                .remedy("make a code with `wayside edge code`; the edge gets its token with `wayside join`"));
        }
        if wanted.days.is_some_and(|days| !(1..=DAYS_MAX).contains(&days)) {
            return Err(Error::invalid(format!("a token holds 1 to {DAYS_MAX} days, or for ever"))
                .code("token_days")
                .remedy("give other days, or none"));
        }
        let secret = hex(&random_bytes::<32>());
        let now = self.store.now();
        let row = TokenRow {
            id: mint_uuid(now),
            name: name.to_owned(),
            scopes: Scopes::of(&wanted.scopes),
            digest: sha256(secret.as_bytes()),
            prefix: secret[..6].to_owned(),
            created: now,
            expires: wanted.days.map(|days| now.plus(days * DAY_MS)),
            revoked: None,
            last_used: None,
            edge: None,
        };
        let (keep, who) = (row.clone(), caller.who());
        self.store.pen().call(move |tx| {
            let held: Vec<TokenRow> =
                tokens::list(tx)?.into_iter().filter(|row| row.holds(now) && row.edge.is_none()).collect();
            if held.iter().any(|row| row.name == keep.name) {
                return Err(Error::conflict(format!("a token named {:?} holds already", keep.name))
                    .code("token_name")
                    .remedy("revoke it first, or take another name"));
            }
            if held.len() >= HELD_MAX {
                return Err(Error::conflict(format!("{HELD_MAX} tokens hold already"))
                    .code("token_count")
                    .remedy("revoke those that nobody uses: wayside token list"));
            }
            tokens::insert(tx, &keep)?;
            audit::insert(tx, &who, "token_created", Some(&uuid_text(&keep.id)), Some(&keep.scopes.words().join(" ")))
        })?;
        self.reload()?;
        Ok(Made { secret, row })
    }

    /// Revokes the token of this id or name. Errors: `NotFound`, `Busy`, `Storage`.
    pub fn revoke(&self, which: &str, caller: &Caller) -> Result<TokenRow> {
        let now = self.store.now();
        let named = |row: &&TokenRow| match uuid_bytes(which) {
            Some(id) => row.id == id,
            None => row.name == which && row.holds(now),
        };
        let found = self.rows().iter().find(named).cloned();
        let row = found.filter(|row| row.revoked.is_none()).ok_or_else(|| {
            Error::not_found("no token of this name or id holds")
                .code("token_unknown_name")
                .remedy("wayside token list shows them")
        })?;
        let (id, who) = (row.id, caller.who());
        self.store.pen().call(move |tx| {
            if tokens::revoke(tx, &id)? {
                audit::insert(tx, &who, "token_revoked", Some(&uuid_text(&id)), None)?;
            }
            Ok(())
        })?;
        self.reload()?;
        Ok(row)
    }

    /// A pass for a token that names itself by id and secret (OAuth client credentials), and how many seconds it holds.
    /// `None` where the two do not belong together, or the token no longer holds.
    pub fn exchange(&self, client_id: &str, secret: &str) -> Option<(String, i64)> {
        let now = self.store.now();
        let digest = sha256(secret.as_bytes());
        let rows = self.rows();
        let row =
            rows.iter().fold(None, |found, row| if same_secret(&row.digest, &digest) { Some(row) } else { found })?;
        if uuid_bytes(client_id) != Some(row.id) || !row.holds(now) {
            return None;
        }
        self.note_use(row, now);
        let until = row.expires.map_or(now.plus(token::PASS_MS), |end| end.min(now.plus(token::PASS_MS)));
        Some((token::pass(&self.store.identity().hash_key, &row.id, until), until.since(now) / 1_000))
    }
}

fn read_files(files: &[PathBuf]) -> Result<Vec<Hash>> {
    let read = |file: &PathBuf| {
        let text = std::fs::read_to_string(file)
            .map_err(|e| Error::config(format!("reading the ingest token file {}: {e}", file.display())))?;
        let token = text.trim();
        if token.len() < BYTES_MIN {
            return Err(Error::config(format!("the ingest token in {} is too short", file.display()))
                .remedy("use at least 16 random characters, for example: openssl rand -hex 32"));
        }
        Ok(sha256(token.as_bytes()))
    };
    files.iter().map(read).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::time::ManualClock;
    use crate::store::StoreOptions;

    struct Desk {
        clock: ManualClock,
        store: Arc<Store>,
        tokens: Tokens,
        _dir: tempfile::TempDir,
    }

    fn desk() -> Desk {
        let dir = tempfile::tempdir().unwrap();
        let clock = ManualClock::at(Millis(1_790_000_000_000));
        let store = Arc::new(Store::open(&StoreOptions::at(dir.path()), Arc::new(clock.clone())).unwrap());
        let tokens = Tokens::open(Arc::clone(&store), &[]).unwrap();
        Desk { clock, store, tokens, _dir: dir }
    }

    fn make(desk: &Desk, name: &str, scopes: &[Scope], days: Option<i64>) -> Result<Made> {
        desk.tokens.create(&Wanted { name: name.to_owned(), scopes: scopes.to_vec(), days }, &Caller::Operator)
    }

    #[test]
    fn an_ingest_token_is_known_by_its_file() {
        let desk = desk();
        let dir = tempfile::tempdir().unwrap();
        let (good, short) = (dir.path().join("good"), dir.path().join("short"));
        std::fs::write(&good, "0123456789abcdef0123\n").unwrap();
        std::fs::write(&short, "secret\n").unwrap();
        let tokens = Tokens::open(Arc::clone(&desk.store), std::slice::from_ref(&good)).unwrap();
        let caller = tokens.admit("0123456789abcdef0123").unwrap();
        assert!(caller.may(Scope::Ingest) && !caller.may(Scope::Read));
        assert!(tokens.admit("0123456789abcdef012").is_none() && tokens.admit("").is_none());
        assert!(Tokens::open(Arc::clone(&desk.store), &[good, short]).is_err());
        assert!(Tokens::open(Arc::clone(&desk.store), &[dir.path().join("missing")]).is_err());
    }

    #[test]
    fn a_token_holds_until_it_expires_or_is_revoked() {
        let desk = desk();
        let day = make(&desk, "day", &[Scope::Read], Some(1)).unwrap();
        let ever = make(&desk, "ever", &[Scope::Sync, Scope::Admin], None).unwrap();
        assert!(desk.tokens.admit(&day.secret).unwrap().may(Scope::Read));
        let (pass, seconds) = desk.tokens.exchange(&uuid_text(&ever.row.id), &ever.secret).unwrap();
        assert_eq!(seconds, 3_600);
        assert!(desk.tokens.admit(&pass).unwrap().may(Scope::Sync));
        assert!(desk.tokens.exchange(&uuid_text(&day.row.id), &ever.secret).is_none(), "another's secret");
        desk.clock.advance(DAY_MS);
        assert!(desk.tokens.admit(&day.secret).is_none() && desk.tokens.admit(&pass).is_none());
        assert!(desk.tokens.exchange(&uuid_text(&day.row.id), &day.secret).is_none());
        let (pass, _) = desk.tokens.exchange(&uuid_text(&ever.row.id), &ever.secret).unwrap();
        desk.tokens.revoke("ever", &Caller::Operator).unwrap();
        assert!(desk.tokens.admit(&ever.secret).is_none());
        assert!(desk.tokens.admit(&pass).is_none(), "a pass ends with its token");
        assert!(desk.tokens.revoke("ever", &Caller::Operator).is_err());
        let again = Tokens::open(Arc::clone(&desk.store), &[]).unwrap();
        assert_eq!(again.list().iter().filter(|row| row.revoked.is_some()).count(), 1, "it is on the disk");
        let did: Vec<String> =
            desk.store.read(|tx| audit::list(tx, None, 10)).unwrap().into_iter().map(|row| row.what).collect();
        assert_eq!(did, ["token_revoked", "token_created", "token_created"]);
    }

    #[test]
    fn the_disk_holds_a_digest_and_six_characters_only() {
        let desk = desk();
        let made = make(&desk, "reader", &[Scope::Read], None).unwrap();
        assert_eq!((made.secret.len(), made.row.prefix.as_str()), (64, &made.secret[..6]));
        desk.tokens.admit(&made.secret).unwrap();
        desk.store.pen().call(|_| Ok(())).unwrap();
        assert!(desk.store.read(|tx| tokens::get(tx, &made.row.id)).unwrap().unwrap().last_used.is_some());
        let holds = |part: &str| {
            std::fs::read_dir(desk._dir.path()).unwrap().any(|file| {
                let bytes = std::fs::read(file.unwrap().path()).unwrap_or_default();
                bytes.windows(part.len()).any(|window| window == part.as_bytes())
            })
        };
        assert!(holds(&made.secret[..6]) && !holds(&made.secret[..16]) && !holds(&made.secret[32..48]));
    }

    #[test]
    fn what_cannot_be_a_token_is_refused() {
        let desk = desk();
        for (name, scopes, days) in [
            ("", &[Scope::Read][..], None),
            ("a\nb", &[Scope::Read], None),
            ("a", &[], None),
            ("a", &[Scope::Read], Some(0)),
        ] {
            assert_eq!(make(&desk, name, scopes, days).err().unwrap().kind, crate::base::error::Kind::Invalid);
        }
        make(&desk, "a", &[Scope::Read], None).unwrap();
        assert_eq!(make(&desk, "a", &[Scope::Read], None).err().unwrap().code, "token_name");
        desk.tokens.revoke("a", &Caller::Operator).unwrap();
        assert!(make(&desk, "a", &[Scope::Read], None).is_ok(), "a name is free again");
    }
}
