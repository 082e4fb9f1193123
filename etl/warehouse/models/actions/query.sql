SELECT
  daily.day,
  daily.actor_id,
  COALESCE(actors.login, daily.login_without_id) AS last_actor_login,
  daily.type,
  daily.action,
  daily.events
FROM actions_daily AS daily
LEFT JOIN actors ON actors.actor_id = daily.actor_id
