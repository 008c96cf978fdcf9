"""A pipeline over the standard library's own source: coroutines fetch the files over HTTP, processes measure them,
threads store the results in SQLite; then the same work one after another, for comparison."""

from __future__ import annotations

import argparse
import math
from pathlib import Path

from ..arguments import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `unified_exec demo`."""
    parser.add_argument("--limit", type=count, metavar="N", help="take N files, evenly spread (default: all)")
    parser.add_argument("--with-tests", action="store_true", help="take the standard library's own tests too")
    parser.add_argument("--workers", type=count, metavar="N", help="worker processes (default: the cores)")
    parser.add_argument("--db", type=Path, metavar="PATH", help="keep the results in this new SQLite file")
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio", help="the event loop")
    parser.add_argument("--no-sequential", action="store_true", help="leave the comparison out")
    parser.add_argument(
        "--json", action="store_true", help="print the final report as JSON, and nothing else on stdout"
    )
    law = parser.add_mutually_exclusive_group()
    law.add_argument("--cancel-after", type=_seconds, metavar="S", help="cancel everything after S seconds")
    law.add_argument("--crash", action="store_true", help="kill the worker that parses one of the files")


def needs(arguments: argparse.Namespace) -> list[str]:
    """Name the packages this run needs beyond those that unified_exec always has."""
    return ["httpx", "rich", "trio"] if arguments.backend == "trio" else ["httpx", "rich"]


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return seconds
