"""The report as text: with colours and a panel on a terminal, in plain lines elsewhere."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from typing import Any

from ..._auto.cost_model import WORTH, duration
from ..measuring.figures import shown
from .facts import Advice, Facts, Measured

PLACES = {
    "direct": "nowhere else: call it directly",
    "loop": "the event loop",
    "thread": "threads",
    "process": "processes",
}


HEAD = ("where", "runs", "a call", "its CPU", "cores used", "loop blocked")


def print_advice(facts: Facts, advice: Advice) -> None:
    """Print the report on stdout."""
    if sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
        print_panel(facts, advice)
    else:
        for line in _plain(facts, advice):
            print(line)


def headline(advice: Advice) -> str:
    """Return the advice in one line."""
    parts = [PLACES[advice.backend]]
    if advice.backend != "direct":
        parts.append(f"{advice.workers} at the same time")
    if advice.backend in ("process", "thread") and advice.chunk > 1:
        parts.append(f"chunks of {advice.chunk} in a map")
    return ", ".join(parts)


def rows(facts: Facts) -> Iterator[tuple[str, ...]]:
    """Yield the rows of the table of measurements."""
    for measured in facts.measured:
        yield (
            _where(measured),
            str(measured.runs),
            duration(measured.seconds),
            duration(measured.cpu),
            f"{measured.parallelism:.2f}" if measured.seconds > WORTH else "-",
            duration(measured.loop_blocked),
        )


def _where(measured: Measured) -> str:
    if measured.at_once > 1:
        return f"{measured.at_once} at once, {PLACES[measured.place]}"
    return {"loop": "event loop", "thread": "a thread", "process": "a process"}[measured.place]


def facts_in_lines(facts: Facts) -> Iterator[tuple[str, str]]:
    """Yield the other facts, each with its name."""
    if facts.cpu >= max(WORTH, 0.05 * facts.wall) and not facts.is_async:
        yield "GIL", f"held for {min(1.0, facts.gil / facts.cpu):.0%} of its CPU time"
    transfer = facts.transfer
    if transfer.possible and facts.weighed:
        size = f"{shown(transfer.arguments, 'bytes')} sent, {shown(transfer.result, 'bytes')} returned"
        yield "transfer", f"{size}, {duration(transfer.pickling)} of pickling"
    if facts.interpreter is not None and not facts.interpreter.possible:
        yield "interpreter", f"it does not run in one: {facts.interpreter.why}"
    if facts.growth is not None:
        worker = f", a worker uses {shown(facts.worker, 'bytes')}" if facts.worker else ""
        yield "memory", f"grew by {shown(facts.growth, 'bytes')} in the first run{worker}"
    if facts.pools:
        yield "libraries", ", ".join(f"{library} with {threads} threads" for library, threads in facts.pools.items())
    gil = "" if facts.machine.gil else ", no GIL"
    yield "machine", f"Python {facts.machine.python}{gil}, {facts.machine.cores} cores"


def _plain(facts: Facts, advice: Advice) -> Iterator[str]:
    yield f"{facts.name}: {headline(advice)}"
    yield f"  because {advice.reason}"
    yield f"  {advice.code}"
    yield ""
    table = [HEAD, *rows(facts)]
    widths = [max(len(row[column]) for row in table) for column in range(len(HEAD))]
    for row in table:
        cells = [row[0].ljust(widths[0]), *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))]
        yield "  " + "  ".join(cells).rstrip()
    yield ""
    for name, text in facts_in_lines(facts):
        yield f"  {name + ':':<11} {text}"
    for warned in advice.warnings:
        yield f"  warning:    {warned.text}"


def print_panel(facts: Facts, advice: Advice) -> None:
    """Print the report with rich."""
    from rich.console import Console, Group
    from rich.markup import escape
    from rich.panel import Panel
    from rich.table import Table
    from rich.text import Text

    table = Table(*HEAD, box=None, header_style="dim", pad_edge=False)
    for column in table.columns[1:]:
        column.justify = "right"
    for row in rows(facts):
        table.add_row(*map(escape, row))
    found = Table.grid(padding=(0, 2))
    for name, text in facts_in_lines(facts):
        found.add_row(Text(name, style="dim"), Text(text))
    for warned in advice.warnings:
        found.add_row(Text("warning", style="bold yellow"), Text(warned.text))
    parts: list[Any] = [
        Text(f"because {advice.reason}"),
        Text(""),
        Text(f"    {advice.code}", style="cyan"),
        Text(""),
        table,
        Text(""),
        found,
    ]
    title = Text.assemble((facts.name, "bold"), ": ", (headline(advice), "bold green"))
    Console().print(Panel(Group(*parts), title=title, title_align="left", expand=False))
