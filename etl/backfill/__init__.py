"""Many hours: which hours of a range are due, and processing them, one hour per process.

It keeps no record of its own. What is to be done is asked of the lake each time, so that a backfill which was
stopped, by whatever, goes on when it is started again, and several may run side by side.
"""
