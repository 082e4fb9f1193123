-- The newest name is the one seen last. If two were last seen at the same instant, it is the last in the alphabet.
WITH ranked AS (
  SELECT id, name, first_seen, last_seen, ROW_NUMBER() OVER (PARTITION BY id ORDER BY last_seen DESC, name DESC) AS age
  FROM names
  WHERE kind = '{{ kind }}'
),
newest AS (
  SELECT
    id,
    MAX(CASE WHEN age = 1 THEN name END) AS name,
    MIN(first_seen) AS first_seen,
    MAX(last_seen) AS last_seen
  FROM ranked
  GROUP BY id
),
former AS (
  SELECT id, ARRAY_AGG(name ORDER BY last_seen, name) AS names
  FROM ranked
  WHERE age > 1
  GROUP BY id
)
SELECT
  newest.id AS {{ id }},
  newest.name AS {{ name }},
  newest.first_seen,
  newest.last_seen,
  former.names AS {{ names }}
FROM newest
LEFT JOIN former ON former.id = newest.id
