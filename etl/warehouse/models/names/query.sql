-- Every name over all time. Run over its own rows and some new days, this query returns the same as over all days, so the
-- table is kept up to date without reading all days again.
SELECT kind, id, name, MIN(first_seen) AS first_seen, MAX(last_seen) AS last_seen
FROM names_daily
GROUP BY kind, id, name
