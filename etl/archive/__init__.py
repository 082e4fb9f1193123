"""Fetching an hour, inflating it, and cutting it into documents, whatever state it is in."""
