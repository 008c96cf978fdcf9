"""The command line of the benchmarks."""

from __future__ import annotations

import argparse
import json
import logging
import warnings
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from unified_exec.cli.bench.machine import describe

from .model import Result, Row, Settings
from .report import Progress, print_machine, print_result, print_summary
from .results import as_json
from .rows import all_rows
from .runner import run_row


def main(argv: Sequence[str] | None = None) -> int:
    """Run the rows asked for and print them; 0 whatever the figures say, 1 with ``--strict`` if a bar was missed."""
    options = _parser().parse_args(argv)
    rows = all_rows()
    console = Console(width=None if Console().is_terminal else 132)
    if options.list:
        for row in rows:
            console.print(f"{row.name:<16} {row.title}", highlight=False)
        return 0
    chosen = _chosen(rows, options.only)
    settings = Settings(options.loop, options.quick)
    rounds = options.rounds or (3 if options.quick else 7)
    machine = describe()
    print_machine(console, machine)
    console.print(f"loop {settings.loop}, {rounds} rounds{', quick' if settings.quick else ''}\n", highlight=False)
    _quiet()
    results: list[Result] = []
    try:
        for row in chosen:
            results.append(run_row(row, settings, rounds, Progress(console)))
            print_result(console, results[-1])
    except KeyboardInterrupt:
        console.print("interrupted: what follows is what was measured until then")
    print_summary(console, results)
    if options.json:
        text = json.dumps(as_json(machine, settings, rounds, results), indent=1, ensure_ascii=False)
        Path(options.json).write_text(text + "\n", encoding="utf-8")
    missed = any(verdict.passed is False for result in results for verdict in result.verdicts())
    return int(options.strict and missed)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks",
        description="unified_exec against its peers, in interleaved rounds of one run: medians, ratios and bars. "
        "Absolute times mean little on a shared machine; ratios do.",
    )
    parser.add_argument("--only", action="append", metavar="ROW", help="this row, or those whose name begins so")
    parser.add_argument("--rounds", type=int, metavar="N", help="rounds at most for each row (7; quick: 3)")
    parser.add_argument("--quick", action="store_true", help="fewer calls and rounds: rougher figures")
    parser.add_argument("--loop", choices=("asyncio", "uvloop", "trio"), default="asyncio")
    parser.add_argument("--json", metavar="FILE", help="write all figures there too (form: benchmarks/results.py)")
    parser.add_argument("--strict", action="store_true", help="exit with 1 if a bar was missed")
    parser.add_argument("--list", action="store_true", help="name the rows and end")
    return parser


def _chosen(rows: list[Row], only: list[str] | None) -> list[Row]:
    if not only:
        return rows
    chosen = [row for row in rows if any(row.name.startswith(name) for name in only)]
    unknown = [name for name in only if not any(row.name.startswith(name) for row in rows)]
    if unknown:
        raise SystemExit(f"no such row: {', '.join(unknown)}; there are {', '.join(row.name for row in rows)}")
    return chosen


def _quiet() -> None:
    """Some peers warn about what is none of the reader's business here."""
    warnings.simplefilter("ignore")
    logging.getLogger("asyncio").setLevel(logging.ERROR)
