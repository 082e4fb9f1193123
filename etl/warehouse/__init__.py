"""The warehouse: models written once in BigQuery's SQL, and built by DuckDB or Spark, one partition at a time."""
