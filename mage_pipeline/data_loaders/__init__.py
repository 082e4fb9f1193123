"""Blocks that load data."""
