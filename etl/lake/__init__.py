"""Keeping hours as parquet with a manifest, in a folder or a bucket."""
