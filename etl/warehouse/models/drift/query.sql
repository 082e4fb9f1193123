-- Asked of its own rows together with some more days, it gives what it would give when asked of all days at once.
SELECT type, kind, value, MIN(first_seen) AS first_seen, MAX(last_seen) AS last_seen
FROM drift_daily
GROUP BY type, kind, value
