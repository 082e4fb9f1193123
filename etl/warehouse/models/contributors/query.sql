SELECT
  daily.day,
  daily.actor_id,
  COALESCE(actors.login, daily.login_without_id) AS last_actor_login,
  daily.is_bot,
  daily.events,
  daily.pushes,
  daily.commits,
  daily.pull_requests_opened,
  daily.issues_opened,
  daily.reviews,
  daily.comments,
  daily.comments_on_pull_requests,
  daily.comments_on_issues,
  daily.repositories
FROM contributors_daily AS daily
LEFT JOIN actors ON actors.actor_id = daily.actor_id
