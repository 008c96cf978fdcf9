"""`unified_exec bench`: measure, show, write."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ... import cpu_count
from ..endings import ending_like_ctrl_c
from .comparison import comparison
from .machine import describe
from .markdown import page
from .models import MODELS, PEERS, Model
from .results import Results, UnreadableResults, as_json, read
from .suite import Options, measure
from .terminal import print_section, progress, render, say
from .workloads import WORKLOADS, Workload

WIDTH = 160  # where the output is no terminal
QUICK_SECONDS = 100.0  # the turn that begins last, and the report, take some of the two minutes
FULL_SECONDS = 1500.0
INTERRUPTED = 130


class Unknown(Exception):
    """A name on the command line that nothing has: which, and what there is."""


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand; the exit code."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    if arguments.list:
        _list(console)
        return 0
    try:
        old = read(arguments.compare) if arguments.compare else None
        results = read(arguments.source) if arguments.source else _measure(arguments)
    except (Unknown, UnreadableResults) as error:
        print(f"unified_exec bench: {error}", file=sys.stderr)
        return 2
    _write(arguments, results, old)  # before anything is printed: nobody may be reading (`| head`)
    render(console, results)
    if old is not None:
        print_section(console, comparison(old, results))
    return INTERRUPTED if results["over"] == "interrupted" and not arguments.source else 0


def _measure(arguments: argparse.Namespace) -> Results:
    quick = bool(arguments.quick)
    options = Options(
        _models(arguments.models, arguments.peers),
        _workloads(arguments.workloads),
        arguments.workers or cpu_count(),
        quick,
        arguments.rounds or 3,
        min(arguments.rounds or 3, 2 if quick else 3),
        arguments.budget or (QUICK_SECONDS if quick else FULL_SECONDS),
        60.0 if quick else 300.0,
        arguments.scale,
    )
    machine = describe()
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with ending_like_ctrl_c(), progress(Console(stderr=True)) as bar:
        found = measure(options, bar)
    return as_json(found, machine, created)


def _models(names: Sequence[str] | None, peers: bool) -> list[Model]:
    offered = [*MODELS, *(PEERS if peers or names else ())]
    if names is None:
        return offered
    _check(names, [model.key for model in offered], "model")
    # Speed-ups are over sequential: it always takes part.
    return [model for model in offered if model.key in names or model.key == "sequential"]


def _workloads(names: Sequence[str] | None) -> list[Workload]:
    if names is None:
        return list(WORKLOADS)
    _check(names, [workload.key for workload in WORKLOADS], "workload")
    return [workload for workload in WORKLOADS if workload.key in names]


def _check(names: Sequence[str], known: Sequence[str], what: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise Unknown(f"no {what} is called {', '.join(unknown)}; there are {', '.join(known)}")


def _list(console: Console) -> None:
    say(console, "workloads", style="bold")
    for workload in WORKLOADS:
        say(console, f"  {workload.key:<14} {workload.title}: {workload.about}")
    say(console, "models", style="bold")
    for model in (*MODELS, *PEERS):
        absent = model.absent()
        peer = " (with --peers)" if model.is_peer else ""
        say(console, f"  {model.key:<16} {model.title}{peer}{f': {absent}' if absent else ''}")


def _write(arguments: argparse.Namespace, results: Results, old: Results | None) -> None:
    if arguments.json:
        _file(arguments.json, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    if arguments.markdown:
        _file(arguments.markdown, page(results))
    if arguments.html:
        from .html import document

        _file(arguments.html, document(results, old))


def _file(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    print(f"written: {path}", file=sys.stderr)
