-- The names that each id went by on a day: the piece of history from which the newest name is known.
SELECT
  DATE(action_time) AS day,
  'actor' AS kind,
  actor_id AS id,
  actor_login AS name,
  MIN(action_time) AS first_seen,
  MAX(action_time) AS last_seen
FROM events_base
WHERE action_time >= @start AND action_time < @end AND actor_id IS NOT NULL AND actor_login IS NOT NULL
GROUP BY DATE(action_time), actor_id, actor_login
UNION ALL
SELECT
  DATE(action_time) AS day,
  'repo' AS kind,
  repo_id AS id,
  repo_name AS name,
  MIN(action_time) AS first_seen,
  MAX(action_time) AS last_seen
FROM events_base
WHERE action_time >= @start AND action_time < @end AND repo_id IS NOT NULL AND repo_name IS NOT NULL
GROUP BY DATE(action_time), repo_id, repo_name
UNION ALL
SELECT
  DATE(action_time) AS day,
  'org' AS kind,
  org_id AS id,
  org_login AS name,
  MIN(action_time) AS first_seen,
  MAX(action_time) AS last_seen
FROM events_base
WHERE action_time >= @start AND action_time < @end AND org_id IS NOT NULL AND org_login IS NOT NULL
GROUP BY DATE(action_time), org_id, org_login
