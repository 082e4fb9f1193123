SELECT
  TIMESTAMP_TRUNC(created_at, HOUR) AS hour,
  type,
  COUNT(*) AS events,
  COUNTIF(is_bot) AS bot_events,
  SUM(push_commits) AS commits,
  COUNTIF(type = 'PushEvent' AND push_commits IS NULL) AS pushes_of_unknown_size
FROM events_base
WHERE created_at >= @start AND created_at < @end
GROUP BY TIMESTAMP_TRUNC(created_at, HOUR), type
