"""What coroutines, threads and processes cost on this machine: workloads that compute and that wait, done by each model
of concurrency in interleaved rounds; medians with their spread, and no figure where others disturbed them."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from ..arguments import count


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `unified_exec bench`."""
    parser.add_argument("--quick", action="store_true", help="small sizes: ends within two minutes")
    parser.add_argument("--peers", action="store_true", help="other libraries take part, those that are installed")
    parser.add_argument("--workloads", type=_names, metavar="A,B", help="only these (--list names them)")
    parser.add_argument("--models", type=_names, metavar="A,B", help="only these, and sequential (--list names them)")
    parser.add_argument("--workers", type=count, metavar="N", help="workers that compute (default: the cores)")
    parser.add_argument("--rounds", type=count, metavar="N", help="rounds of everything (default: 3)")
    parser.add_argument(
        "--budget", type=count, metavar="S", help="begin no turn after S seconds (default: 1500; quick: 100)"
    )
    parser.add_argument("--scale", type=_scale, default=1.0, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=_new_file, metavar="FILE", help="write everything measured there")
    parser.add_argument("--markdown", type=_new_file, metavar="FILE", help="write the tables there")
    parser.add_argument("--html", type=_new_file, metavar="FILE", help="write a report with plots there, one file")
    parser.add_argument("--compare", type=_file, metavar="OLD.json", help="show what changed beyond noise since then")
    parser.add_argument("--from", dest="source", type=_file, metavar="RUN.json", help="measure nothing, show that run")
    parser.add_argument("--list", action="store_true", help="name the workloads and models and end")


def needs(arguments: argparse.Namespace) -> list[str]:
    """Name the packages this run needs beyond those that unified_exec always has."""
    return ["psutil", "rich", *(["plotly"] if arguments.html else [])]


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _scale(text: str) -> float:
    scale = float(text)
    if not 0 < scale <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0 and at most 1")
    return scale


def _new_file(text: str) -> Path:
    path = Path(text)
    # Known before minutes of measuring, not after.
    if path.is_dir() or not path.absolute().parent.is_dir() or not os.access(path.absolute().parent, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: it is a folder, or its folder is not there")
    return path


def _file(text: str) -> Path:
    if not os.path.isfile(text):
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return Path(text)
