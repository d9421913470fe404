-- Rows that an erasure or a rectification names, one by one.
DROP VIEW IF EXISTS counters;
DROP VIEW IF EXISTS visits;
DROP VIEW IF EXISTS events;
CREATE OR REPLACE VIEW erased_row AS
SELECT r.edge, r.epoch, r.first_seq, r.last_seq FROM erasure_line,
  jsonb_to_recordset("rows") AS r(edge text, epoch text, first_seq bigint, last_seq bigint);
CREATE OR REPLACE VIEW superseded_row AS
SELECT visitor_ref, edge, s.seq::bigint AS seq FROM rectification_line, jsonb_array_elements_text(superseded) AS s(seq);
CREATE INDEX IF NOT EXISTS event_line_origin ON event_line (edge, epoch, seq);
CREATE INDEX IF NOT EXISTS withdrawal_line_visitor ON withdrawal_line (visitor_ref);
