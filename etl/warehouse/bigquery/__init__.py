"""BigQuery: table definitions, client, loads, and builds by SQL jobs."""
