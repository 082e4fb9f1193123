SELECT
  TIMESTAMP_TRUNC(action_time, HOUR) AS hour,
  type,
  COUNT(*) AS events,
  COUNTIF(is_bot) AS bot_events,
  SUM(push_commits) AS commits,
  COUNTIF(type = 'PushEvent' AND push_commits IS NULL) AS pushes_of_unknown_size
FROM events_base
WHERE action_time >= @start AND action_time < @end
GROUP BY TIMESTAMP_TRUNC(action_time, HOUR), type
