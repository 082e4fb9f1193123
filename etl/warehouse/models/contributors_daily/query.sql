-- Grouped by ID, or by login if there is no ID, so that a user who is renamed stays one row.
SELECT
  DATE(created_at) AS day,
  actor_id,
  CASE WHEN actor_id IS NULL THEN actor_login END AS login_without_id,
  LOGICAL_OR(is_bot) AS is_bot,
  COUNT(*) AS events,
  COUNTIF(type = 'PushEvent') AS pushes,
  SUM(push_commits) AS commits,
  COUNTIF(type = 'PullRequestEvent' AND action = 'opened') AS pull_requests_opened,
  COUNTIF(type = 'IssuesEvent' AND action = 'opened') AS issues_opened,
  -- A review that is updated or dismissed later is not counted again.
  COUNTIF(type = 'PullRequestReviewEvent' AND COALESCE(action, 'created') = 'created') AS reviews,
  COUNTIF(type IN (
    'IssueCommentEvent', 'CommitCommentEvent', 'PullRequestReviewCommentEvent'
  )) AS comments,
  COUNTIF(is_on_pull_request) AS comments_on_pull_requests,
  COUNTIF(NOT is_on_pull_request) AS comments_on_issues,
  COUNT(DISTINCT repo_id) AS repositories
FROM events_base
WHERE created_at >= @start AND created_at < @end AND (actor_id IS NOT NULL OR actor_login IS NOT NULL)
GROUP BY DATE(created_at), actor_id, CASE WHEN actor_id IS NULL THEN actor_login END
