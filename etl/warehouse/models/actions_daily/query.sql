SELECT
  DATE(created_at) AS day,
  actor_id,
  CASE WHEN actor_id IS NULL THEN actor_login END AS login_without_id,
  type,
  action,
  COUNT(*) AS events
FROM events_base
WHERE created_at >= @start AND created_at < @end AND (actor_id IS NOT NULL OR actor_login IS NOT NULL)
GROUP BY DATE(created_at), actor_id, CASE WHEN actor_id IS NULL THEN actor_login END, type, action
