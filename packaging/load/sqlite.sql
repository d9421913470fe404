-- Rows that an erasure or a rectification names, one by one.
DROP VIEW IF EXISTS counters;
DROP VIEW IF EXISTS visits;
DROP VIEW IF EXISTS events;
DROP VIEW IF EXISTS erased_row;
CREATE VIEW erased_row AS
SELECT r.value ->> '$.edge' AS edge, r.value ->> '$.epoch' AS epoch, r.value ->> '$.first_seq' AS first_seq,
  r.value ->> '$.last_seq' AS last_seq FROM erasure_line, json_each(erasure_line."rows") AS r;
DROP VIEW IF EXISTS superseded_row;
CREATE VIEW superseded_row AS
SELECT visitor_ref, edge, s.value AS seq FROM rectification_line, json_each(rectification_line.superseded) AS s;
CREATE INDEX IF NOT EXISTS event_line_replaces ON event_line (replaces);
CREATE INDEX IF NOT EXISTS withdrawal_line_visitor ON withdrawal_line (visitor_ref);
