SELECT
  daily.day,
  daily.repo_id,
  COALESCE(repos.name, daily.name_without_id) AS last_repo_name,
  daily.events,
  daily.stars,
  daily.star_events,
  daily.forks,
  daily.pushes,
  daily.commits,
  daily.issues_opened,
  daily.pull_requests_opened,
  daily.pull_requests_merged,
  daily.pull_requests_closed_unmerged,
  daily.pull_requests_closed_unknown,
  daily.actors
FROM repositories_daily AS daily
LEFT JOIN repos ON repos.repo_id = daily.repo_id
