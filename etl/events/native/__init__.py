"""The compiled reader of events: its C source, its build, and its Python interface."""
