"""Where files live: a folder or a bucket behind one interface, with leases for those that write."""
