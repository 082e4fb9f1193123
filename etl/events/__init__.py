"""Giving every event of every era the one schema."""
