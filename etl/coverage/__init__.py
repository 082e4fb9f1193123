"""What the lake holds of each hour, what is suspicious about it, and when a missing hour is tried again."""
