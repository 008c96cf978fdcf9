"""The command line: `python -m unified_exec SUBCOMMAND`, or `unified-exec SUBCOMMAND` where it is installed."""

from __future__ import annotations

import argparse
import importlib
import importlib.util
import os
import sys
from collections.abc import Callable, Sequence
from typing import NamedTuple

from . import endings

USAGE = 2
INTERRUPTED = 130  # what a shell reports for a program that SIGINT ended
OUTPUT_CLOSED = 141  # and for one that SIGPIPE ended


class Subcommand(NamedTuple):
    """One subcommand.

    Attributes:
        help: a line for ``--help``.
        options: the module with ``add_arguments(parser)`` and ``needs(arguments)``, the packages a run needs beyond
            those that unified_exec always has; it imports nothing heavy.
        command: the module with ``run(arguments) -> int``, imported only when the subcommand was chosen.
    """

    help: str
    options: str
    command: str


SUBCOMMANDS = {
    "advise": Subcommand(
        "measure a function of yours and say where it should run",
        "unified_exec.cli.advise.options",
        "unified_exec.cli.advise.command",
    ),
    "demo": Subcommand(
        "run a pipeline over coroutines, processes and threads on the standard library's own source",
        "unified_exec.cli.demo.options",
        "unified_exec.cli.demo.command",
    ),
    "bench": Subcommand(
        "measure models of concurrency on this machine: coroutines, threads, processes",
        "unified_exec.cli.bench.options",
        "unified_exec.cli.bench.command",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one subcommand.

    Args:
        argv: what follows the program's name; ``sys.argv[1:]`` if ``None``.

    Returns:
        The exit code: 0 done, 1 failed, 2 wrong usage or a missing package, 130 ended by Ctrl-C.
    """
    parser = argparse.ArgumentParser(prog="python -m unified_exec", description="Tools that come with unified_exec.")
    subparsers = parser.add_subparsers(dest="subcommand", required=True, metavar="SUBCOMMAND")
    options = {name: importlib.import_module(subcommand.options) for name, subcommand in SUBCOMMANDS.items()}
    for name, subcommand in SUBCOMMANDS.items():
        about = options[name].__doc__
        options[name].add_arguments(subparsers.add_parser(name, help=subcommand.help, description=about))
    arguments = parser.parse_args(argv)
    chosen = SUBCOMMANDS[arguments.subcommand]
    needed = options[arguments.subcommand].needs(arguments)
    missing = [name for name in needed if importlib.util.find_spec(name) is None]
    if missing:
        return complain(arguments.subcommand, missing)
    return _run(lambda: importlib.import_module(chosen.command).run(arguments))


def complain(subcommand: str, missing: Sequence[str]) -> int:
    """Say in one line which packages are missing and how to get them."""
    print(
        f"unified_exec {subcommand} needs {' and '.join(missing)}, not installed here: "
        f"{sys.executable} -m pip install {' '.join(missing)}",
        file=sys.stderr,
    )
    return USAGE


def _run(command: Callable[[], int]) -> int:
    try:
        code = command()
        sys.stdout.flush()
        return code
    except BaseException as error:
        if endings.tells_of(error, BrokenPipeError):  # e.g. `... | head`: nobody reads on
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # the flush at exit must not fail again
            return OUTPUT_CLOSED
        if endings.tells_of(error, KeyboardInterrupt):  # before or after the command's own handling
            return INTERRUPTED
        raise
