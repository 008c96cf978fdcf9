"""The options of every subcommand. Imported for each command line, so it imports nothing heavy."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

LOOPS = ("asyncio", "trio")
LONGEST = 1e9
"""Seconds, 32 years. `time.sleep` refuses what is far longer."""

ADVISE = """Calls a function of yours a few times, on the event loop, in threads and in processes, and says where it
should run, with how many workers and in chunks of what size, and why. Each call really happens, with all its
effects."""
DEMO = """A pipeline over the standard library's own source: coroutines fetch the files over HTTP, processes measure
them, threads store the results in SQLite; then the same work is done sequentially for comparison."""
BENCH = """What coroutines, threads and processes cost on this machine. Each model of concurrency does the same
computing and waiting in interleaved rounds. Reported are medians, and no figure where other processes disturbed the
rounds."""

PS = """Lists the programs of this user (for root: of everybody) that have entered a TaskScope. They need no
preparation, open no port and leave no file; UNIFIED_EXEC_OBSERVE=0 in a program's environment hides it."""
TREE = """Shows what a running program does now: its scopes and tasks as they are nested, over event loops, threads and
worker processes, with the reason why each waits and the line it is at. Nothing is executed in the program."""

TRACE = """Records what a running program does, for a while, and writes it in the format of Perfetto: a track for each
worker, thread and event loop, the scopes, waits, worker starts, memory and queues. Open the file at
https://ui.perfetto.dev. Ctrl-C ends the recording early."""

TOP = """Shows a running program in the terminal, live: its scopes and tasks and why each waits, the queues and workers
with their memory, tasks a second, and the functions that took longest. Nothing is executed in the program."""
DASHBOARD = """Shows a running program in a browser, live. This command serves the page on 127.0.0.1, to those who have
the key in the address that it prints; the program itself opens no port. It needs no network."""


def add_ps_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `unified_exec ps`."""
    parser.add_argument("--json", action="store_true", help="print the list as JSON")


WAITS = (
    *("behind", "channel", "foreign", "limit", "lock", "node", "ready", "retry", "runs", "scope", "sleep", "start"),
    *("stream", "task", "thread", "to_thread", "unknown", "worker"),
)
"""What a task can wait for, as the tree names it."""


def _add_pid(parser: argparse.ArgumentParser) -> None:
    text = "the process, see `unified-exec ps`; or a part of its command line, if no other program has it"
    parser.add_argument("pid", type=_process, metavar="PID", help=text)


def _process(text: str) -> int:
    if text.isdecimal():
        return int(text)
    from ..observe.live.client import CannotLook, named_so

    try:
        return named_so(text)
    except CannotLook as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def add_tree_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `unified_exec tree`."""
    _add_pid(parser)
    parser.add_argument("-s", "--stacks", action="store_true", help="show the stack of each task, your own lines")
    parser.add_argument("--all", action="store_true", help="show the stacks with the lines of libraries too")
    parser.add_argument(
        "--why", default="", choices=WAITS, metavar="KIND", help=f"only tasks that wait for this: {', '.join(WAITS)}"
    )
    parser.add_argument("--json", action="store_true", help="print the tree as JSON, with stacks")
    parser.add_argument(
        "--watch", type=seconds, nargs="?", const=1.0, metavar="S", help="again every S seconds (1 by default)"
    )
    parser.add_argument(
        "--inject",
        action="store_true",
        help="have a program that has no socket open one: runs code in it, as a debugger does (CPython 3.14 and later)",
    )


def add_top_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `unified_exec top`."""
    _add_pid(parser)
    parser.add_argument("--json", action="store_true", help="watch for a second, print what was seen as JSON, and end")


def add_dashboard_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `unified_exec dashboard`."""
    _add_pid(parser)
    parser.add_argument("--port", type=port, default=0, metavar="N", help="the port on 127.0.0.1 (default: a free one)")
    parser.add_argument("--open", action="store_true", help="open the page in the browser")


def add_trace_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `unified_exec trace`."""
    _add_pid(parser)
    parser.add_argument("--seconds", type=seconds, default=10.0, metavar="S", help="how long (10 by default)")
    parser.add_argument("-o", "--output", default="run.pftrace", metavar="FILE", help="default: run.pftrace")


def add_advise_options(parser: argparse.ArgumentParser) -> None:
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
        help="for arguments that are not literals: a function that is called before each run and returns a tuple of "
        "the positional arguments, or a pair of that tuple and a dict",
    )
    parser.add_argument(
        "--runs",
        type=count,
        default=10,
        metavar="N",
        help="call the function at most N times (default: 10; 7 are enough for every figure, 1 is enough for advice)",
    )
    parser.add_argument(
        "--longest", type=seconds, default=60.0, metavar="S", help="start no more runs after S seconds (default: 60)"
    )
    parser.add_argument("--backend", choices=LOOPS, default="asyncio", help="the event loop")
    parser.add_argument("--json", action="store_true", help="print the report as JSON, and nothing else on stdout")


def add_demo_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `unified_exec demo`."""
    parser.add_argument("--limit", type=count, metavar="N", help="process N files, evenly spread (default: all)")
    parser.add_argument("--with-tests", action="store_true", help="include the standard library's own tests")
    parser.add_argument(
        "--workers", type=count, metavar="N", help="worker processes (default: the number of usable cores)"
    )
    parser.add_argument("--db", type=Path, metavar="PATH", help="keep the results in this new SQLite file")
    parser.add_argument("--backend", choices=LOOPS, default="asyncio", help="the event loop")
    parser.add_argument("--no-sequential", action="store_true", help="skip the sequential comparison")
    parser.add_argument("--report", type=Path, metavar="FILE", help="write a page that shows where the time went")
    parser.add_argument("--json", action="store_true", help="print the report as JSON, and nothing else on stdout")
    law = parser.add_mutually_exclusive_group()
    law.add_argument("--cancel-after", type=seconds_or_zero, metavar="S", help="cancel everything after S seconds")
    law.add_argument("--crash", action="store_true", help="kill the worker that parses one of the files")


def add_bench_options(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `unified_exec bench`."""
    parser.add_argument("--quick", action="store_true", help="small sizes: takes about two minutes")
    parser.add_argument("--peers", action="store_true", help="include other libraries, those that are installed")
    parser.add_argument("--workloads", type=names, metavar="A,B", help="only these (--list names them)")
    parser.add_argument("--models", type=names, metavar="A,B", help="only these, and sequential (--list names them)")
    parser.add_argument(
        "--workers", type=count, metavar="N", help="workers that compute (default: the number of usable cores)"
    )
    parser.add_argument("--rounds", type=count, metavar="N", help="rounds of everything (default: 3)")
    parser.add_argument(
        "--budget", type=count, metavar="S", help="start no turn after S seconds (default: 1500; quick: 100)"
    )
    parser.add_argument("--scale", type=share, default=1.0, help=argparse.SUPPRESS)
    parser.add_argument("--json", type=new_file, metavar="FILE", help="write everything measured to FILE")
    parser.add_argument("--markdown", type=new_file, metavar="FILE", help="write the tables to FILE")
    parser.add_argument("--html", type=new_file, metavar="FILE", help="write a report with plots to FILE")
    parser.add_argument(
        "--compare", type=existing_file, metavar="OLD.json", help="show what changed beyond noise since that run"
    )
    parser.add_argument(
        "--from", dest="source", type=existing_file, metavar="RUN.json", help="show an earlier run, measure nothing"
    )
    parser.add_argument("--list", action="store_true", help="list the workloads and models, then exit")


# Types of arguments. Each raises `argparse.ArgumentTypeError`, which argparse turns into a usage message.


def count(text: str) -> int:
    """Read a whole number of at least 1."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)


def port(text: str) -> int:
    """Read the number of a port, 0 for a free one."""
    if not text.isdecimal() or int(text) > 65535:
        raise argparse.ArgumentTypeError(f"{text!r} is not the number of a port")
    return int(text)


def seconds_or_zero(text: str) -> float:
    """Read a number of seconds."""
    try:
        number = float(text)
    except ValueError:
        number = -1.0
    if not 0 <= number < float("inf"):
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds")
    return min(number, LONGEST)


def seconds(text: str) -> float:
    """Read a number of seconds above 0."""
    number = seconds_or_zero(text)
    if not number:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds above 0")
    return number


def share(text: str) -> float:
    """Read a number above 0 and at most 1."""
    number = float(text)
    if not 0 < number <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not above 0 and at most 1")
    return number


def names(text: str) -> list[str]:
    """Read names that are separated by commas."""
    return [name.strip() for name in text.split(",") if name.strip()]


def new_file(text: str) -> Path:
    """Read the path of a file that can be written, checked before minutes of measuring rather than after."""
    path = Path(text)
    folder = path.absolute().parent
    if path.is_dir() or not folder.is_dir() or not os.access(folder, os.W_OK):
        raise argparse.ArgumentTypeError(f"{text!r} cannot be written: it is a folder, or its folder does not exist")
    return path


def existing_file(text: str) -> Path:
    """Read the path of a file that exists."""
    if not os.path.isfile(text):
        raise argparse.ArgumentTypeError(f"there is no file {text!r}")
    return Path(text)
