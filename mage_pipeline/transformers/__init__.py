"""What changes its form."""
