{% from 'macros.sql' import without_half_surrogates %}
-- The types of a day, with the actions and the top-level payload keys of each.
WITH told AS (
  SELECT
    DATE(created_at) AS day, COALESCE(type, '') AS type, action, created_at,
    {{ without_half_surrogates('payload') }} AS document
  FROM events_base
  WHERE created_at >= @start AND created_at < @end
),
listed AS (
  SELECT day, type, created_at, JSON_KEYS(SAFE.PARSE_JSON(document, wide_number_mode => 'round'), 1) AS fields
  FROM told
),
-- A day has few different lists of keys, so only these are unnested.
lists AS (
  SELECT day, type, fields, COUNT(*) AS events, MIN(created_at) AS first_seen, MAX(created_at) AS last_seen
  FROM listed
  GROUP BY day, type, fields
),
-- A key that occurs twice in a document counts once.
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
