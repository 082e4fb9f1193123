"""Spark sessions on this machine, and batches on Dataproc Serverless."""
