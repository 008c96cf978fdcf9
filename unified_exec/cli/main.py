"""The command line: `python -m unified_exec SUBCOMMAND`, or `unified-exec SUBCOMMAND` where it is installed."""

from __future__ import annotations

import argparse
import errno
import importlib
import importlib.util
import io
import os
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from . import options
from .interrupts import contains

FAILED = 1
USAGE = 2
INTERRUPTED = 130  # what a shell reports for a program that was ended by SIGINT
OUTPUT_CLOSED = 141  # and by SIGPIPE


class Subcommand(NamedTuple):
    """One subcommand.

    Attributes:
        help: a line for ``--help``.
        description: a paragraph for the subcommand's own ``--help``.
        add_options: declares its options.
        module: has ``run(arguments) -> int``; imported only when the subcommand was chosen.
        needs: names the packages that a run needs besides those that unified_exec always has.
    """

    help: str
    description: str
    add_options: Callable[[argparse.ArgumentParser], None]
    module: str
    needs: Callable[[argparse.Namespace], list[str]] = lambda run: []


SUBCOMMANDS = {
    "advise": Subcommand(
        "measure one of your functions and say where it should run",
        options.ADVISE,
        options.add_advise_options,
        "unified_exec.cli.advise.run_advise",
        lambda run: ["trio"] if run.backend == "trio" else [],
    ),
    "demo": Subcommand(
        "run a pipeline over coroutines, processes and threads on the standard library's own source",
        options.DEMO,
        options.add_demo_options,
        "unified_exec.cli.demo.run_demo",
        lambda run: ["httpx", "rich", *(["trio"] if run.backend == "trio" else [])],
    ),
    "ps": Subcommand(
        "list the programs that can be looked at while they run",
        options.PS,
        options.add_ps_options,
        "unified_exec.cli.live.run_ps",
    ),
    "tree": Subcommand(
        "show every scope and task of a running program, and why each waits",
        options.TREE,
        options.add_tree_options,
        "unified_exec.cli.live.run_tree",
    ),
    "top": Subcommand(
        "show a running program in the terminal, live",
        options.TOP,
        options.add_top_options,
        "unified_exec.cli.live.run_top",
        lambda run: [] if run.json else ["textual"],
    ),
    "dashboard": Subcommand(
        "show a running program in a browser, live",
        options.DASHBOARD,
        options.add_dashboard_options,
        "unified_exec.cli.live.run_dashboard",
        lambda run: ["aiohttp"],
    ),
    "trace": Subcommand(
        "record a running program for a while, for the Perfetto trace viewer",
        options.TRACE,
        options.add_trace_options,
        "unified_exec.cli.live.run_trace",
    ),
    "bench": Subcommand(
        "measure models of concurrency on this machine: coroutines, threads, processes",
        options.BENCH,
        options.add_bench_options,
        "unified_exec.cli.bench.run_bench",
        lambda run: ["psutil", "rich", *(["plotly"] if run.html else [])],
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        argv: the arguments after the program's name; ``sys.argv[1:]`` if ``None``.

    Returns:
        The exit code: 0 success, 1 failure, 2 wrong usage or a missing package, 130 interrupted by Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m unified_exec", description="Tools that come with unified_exec.")
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    for name, subcommand in SUBCOMMANDS.items():
        subcommand.add_options(subparsers.add_parser(name, help=subcommand.help, description=subcommand.description))
    arguments = parser.parse_args(argv)
    chosen = SUBCOMMANDS[arguments.subcommand]
    missing = [name for name in chosen.needs(arguments) if importlib.util.find_spec(name) is None]
    if missing:
        return complain(arguments.subcommand, missing)
    return _run(lambda: importlib.import_module(chosen.module).run(arguments))


def complain(subcommand: str, missing: Sequence[str]) -> int:
    """Print, in one line, which packages are missing and how to install them."""
    print(
        f"unified_exec {subcommand} needs {' and '.join(missing)}, not installed here: "
        f"{sys.executable} -m pip install {' '.join(missing)}",
        file=sys.stderr,
    )
    return USAGE


def _run(command: Callable[[], int]) -> int:
    if sys.stdout is None:  # `... >&-`
        sys.stdout = open(os.devnull, "w")  # noqa: SIM115
    if isinstance(sys.stdout, io.TextIOWrapper):
        sys.stdout.reconfigure(errors="backslashreplace")  # names need not fit the terminal's encoding
    try:
        code = command()
        sys.stdout.flush()
        return code
    except BaseException as error:
        if contains(error, BrokenPipeError):  # e.g. `... | head`: the reader has exited
            _write_no_more()
            return OUTPUT_CLOSED
        if isinstance(error, OSError) and error.errno == errno.ENOSPC:
            _write_no_more()
            print(f"unified_exec: {error.strerror}", file=sys.stderr)
            return FAILED
        if contains(error, KeyboardInterrupt):  # before or after the command's own handling
            return INTERRUPTED
        raise


def _write_no_more() -> None:
    """Keep the flush at exit from failing again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
