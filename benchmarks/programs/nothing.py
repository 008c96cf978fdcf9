"""An interpreter, and nothing in it."""
