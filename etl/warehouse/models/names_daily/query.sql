-- The names of each ID on a day. The newest name of an ID is found from these.
SELECT
  DATE(created_at) AS day,
  'actor' AS kind,
  actor_id AS id,
  actor_login AS name,
  MIN(created_at) AS first_seen,
  MAX(created_at) AS last_seen
FROM events_base
WHERE created_at >= @start AND created_at < @end AND actor_id IS NOT NULL AND actor_login IS NOT NULL
GROUP BY DATE(created_at), actor_id, actor_login
UNION ALL
SELECT
  DATE(created_at) AS day,
  'repo' AS kind,
  repo_id AS id,
  repo_name AS name,
  MIN(created_at) AS first_seen,
  MAX(created_at) AS last_seen
FROM events_base
WHERE created_at >= @start AND created_at < @end AND repo_id IS NOT NULL AND repo_name IS NOT NULL
GROUP BY DATE(created_at), repo_id, repo_name
UNION ALL
SELECT
  DATE(created_at) AS day,
  'org' AS kind,
  org_id AS id,
  org_login AS name,
  MIN(created_at) AS first_seen,
  MAX(created_at) AS last_seen
FROM events_base
WHERE created_at >= @start AND created_at < @end AND org_id IS NOT NULL AND org_login IS NOT NULL
GROUP BY DATE(created_at), org_id, org_login
