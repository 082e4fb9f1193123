"""What puts it where it stays."""
