"""HTML pages generated from the lake and the warehouse, each a single self-contained file."""
