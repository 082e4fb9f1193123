"""The practice archive: made-up hours in the archive's own forms, and a server that publishes them.

``generator`` makes the documents of any hour, ``server`` serves them over HTTP under the archive's naming.
Demos, tests and benchmarks use it where real data is absent. No name, text or address in it is anybody's:
every domain is one that RFC 2606 keeps free for examples.
"""
