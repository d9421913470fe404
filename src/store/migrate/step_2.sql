-- From schema version 1 to 2. Afterwards a file equals schema.sql. Foreign keys rest while this runs and are checked after.

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

CREATE TABLE audit (
  audit_id INTEGER PRIMARY KEY,
  at       INTEGER NOT NULL,
  who      TEXT    NOT NULL,
  what     TEXT    NOT NULL,
  about    TEXT,
  note     TEXT
) STRICT;
CREATE INDEX audit_about ON audit (about) WHERE about IS NOT NULL;

-- Decisions become the contents of a chained ledger: numbered here in their order, hashed by `ledger::ground` right after.
DROP TRIGGER decisions_stay;
DROP INDEX decisions_subject;
ALTER TABLE decisions RENAME TO decisions_before;
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
INSERT INTO decisions (seq, ledger_no, decision_id, site_id, epoch_id, subject_ref, action, purposes, before, after, current, method, actor, notice, notice_digest,
  language, gpc, dnt, signal_shown, client_at, received_at, corrected_at, expires_at, basis_id, salt, evidence)
  SELECT seq, row_number() OVER (ORDER BY seq), decision_id, site_id, epoch_id, subject_ref, action, purposes, before, after, current, method, actor, notice, notice_digest,
  language, gpc, dnt, signal_shown, client_at, received_at, corrected_at, expires_at, basis_id, salt, evidence
  FROM decisions_before;
DROP TABLE decisions_before;
CREATE INDEX decisions_subject ON decisions (subject_ref);
CREATE TRIGGER decisions_follow BEFORE INSERT ON decisions
  WHEN NEW.ledger_no <> (SELECT coalesce(max(l.ledger_no), 0) + 1 FROM ledger l) OR NEW.seq <= (SELECT max(d.seq) FROM decisions d)
  BEGIN SELECT RAISE(ABORT, 'a decision takes the next number of the ledger'); END;
CREATE TRIGGER decisions_stay BEFORE UPDATE ON decisions BEGIN SELECT RAISE(ABORT, 'decisions are append-only'); END;
CREATE TRIGGER decisions_leave BEFORE DELETE ON decisions
  WHEN NOT EXISTS (SELECT 1 FROM cleared c WHERE c.ledger_no = OLD.ledger_no)
  BEGIN SELECT RAISE(ABORT, 'no entry of the ledger explains why a decision goes'); END;

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

CREATE TABLE proofs (
  proof_id   INTEGER PRIMARY KEY,
  at         INTEGER NOT NULL,
  expires_at INTEGER NOT NULL,
  recipient  TEXT    NOT NULL CHECK (length(recipient) = 64),
  sealed     BLOB    NOT NULL
) STRICT;
CREATE INDEX proofs_expire ON proofs (expires_at);

-- User agents tell their last use; until they are used again, the newest number stands in.
CREATE TABLE agents_before AS SELECT * FROM agents;
DROP TABLE agents;
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
INSERT INTO agents SELECT *, (SELECT last FROM seq) FROM agents_before;
DROP TABLE agents_before;

-- Columns in another order, without the index over user agents.
CREATE TABLE visits_before AS SELECT * FROM visits;
DROP TABLE visits;
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
INSERT INTO visits (
  visit_id, visit_uuid, site_id, visitor_id, epoch_id, stream, agent_id, started_at, last_active_at,
  last_received_at, due_at, source, entry_page_id, last_page_id, page_count, screen_count, event_count,
  authenticated, last_seq, snapshot_seq, flags, basis_id, consent_seq, exempt, ended_at, end_reason, referrer,
  campaign, context, place, ip, searches, session_id, client_visit, device_id)
SELECT
  visit_id, visit_uuid, site_id, visitor_id, epoch_id, stream, agent_id, started_at, last_active_at,
  last_received_at, due_at, source, entry_page_id, last_page_id, page_count, screen_count, event_count,
  authenticated, last_seq, snapshot_seq, flags, basis_id, consent_seq, exempt, ended_at, end_reason, referrer,
  campaign, context, place, ip, searches, session_id, client_visit, device_id
FROM visits_before;
DROP TABLE visits_before;
CREATE INDEX visits_visitor ON visits (visitor_id, started_at);
CREATE INDEX visits_due ON visits (due_at) WHERE ended_at IS NULL;
CREATE INDEX visits_changed ON visits (visit_id) WHERE ended_at IS NOT NULL AND snapshot_seq < last_seq;

-- Pages become a view over the events that entered them.
CREATE TABLE events_before AS SELECT * FROM events;
DROP TABLE events;
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
INSERT INTO events (
  seq, event_id, site_id, epoch_id, visit_id, page_id, name, system, lane, content_hash, received_at, corrected_at,
  clock_state, flags, basis_id, consent_seq, exempt, salt, url, title, referrer, attributes, attribute_types,
  dwell_ms, client_at, sent_at, session_id, search_query, conversation, withheld, client_page, screen, keywords,
  language, category, was)
SELECT
  e.seq, e.event_id, e.site_id, e.epoch_id, e.visit_id, e.page_id, e.name, e.system, e.lane, e.content_hash,
  e.received_at, e.corrected_at, e.clock_state, e.flags, e.basis_id, e.consent_seq, e.exempt, e.salt,
  CASE WHEN p.page_id IS NULL THEN e.url ELSE p.url END, CASE WHEN p.page_id IS NULL THEN e.title ELSE p.title END,
  e.referrer, e.attributes, e.attribute_types, p.dwell_ms, e.client_at, e.sent_at, e.session_id, e.search_query,
  e.conversation, e.withheld, p.client_page, p.screen, p.keywords, p.language, p.category, e.was
FROM events_before e LEFT JOIN pages p ON p.page_id = e.seq;
DROP TABLE events_before;
DROP TABLE pages;
CREATE INDEX events_visit ON events (visit_id);
CREATE INDEX events_lane ON events (lane, seq) WHERE lane <> 2;
CREATE VIEW pages AS
  SELECT seq AS page_id, visit_id, client_page, url, screen, title, keywords, language, category, corrected_at AS entered_at,
    corrected_at + dwell_ms AS exited_at, dwell_ms, flags, basis_id, consent_seq
  FROM events WHERE page_id = seq;

-- Personal fields are sealed from now on. What lay in the clear was kept under a setting that said it was for trying out only;
-- there is no key to seal it with here, so it goes, with the identities and their ties.
DROP TABLE personal;
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

DROP TABLE identities;
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

DELETE FROM contacts;
UPDATE sessions SET identity_id = NULL;

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
CREATE TRIGGER notices_once BEFORE INSERT ON notices
WHEN EXISTS (SELECT 1 FROM notices n WHERE n.notice_id = NEW.notice_id
             OR n.site_id = NEW.site_id AND n.version = NEW.version AND n.language = NEW.language)
BEGIN SELECT RAISE(ABORT, 'a notice is published once'); END;

CREATE TABLE evidence (
  seq         INTEGER PRIMARY KEY,
  subject_ref BLOB NOT NULL CHECK (length(subject_ref) = 16),
  nonce       BLOB NOT NULL CHECK (length(nonce) = 16),
  body        TEXT NOT NULL
) STRICT;
CREATE INDEX evidence_subject ON evidence (subject_ref);

CREATE TABLE codes (
  code_hash  BLOB    PRIMARY KEY CHECK (length(code_hash) = 32),
  visitor_id INTEGER NOT NULL,
  made_at    INTEGER NOT NULL
) STRICT, WITHOUT ROWID;
CREATE INDEX codes_visitor ON codes (visitor_id);

-- visitors get `valid_until`: what was granted before lapses six months after the newest grant. Renaming in the old way
-- leaves the references of other tables alone.
PRAGMA legacy_alter_table = ON;
ALTER TABLE visitors RENAME TO visitors_before;
PRAGMA legacy_alter_table = OFF;
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
INSERT INTO visitors SELECT v.*,
  CASE WHEN v.granted = 0 THEN NULL ELSE (
    SELECT CAST(strftime('%s', max(d.corrected_at) / 1000, 'unixepoch', '+6 months') AS INTEGER) * 1000
    FROM decisions d WHERE d.subject_ref = v.visitor_ref AND d.action = 'give' AND d.current = 1) END
  FROM visitors_before v;
DROP TABLE visitors_before;
CREATE INDEX visitors_lapse ON visitors (site_id, valid_until) WHERE valid_until IS NOT NULL;
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

CREATE TABLE request_people (
  request_id BLOB    NOT NULL REFERENCES requests (request_id),
  of         TEXT    NOT NULL CHECK (of IN ('visitor', 'identity')),
  row_id     INTEGER NOT NULL,
  PRIMARY KEY (request_id, of, row_id)
) STRICT, WITHOUT ROWID;
CREATE INDEX request_people_row ON request_people (row_id);

CREATE TABLE suppressed (
  id_hash   BLOB    PRIMARY KEY CHECK (length(id_hash) = 32),
  erased_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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

CREATE TABLE erased_rows (
  erasure_id BLOB    NOT NULL REFERENCES erasures (erasure_id),
  epoch_id   INTEGER NOT NULL,
  first_seq  INTEGER NOT NULL,
  last_seq   INTEGER NOT NULL,
  told       INTEGER NOT NULL CHECK (told IN (0, 1)),
  PRIMARY KEY (erasure_id, epoch_id, first_seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE erasure_targets (
  erasure_id BLOB    NOT NULL REFERENCES erasures (erasure_id),
  target     TEXT    NOT NULL,
  acked_at   INTEGER,
  how        TEXT    CHECK (how IN ('batch', 'evidence')),
  evidence   BLOB    CHECK (length(evidence) = 32),
  PRIMARY KEY (erasure_id, target)
) STRICT, WITHOUT ROWID;

ALTER TABLE refusals ADD COLUMN restricted INTEGER NOT NULL DEFAULT 0 CHECK (restricted IN (0, 1));

CREATE TABLE restrictions (
  visitor   INTEGER PRIMARY KEY REFERENCES visitors (visitor_id),
  since_seq INTEGER NOT NULL,
  upto_seq  INTEGER NOT NULL,
  resent    INTEGER NOT NULL CHECK (resent IN (0, 1))
) STRICT;

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

CREATE TABLE stale (
  epoch_id  INTEGER NOT NULL,
  lane      INTEGER NOT NULL,
  batch_no  INTEGER NOT NULL,
  since_seq INTEGER NOT NULL,
  PRIMARY KEY (epoch_id, lane, batch_no)
) STRICT, WITHOUT ROWID;

CREATE TABLE alarms (
  code     TEXT    NOT NULL,
  about    TEXT    NOT NULL,
  what     TEXT    NOT NULL,
  first_at INTEGER NOT NULL,
  last_at  INTEGER NOT NULL,
  times    INTEGER NOT NULL CHECK (times > 0),
  PRIMARY KEY (code, about)
) STRICT, WITHOUT ROWID;

CREATE TABLE refused (
  target TEXT    NOT NULL,
  lane   INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 3),
  seq    INTEGER NOT NULL,
  why    TEXT    NOT NULL CHECK (why = 'bad_rows' OR why = 'too_large'),
  at     INTEGER NOT NULL,
  PRIMARY KEY (target, lane, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE limits (
  target         TEXT    PRIMARY KEY,
  body_bytes_max INTEGER NOT NULL CHECK (body_bytes_max > 0),
  line_bytes_max INTEGER NOT NULL CHECK (line_bytes_max > 0),
  at             INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE leases (
  cursor     TEXT    PRIMARY KEY,
  fence      INTEGER NOT NULL CHECK (fence > 0),
  holder     TEXT    NOT NULL,
  expires_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TABLE directives (
  directive_id BLOB    PRIMARY KEY CHECK (length(directive_id) = 16),
  action       TEXT    NOT NULL CHECK (action IN ('erase', 'withdraw', 'restrict', 'object', 'access', 'rectify', 'renew')),
  state        TEXT    NOT NULL CHECK (state IN ('done', 'nothing_found', 'waiting', 'refused')),
  what         TEXT    NOT NULL,
  request_id   BLOB    CHECK (length(request_id) = 16),
  taken_at     INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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

DROP VIEW visible_visits;
CREATE VIEW visible_visits AS
  SELECT v.* FROM visits v JOIN visitors w ON w.visitor_id = v.visitor_id
  WHERE v.visit_id > w.measure_floor
    AND NOT EXISTS (SELECT 1 FROM restrictions r WHERE r.visitor = w.visitor_id AND r.upto_seq = 9007199254740991);

CREATE TABLE forks (
  epoch_id     INTEGER NOT NULL REFERENCES epochs (epoch_id),
  lane         INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 3),
  after_seq    INTEGER NOT NULL,
  upto_seq     INTEGER NOT NULL,
  new_epoch_id INTEGER NOT NULL REFERENCES epochs (epoch_id),
  PRIMARY KEY (epoch_id, lane, new_epoch_id)
) STRICT, WITHOUT ROWID;

-- What a target acknowledged once counts as delivered, also if it lost it since.
CREATE TABLE cursors_before AS SELECT * FROM cursors;
DROP TABLE cursors;
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
INSERT INTO cursors (target, epoch_id, lane, put_no, acked_no, failures, next_at, last_error, ever_no)
SELECT target, epoch_id, lane, put_no, acked_no, failures, next_at, last_error, acked_no FROM cursors_before;
DROP TABLE cursors_before;

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

CREATE TABLE vouches (
  edge    TEXT    NOT NULL REFERENCES known_edges (edge),
  relay   TEXT    NOT NULL REFERENCES known_edges (edge),
  state   TEXT    NOT NULL CHECK (state IN ('waiting', 'approved', 'revoked', 'retired')),
  label   TEXT    NOT NULL,
  told_at INTEGER NOT NULL,
  PRIMARY KEY (edge, relay)
) STRICT, WITHOUT ROWID;

CREATE TABLE vouched (
  target  TEXT    NOT NULL,
  edge    TEXT    NOT NULL REFERENCES known_edges (edge),
  digest  BLOB    NOT NULL CHECK (length(digest) = 32),
  told_at INTEGER NOT NULL,
  PRIMARY KEY (target, edge)
) STRICT, WITHOUT ROWID;

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

CREATE TABLE bound_rows (
  edge      TEXT    NOT NULL CHECK (length(edge) = 32),
  epoch     TEXT    NOT NULL CHECK (length(epoch) = 16),
  first_seq INTEGER NOT NULL,
  last_seq  INTEGER NOT NULL,
  reason    TEXT    NOT NULL CHECK (reason IN ('erased', 'rectified')),
  bound_seq INTEGER NOT NULL,
  PRIMARY KEY (edge, epoch, first_seq, last_seq, reason)
) STRICT, WITHOUT ROWID;

CREATE TABLE unswept (
  edge      TEXT    PRIMARY KEY CHECK (length(edge) = 32),
  bound_seq INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

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

CREATE TABLE onward_refused (
  target    TEXT    NOT NULL,
  stream_id INTEGER NOT NULL REFERENCES streams (stream_id),
  seq       INTEGER NOT NULL,
  why       TEXT    NOT NULL CHECK (why = 'bad_rows' OR why = 'too_large'),
  at        INTEGER NOT NULL,
  PRIMARY KEY (target, stream_id, seq)
) STRICT, WITHOUT ROWID;

CREATE TABLE completeness (
  edge           TEXT    NOT NULL CHECK (length(edge) = 32),
  lane           INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 3),
  complete_until INTEGER NOT NULL,
  backlog_rows   INTEGER NOT NULL,
  gap_count      INTEGER NOT NULL,
  told_at        INTEGER NOT NULL,
  PRIMARY KEY (edge, lane)
) STRICT, WITHOUT ROWID;

CREATE TABLE grace (
  lane     INTEGER NOT NULL CHECK (lane BETWEEN 0 AND 3),
  day_at   INTEGER NOT NULL,
  upto_seq INTEGER NOT NULL,
  PRIMARY KEY (lane, day_at)
) STRICT, WITHOUT ROWID;

-- What lies behind a batch is summed at every put, from a few bytes of each instead of its row.
CREATE INDEX batches_behind ON batches (epoch_id, lane, batch_no, line_count, min_received_at);
