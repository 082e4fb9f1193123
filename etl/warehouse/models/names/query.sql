-- All names of all time. Asked of its own rows together with some more days, it gives what it would give when asked
-- of all days at once; that is how it is kept up to date without reading all days again.
SELECT kind, id, name, MIN(first_seen) AS first_seen, MAX(last_seen) AS last_seen
FROM names_daily
GROUP BY kind, id, name
