"""Random work, cancellations, kills and loop restarts, as long as you like: ``python -m benchmarks.soak``."""
