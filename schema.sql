-- wayside: the newest schema, whole. A new file is made from this text; an old one is brought here by numbered steps
-- (src/store/migrate.rs) and must then be equal to it. Above each table: the one file that writes it, how long its rows
-- stay, and whether they are personal data. Times are integer ms since 1970 UTC (`*_at`); ids of 16 bytes are blobs
-- where they are canonical UUIDs, else text; `flags` are purpose bits (src/domain/consent.rs).

-- owner: src/store/meta.rs
-- retention: for ever
-- personal: no
CREATE TABLE meta (
  key   TEXT PRIMARY KEY,
  value ANY NOT NULL
) STRICT, WITHOUT ROWID;

-- The one counter over everything in this database; written once per commit group.
-- owner: src/store/meta.rs
-- retention: for ever
-- personal: no
CREATE TABLE seq (
  one  INTEGER PRIMARY KEY CHECK (one = 1),
  last INTEGER NOT NULL CHECK (last >= 0)
) STRICT;

-- Generations of this database. Rows keep the epoch they were born in.
-- owner: src/store/epochs.rs
-- retention: for ever
-- personal: no
CREATE TABLE epochs (
  epoch_id   INTEGER PRIMARY KEY,
  epoch      TEXT    NOT NULL UNIQUE CHECK (length(epoch) = 16),
  edge       TEXT    NOT NULL CHECK (length(edge) = 32),
  started_at INTEGER NOT NULL,
  reason     TEXT    NOT NULL CHECK (reason IN ('first_start', 'fresh_after_damage', 'restore', 'other_hardware', 'fork'))
) STRICT;

-- owner: src/store/sites.rs
-- retention: for ever
-- personal: no
CREATE TABLE sites (
  site_id INTEGER PRIMARY KEY,
  name    TEXT NOT NULL UNIQUE
) STRICT;

-- Immutable: which lawful basis each purpose of a site had.
-- owner: src/store/bases.rs
-- retention: for ever
-- personal: no
CREATE TABLE bases (
  basis_id INTEGER PRIMARY KEY,
  site_id  INTEGER NOT NULL REFERENCES sites (site_id),
  bases    TEXT    NOT NULL,
  since_at INTEGER NOT NULL,
  UNIQUE (site_id, bases)
) STRICT;

-- User agents, parsed once. `used_seq` is at most 4,096 numbers older than the newest visit that refers to it: so the unused
-- are found without an index over visits.
-- owner: src/store/agents.rs
-- retention: until every visit is newer than its last use
-- personal: no
CREATE TABLE agents (
  agent_id        INTEGER PRIMARY KEY,
  user_agent      TEXT NOT NULL UNIQUE,
  category        TEXT NOT NULL CHECK (category IN ('desktop', 'mobile', 'tablet', 'other')),
  device_type     TEXT,
  browser_family  TEXT,
  browser_version TEXT,
  os_family       TEXT,
  os_version      TEXT,
  manufacturer    TEXT,
  robot           TEXT,
  used_seq        INTEGER NOT NULL
) STRICT;

-- One browser or device, at a kiosk one person's turn. `granted` and `denied` are what its decisions amount to;
-- `valid_until` is when the first of what is granted lapses.
-- owner: src/store/visitors.rs
-- retention: with its last visit
-- personal: yes (pseudonymous)
CREATE TABLE visitors (
  visitor_id    INTEGER PRIMARY KEY,
  site_id       INTEGER NOT NULL REFERENCES sites (site_id),
  key           ANY     NOT NULL,
  visitor_ref   BLOB    NOT NULL CHECK (length(visitor_ref) = 16),
  first_seq     INTEGER NOT NULL,
  first_seen_at INTEGER NOT NULL,
  last_seen_at  INTEGER NOT NULL,
  visit_count   INTEGER NOT NULL,
  page_count    INTEGER NOT NULL,
  event_count   INTEGER NOT NULL,
  granted       INTEGER NOT NULL,
  denied        INTEGER NOT NULL,
  signal_shown  INTEGER NOT NULL CHECK (signal_shown IN (0, 1)),
  measure_floor INTEGER NOT NULL,
  floors        INTEGER NOT NULL,
  disclosed     INTEGER NOT NULL CHECK (disclosed IN (0, 1)),
  flags         INTEGER NOT NULL,
  basis_id      INTEGER NOT NULL,
  consent_seq   INTEGER NOT NULL,
  exempt        INTEGER NOT NULL CHECK (exempt IN (0, 1)),
  valid_until   INTEGER,
  UNIQUE (site_id, key),
  CHECK (flags & 1 = 0 OR consent_seq > 0 OR basis_id > 0 OR exempt = 1)
) STRICT;
CREATE INDEX visitors_lapse ON visitors (site_id, valid_until) WHERE valid_until IS NOT NULL;

-- One stretch of browsing. Its words are checked by OR: for IN with more than two SQLite builds a table at each write.
-- What is seldom there stands last: NULLs at the end of a row take no room. `due_at` may be too early, never too late.
-- owner: src/store/visits.rs
-- retention: [retention] visits_months after last activity was received
-- personal: yes (pseudonymous)
CREATE TABLE visits (
  visit_id         INTEGER PRIMARY KEY,
  visit_uuid       BLOB    NOT NULL UNIQUE CHECK (length(visit_uuid) = 16),
  site_id          INTEGER NOT NULL REFERENCES sites (site_id),
  visitor_id       INTEGER NOT NULL REFERENCES visitors (visitor_id),
  epoch_id         INTEGER NOT NULL REFERENCES epochs (epoch_id),
  stream           TEXT    NOT NULL CHECK (stream = 'web' OR stream = 'app' OR stream = 'conversation' OR stream = 'custom'),
  agent_id         INTEGER,
  started_at       INTEGER NOT NULL,
  last_active_at   INTEGER NOT NULL,
  last_received_at INTEGER NOT NULL,
  due_at           INTEGER NOT NULL,
  source           INTEGER NOT NULL,
  entry_page_id    INTEGER,
  last_page_id     INTEGER,
  page_count       INTEGER NOT NULL,
  screen_count     INTEGER NOT NULL,
  event_count      INTEGER NOT NULL,
  authenticated    INTEGER NOT NULL CHECK (authenticated IN (0, 1)),
  last_seq         INTEGER NOT NULL,
  snapshot_seq     INTEGER NOT NULL,
  flags            INTEGER NOT NULL,
  basis_id         INTEGER NOT NULL,
  consent_seq      INTEGER NOT NULL,
  exempt           INTEGER NOT NULL CHECK (exempt IN (0, 1)),
  ended_at         INTEGER,
  end_reason       TEXT CHECK (end_reason = 'idle' OR end_reason = 'new_source' OR end_reason = 'browser_closed' OR end_reason = 'left_site'
                               OR end_reason = 'next_person' OR end_reason = 'expired' OR end_reason = 'new_epoch'),
  referrer         TEXT,
  campaign         TEXT,
  context          TEXT,
  place            TEXT,
  ip               TEXT,
  searches         TEXT,
  session_id       INTEGER,
  client_visit     ANY,
  device_id        TEXT,
  CHECK ((ended_at IS NULL) = (end_reason IS NULL)),
  CHECK (flags & 1 = 1)
) STRICT;
CREATE INDEX visits_visitor ON visits (visitor_id, started_at);
CREATE INDEX visits_due ON visits (due_at) WHERE ended_at IS NULL;
CREATE INDEX visits_changed ON visits (visit_id) WHERE ended_at IS NOT NULL AND snapshot_seq < last_seq;

-- One occurrence. `page_id` is the seq of the event that entered the page it happened on; of that event itself `url` and
-- `title` are the page's, and the columns from `dwell_ms` on tell of it. `client_at` is null where it is the corrected time
-- (clock_state 1); of `attribute_types` see src/domain/attributes.rs. NULLs at the end of a row take no room.
-- owner: src/store/events.rs
-- retention: [retention] visits_months after it was received
-- personal: yes (pseudonymous)
CREATE TABLE events (
  seq          INTEGER PRIMARY KEY,
  event_id     ANY     NOT NULL,
  site_id      INTEGER NOT NULL,
  epoch_id     INTEGER NOT NULL,
  visit_id     INTEGER NOT NULL REFERENCES visits (visit_id),
  page_id      INTEGER,
  name         TEXT    NOT NULL,
  system       INTEGER NOT NULL CHECK (system IN (0, 1)),
  lane         INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 3),
  content_hash INTEGER NOT NULL,
  received_at  INTEGER NOT NULL,
  corrected_at INTEGER NOT NULL,
  clock_state  INTEGER NOT NULL CHECK (clock_state BETWEEN 0 AND 4),
  flags        INTEGER NOT NULL CHECK (flags & 1 = 1),
  basis_id     INTEGER NOT NULL,
  consent_seq  INTEGER NOT NULL,
  exempt       INTEGER NOT NULL CHECK (exempt IN (0, 1)),
  salt         BLOB    NOT NULL CHECK (length(salt) = 12),
  url          TEXT,
  title        TEXT,
  referrer     TEXT,
  attributes   TEXT,
  attribute_types TEXT,
  dwell_ms     INTEGER,
  client_at    INTEGER,
  sent_at      INTEGER,
  session_id   INTEGER,
  search_query TEXT,
  conversation TEXT,
  withheld     TEXT,
  client_page  ANY,
  screen       TEXT,
  keywords     TEXT,
  language     TEXT,
  category     TEXT,
  was          TEXT,
  replaces     INTEGER,
  UNIQUE (event_id, site_id),
  CHECK (consent_seq > 0 OR basis_id > 0 OR exempt = 1)
) STRICT;
CREATE INDEX events_visit ON events (visit_id);
CREATE INDEX events_lane ON events (lane, seq) WHERE lane <> 2;

-- One entering of a page or screen: the event that entered it.
-- owner: src/store/pages.rs (a view; nothing is written)
CREATE VIEW pages AS
  SELECT seq AS page_id, visit_id, client_page, url, screen, title, keywords, language, category, corrected_at AS entered_at,
    corrected_at + dwell_ms AS exited_at, dwell_ms, flags, basis_id, consent_seq
  FROM events WHERE page_id = seq;

-- Personal fields, kept only with the right to personal: one sealed cell each (XChaCha20-Poly1305 under a key of keys.db, bound to
-- table, field and seq). `n` tells values of one name in one event apart. `blind` is a keyed hash of the normalised value, where
-- a field is looked up.
-- owner: src/store/personal.rs
-- retention: [retention] personal_days after the visitor's last visit
-- personal: yes
CREATE TABLE personal (
  seq        INTEGER NOT NULL,
  n          INTEGER NOT NULL,
  visitor_id INTEGER NOT NULL,
  key_ref    BLOB    NOT NULL CHECK (length(key_ref) = 16),
  field      TEXT    NOT NULL,
  value      BLOB    NOT NULL CHECK (length(value) >= 40),
  data_type  TEXT    NOT NULL,
  blind      BLOB    CHECK (length(blind) = 16),
  at         INTEGER NOT NULL,
  PRIMARY KEY (seq, field, n)
) STRICT, WITHOUT ROWID;
CREATE INDEX personal_visitor ON personal (visitor_id);
CREATE INDEX personal_blind ON personal (blind) WHERE blind IS NOT NULL;

-- What is known of a customer, by the site's own name for them: that name is sealed, and found by `blind`, its keyed hash.
-- owner: src/store/identities.rs
-- retention: [retention] personal_days after it was last seen
-- personal: yes
CREATE TABLE identities (
  identity_id   INTEGER PRIMARY KEY,
  site_id       INTEGER NOT NULL REFERENCES sites (site_id),
  key_ref       BLOB    NOT NULL CHECK (length(key_ref) = 16),
  key           BLOB    NOT NULL CHECK (length(key) >= 40),
  blind         BLOB    NOT NULL CHECK (length(blind) = 16),
  state         TEXT    NOT NULL CHECK (state IN ('recognized', 'authenticated')),
  first_seen_at INTEGER NOT NULL,
  last_seen_at  INTEGER NOT NULL,
  flags         INTEGER NOT NULL,
  basis_id      INTEGER NOT NULL,
  consent_seq   INTEGER NOT NULL,
  UNIQUE (blind, site_id)
) STRICT;

-- The authenticated period SignIn to SignOut inside a visit. `identity_id` is null where the identity was withheld.
-- owner: src/store/sessions.rs
-- retention: with its visit
-- personal: yes (pseudonymous)
CREATE TABLE sessions (
  session_id   INTEGER PRIMARY KEY,
  session_uuid BLOB    NOT NULL CHECK (length(session_uuid) = 16),
  visit_id     INTEGER NOT NULL REFERENCES visits (visit_id),
  identity_id  INTEGER,
  started_at   INTEGER NOT NULL,
  ended_at     INTEGER,
  flags        INTEGER NOT NULL,
  basis_id     INTEGER NOT NULL,
  consent_seq  INTEGER NOT NULL
) STRICT;
CREATE INDEX sessions_visit ON sessions (visit_id);

-- Which identity was tied to which visit, visitor and session, and how (Web Engagement's contacts).
-- owner: src/store/identities.rs
-- retention: with its visit
-- personal: yes
CREATE TABLE contacts (
  identity_id INTEGER NOT NULL,
  visit_id    INTEGER NOT NULL,
  visitor_id  INTEGER NOT NULL,
  session_id  INTEGER,
  association TEXT    NOT NULL CHECK (association IN ('recognized', 'authenticated')),
  at          INTEGER NOT NULL,
  PRIMARY KEY (identity_id, visit_id, association)
) STRICT, WITHOUT ROWID;
CREATE INDEX contacts_visit ON contacts (visit_id);

-- What people were told before they decided: one row for each language of a version. `digest` is over the canonical encoding
-- of an own notice (src/domain/notice.rs); of an external one its tool says it. Immutable.
-- owner: src/store/notices.rs
-- retention: for ever, since decisions refer to it
-- personal: no
CREATE TABLE notices (
  notice_id    INTEGER PRIMARY KEY,
  site_id      INTEGER NOT NULL REFERENCES sites (site_id),
  version      TEXT    NOT NULL CHECK (version <> 'none'),
  language     TEXT    NOT NULL,
  digest       BLOB    NOT NULL CHECK (length(digest) = 32),
  valid_from   INTEGER NOT NULL,
  published_at INTEGER NOT NULL,
  origin       TEXT    NOT NULL CHECK (origin IN ('own', 'external')),
  body         TEXT    NOT NULL,
  UNIQUE (site_id, version, language)
) STRICT;
CREATE TRIGGER notices_stay BEFORE UPDATE ON notices BEGIN SELECT RAISE(ABORT, 'notices are immutable'); END;
CREATE TRIGGER notices_remain BEFORE DELETE ON notices BEGIN SELECT RAISE(ABORT, 'notices are kept'); END;
-- INSERT OR REPLACE removes a row without asking the trigger above
CREATE TRIGGER notices_once BEFORE INSERT ON notices
WHEN EXISTS (SELECT 1 FROM notices n WHERE n.notice_id = NEW.notice_id
             OR n.site_id = NEW.site_id AND n.version = NEW.version AND n.language = NEW.language)
BEGIN SELECT RAISE(ABORT, 'a notice is published once'); END;

-- Decisions, append only. `subject_ref` is the visitor_ref, or a fresh reference where no visitor is kept (refusals).
-- What a row says is the content of its entry in the ledger, which stays when the row goes.
-- owner: src/store/decisions.rs
-- retention: [retention] ledger_months after the last event
-- personal: yes (pseudonymous)
CREATE TABLE decisions (
  seq           INTEGER PRIMARY KEY,
  ledger_no     INTEGER NOT NULL,
  decision_id   ANY     NOT NULL,
  site_id       INTEGER NOT NULL REFERENCES sites (site_id),
  epoch_id      INTEGER NOT NULL,
  subject_ref   BLOB    NOT NULL CHECK (length(subject_ref) = 16),
  action        TEXT    NOT NULL CHECK (action = 'give' OR action = 'refuse' OR action = 'withdraw' OR action = 'expire' OR action = 'object'
                                        OR action = 'restrict' OR action = 'release' OR action = 'erase' OR action = 'rectify'),
  purposes      INTEGER NOT NULL,
  before        INTEGER NOT NULL,
  after         INTEGER NOT NULL,
  current       INTEGER NOT NULL CHECK (current IN (0, 1)),
  method        TEXT    NOT NULL,
  actor         TEXT    NOT NULL CHECK (actor = 'subject' OR actor = 'sender' OR actor = 'operator' OR actor = 'system'),
  notice        TEXT    NOT NULL,
  notice_digest BLOB    CHECK (length(notice_digest) = 32),
  language      TEXT,
  gpc           INTEGER NOT NULL CHECK (gpc IN (0, 1)),
  dnt           INTEGER NOT NULL CHECK (dnt IN (0, 1)),
  signal_shown  INTEGER NOT NULL CHECK (signal_shown IN (0, 1)),
  client_at     INTEGER,
  received_at   INTEGER NOT NULL,
  corrected_at  INTEGER NOT NULL,
  expires_at    INTEGER,
  basis_id      INTEGER NOT NULL,
  salt          BLOB    NOT NULL CHECK (length(salt) = 12),
  evidence      BLOB    CHECK (length(evidence) = 32),
  UNIQUE (decision_id, site_id)
) STRICT;
CREATE INDEX decisions_subject ON decisions (subject_ref);
CREATE TRIGGER decisions_follow BEFORE INSERT ON decisions
  WHEN NEW.ledger_no <> (SELECT coalesce(max(l.ledger_no), 0) + 1 FROM ledger l) OR NEW.seq <= (SELECT max(d.seq) FROM decisions d)
  BEGIN SELECT RAISE(ABORT, 'a decision takes the next number of the ledger'); END;
CREATE TRIGGER decisions_stay BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END;
CREATE TRIGGER decisions_leave BEFORE DELETE ON decisions
  WHEN NOT EXISTS (SELECT 1 FROM cleared c WHERE c.ledger_no = OLD.ledger_no)
  BEGIN SELECT RAISE(ABORT, 'no entry of the ledger explains why a decision goes'); END;

-- The hash chain over decisions and what became of them. `leaf` is the digest of an entry's content (a row of decisions, or
-- `detail`), `hash` that of the entry, `prev` the hash of the one before (src/domain/ledger.rs). A content may go, its entry
-- stays: the chain can be followed whatever a person had removed. `at` is full minutes.
-- owner: src/store/ledger.rs
-- retention: [retention] ledger_months, then until a signed anchor stands for all entries up to it: none of their contents is left
-- personal: no
CREATE TABLE ledger (
  ledger_no INTEGER PRIMARY KEY,
  seq       INTEGER NOT NULL,
  kind      TEXT    NOT NULL CHECK (kind = 'decision' OR kind = 'ground' OR kind = 'clock' OR kind = 'prune' OR kind = 'erasure'
                                    OR kind = 'notice' OR kind = 'proof' OR kind = 'key' OR kind = 'request' OR kind = 'restore'
                                    OR kind = 'erase'),
  at        INTEGER NOT NULL CHECK (at % 60000 = 0),
  detail    TEXT    CHECK ((detail IS NULL) = (kind = 'decision')),
  prev      BLOB    NOT NULL CHECK (length(prev) = 32),
  leaf      BLOB    NOT NULL CHECK (length(leaf) = 32),
  hash      BLOB    NOT NULL CHECK (length(hash) = 32)
) STRICT;
CREATE TRIGGER ledger_follow BEFORE INSERT ON ledger
  WHEN NEW.ledger_no <> (SELECT coalesce(max(l.ledger_no), 0) + 1 FROM ledger l)
    OR NEW.prev <> coalesce((SELECT l.hash FROM ledger l ORDER BY l.ledger_no DESC LIMIT 1), zeroblob(32))
    OR NEW.kind = 'decision' AND NOT EXISTS (SELECT 1 FROM decisions d WHERE d.seq = NEW.seq AND d.ledger_no = NEW.ledger_no)
  BEGIN SELECT RAISE(ABORT, 'an entry of the ledger follows the one before'); END;
CREATE TRIGGER ledger_stay BEFORE UPDATE ON ledger BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER ledger_leave BEFORE DELETE ON ledger
  WHEN OLD.ledger_no > (SELECT coalesce(max(c.ledger_no), 0) FROM checkpoints c WHERE c.anchor = 1)
    OR EXISTS (SELECT 1 FROM decisions d WHERE d.seq = OLD.seq AND d.ledger_no = OLD.ledger_no)
  BEGIN SELECT RAISE(ABORT, 'no anchor stands for this entry of the ledger'); END;

-- Entries whose content was removed, and the entry that says why.
-- owner: src/store/ledger.rs
-- retention: with its entry
-- personal: no
CREATE TABLE cleared (
  ledger_no INTEGER PRIMARY KEY,
  by_no     INTEGER NOT NULL
) STRICT;
CREATE TRIGGER cleared_follow BEFORE INSERT ON cleared
  WHEN NOT EXISTS (SELECT 1 FROM ledger l WHERE l.ledger_no = NEW.by_no AND l.kind IN ('prune', 'erasure'))
    OR NOT EXISTS (SELECT 1 FROM decisions d JOIN ledger l ON l.ledger_no = NEW.ledger_no AND d.seq = l.seq)
  BEGIN SELECT RAISE(ABORT, 'an entry of the ledger must say why a content goes'); END;
CREATE TRIGGER cleared_stay BEFORE UPDATE ON cleared BEGIN SELECT RAISE(ABORT, 'the ledger is append-only'); END;
CREATE TRIGGER cleared_leave BEFORE DELETE ON cleared
  WHEN OLD.ledger_no > (SELECT coalesce(max(c.ledger_no), 0) FROM checkpoints c WHERE c.anchor = 1)
  BEGIN SELECT RAISE(ABORT, 'no anchor stands for this entry of the ledger'); END;

-- Signed statements of how far the ledger went, each naming the one before. An anchor stands for entries that are gone.
-- owner: src/store/checkpoints.rs
-- retention: until an anchor stands for what it signed
-- personal: no
CREATE TABLE checkpoints (
  checkpoint_no INTEGER PRIMARY KEY,
  ledger_no     INTEGER NOT NULL,
  anchor        INTEGER NOT NULL CHECK (anchor IN (0, 1)),
  at            INTEGER NOT NULL,
  signed        TEXT    NOT NULL,
  signature     BLOB    NOT NULL CHECK (length(signature) = 64)
) STRICT;
CREATE INDEX checkpoints_anchor ON checkpoints (ledger_no) WHERE anchor = 1;
CREATE TRIGGER checkpoints_follow BEFORE INSERT ON checkpoints
  WHEN NEW.checkpoint_no <> (SELECT coalesce(max(c.checkpoint_no), 0) + 1 FROM checkpoints c)
    OR NEW.ledger_no > (SELECT coalesce(max(l.ledger_no), 0) FROM ledger l)
  BEGIN SELECT RAISE(ABORT, 'a checkpoint follows the one before'); END;
CREATE TRIGGER checkpoints_stay BEFORE UPDATE ON checkpoints BEGIN SELECT RAISE(ABORT, 'checkpoints are append-only'); END;
CREATE TRIGGER checkpoints_leave BEFORE DELETE ON checkpoints
  WHEN OLD.checkpoint_no >= (SELECT coalesce(max(c.checkpoint_no), 0) FROM checkpoints c WHERE c.anchor = 1)
  BEGIN SELECT RAISE(ABORT, 'no anchor follows this checkpoint'); END;

-- How a decision came about: the page, the banner's digest, another tool's record. The ledger holds SHA-256 of nonce and body.
-- owner: src/store/evidence.rs
-- retention: with its decision, or removed by itself when its person is erased
-- personal: yes (pseudonymous)
CREATE TABLE evidence (
  seq         INTEGER PRIMARY KEY,
  subject_ref BLOB NOT NULL CHECK (length(subject_ref) = 16),
  nonce       BLOB NOT NULL CHECK (length(nonce) = 16),
  body        TEXT NOT NULL
) STRICT;
CREATE INDEX evidence_subject ON evidence (subject_ref);

-- Keyed hashes of the codes that kiosks print on receipts; a code opens its visitor.
-- owner: src/store/codes.rs
-- retention: with its visitor
-- personal: yes (pseudonymous)
CREATE TABLE codes (
  code_hash  BLOB    PRIMARY KEY CHECK (length(code_hash) = 32),
  visitor_id INTEGER NOT NULL,
  made_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX codes_visitor ON codes (visitor_id);

-- Decisions of erased persons, sealed to the controller's public key: nothing in the file opens them or tells whose they are.
-- owner: src/store/proofs.rs
-- retention: [erase] proof_months
-- personal: yes (sealed)
CREATE TABLE proofs (
  proof_id   INTEGER PRIMARY KEY,
  at         INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  recipient  TEXT    NOT NULL CHECK (length(recipient) = 64),
  sealed     BLOB    NOT NULL
) STRICT;
CREATE INDEX proofs_expire ON proofs (expires_at);

-- Persons of whom no visitor is kept any more (or never was): their decisions stay [retention] ledger_months after the last
-- event, which no other row tells then.
-- owner: src/store/departed.rs
-- retention: with the decisions of its person
-- personal: yes (pseudonymous)
CREATE TABLE departed (
  subject_ref  BLOB    PRIMARY KEY CHECK (length(subject_ref) = 16),
  last_seen_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX departed_at ON departed (last_seen_at);

-- Stretches in which a visitor had said no.
-- owner: src/store/denials.rs
-- retention: with its visitor
-- personal: yes (pseudonymous)
CREATE TABLE denials (
  denial_id  INTEGER PRIMARY KEY,
  visitor_id INTEGER NOT NULL REFERENCES visitors (visitor_id),
  purposes   INTEGER NOT NULL,
  from_at    INTEGER NOT NULL,
  until_at   INTEGER
) STRICT;
CREATE INDEX denials_visitor ON denials (visitor_id);

-- Per visitor and purpose the seq at or below which nothing may leave or be read under that purpose. Never lifted.
-- owner: src/store/floors.rs
-- retention: with its visitor
-- personal: yes (pseudonymous)
CREATE TABLE floors (
  visitor_id INTEGER NOT NULL REFERENCES visitors (visitor_id),
  purpose    INTEGER NOT NULL,
  floor_seq  INTEGER NOT NULL,
  PRIMARY KEY (visitor_id, purpose)
) STRICT, WITHOUT ROWID;
-- for the removal of what is withdrawn: only floors set since the last look are read
CREATE INDEX floors_newest ON floors (purpose, floor_seq);

-- A no that outlives its visitor's rows, under a keyed hash of the id: so that it is kept without keeping the id. A restriction
-- of somebody of whom nothing is stored stands here too.
-- owner: src/store/refusals.rs
-- retention: [retention] ledger_months
-- personal: yes (pseudonymous)
CREATE TABLE refusals (
  id_hash    BLOB    PRIMARY KEY CHECK (length(id_hash) = 32),
  purposes   INTEGER NOT NULL,
  decided_at INTEGER NOT NULL,
  decision   INTEGER NOT NULL,
  restricted INTEGER NOT NULL DEFAULT 0 CHECK (restricted IN (0, 1))
) STRICT, WITHOUT ROWID;

-- Visitors whose processing is or was restricted (GDPR Art. 18). Lines numbered at or below `upto_seq` do not leave:
-- 9007199254740991 while it lasts, since its release the counter of then; the events leave again by `again`.
-- owner: src/store/restrictions.rs
-- retention: with its visitor
-- personal: yes (pseudonymous)
CREATE TABLE restrictions (
  visitor   INTEGER PRIMARY KEY REFERENCES visitors (visitor_id),
  since_seq INTEGER NOT NULL,
  upto_seq  INTEGER NOT NULL,
  resent    INTEGER NOT NULL CHECK (resent IN (0, 1))
) STRICT;

-- Events that leave once more, under a new number, after a restriction was released; rendered from the event's own row.
-- owner: src/store/again.rs
-- retention: with its event
-- personal: yes (pseudonymous)
CREATE TABLE again (
  seq      INTEGER PRIMARY KEY,
  lane     INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 3),
  epoch_id INTEGER NOT NULL,
  of_seq   INTEGER NOT NULL REFERENCES events (seq),
  replaces INTEGER NOT NULL,
  flags    INTEGER NOT NULL,
  salt     BLOB    NOT NULL CHECK (length(salt) = 12)
) STRICT;
CREATE INDEX again_of ON again (of_seq, seq);

-- Sealed batches in which a hole has been written since: files of them must be rendered again.
-- owner: src/store/stale.rs
-- retention: until every target has looked
-- personal: no
CREATE TABLE stale (
  epoch_id  INTEGER NOT NULL,
  lane      INTEGER NOT NULL,
  batch_no  INTEGER NOT NULL,
  since_seq INTEGER NOT NULL,
  PRIMARY KEY (epoch_id, lane, batch_no)
) STRICT, WITHOUT ROWID;

-- What needs a person, while it lasts: a fork, a token that is not accepted, rows a receiver refuses.
-- owner: src/store/alarms.rs
-- retention: until what it tells of is well again
-- personal: no
CREATE TABLE alarms (
  code     TEXT    NOT NULL,
  about    TEXT    NOT NULL,
  what     TEXT    NOT NULL,
  first_at INTEGER NOT NULL,
  last_at  INTEGER NOT NULL,
  times    INTEGER NOT NULL CHECK (times > 0),
  PRIMARY KEY (code, about)
) STRICT, WITHOUT ROWID;

-- Lines that one target will never take: holes for it alone. The rows stay here.
-- owner: src/store/refused.rs
-- retention: with their batch, and no longer than the target is remembered
-- personal: no
CREATE TABLE refused (
  target TEXT    NOT NULL,
  lane   INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 3),
  seq    INTEGER NOT NULL,
  why    TEXT    NOT NULL CHECK (why = 'bad_rows' OR why = 'too_large'),
  at     INTEGER NOT NULL,
  PRIMARY KEY (target, lane, seq)
) STRICT, WITHOUT ROWID;

-- What a target takes at once, compressed and before gzip, where it has refused more.
-- owner: src/store/limits.rs
-- retention: 30 days after it was learned, and no longer than the target is remembered
-- personal: no
CREATE TABLE limits (
  target         TEXT    PRIMARY KEY,
  body_bytes_max INTEGER NOT NULL CHECK (body_bytes_max > 0),
  line_bytes_max INTEGER NOT NULL CHECK (line_bytes_max > 0),
  at             INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Counters of events without the right to measure; they name nobody.
-- owner: src/store/counts.rs
-- retention: [retention] counts_months
-- personal: no
CREATE TABLE counts (
  site_id  INTEGER NOT NULL,
  hour_at  INTEGER NOT NULL,
  path     TEXT    NOT NULL,
  device   TEXT    NOT NULL,
  medium   TEXT    NOT NULL,
  robot    INTEGER NOT NULL CHECK (robot IN (0, 1)),
  epoch_id INTEGER NOT NULL,
  n        INTEGER NOT NULL CHECK (n > 0),
  PRIMARY KEY (site_id, hour_at, path, device, medium, robot, epoch_id)
) STRICT, WITHOUT ROWID;

-- Hours of counters that have changed since their line was made.
-- owner: src/store/counts.rs
-- retention: until the line is made
-- personal: no
CREATE TABLE count_hours (
  site_id INTEGER NOT NULL,
  hour_at INTEGER NOT NULL,
  PRIMARY KEY (site_id, hour_at)
) STRICT, WITHOUT ROWID;

-- Lines frozen when they were made: visit snapshots, counts, decisions, withdrawals, losses, clock steps.
-- owner: src/store/frozen.rs
-- retention: as the rows it was made from; lines about no visitor [retention] ledger_months
-- personal: yes (pseudonymous) where visitor_id is set
CREATE TABLE frozen (
  seq          INTEGER PRIMARY KEY,
  lane         INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 3),
  kind         TEXT    NOT NULL CHECK (kind = 'visit' OR kind = 'count' OR kind = 'decision' OR kind = 'withdrawal' OR kind = 'loss'
                                       OR kind = 'clock' OR kind = 'erasure' OR kind = 'rectification' OR kind = 'checkpoint'),
  epoch_id     INTEGER NOT NULL,
  site_id      INTEGER,
  visitor_id   INTEGER,
  first_seq    INTEGER NOT NULL,
  received_at  INTEGER NOT NULL,
  corrected_at INTEGER NOT NULL,
  flags        INTEGER NOT NULL,
  consent_seq  INTEGER NOT NULL,
  exempt       INTEGER NOT NULL CHECK (exempt IN (0, 1)),
  salt         BLOB    NOT NULL CHECK (length(salt) = 12),
  body         TEXT    NOT NULL
) STRICT;
CREATE INDEX frozen_lane ON frozen (lane, seq);
CREATE INDEX frozen_visitor ON frozen (visitor_id) WHERE visitor_id IS NOT NULL;

-- Sealed batches: boundaries, digest, chain, the signed part as exact bytes. Rendered when put, never stored as lines.
-- owner: src/store/batches.rs
-- retention: [retention] ledger_months once every required target has it; the newest of a lane and epoch stays
-- personal: no
CREATE TABLE batches (
  epoch_id    INTEGER NOT NULL REFERENCES epochs (epoch_id),
  lane        INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 3),
  batch_no    INTEGER NOT NULL CHECK (batch_no > 0),
  first_seq   INTEGER NOT NULL,
  last_seq    INTEGER NOT NULL,
  line_count  INTEGER NOT NULL CHECK (line_count > 0),
  digest      BLOB    NOT NULL CHECK (length(digest) = 32),
  min_received_at INTEGER NOT NULL,
  max_received_at INTEGER NOT NULL,
  sealed_at   INTEGER NOT NULL,
  edge_label  TEXT    NOT NULL,
  schema      TEXT    NOT NULL,
  sealed_part BLOB    NOT NULL,
  signature   BLOB    NOT NULL CHECK (length(signature) = 64),
  PRIMARY KEY (epoch_id, lane, batch_no)
) STRICT, WITHOUT ROWID;
CREATE INDEX batches_lane ON batches (lane, first_seq);
CREATE INDEX batches_behind ON batches (epoch_id, lane, batch_no, line_count, min_received_at);

-- How far each lane is sealed.
-- owner: src/store/batches.rs
-- retention: for ever
-- personal: no
CREATE TABLE sealed (
  lane     INTEGER PRIMARY KEY CHECK (lane BETWEEN 0 AND 3),
  upto_seq INTEGER NOT NULL
) STRICT;

-- Numbers and digests of lines that lie in a batch and may no longer leave. Without a digest: a row within a batch's
-- boundaries that was left out when it was sealed and has no line in it.
-- owner: src/store/holes.rs
-- retention: with its batch
-- personal: no
CREATE TABLE holes (
  seq         INTEGER PRIMARY KEY,
  lane        INTEGER NOT NULL,
  epoch_id    INTEGER NOT NULL,
  reason      TEXT    NOT NULL CHECK (reason IN ('withdrawn', 'erased', 'restricted', 'rectified', 'no_right', 'refused', 'quota', 'retention')),
  line_sha256 BLOB    CHECK (length(line_sha256) = 32),
  at          INTEGER NOT NULL
) STRICT;

-- Stretches of a lane whose batches were voided: rows born in `epoch_id` with numbers in them count as born in `new_epoch_id`.
-- owner: src/store/forks.rs
-- retention: for ever
-- personal: no
CREATE TABLE forks (
  epoch_id     INTEGER NOT NULL REFERENCES epochs (epoch_id),
  lane         INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 3),
  after_seq    INTEGER NOT NULL,
  upto_seq     INTEGER NOT NULL,
  new_epoch_id INTEGER NOT NULL REFERENCES epochs (epoch_id),
  PRIMARY KEY (epoch_id, lane, new_epoch_id)
) STRICT, WITHOUT ROWID;

-- Up to where every required target had acknowledged a lane, by day: what has been delivered for long enough may go.
-- owner: src/store/grace.rs
-- retention: [quota] grace_days, and the newest day before
-- personal: no
CREATE TABLE grace (
  lane     INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 3),
  day_at   INTEGER NOT NULL,
  upto_seq INTEGER NOT NULL,
  PRIMARY KEY (lane, day_at)
) STRICT, WITHOUT ROWID;

-- How far each target has each lane: put, acknowledged, and ever acknowledged (a target may lose what it had).
-- owner: src/store/cursors.rs
-- retention: while the target is configured, and until its last attempt is forgotten
-- personal: no
CREATE TABLE cursors (
  target     TEXT    NOT NULL,
  epoch_id   INTEGER NOT NULL,
  lane       INTEGER NOT NULL,
  put_no     INTEGER NOT NULL,
  acked_no   INTEGER NOT NULL,
  failures   INTEGER NOT NULL,
  next_at    INTEGER NOT NULL,
  last_error TEXT,
  ever_no    INTEGER NOT NULL,
  PRIMARY KEY (target, epoch_id, lane)
) STRICT, WITHOUT ROWID;

-- Who may acknowledge for a cursor: one puller at a time.
-- owner: src/store/leases.rs
-- retention: one row for each cursor, for ever: its number must never come again
-- personal: no
CREATE TABLE leases (
  cursor     TEXT    PRIMARY KEY,
  fence      INTEGER NOT NULL CHECK (fence > 0),
  holder     TEXT    NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Every attempt to send: committed before the first byte, with the decision it was checked against.
-- owner: src/store/attempts.rs
-- retention: 90 days
-- personal: no
CREATE TABLE attempts (
  attempt_id INTEGER PRIMARY KEY,
  target     TEXT    NOT NULL,
  epoch_id   INTEGER NOT NULL,
  lane       INTEGER NOT NULL,
  batch_no   INTEGER NOT NULL,
  ledger_seq INTEGER NOT NULL,
  began_at   INTEGER NOT NULL,
  ended_at   INTEGER,
  outcome    TEXT,
  hole_count INTEGER
) STRICT;
CREATE INDEX attempts_batch ON attempts (epoch_id, lane, batch_no);

-- Where an imported source was left: by the hash of its first bytes.
-- owner: src/store/imports.rs
-- retention: [retention] visits_months
-- personal: no
CREATE TABLE imports (
  source      BLOB    PRIMARY KEY CHECK (length(source) = 32),
  head_bytes  INTEGER NOT NULL,
  taken_bytes INTEGER NOT NULL,
  taken_lines INTEGER NOT NULL,
  at          INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Spool files taken in, so that none is taken twice.
-- owner: src/store/imports.rs
-- retention: 7 days after the file is gone
-- personal: no
CREATE TABLE spooled (
  name   TEXT    PRIMARY KEY,
  digest BLOB    NOT NULL,
  lines  INTEGER NOT NULL,
  at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Who may ask from the network, and for what: a digest of each token, never the token.
-- owner: src/store/tokens.rs
-- retention: for ever (a revoked one explains the audit)
-- personal: no
CREATE TABLE tokens (
  token_id     BLOB    PRIMARY KEY CHECK (length(token_id) = 16),
  name         TEXT    NOT NULL,
  scopes       INTEGER NOT NULL CHECK (scopes BETWEEN 1 AND 63),
  digest       BLOB    NOT NULL UNIQUE CHECK (length(digest) = 32),
  prefix       TEXT    NOT NULL CHECK (length(prefix) = 6),
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER,
  revoked_at   INTEGER,
  last_used_at INTEGER,
  edge         TEXT    CHECK (length(edge) = 32),
  CHECK ((edge IS NOT NULL) = (scopes & 32 <> 0))
) STRICT, WITHOUT ROWID;

-- What was done administratively with people's data: who, what, when. No personal values.
-- owner: src/store/audit.rs
-- retention: [retention] ledger_months
-- personal: no
CREATE TABLE audit (
  audit_id INTEGER PRIMARY KEY,
  at       INTEGER NOT NULL,
  who      TEXT    NOT NULL,
  what     TEXT    NOT NULL,
  about    TEXT,
  note     TEXT
) STRICT;
CREATE INDEX audit_about ON audit (about) WHERE about IS NOT NULL;

-- The register of what data subjects asked for (GDPR Art. 12 to 21).
-- owner: src/store/requests.rs
-- retention: [retention] ledger_months after it was closed
-- personal: yes (pseudonymous)
CREATE TABLE requests (
  request_id        BLOB    PRIMARY KEY CHECK (length(request_id) = 16),
  kind              TEXT    NOT NULL CHECK (kind IN ('access', 'rectify', 'erase', 'restrict', 'object', 'portability')),
  state             TEXT    NOT NULL CHECK (state IN ('received', 'verified', 'running', 'answered', 'refused', 'unidentifiable')),
  level             TEXT    CHECK (level IN ('device', 'assertion', 'operator')),
  channel           TEXT    NOT NULL CHECK (channel IN ('operator', 'api', 'page')),
  opened_by         TEXT    NOT NULL,
  received_at       INTEGER NOT NULL,
  due_at            INTEGER NOT NULL CHECK (due_at > received_at),
  extension         TEXT,
  verification      TEXT,
  closed_at         INTEGER,
  answer            TEXT,
  result_digest     BLOB    CHECK (length(result_digest) = 32),
  result_expires_at INTEGER,
  told_seq          INTEGER,
  CHECK ((closed_at IS NULL) = (state IN ('received', 'verified', 'running'))),
  CHECK (level IS NOT NULL OR state IN ('received', 'refused', 'unidentifiable'))
) STRICT, WITHOUT ROWID;
CREATE INDEX requests_due ON requests (due_at) WHERE closed_at IS NULL;

-- Whose rows a request is about, by their numbers.
-- owner: src/store/requests.rs
-- retention: with its request
-- personal: yes (pseudonymous)
CREATE TABLE request_people (
  request_id BLOB    NOT NULL REFERENCES requests (request_id),
  of         TEXT    NOT NULL CHECK (of IN ('visitor', 'identity')),
  row_id     INTEGER NOT NULL,
  PRIMARY KEY (request_id, of, row_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_people_row ON request_people (row_id);

-- Ids of erased persons, under a keyed hash: a late event cannot bring one back.
-- owner: src/store/suppressed.rs
-- retention: [retention] suppression_months
-- personal: yes (pseudonymous)
CREATE TABLE suppressed (
  id_hash   BLOB    PRIMARY KEY CHECK (length(id_hash) = 32),
  erased_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Erasures of one visitor's or one identity's rows, or of a `part` of a visitor's up to a number, and how far each is. `marks` = what it is looked for by, sealed under a
-- key that lies in a file of its own and goes with it. Done on this machine where `step` is done and `unreachable` null.
-- owner: src/store/erasures.rs
-- retention: [retention] ledger_months after it was done
-- personal: yes (pseudonymous)
CREATE TABLE erasures (
  erasure_id  BLOB    PRIMARY KEY CHECK (length(erasure_id) = 16),
  request_id  BLOB    CHECK (length(request_id) = 16),
  site_id     INTEGER NOT NULL REFERENCES sites (site_id),
  subject_ref BLOB    NOT NULL CHECK (length(subject_ref) = 16),
  visitor_id  INTEGER,
  identity_id INTEGER,
  step        TEXT    NOT NULL CHECK (step IN ('rows', 'files', 'keys', 'log', 'check', 'done')),
  marks       BLOB,
  opened_at   INTEGER NOT NULL,
  opened_by   TEXT    NOT NULL,
  done_at     INTEGER,
  row_count   INTEGER NOT NULL,
  told_seq    INTEGER,
  waiting     TEXT,
  unreachable TEXT,
  result      TEXT,
  result_digest BLOB  CHECK (length(result_digest) = 32),
  part        TEXT    CHECK (part IN ('anonymous', 'unknown')),
  upto_seq    INTEGER,
  CHECK ((visitor_id IS NULL) <> (identity_id IS NULL)),
  CHECK ((part IS NULL) = (upto_seq IS NULL) AND (part IS NULL OR visitor_id IS NOT NULL)),
  CHECK ((done_at IS NULL) = (step <> 'done'))
) STRICT, WITHOUT ROWID;
CREATE INDEX erasures_open ON erasures (step) WHERE step <> 'done' OR unreachable IS NOT NULL;

-- Numbers of rows that an erasure has deleted and that may have left, by birth epoch; `told` = a line names them.
-- owner: src/store/erasures.rs
-- retention: with its erasure
-- personal: no
CREATE TABLE erased_rows (
  erasure_id BLOB    NOT NULL REFERENCES erasures (erasure_id),
  epoch_id   INTEGER NOT NULL,
  first_seq  INTEGER NOT NULL,
  last_seq   INTEGER NOT NULL,
  told       INTEGER NOT NULL CHECK (told IN (0, 1)),
  PRIMARY KEY (erasure_id, epoch_id, first_seq)
) STRICT, WITHOUT ROWID;

-- What each target has of an erasure: open until it is acknowledged.
-- owner: src/store/erasures.rs
-- retention: with its erasure
-- personal: no
CREATE TABLE erasure_targets (
  erasure_id BLOB    NOT NULL REFERENCES erasures (erasure_id),
  target     TEXT    NOT NULL,
  acked_at   INTEGER,
  how        TEXT    CHECK (how IN ('batch', 'evidence')),
  evidence   BLOB    CHECK (length(evidence) = 32),
  PRIMARY KEY (erasure_id, target)
) STRICT, WITHOUT ROWID;

-- What a centre asked of this edge for people's sake, and how far it is.
-- owner: src/store/directives.rs
-- retention: for ever: one that comes again does nothing again
-- personal: no
CREATE TABLE directives (
  directive_id BLOB    PRIMARY KEY CHECK (length(directive_id) = 16),
  action       TEXT    NOT NULL CHECK (action IN ('erase', 'withdraw', 'restrict', 'object', 'access', 'rectify', 'renew')),
  state        TEXT    NOT NULL CHECK (state IN ('done', 'nothing_found', 'waiting', 'refused')),
  what         TEXT    NOT NULL,
  request_id   BLOB    CHECK (length(request_id) = 16),
  taken_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Directives that are kept here (relay) for the edges below, and to whom each was given.
-- owner: src/store/kept_directives.rs
-- retention: the row for ever; the statement until its due day once all edges have answered, 90 days past it at the longest
-- personal: yes (statement: whom it names, sealed under this database's secret)
CREATE TABLE kept_directives (
  kept_no      INTEGER PRIMARY KEY,
  directive_id BLOB    NOT NULL UNIQUE CHECK (length(directive_id) = 16),
  action       TEXT    NOT NULL CHECK (action IN ('erase', 'withdraw', 'restrict', 'object', 'access', 'rectify', 'renew')),
  edge         TEXT    NOT NULL CHECK (edge = 'all' OR length(edge) = 32),
  statement    BLOB,
  came_from    TEXT,
  request_id   BLOB    CHECK (length(request_id) = 16),
  kept_at      INTEGER NOT NULL,
  due_at       INTEGER NOT NULL
) STRICT;
CREATE INDEX kept_directives_open ON kept_directives (kept_no) WHERE statement IS NOT NULL;
CREATE INDEX kept_directives_request ON kept_directives (request_id) WHERE request_id IS NOT NULL;

-- How far each edge is with a directive that was kept for it. No state = it was handed down, and nothing came back yet.
-- owner: src/store/edge_answers.rs
-- retention: the row for ever; the report 90 days past the directive's due day
-- personal: yes (report: a copy, encrypted to the centre)
CREATE TABLE edge_answers (
  kept_no   INTEGER NOT NULL REFERENCES kept_directives (kept_no),
  edge      TEXT    NOT NULL CHECK (length(edge) = 32),
  handed_at INTEGER,
  state     TEXT    CHECK (state IN ('done', 'nothing_found', 'waiting', 'refused')),
  what      TEXT    NOT NULL,
  said_at   INTEGER,
  report    TEXT,
  passed    INTEGER NOT NULL CHECK (passed IN (0, 1)),
  PRIMARY KEY (kept_no, edge),
  CHECK ((state IS NULL) = (said_at IS NULL))
) STRICT, WITHOUT ROWID;

-- Running totals that outlive their rows: what was dropped, refused, removed, and why.
-- owner: src/store/tallies.rs
-- retention: for ever
-- personal: no
CREATE TABLE tallies (
  name  TEXT    PRIMARY KEY,
  n     INTEGER NOT NULL,
  at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Events a reader may see: not at or below their visitor's measure floor.
-- owner: src/store/events.rs (a view; nothing is written)
CREATE VIEW visible_visits AS
  SELECT v.* FROM visits v JOIN visitors w ON w.visitor_id = v.visitor_id
  WHERE v.visit_id > w.measure_floor
    AND NOT EXISTS (SELECT 1 FROM restrictions r WHERE r.visitor = w.visitor_id AND r.upto_seq = 9007199254740991);

-- Edges whose batches are taken here (relay): their key, and whether the operator lets them. `relay`: it may speak for edges
-- below it; `direct`: it joined here by itself; `ruled`: its state is the word of this wayside, whatever relays say.
-- owner: src/store/known_edges.rs
-- retention: for ever (one that is revoked or retired explains what it sent)
-- personal: no
CREATE TABLE known_edges (
  edge         TEXT    PRIMARY KEY CHECK (length(edge) = 32),
  public_key   BLOB    NOT NULL CHECK (length(public_key) = 32),
  label        TEXT    NOT NULL,
  state        TEXT    NOT NULL CHECK (state IN ('waiting', 'approved', 'revoked', 'retired')),
  successor    TEXT    CHECK (length(successor) = 32),
  joined_at    INTEGER NOT NULL,
  changed_at   INTEGER NOT NULL,
  last_seen_at INTEGER,
  site         TEXT,
  relay        INTEGER NOT NULL CHECK (relay IN (0, 1)),
  direct       INTEGER NOT NULL CHECK (direct IN (0, 1)),
  ruled        INTEGER NOT NULL CHECK (ruled IN (0, 1))
) STRICT, WITHOUT ROWID;

-- What relays say of the edges below them: each relay that vouched for an edge, and its newest word.
-- owner: src/store/vouches.rs
-- retention: for ever (it says by whom an edge came to be known)
-- personal: no
CREATE TABLE vouches (
  edge    TEXT    NOT NULL REFERENCES known_edges (edge),
  relay   TEXT    NOT NULL REFERENCES known_edges (edge),
  state   TEXT    NOT NULL CHECK (state IN ('waiting', 'approved', 'revoked', 'retired')),
  label   TEXT    NOT NULL,
  told_at INTEGER NOT NULL,
  PRIMARY KEY (edge, relay)
) STRICT, WITHOUT ROWID;

-- What each target was told of the edges that are known here, as a digest of the statement.
-- owner: src/store/vouches.rs
-- retention: while the target is configured
-- personal: no
CREATE TABLE vouched (
  target  TEXT    NOT NULL,
  edge    TEXT    NOT NULL REFERENCES known_edges (edge),
  digest  BLOB    NOT NULL CHECK (length(digest) = 32),
  told_at INTEGER NOT NULL,
  PRIMARY KEY (target, edge)
) STRICT, WITHOUT ROWID;

-- What lets an edge join, once. A digest of each code, never the code.
-- owner: src/store/join_codes.rs
-- retention: 30 days past its end
-- personal: no
CREATE TABLE join_codes (
  code_hash  BLOB    PRIMARY KEY CHECK (length(code_hash) = 32),
  made_at    INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  used_by    TEXT    CHECK (length(used_by) = 32),
  used_at    INTEGER,
  relay      INTEGER NOT NULL CHECK (relay IN (0, 1)),
  site       TEXT,
  CHECK ((used_by IS NULL) = (used_at IS NULL))
) STRICT, WITHOUT ROWID;

-- How far each lane and epoch of an edge was received: `upto_no` is the highest batch without a gap before it, counted from
-- the first one that came.
-- owner: src/store/streams.rs
-- retention: for ever (what was received once is never taken for something new)
-- personal: no
CREATE TABLE streams (
  stream_id       INTEGER PRIMARY KEY,
  edge            TEXT    NOT NULL CHECK (length(edge) = 32),
  epoch           TEXT    NOT NULL CHECK (length(epoch) = 16),
  lane            INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 3),
  first_no        INTEGER NOT NULL CHECK (first_no > 0),
  upto_no         INTEGER NOT NULL,
  highest_no      INTEGER NOT NULL,
  batch_count     INTEGER NOT NULL,
  last_seq        INTEGER NOT NULL,
  digest          BLOB    NOT NULL CHECK (length(digest) = 32),
  previous_epoch  TEXT,
  previous_digest BLOB    CHECK (length(previous_digest) = 32),
  began_at        INTEGER NOT NULL,
  UNIQUE (edge, epoch, lane)
) STRICT;

-- Batches received of other edges, in the order they came. `held` = the files lie here still.
-- owner: src/store/received.rs
-- retention: [relay] remember_days after its files are gone
-- personal: no
CREATE TABLE received (
  received_no  INTEGER PRIMARY KEY,
  stream_id    INTEGER NOT NULL REFERENCES streams (stream_id),
  batch_no     INTEGER NOT NULL CHECK (batch_no > 0),
  digest       BLOB    NOT NULL CHECK (length(digest) = 32),
  previous     BLOB    CHECK (length(previous) = 32),
  last_seq     INTEGER NOT NULL,
  line_count   INTEGER NOT NULL,
  hole_count   INTEGER NOT NULL,
  bytes        INTEGER NOT NULL,
  received_at  INTEGER NOT NULL,
  held         INTEGER NOT NULL CHECK (held IN (0, 1)),
  UNIQUE (stream_id, batch_no)
) STRICT;
CREATE INDEX received_held ON received (received_at) WHERE held = 1;
CREATE INDEX received_stream ON received (stream_id, received_no);

-- Two batches under one key: what lies here, and what was refused. Until it is resolved the epoch is on hold.
-- owner: src/store/clashes.rs
-- retention: for ever (few)
-- personal: no
CREATE TABLE clashes (
  stream_id   INTEGER NOT NULL REFERENCES streams (stream_id),
  batch_no    INTEGER NOT NULL,
  digest      BLOB    NOT NULL CHECK (length(digest) = 32),
  seen_at     INTEGER NOT NULL,
  state       TEXT    NOT NULL CHECK (state IN ('open', 'renew', 'kept')),
  resolved_at INTEGER,
  PRIMARY KEY (stream_id, batch_no, digest),
  CHECK ((state = 'open') = (resolved_at IS NULL))
) STRICT, WITHOUT ROWID;

-- What lines that came through bind this relay to: whose rows may not leave, up to which number of that epoch, and whatever was
-- received before in other epochs.
-- owner: src/store/bound.rs
-- retention: for ever (late batches must not bring back what was taken away)
-- personal: yes (pseudonymous)
CREATE TABLE bound (
  visitor_ref BLOB    NOT NULL CHECK (length(visitor_ref) = 16),
  edge        TEXT    NOT NULL CHECK (length(edge) = 32),
  epoch       TEXT    NOT NULL CHECK (length(epoch) = 16),
  kind        TEXT    NOT NULL CHECK (kind IN ('measure', 'share', 'restricted', 'erased')),
  upto_seq    INTEGER NOT NULL,
  upto_at     INTEGER NOT NULL,
  bound_seq   INTEGER NOT NULL,
  PRIMARY KEY (visitor_ref, edge, epoch, kind)
) STRICT, WITHOUT ROWID;

-- Rows of other edges that were erased or corrected, by their numbers.
-- owner: src/store/bound.rs
-- retention: for ever (late batches must not bring back what was taken away)
-- personal: no
CREATE TABLE bound_rows (
  edge      TEXT    NOT NULL CHECK (length(edge) = 32),
  epoch     TEXT    NOT NULL CHECK (length(epoch) = 16),
  first_seq INTEGER NOT NULL,
  last_seq  INTEGER NOT NULL,
  reason    TEXT    NOT NULL CHECK (reason IN ('erased', 'rectified')),
  bound_seq INTEGER NOT NULL,
  PRIMARY KEY (edge, epoch, first_seq, last_seq, reason)
) STRICT, WITHOUT ROWID;

-- Streams whose files were not yet looked through for what has been bound since.
-- owner: src/store/bound.rs
-- retention: until it is done
-- personal: no
CREATE TABLE unswept (
  edge      TEXT    PRIMARY KEY CHECK (length(edge) = 32),
  bound_seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- How far each target has what was received of other edges: places in the order of arrival (`received_no`).
-- owner: src/store/onward.rs
-- retention: while the target is configured
-- personal: no
CREATE TABLE onward (
  target     TEXT    NOT NULL,
  stream_id  INTEGER NOT NULL REFERENCES streams (stream_id),
  put_no     INTEGER NOT NULL,
  acked_no   INTEGER NOT NULL,
  failures   INTEGER NOT NULL,
  next_at    INTEGER NOT NULL,
  last_error TEXT,
  PRIMARY KEY (target, stream_id)
) STRICT, WITHOUT ROWID;

-- Every attempt to send what was received of other edges: committed before the first byte, with the newest right it was checked
-- against (`bound_seq` of `bound`).
-- owner: src/store/onward.rs
-- retention: 90 days
-- personal: no
CREATE TABLE onward_attempts (
  attempt_id INTEGER PRIMARY KEY,
  target     TEXT    NOT NULL,
  stream_id  INTEGER NOT NULL,
  batch_no   INTEGER NOT NULL,
  bound_seq  INTEGER NOT NULL,
  began_at   INTEGER NOT NULL,
  ended_at   INTEGER,
  outcome    TEXT,
  hole_count INTEGER
) STRICT;
CREATE INDEX onward_attempts_batch ON onward_attempts (stream_id, batch_no);

-- Lines of other edges that one target will never take: holes for it alone.
-- owner: src/store/onward.rs
-- retention: as long as digests are remembered ([relay] remember_days)
-- personal: no
CREATE TABLE onward_refused (
  target    TEXT    NOT NULL,
  stream_id INTEGER NOT NULL REFERENCES streams (stream_id),
  seq       INTEGER NOT NULL,
  why       TEXT    NOT NULL CHECK (why = 'bad_rows' OR why = 'too_large'),
  at        INTEGER NOT NULL,
  PRIMARY KEY (target, stream_id, seq)
) STRICT, WITHOUT ROWID;

-- Until when everything of an edge's lane has come, as its newest batch says, and how many batches are missing between.
-- owner: src/store/completeness.rs
-- retention: for ever
-- personal: no
CREATE TABLE completeness (
  edge           TEXT    NOT NULL CHECK (length(edge) = 32),
  lane           INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 3),
  complete_until INTEGER NOT NULL,
  backlog_rows   INTEGER NOT NULL,
  gap_count      INTEGER NOT NULL,
  told_at        INTEGER NOT NULL,
  PRIMARY KEY (edge, lane)
) STRICT, WITHOUT ROWID;
