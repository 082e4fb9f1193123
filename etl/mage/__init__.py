"""What the blocks of the Mage project call, the client that asks a Mage server for a backfill, and the server's start.

Nothing here imports Mage: a block is a few lines around one of these functions, so that all of it is tested without
a server, and a server is needed only to see that Mage calls it as it should.
"""
