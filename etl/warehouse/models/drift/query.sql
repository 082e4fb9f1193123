-- Run over its own rows and some new days, this query returns the same as over all days (see names).
SELECT type, kind, value, MIN(first_seen) AS first_seen, MAX(last_seen) AS last_seen
FROM drift_daily
GROUP BY type, kind, value
