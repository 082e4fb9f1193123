"""Mage: the functions behind the project's blocks, a client for backfills, and the start of a server.

Only ``queue_patch`` imports Mage: a block is a few lines around one of these functions, so they are tested without a
server. A server is needed only to test that Mage calls them correctly.
"""
