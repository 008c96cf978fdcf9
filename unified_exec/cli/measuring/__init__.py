"""The measuring harness shared by `unified-exec bench`, `advise`, the demo and the repository's benchmarks."""
