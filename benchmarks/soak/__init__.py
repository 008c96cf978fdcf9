"""Random work, cancels, kills and loop restarts for as long as wanted: ``python -m benchmarks.soak``."""
