"""Blocks that write results."""
