"""The tests of unified_exec: importable, since workers import functions from them by name."""
