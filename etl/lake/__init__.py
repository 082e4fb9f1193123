"""The lake: hours stored as Parquet files with manifests, in a folder or a bucket."""
