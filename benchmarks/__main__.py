"""``python -m benchmarks``."""

# Peers import this module again in their workers, under another name: nothing may be imported there.
if __name__ == "__main__":
    import sys

    from benchmarks.run_bars import main

    sys.exit(main())
