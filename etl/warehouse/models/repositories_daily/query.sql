SELECT
  DATE(created_at) AS day,
  repo_id,
  CASE WHEN repo_id IS NULL THEN repo_name END AS name_without_id,
  COUNT(*) AS events,
  -- A user who removes a star and adds it again counts once.
  COUNT(DISTINCT CASE
    WHEN type = 'WatchEvent' THEN COALESCE(CAST(actor_id AS STRING), CONCAT('@', actor_login), event_key)
  END) AS stars,
  COUNTIF(type = 'WatchEvent') AS star_events,
  COUNTIF(type = 'ForkEvent') AS forks,
  COUNTIF(type = 'PushEvent') AS pushes,
  SUM(push_commits) AS commits,
  COUNTIF(type = 'IssuesEvent' AND action = 'opened') AS issues_opened,
  COUNTIF(type = 'PullRequestEvent' AND action = 'opened') AS pull_requests_opened,
  COUNTIF(is_merged) AS pull_requests_merged,
  COUNTIF(type = 'PullRequestEvent' AND action = 'closed' AND NOT is_merged) AS pull_requests_closed_unmerged,
  COUNTIF(type = 'PullRequestEvent' AND action = 'closed' AND is_merged IS NULL) AS pull_requests_closed_unknown,
  COUNT(DISTINCT actor_id) AS actors
FROM events_base
WHERE created_at >= @start AND created_at < @end AND (repo_id IS NOT NULL OR repo_name IS NOT NULL)
GROUP BY DATE(created_at), repo_id, CASE WHEN repo_id IS NULL THEN repo_name END
