"""Coverage of the archive in the lake: status of each hour, anomalies, and the retry schedule."""
