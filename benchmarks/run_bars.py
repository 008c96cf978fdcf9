"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import json
import logging
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path

from rich.console import Console

from unified_exec.cli.measuring.clocks import frozen_garbage
from unified_exec.cli.measuring.machine import describe
from unified_exec.cli.measuring.rounds import Job, ProgressDisplay, Series, run_rounds
from unified_exec.cli.measuring.tables import describe_machine
from unified_exec.cli.measuring.terminal import progress_bar, say

from .report import print_row, print_summary
from .results import RowResult, as_json
from .row import Contender, Row, Settings
from .rows import rows_by_theme


def main(argv: Sequence[str] | None = None) -> int:
    """Measure the chosen rows and print them; returns 0, or with ``--strict`` 1 if a bar was missed."""
    options = _parser().parse_args(argv)
    console = Console(width=None if Console().is_terminal else 132)
    chosen = _chosen(options.only or [])
    if options.list:
        for row in chosen:
            say(console, f"{row.name:<16} {row.title}")
        return 0
    settings = Settings(options.loop, options.quick)
    rounds = options.rounds or (3 if options.quick else 7)
    machine = describe()
    load = machine["load_average_at_start"]
    for line in (*describe_machine(machine), f"revision {machine['revision']}, load average at start {load}"):
        say(console, line)
    say(console, f"loop {settings.loop}, {rounds} rounds{', quick' if settings.quick else ''}")
    # Warnings of peers do not concern the reader.
    warnings.simplefilter("ignore")
    logging.getLogger("asyncio").setLevel(logging.ERROR)
    results: list[RowResult] = []
    try:
        for row in chosen:
            with progress_bar(Console(stderr=True)) as display:
                results.append(run_row(row, settings, rounds, display))
            print_row(console, results[-1])
    except KeyboardInterrupt:
        say(console, "interrupted: the following was measured so far")
    print_summary(console, results)
    if options.json:
        text = json.dumps(as_json(machine, settings, rounds, results), indent=1, ensure_ascii=False)
        Path(options.json).write_text(text + "\n", encoding="utf-8")
    missed = any(verdict.passed is False for result in results for verdict in result.verdicts())
    return int(options.strict and missed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="Compare unified_exec with its peers in interleaved rounds: medians, ratios and bars. On a shared "
        "machine absolute times mean little; ratios do.",
    )
    parser.add_argument(
        "--only", action="append", metavar="NAME", help="the rows of this theme, or whose name starts like this"
    )
    parser.add_argument("--rounds", type=int, metavar="N", help="maximum rounds per row (7; quick: 3)")
    parser.add_argument("--quick", action="store_true", help="fewer calls and rounds: rougher figures")
    parser.add_argument("--loop", choices=("asyncio", "uvloop", "trio"), default="asyncio", help="the event loop")
    parser.add_argument("--json", metavar="FILE", help="write all figures to FILE (form: benchmarks/results.py)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a bar was missed")
    parser.add_argument("--list", action="store_true", help="list the rows, then exit")
    return parser


def _chosen(names: list[str]) -> list[Row]:
    rows = [(theme, row) for theme, rows in rows_by_theme().items() for row in rows]
    unknown = [name for name in names if not any(theme == name or row.name.startswith(name) for theme, row in rows)]
    if unknown:
        known = ", ".join([*rows_by_theme(), *(row.name for _, row in rows)])
        raise SystemExit(f"there is no row {', '.join(unknown)}; choose from {known}")
    return [
        row for theme, row in rows if not names or any(theme == name or row.name.startswith(name) for name in names)
    ]


def run_row(row: Row, settings: Settings, rounds: int, display: ProgressDisplay) -> RowResult:
    """Measure one row. A contender that is not installed, or that fails, is left out and named."""
    result = RowResult(row)
    began = time.monotonic()
    taking_part: list[tuple[Contender, Job]] = []
    for contender in row.contenders:
        if why := contender.absent(settings.loop):
            result.missing[contender.name] = why
        else:
            job = Job(Series(), f"{row.name}: {contender.name}", partial(_turn, contender, settings))
            taking_part.append((contender, job))
    run_rounds([job for _, job in taking_part], max(1, min(rounds, row.rounds_most)), display)
    for contender, job in taking_part:
        result.add(contender, job.series)
    result.seconds = time.monotonic() - began
    return result


@contextmanager
def _turn(contender: Contender, settings: Settings) -> Iterator[Callable[[], Mapping[str, float]]]:
    def measure() -> Mapping[str, float]:
        reached = contender.measure(settings)
        return reached if isinstance(reached, Mapping) else {"": reached}

    with frozen_garbage():
        yield measure
