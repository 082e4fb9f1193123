"""The compiled event reader: C source, build, and Python interface."""
