"""What the engine costs, measured side by side with its peers: ``python -m benchmarks``; and ``benchmarks.soak``.

Worker processes import `benchmarks.work` by name, so nothing is imported here.
"""
