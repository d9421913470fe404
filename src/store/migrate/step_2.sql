-- From schema version 1 to 2. Afterwards a file equals schema.sql. Foreign keys rest while this runs and are checked after.

CREATE TABLE tokens (
  token_id     BLOB    PRIMARY KEY CHECK (length(token_id) = 16),
  name         TEXT    NOT NULL,
  scopes       INTEGER NOT NULL CHECK (scopes BETWEEN 1 AND 31),
  digest       BLOB    NOT NULL UNIQUE CHECK (length(digest) = 32),
  prefix       TEXT    NOT NULL CHECK (length(prefix) = 6),
  created_at   INTEGER NOT NULL,
  expires_at   INTEGER,
  revoked_at   INTEGER,
  last_used_at INTEGER
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
