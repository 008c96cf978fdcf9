"""``python -m benchmarks.soak``."""

if __name__ == "__main__":
    import sys

    from benchmarks.soak.run_soak import main

    sys.exit(main())
