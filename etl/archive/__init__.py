"""Downloads an hour, decompresses it and splits it into documents, even if it is damaged."""
