"""`unified_exec bench`: measure, print, write the reports."""

from __future__ import annotations

import argparse
import datetime
import json
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from ... import cpu_count
from ..interrupts import signals_as_ctrl_c
from ..measuring.machine import describe
from ..measuring.terminal import print_table, progress_bar, say
from .comparison import comparison
from .models import MODELS, PEERS, Model
from .result_file import Results, UnreadableResults, as_json, read
from .suite import INTERRUPTED, Options, measure
from .text_reports import markdown_page, print_results
from .workloads import WORKLOADS, Workload

WIDTH = 160
"""Columns where the output is not a terminal."""
QUICK_SECONDS = 100.0
"""The last turn and the report take the rest of the two minutes."""
FULL_SECONDS = 1500.0
INTERRUPTED_CODE = 130


class UnknownName(Exception):
    """A name on the command line is unknown; the text lists those that exist."""


def run(arguments: argparse.Namespace) -> int:
    """Run the subcommand and return the exit code."""
    console = Console(width=None if sys.stdout.isatty() else WIDTH)
    if arguments.list:
        _list(console)
        return 0
    try:
        old = read(arguments.compare) if arguments.compare else None
        results = read(arguments.source) if arguments.source else _measure(arguments)
    except (UnknownName, UnreadableResults) as error:
        print(f"unified_exec bench: {error}", file=sys.stderr)
        return 2
    _write_files(arguments, results, old)  # before printing, which fails if the reader has exited (`| head`)
    print_results(console, results)
    if old is not None:
        print_table(console, comparison(old, results))
    return INTERRUPTED_CODE if results["over"] == INTERRUPTED and not arguments.source else 0


def _measure(arguments: argparse.Namespace) -> Results:
    quick = bool(arguments.quick)
    rounds = arguments.rounds or 3
    options = Options(
        _models(arguments.models, arguments.peers),
        _workloads(arguments.workloads),
        arguments.workers or cpu_count(),
        quick,
        rounds,
        least=min(rounds, 2 if quick else 3),
        budget=arguments.budget or (QUICK_SECONDS if quick else FULL_SECONDS),
        patience=60.0 if quick else 300.0,
        scale=arguments.scale,
    )
    machine = describe()
    created = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
    with signals_as_ctrl_c(), progress_bar(Console(stderr=True)) as display:
        found = measure(options, display)
    return as_json(found, machine, created)


def _models(names: Sequence[str] | None, peers: bool) -> list[Model]:
    offered = [*MODELS, *(PEERS if peers or names else ())]
    if names is None:
        return offered
    _check(names, [model.key for model in offered], "model")
    # Speed-ups are relative to sequential, which always takes part.
    return [model for model in offered if model.key in names or model.key == "sequential"]


def _workloads(names: Sequence[str] | None) -> list[Workload]:
    if names is None:
        return list(WORKLOADS)
    _check(names, [workload.key for workload in WORKLOADS], "workload")
    return [workload for workload in WORKLOADS if workload.key in names]


def _check(names: Sequence[str], known: Sequence[str], what: str) -> None:
    unknown = [name for name in names if name not in known]
    if unknown:
        raise UnknownName(f"there is no {what} {', '.join(unknown)}; choose from {', '.join(known)}")


def _list(console: Console) -> None:
    say(console, "workloads", style="bold")
    for workload in WORKLOADS:
        say(console, f"  {workload.key:<14} {workload.title}: {workload.about}")
    say(console, "models", style="bold")
    for model in (*MODELS, *PEERS):
        absent = model.absent()
        peer = " (with --peers)" if model.is_peer else ""
        say(console, f"  {model.key:<16} {model.title}{peer}{f': {absent}' if absent else ''}")


def _write_files(arguments: argparse.Namespace, results: Results, old: Results | None) -> None:
    if arguments.json:
        _write(arguments.json, json.dumps(results, indent=1, ensure_ascii=False) + "\n")
    if arguments.markdown:
        _write(arguments.markdown, markdown_page(results))
    if arguments.html:
        from .html_report import document  # needs plotly, which only this option asks for

        _write(arguments.html, document(results, old))


def _write(path: Path, text: str) -> None:
    path.write_text(text, encoding="utf-8")
    print(f"wrote {path}", file=sys.stderr)
