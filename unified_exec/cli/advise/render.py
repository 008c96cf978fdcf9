"""The report for people: with colours and boxes on a terminal, in plain lines elsewhere."""

from __future__ import annotations

import importlib.util
import sys
from collections.abc import Iterator
from typing import Any

from ..._auto.cost_model import WORTH, duration
from .facts import Advice, Facts, Measured

PLACES = {
    "direct": "no other place: call it where you are",
    "loop": "the event loop",
    "thread": "threads",
    "process": "processes",
}


def render(facts: Facts, advice: Advice) -> None:
    """Print the report on stdout."""
    if sys.stdout.isatty() and importlib.util.find_spec("rich") is not None:
        _with_rich(facts, advice)
    else:
        for line in _plain(facts, advice):
            print(line)


def headline(advice: Advice) -> str:
    """The advice in a line."""
    parts = [PLACES[advice.backend]]
    if advice.backend != "direct":
        parts.append(f"{advice.workers} at the same time")
    if advice.backend in ("process", "thread") and advice.chunk > 1:
        parts.append(f"chunks of {advice.chunk} in a map")
    return ", ".join(parts)


def rows(facts: Facts) -> Iterator[tuple[str, ...]]:
    """The table of measurements, without its head."""
    for measured in facts.measured:
        yield (
            _where(measured),
            str(measured.runs),
            duration(measured.seconds),
            duration(measured.cpu),
            f"{measured.parallelism:.2f}" if measured.seconds > WORTH else "-",
            duration(measured.loop_blocked),
        )


HEAD = ("where", "runs", "a call", "its CPU", "cores busy", "loop held up")


def _where(measured: Measured) -> str:
    if measured.at_once > 1:
        return f"{measured.at_once} at once, {PLACES[measured.place]}"
    return {"loop": "event loop", "thread": "a thread", "process": "a process"}[measured.place]


def facts_in_lines(facts: Facts) -> Iterator[tuple[str, str]]:
    """What else was found, each with its name."""
    if facts.cpu >= max(WORTH, 0.05 * facts.wall) and not facts.is_async:
        yield "GIL", f"held for {min(1.0, facts.gil / facts.cpu):.0%} of its CPU time"
    travel = facts.travel
    if travel.possible and facts.weighed:
        size = f"{bytes_in_words(travel.arguments)} there, {bytes_in_words(travel.result)} back"
        yield "journey", f"{size}, {duration(travel.pickling)} of pickling"
    if facts.growth is not None:
        worker = f", a worker has {bytes_in_words(facts.worker)}" if facts.worker else ""
        yield "memory", f"grew by {bytes_in_words(facts.growth)} in the first run{worker}"
    if facts.pools:
        yield "libraries", ", ".join(f"{library} with {threads} threads" for library, threads in facts.pools.items())
    gil = "" if facts.machine.gil else ", no GIL"
    yield "machine", f"Python {facts.machine.python}{gil}, {facts.machine.cores} cores"


def bytes_in_words(size: int | None) -> str:
    """A size for people."""
    value = float(size or 0)
    for unit in ("B", "KiB", "MiB"):
        if value < 1024:
            return f"{value:.0f} {unit}" if unit == "B" else f"{value:.1f} {unit}"
        value /= 1024
    return f"{value:.1f} GiB"


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


def _with_rich(facts: Facts, advice: Advice) -> None:
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
