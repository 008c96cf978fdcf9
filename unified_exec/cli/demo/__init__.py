"""The demonstration: a hybrid pipeline over the standard library's own source. Kept empty: workers import it."""
