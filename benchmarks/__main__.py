"""``python -m benchmarks``."""

# Peers import this module again in their workers, under another name: it must not pull in anything there.
if __name__ == "__main__":
    import sys

    from benchmarks.cli import main

    sys.exit(main())
