"""Decodes events of all eras to one schema."""
