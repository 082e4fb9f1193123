"""What has nothing to do with the archive: logs, prefetch, worker processes, Arrow's memory."""
