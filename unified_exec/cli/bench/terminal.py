"""A run on the terminal: its progress, its tables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from .results import Results
from .sections import NOISY, Section, describe_machine, describe_run, sections

LINES_EVERY = 25  # turns, where there is no terminal


class Bar:
    """A moving bar on a terminal; elsewhere a line now and then."""

    def __init__(self, console: Console, progress: Progress | None) -> None:
        self._console = console
        self._progress = progress
        self._task: TaskID | None = None
        self._turns = 0

    def turn(self, done: int, total: int, what: str) -> None:
        if self._progress is not None:
            if self._task is None:
                self._task = self._progress.add_task("", total=total, what="")
            self._progress.update(self._task, completed=done, total=total, what=what)
            self._progress.refresh()
            return
        if self._turns % LINES_EVERY == 0:
            say(self._console, f"{done} of {total} turns: {what}")
        self._turns += 1


@contextmanager
def progress(console: Console) -> Iterator[Bar]:
    """Show how far a run is, on stderr's console."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield Bar(console, None)
        return
    columns = (BarColumn(30), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.fields[what]}", style="dim"))
    # Drawn by the run's own thread: a further one would take part in what is timed.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bars:
        yield Bar(console, bars)


def say(console: Console, line: str = "", style: str | None = None) -> None:
    """Print one line as it is."""
    console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def render(console: Console, results: Results) -> None:
    """Print all tables."""
    for line in describe_machine(results["machine"]):
        say(console, line)
    say(console, describe_run(results), style="dim")
    for section in sections(results):
        print_section(console, section)
    for entry in results["left_out"]:
        say(console, f"left out: {entry['what']}: {entry['why']}", style="yellow")


def print_section(console: Console, section: Section) -> None:
    """Print one table."""
    say(console)
    say(console, section.title, style="bold")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(section.columns):
        wordy = number == 0 or (len(section.columns) == 6 and section.columns[1] == "best for")
        table.add_column(column, justify="left" if wordy else "right", overflow="fold")
    for row in section.rows:
        table.add_row(*map(_cell, row))
    console.print(table)
    if any(cell.endswith("*") or "*," in cell for row in section.rows for cell in row):
        say(console, "* scaled up from a part of the tasks", style="dim")
    if section.about:
        console.print(section.about, style="dim", highlight=False, markup=False)


def _cell(text: str) -> Any:
    from rich.text import Text

    if text == NOISY or text.startswith("failed"):
        return Text(text, style="yellow")
    return Text(text)


def print_lines(console: Console, lines: Sequence[str]) -> None:
    """Print lines as they are."""
    for line in lines:
        say(console, line)
