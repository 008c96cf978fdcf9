"""The advisor. Kept empty: workers import it."""
