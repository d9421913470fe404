-- Rows that an erasure or a rectification names, one by one.
DROP VIEW IF EXISTS counters;
DROP VIEW IF EXISTS visits;
DROP VIEW IF EXISTS events;
CREATE OR REPLACE VIEW erased_row AS
SELECT r.edge, r.epoch, r.first_seq, r.last_seq FROM (
  SELECT unnest(from_json("rows", '[{"edge":"VARCHAR","epoch":"VARCHAR","first_seq":"BIGINT","last_seq":"BIGINT"}]')) AS r FROM erasure_line
);
CREATE OR REPLACE VIEW superseded_row AS
SELECT visitor_ref, edge, unnest(from_json(superseded, '["BIGINT"]')) AS seq FROM rectification_line;
