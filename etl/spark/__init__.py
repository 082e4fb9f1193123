"""Spark on this machine and on Dataproc Serverless."""
