"""Many hours: what of a range is due, and the bringing of it, one hour a process.

It keeps no record of its own. What is to be done is asked of the lake each time, so that a backfill which was
stopped, by whatever, goes on when it is started again, and several may run side by side.
"""
