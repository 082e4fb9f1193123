SELECT
  hour, hour_start, window_start, status, reason, hole, next_try, events, documents, unreadable, duplicates, types, era,
  source, source_bytes, parquet_bytes, first_created_at, last_created_at, emails, schema_version, attempts,
  finished_at, seconds, events_set_aside
FROM lake_coverage
