SELECT
  DATE(action_time) AS day,
  actor_id,
  CASE WHEN actor_id IS NULL THEN actor_login END AS login_without_id,
  type,
  action,
  COUNT(*) AS events
FROM events_base
WHERE action_time >= @start AND action_time < @end AND (actor_id IS NOT NULL OR actor_login IS NOT NULL)
GROUP BY DATE(action_time), actor_id, CASE WHEN actor_id IS NULL THEN actor_login END, type, action
