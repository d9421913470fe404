-- What counts, as views.sql has it for other engines: here sums of rights are joined, since a row is not asked about each by itself.
CREATE OR REPLACE VIEW floors AS
SELECT assumeNotNull(visitor_ref) AS visitor_ref, max(assumeNotNull(floor_seq)) AS upto FROM withdrawal_line WHERE purposes % 2 = 1 GROUP BY visitor_ref;

CREATE OR REPLACE VIEW barred AS
SELECT assumeNotNull(visitor_ref) AS visitor_ref FROM erasure_line WHERE visitor_ref IS NOT NULL
UNION ALL
SELECT assumeNotNull(visitor_ref) FROM decision_line WHERE action IN ('restrict', 'release') AND visitor_ref IS NOT NULL
GROUP BY visitor_ref HAVING argMax(action, decision_seq) = 'restrict';

-- Stretches of rows that an erasure names: edge, epoch, first and last number.
CREATE OR REPLACE VIEW erased_rows AS
SELECT tupleElement(r, 'edge') AS edge, tupleElement(r, 'epoch') AS epoch, tupleElement(r, 'first_seq') AS first_seq,
  tupleElement(r, 'last_seq') AS last_seq
FROM (SELECT arrayJoin(JSONExtract(assumeNotNull("rows"), 'Array(Tuple(edge String, epoch String, first_seq Int64, last_seq Int64))')) AS r
  FROM erasure_line WHERE "rows" IS NOT NULL);

CREATE OR REPLACE VIEW events AS
SELECT * EXCEPT copy FROM (
  SELECT l.*, row_number() OVER (PARTITION BY l.site, l.event_id ORDER BY l.received_at, l.edge, l.epoch, l.seq) AS copy
  FROM event_line AS l LEFT JOIN floors AS f ON f.visitor_ref = l.visitor_ref
  WHERE l.seq > f.upto AND l.visitor_ref NOT IN (SELECT visitor_ref FROM barred)
    AND (l.edge, l.epoch, l.seq) NOT IN (SELECT coalesce(replaces_edge, edge), coalesce(replaces_epoch, epoch), assumeNotNull(replaces)
      FROM event_line WHERE replaces IS NOT NULL)
    AND (l.edge, l.visitor_ref, l.seq) NOT IN (SELECT edge, visitor_ref, arrayJoin(JSONExtract(assumeNotNull(superseded), 'Array(Int64)'))
      FROM rectification_line WHERE superseded IS NOT NULL)
    AND NOT arrayExists(r -> r.1 = l.edge AND r.2 = l.epoch AND l.seq BETWEEN r.3 AND r.4,
      (SELECT groupArray((edge, epoch, first_seq, last_seq)) FROM erased_rows))
) WHERE copy = 1;

-- A visit as it was told last.
CREATE OR REPLACE VIEW visits AS
SELECT * EXCEPT copy FROM (
  SELECT l.*, row_number() OVER (PARTITION BY l.edge, l.visit_id ORDER BY l.received_at DESC, l.seq DESC) AS copy
  FROM visit_line AS l LEFT JOIN floors AS f ON f.visitor_ref = l.visitor_ref
  WHERE l.first_seq > f.upto AND l.visitor_ref NOT IN (SELECT visitor_ref FROM barred)
    AND NOT arrayExists(r -> r.1 = l.edge AND r.2 = l.epoch AND l.seq BETWEEN r.3 AND r.4,
      (SELECT groupArray((edge, epoch, first_seq, last_seq)) FROM erased_rows))
) WHERE copy = 1;

CREATE OR REPLACE VIEW counters AS
SELECT * EXCEPT copy FROM (
  SELECT l.*, row_number() OVER (PARTITION BY l.edge, l.epoch, l.site, l.hour_at ORDER BY l.seq DESC) AS copy FROM count_line AS l
) WHERE copy = 1;
