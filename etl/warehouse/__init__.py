"""The room of the warehouse: models written once in BigQuery's SQL, built by DuckDB or Spark a partition at a time."""
