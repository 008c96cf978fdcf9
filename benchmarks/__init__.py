"""What the engine costs, compared with its peers: ``python -m benchmarks``; and random work: ``benchmarks.soak``.

Worker processes import `benchmarks.work` by name, so nothing is imported here.
"""
