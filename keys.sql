-- wayside: the keys of personal cells, in a file of their own (keys.db), whole. A copy of the database holds none of them; the
-- root key that opens them stands in no database at all. Above each table: as in schema.sql.

-- `epoch`: the generation of the database these keys belong to. `changes` is raised by every commit, so that the companion copy
-- knows that it is behind. `blind`: the secret of blind indexes, wrapped by the root key.
-- owner: src/store/keys.rs
-- retention: for ever
-- personal: no
CREATE TABLE custody (
  one     INTEGER PRIMARY KEY CHECK (one = 1),
  epoch   TEXT    NOT NULL CHECK (length(epoch) = 16),
  changes INTEGER NOT NULL,
  blind   BLOB    NOT NULL CHECK (length(blind) = 72)
) STRICT;

-- Keys that wrap data keys, wrapped by the root key: one, and while survivors of an erasure are wrapped anew, two.
-- owner: src/store/keys.rs
-- retention: until the next rotation is done
-- personal: no
CREATE TABLE wrap_keys (
  wrap_no INTEGER PRIMARY KEY,
  wrapped BLOB    NOT NULL CHECK (length(wrapped) = 72)
) STRICT;

-- One random key per visitor or identity with personal cells. Nobody is known under `key_ref`, which is random too.
-- owner: src/store/keys.rs
-- retention: until the last cell under it is gone
-- personal: no
CREATE TABLE data_keys (
  key_ref BLOB    PRIMARY KEY CHECK (length(key_ref) = 16),
  wrap_no INTEGER NOT NULL REFERENCES wrap_keys (wrap_no),
  wrapped BLOB    NOT NULL CHECK (length(wrapped) = 72)
) STRICT, WITHOUT ROWID;
