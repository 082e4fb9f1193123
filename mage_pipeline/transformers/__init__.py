"""Blocks that transform data."""
