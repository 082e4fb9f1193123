"""What people look at: pages made from the lake and the warehouse, each one file that needs no network."""
