"""What brings something into a pipeline."""
