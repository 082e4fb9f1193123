-- The types of a day, the actions of each, and the keys at the top of their payloads. BigQuery cannot parse a document
-- with half a surrogate pair in any of its texts, which GitHub writes; such halves are left out, as in events_base.
WITH told AS (
  SELECT
    DATE(created_at) AS day, COALESCE(type, '') AS type, action, created_at,
    CASE
      WHEN STRPOS(payload, r'\ud') > 0 OR STRPOS(payload, r'\uD') > 0 THEN REGEXP_REPLACE(
        payload,
        r'(\\[^u]|\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2})|\\u[dD][89a-fA-F][0-9a-fA-F]{2}',
        r'\1'
      )
      ELSE payload
    END AS document
  FROM events_base
  WHERE created_at >= @start AND created_at < @end
),
listed AS (
  SELECT day, type, created_at, JSON_KEYS(SAFE.PARSE_JSON(document, wide_number_mode => 'round'), 1) AS fields
  FROM told
),
-- A day has few different lists of keys, and only these are taken apart.
lists AS (
  SELECT day, type, fields, COUNT(*) AS events, MIN(created_at) AS first_seen, MAX(created_at) AS last_seen
  FROM listed
  GROUP BY day, type, fields
),
-- A key that a document has twice counts once.
named AS (
  SELECT DISTINCT day, type, fields, field, events, first_seen, last_seen
  FROM lists
  CROSS JOIN UNNEST(fields) AS field
)
SELECT
  day, type, 'type' AS kind, type AS value, COUNT(*) AS events, MIN(created_at) AS first_seen,
  MAX(created_at) AS last_seen
FROM told
GROUP BY day, type
UNION ALL
SELECT
  day, type, 'action' AS kind, action AS value, COUNT(*) AS events, MIN(created_at) AS first_seen,
  MAX(created_at) AS last_seen
FROM told
WHERE action IS NOT NULL
GROUP BY day, type, action
UNION ALL
SELECT
  day, type, 'field' AS kind, field AS value, SUM(events) AS events, MIN(first_seen) AS first_seen,
  MAX(last_seen) AS last_seen
FROM named
GROUP BY day, type, field
