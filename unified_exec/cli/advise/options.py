"""Calls a function of yours a few times, on the event loop, in threads and in processes, and says where it should run,
with how many workers and in chunks of what size, and why. Each call really happens, with all its effects."""

from __future__ import annotations

import argparse

from ..arguments import count

RUNS = 10
LONGEST = 60.0


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `unified_exec advise`."""
    parser.add_argument(
        "function", metavar="MODULE:FUNCTION", help="what to call: shop.prices:total, or prices.py:total"
    )
    parser.add_argument(
        "--args",
        nargs="*",
        default=[],
        metavar="VALUE",
        help="positional arguments, each a Python literal or JSON: 100_000 \"'a text'\" '[1, 2]'",
    )
    parser.add_argument(
        "--kwargs", nargs="*", default=[], metavar="NAME=VALUE", help="keyword arguments, with values of the same kind"
    )
    parser.add_argument(
        "--setup",
        metavar="MODULE:FUNCTION",
        help="for arguments that are no literals: is called before each run and returns a tuple of the positional "
        "ones, or a pair of that tuple and a dict",
    )
    parser.add_argument(
        "--runs",
        type=count,
        default=RUNS,
        metavar="N",
        help=f"call the function at most N times (default: {RUNS}; 7 are enough for every figure, 1 is enough for an "
        "advice)",
    )
    parser.add_argument(
        "--longest",
        type=_seconds,
        default=LONGEST,
        metavar="S",
        help=f"begin no more runs after S seconds (default: {LONGEST:g})",
    )
    parser.add_argument("--backend", choices=("asyncio", "trio"), default="asyncio", help="the event loop")
    parser.add_argument("--json", action="store_true", help="print the report as JSON, and nothing else on stdout")


def needs(arguments: argparse.Namespace) -> list[str]:
    """Name the packages this run needs beyond those that unified_exec always has."""
    return ["trio"] if arguments.backend == "trio" else []


def _seconds(text: str) -> float:
    try:
        seconds = float(text)
    except ValueError:
        seconds = -1.0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return seconds
