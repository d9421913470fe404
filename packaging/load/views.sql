-- What counts, over the tables of `wayside schema`: each event once, each visit as it was told last, and nothing that was withdrawn,
-- erased, corrected or is under restriction. Runs as it is in DuckDB, PostgreSQL and SQLite, behind the file named after the engine.

DROP VIEW IF EXISTS counters;
DROP VIEW IF EXISTS visits;
DROP VIEW IF EXISTS events;

-- An event's identity is edge, epoch and seq. The same event may come under two of them (a line that takes the place of another; a row
-- that was sealed afresh, with `was`): the site's event_id is the second guard.
CREATE VIEW events AS
SELECT e.*,
  (e.flags / 4) % 2 = 1 AND NOT EXISTS (SELECT 1 FROM withdrawal_line w
    WHERE w.visitor_ref = e.visitor_ref AND w.floor_seq >= e.seq AND (w.purposes / 4) % 2 = 1) AS may_profile,
  (e.flags / 16) % 2 = 1 AND NOT EXISTS (SELECT 1 FROM withdrawal_line w
    WHERE w.visitor_ref = e.visitor_ref AND w.floor_seq >= e.seq AND (w.purposes / 16) % 2 = 1) AS may_share,
  (e.flags / 32) % 2 = 1 AND NOT EXISTS (SELECT 1 FROM withdrawal_line w
    WHERE w.visitor_ref = e.visitor_ref AND w.floor_seq >= e.seq AND (w.purposes / 32) % 2 = 1) AS may_market
FROM (
  SELECT l.*, row_number() OVER (PARTITION BY l.site, l.event_id ORDER BY l.received_at, l.edge, l.epoch, l.seq) AS copy
  FROM event_line l
  WHERE NOT EXISTS (SELECT 1 FROM event_line r WHERE r.replaces = l.seq
          AND coalesce(r.replaces_epoch, r.epoch) = l.epoch AND coalesce(r.replaces_edge, r.edge) = l.edge)
    AND NOT EXISTS (SELECT 1 FROM superseded_row x WHERE x.visitor_ref = l.visitor_ref AND x.edge = l.edge AND x.seq = l.seq)
    AND NOT EXISTS (SELECT 1 FROM erasure_line x WHERE x.visitor_ref = l.visitor_ref)
    AND NOT EXISTS (SELECT 1 FROM erased_row x WHERE x.edge = l.edge AND x.epoch = l.epoch
          AND l.seq BETWEEN x.first_seq AND x.last_seq)
    AND NOT EXISTS (SELECT 1 FROM withdrawal_line w WHERE w.visitor_ref = l.visitor_ref AND w.floor_seq >= l.seq AND w.purposes % 2 = 1)
    AND NOT EXISTS (SELECT 1 FROM decision_line d WHERE d.visitor_ref = l.visitor_ref AND d.action = 'restrict'
          AND NOT EXISTS (SELECT 1 FROM decision_line f WHERE f.visitor_ref = d.visitor_ref AND f.action = 'release'
            AND f.decision_seq > d.decision_seq))
) e
WHERE e.copy = 1;

-- A visit is told when it ends, and again when a late event changed it: within one edge and epoch the highest seq counts. Rights cover it
-- by its first_seq.
CREATE VIEW visits AS
SELECT v.* FROM (
  SELECT l.*, row_number() OVER (PARTITION BY l.edge, l.visit_id ORDER BY l.received_at DESC, l.seq DESC) AS copy
  FROM visit_line l
  WHERE NOT EXISTS (SELECT 1 FROM erasure_line x WHERE x.visitor_ref = l.visitor_ref)
    AND NOT EXISTS (SELECT 1 FROM erased_row x WHERE x.edge = l.edge AND x.epoch = l.epoch
          AND l.seq BETWEEN x.first_seq AND x.last_seq)
    AND NOT EXISTS (SELECT 1 FROM withdrawal_line w WHERE w.visitor_ref = l.visitor_ref AND w.floor_seq >= l.first_seq
          AND w.purposes % 2 = 1)
    AND NOT EXISTS (SELECT 1 FROM decision_line d WHERE d.visitor_ref = l.visitor_ref AND d.action = 'restrict'
          AND NOT EXISTS (SELECT 1 FROM decision_line f WHERE f.visitor_ref = d.visitor_ref AND f.action = 'release'
            AND f.decision_seq > d.decision_seq))
) v
WHERE v.copy = 1;

-- Counters are per epoch and start at zero: a total is the sum over epochs.
CREATE VIEW counters AS
SELECT c.* FROM (
  SELECT l.*, row_number() OVER (PARTITION BY l.edge, l.epoch, l.site, l.hour_at ORDER BY l.seq DESC) AS copy FROM count_line l
) c
WHERE c.copy = 1;
