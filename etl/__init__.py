"""GH Archive, hour by hour, into a lake of parquet with one schema for all fifteen years.

The way of the data is the order of the rooms: ``archive`` fetches an hour, ``events`` gives every event the
one schema, ``lake`` keeps parquet and manifest; ``pipeline`` joins them, ``cli`` is the front door. A room
imports only rooms to its left and the ground floor (``hours``, ``settings``, ``errors``).
"""

__version__ = "0.1.0"
