"""Storage of files in a folder or a bucket behind one interface, with leases for writers."""
