"""General infrastructure, independent of the archive: logs, prefetch, worker processes, Arrow's memory."""
