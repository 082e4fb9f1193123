{% from 'macros.sql' import without_half_surrogates %}
-- One row per event. Most events have no copies, and payloads are most of the bytes. So the IDs that occur more than once
-- are found first, and only rows with such an ID, or without an ID, are ranked together with their payloads.
WITH named AS (
  SELECT
    id, type, actor_id, actor_login, actor_gravatar_id, actor_avatar_url, actor_url, repo_id, repo_name, repo_url,
    payload, public, created_at, org_id, org_login, org_gravatar_id, org_avatar_url, org_url, other, date, hour,
    TIMESTAMP_ADD(TIMESTAMP(date), INTERVAL hour HOUR) AS name_time
  FROM lake_events
),
-- A record without a readable time gets the start of its file's hour. From March 2012 to the end of 2014 files are named
-- in US Pacific time (see Hour.window in etl/hours.py).
lake AS (
  SELECT
    id, type, COALESCE(type, '') AS type_key, actor_id, actor_login, actor_gravatar_id, actor_avatar_url, actor_url,
    repo_id, repo_name, repo_url, payload, public, created_at, org_id, org_login, org_gravatar_id, org_avatar_url,
    org_url, other, date, hour,
    COALESCE(
      created_at,
      TIMESTAMP_ADD(
        name_time,
        INTERVAL CASE
          WHEN name_time < TIMESTAMP '2012-03-10 22:00:00+00' THEN 0
          WHEN name_time < TIMESTAMP '2012-03-11 03:00:00+00' THEN 8
          WHEN name_time < TIMESTAMP '2012-11-04 02:00:00+00' THEN 7
          WHEN name_time < TIMESTAMP '2013-03-10 03:00:00+00' THEN 8
          WHEN name_time < TIMESTAMP '2013-11-03 02:00:00+00' THEN 7
          WHEN name_time < TIMESTAMP '2014-03-09 03:00:00+00' THEN 8
          WHEN name_time < TIMESTAMP '2014-11-02 02:00:00+00' THEN 7
          WHEN name_time < TIMESTAMP '2015-01-01 00:00:00+00' THEN 8
          ELSE 0
        END HOUR
      )
    ) AS happened_at
  FROM named
),
twice AS (
  SELECT id
  FROM lake
  WHERE id IS NOT NULL AND happened_at >= @start AND happened_at < @end
  GROUP BY id
  HAVING COUNT(*) > 1
),
once AS (
  SELECT
    lake.id, lake.type, lake.happened_at, lake.actor_id, lake.actor_login, lake.repo_id, lake.repo_name, lake.org_id,
    lake.org_login, lake.payload, lake.date, lake.hour, CAST(NULL AS STRING) AS record_key
  FROM lake
  LEFT JOIN twice ON lake.id = twice.id
  WHERE lake.id IS NOT NULL AND lake.happened_at >= @start AND lake.happened_at < @end AND twice.id IS NULL
),
repeated AS (
  SELECT
    lake.id, lake.type, lake.happened_at, lake.actor_id, lake.actor_login, lake.repo_id, lake.repo_name, lake.org_id,
    lake.org_login, lake.payload, lake.date, lake.hour,
    ROW_NUMBER() OVER (
      PARTITION BY lake.id, lake.type_key, lake.happened_at
      ORDER BY
        lake.date, lake.hour, COALESCE(lake.payload, ''), COALESCE(lake.actor_login, ''),
        COALESCE(lake.repo_name, ''), COALESCE(lake.org_login, ''), COALESCE(lake.actor_id, -1),
        COALESCE(lake.repo_id, -1), COALESCE(lake.org_id, -1)
    ) AS copy
  FROM lake
  INNER JOIN twice ON lake.id = twice.id
  WHERE lake.happened_at >= @start AND lake.happened_at < @end
),
nameless AS (
  SELECT
    id, type, type_key, happened_at, COALESCE(LOWER(actor_login), '') AS who,
    COALESCE(CAST(repo_id AS STRING), LOWER(repo_name), '') AS what, actor_id, actor_login, repo_id, repo_name, org_id, org_login, payload, date, hour,
    TO_HEX(SHA256(CONCAT(
      'record|', type_key, '|', COALESCE(CAST(UNIX_MICROS(created_at) AS STRING), ''), '|',
      COALESCE(CAST(actor_id AS STRING), ''), '|', COALESCE(actor_login, ''), '|', COALESCE(actor_gravatar_id, ''), '|',
      COALESCE(actor_avatar_url, ''), '|', COALESCE(actor_url, ''), '|', COALESCE(CAST(repo_id AS STRING), ''), '|',
      COALESCE(repo_name, ''), '|', COALESCE(repo_url, ''), '|', COALESCE(CAST(public AS STRING), ''), '|',
      COALESCE(CAST(org_id AS STRING), ''), '|', COALESCE(org_login, ''), '|', COALESCE(org_gravatar_id, ''), '|',
      COALESCE(org_avatar_url, ''), '|', COALESCE(org_url, ''), '|', COALESCE(payload, ''), '|',
      -- The end of other may hold the record with its numbers as they are written (etl/events/record.py).
      CASE
        WHEN other IS NULL OR STRPOS(other, '{ "as_written":') = 1 THEN ''
        WHEN STRPOS(other, ', "as_written":') > 0 THEN REGEXP_REPLACE(other, r'(?s), "as_written":.*', '}')
        ELSE other
      END
    ))) AS record_key
  FROM lake
  WHERE id IS NULL AND happened_at >= @start AND happened_at < @end
),
ranked AS (
  SELECT
    id, type, happened_at, actor_id, actor_login, repo_id, repo_name, org_id, org_login, payload, date, hour, record_key,
    ROW_NUMBER() OVER (PARTITION BY record_key, happened_at ORDER BY date, hour) AS copy
  FROM nameless
),
-- The last files of 2014 are named in Pacific time, so they hold the first eight hours of 2015, without IDs. The first
-- files of 2015 hold the same events with IDs. For each type, second, user and repository, as many records without an ID
-- are removed as there are IDs.
known AS (
  SELECT
    type_key, happened_at, COALESCE(LOWER(actor_login), '') AS who,
    COALESCE(CAST(repo_id AS STRING), LOWER(repo_name), '') AS what, COUNT(DISTINCT id) AS events
  FROM lake
  WHERE
    id IS NOT NULL AND happened_at >= @start AND happened_at < @end
    AND happened_at >= TIMESTAMP '2014-12-31 23:00:00+00' AND happened_at < TIMESTAMP '2015-01-01 09:00:00+00'
  GROUP BY type_key, happened_at, COALESCE(LOWER(actor_login), ''),
    COALESCE(CAST(repo_id AS STRING), LOWER(repo_name), '')
),
overlapping AS (
  SELECT DISTINCT record_key, type_key, happened_at, who, what
  FROM nameless
  WHERE happened_at >= TIMESTAMP '2014-12-31 23:00:00+00' AND happened_at < TIMESTAMP '2015-01-01 09:00:00+00'
),
numbered_copies AS (
  SELECT
    record_key, type_key, happened_at, who, what,
    ROW_NUMBER() OVER (PARTITION BY type_key, happened_at, who, what ORDER BY record_key) AS turn
  FROM overlapping
),
known_otherwise AS (
  SELECT numbered_copies.record_key
  FROM numbered_copies
  INNER JOIN known
    ON known.type_key = numbered_copies.type_key AND known.happened_at = numbered_copies.happened_at
    AND known.who = numbered_copies.who AND known.what = numbered_copies.what
  WHERE numbered_copies.turn <= known.events
),
single AS (
  SELECT
    id, type, happened_at, actor_id, actor_login, repo_id, repo_name, org_id, org_login, payload, date, hour, record_key
  FROM once
  UNION ALL
  SELECT
    id, type, happened_at, actor_id, actor_login, repo_id, repo_name, org_id, org_login, payload, date, hour,
    CAST(NULL AS STRING) AS record_key
  FROM repeated
  WHERE copy = 1
  UNION ALL
  SELECT
    ranked.id, ranked.type, ranked.happened_at, ranked.actor_id, ranked.actor_login, ranked.repo_id, ranked.repo_name,
    ranked.org_id, ranked.org_login, ranked.payload, ranked.date, ranked.hour, ranked.record_key
  FROM ranked
  LEFT JOIN known_otherwise ON known_otherwise.record_key = ranked.record_key
  WHERE ranked.copy = 1 AND known_otherwise.record_key IS NULL
),
readable AS (
  SELECT
    *,
    {{ without_half_surrogates('payload') }} AS document
  FROM single
),
told AS (
  SELECT
    id, type, happened_at, actor_id, actor_login, repo_id, repo_name, org_id, org_login, payload, date, hour, record_key,
    JSON_VALUE(document, '$.action') AS action,
    JSON_VALUE(document, '$.ref_type') AS ref_type,
    JSON_VALUE(document, '$.object') AS object,
    JSON_VALUE(document, '$.number') AS number,
    JSON_VALUE(document, '$.issue.number') AS issue_number,
    JSON_VALUE(document, '$.pull_request.number') AS pull_number,
    JSON_VALUE(document, '$.discussion.number') AS discussion_number,
    JSON_VALUE(document, '$.pull_request.merged') AS pull_merged,
    JSON_VALUE(document, '$.size') AS size,
    LOWER(JSON_VALUE(document, '$.review.state')) AS review_state,
    JSON_VALUE(document, '$.issue.pull_request.html_url') AS issue_pull_url,
    JSON_VALUE(document, '$.issue.html_url') AS issue_url,
    JSON_VALUE(document, '$.repo') AS payload_repo
  FROM readable
),
-- Engines differ in how they write a JSON number such as 1e2 (1e2 or 100.0) and in how they cast such a string to an
-- integer. So numbers are read as FLOAT64, and used if they are whole numbers of at most 31 bits: no issue number and no
-- push is larger.
numbered AS (
  SELECT
    *,
    COALESCE(
      SAFE_CAST(REGEXP_EXTRACT(number, r'^(-?[0-9][0-9.eE+-]{0,30})\z') AS FLOAT64),
      SAFE_CAST(REGEXP_EXTRACT(issue_number, r'^(-?[0-9][0-9.eE+-]{0,30})\z') AS FLOAT64),
      SAFE_CAST(REGEXP_EXTRACT(pull_number, r'^(-?[0-9][0-9.eE+-]{0,30})\z') AS FLOAT64),
      SAFE_CAST(REGEXP_EXTRACT(discussion_number, r'^(-?[0-9][0-9.eE+-]{0,30})\z') AS FLOAT64)
    ) AS number_read,
    SAFE_CAST(REGEXP_EXTRACT(size, r'^(-?[0-9][0-9.eE+-]{0,30})\z') AS FLOAT64) AS size_read
  FROM told
)
SELECT
  COALESCE(
    SUBSTR(record_key, 1, 32),
    SUBSTR(
      TO_HEX(SHA256(CONCAT('id|', id, '|', COALESCE(type, ''), '|', CAST(UNIX_MICROS(happened_at) AS STRING)))), 1, 32
    )
  ) AS event_key,
  type,
  happened_at AS created_at,
  CAST(@built_at AS TIMESTAMP) AS built_at,
  -- An ID that is not positive is no real ID. Unrelated users would share it, and so one name.
  CASE WHEN actor_id > 0 THEN actor_id END AS actor_id,
  actor_login,
  CASE WHEN repo_id > 0 THEN repo_id END AS repo_id,
  -- "/" is not a repository. Some payloads of 2011 have the real name.
  CASE
    WHEN repo_name != '/' THEN repo_name
    WHEN repo_name = '/' AND REGEXP_CONTAINS(payload_repo, '^[A-Za-z0-9._-]+/[A-Za-z0-9._-]+$') THEN payload_repo
  END AS repo_name,
  CASE WHEN org_id > 0 THEN org_id END AS org_id,
  org_login,
  action,
  CASE
    WHEN type = 'CreateEvent' THEN COALESCE(ref_type, object)
    WHEN type = 'DeleteEvent' THEN ref_type
  END AS ref_type,
  CASE
    WHEN number_read BETWEEN 0 AND 2147483647 AND number_read = FLOOR(number_read) THEN SAFE_CAST(number_read AS INT64)
  END AS number,
  COALESCE(ENDS_WITH(LOWER(actor_login), '[bot]'), FALSE) AS is_bot,
  CASE
    WHEN type != 'PullRequestEvent' THEN NULL
    WHEN action = 'merged' THEN TRUE
    WHEN action != 'closed' THEN FALSE
    WHEN pull_merged = 'true' THEN TRUE
    WHEN pull_merged = 'false' THEN FALSE
    -- The first known event with the action "merged". Since then "closed" is a close without a merge.
    WHEN happened_at >= TIMESTAMP '2025-12-17 06:23:21+00' THEN FALSE
  END AS is_merged,
  CASE
    WHEN type = 'PushEvent' AND size_read BETWEEN 0 AND 2147483647 AND size_read = FLOOR(size_read)
    THEN SAFE_CAST(size_read AS INT64)
  END AS push_commits,
  CASE
    WHEN type != 'PullRequestReviewEvent' THEN NULL
    WHEN action = 'dismissed' THEN 'dismissed'
    WHEN review_state IN ('approved', 'changes_requested', 'commented', 'dismissed') THEN review_state
  END AS review_state,
  CASE
    WHEN type = 'PullRequestReviewCommentEvent' THEN TRUE
    WHEN type != 'IssueCommentEvent' THEN NULL
    WHEN issue_pull_url IS NOT NULL THEN TRUE
    WHEN issue_url IS NOT NULL THEN FALSE
  END AS is_on_pull_request,
  payload,
  CONCAT(CAST(date AS STRING), '-', CAST(hour AS STRING)) AS archive_hour
FROM numbered
