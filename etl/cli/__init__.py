"""The front door: the commands, what they print, and how errors reach a person."""
