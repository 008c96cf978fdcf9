"""`unified_exec bench`: models of concurrency, measured on this machine."""
