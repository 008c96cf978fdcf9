"""Crashes, hangs and nonsense."""
