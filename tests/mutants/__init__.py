"""The contract broken on purpose, one place at a time: `python -m tests.mutants` sees its tests fail."""
