"""Progress and tables on the terminal, drawn with rich."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from rich import box
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn
from rich.table import Table as RichTable
from rich.text import Text

from .tables import SCALED, Table, is_warning

LINES_EVERY = 25
"""Turns between two lines of progress where the output is not a terminal."""
_COLOURS = {"pass": "green", "miss": "red", "unknown": "yellow", "disturbed": "yellow", "wide": "yellow"}


class ProgressBar:
    """A moving bar on a terminal; elsewhere a line every `LINES_EVERY` turns."""

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
def progress_bar(console: Console) -> Iterator[ProgressBar]:
    """Show how far a run has come."""
    if not console.is_terminal or console.is_dumb_terminal:
        yield ProgressBar(console, None)
        return
    columns = (BarColumn(30), TaskProgressColumn(), TimeElapsedColumn(), TextColumn("{task.fields[what]}", style="dim"))
    # Drawn by the thread that measures: another thread would take part in what is timed.
    with Progress(*columns, console=console, auto_refresh=False, transient=True) as bars:
        yield ProgressBar(console, bars)


def say(console: Console, line: str = "", style: str | None = None) -> None:
    """Print one line as it is: without markup, highlighting or wrapping."""
    console.print(line, style=style, highlight=False, markup=False, soft_wrap=True)


def print_table(console: Console, table: Table) -> None:
    """Print one table with its title and its notes."""
    say(console)
    say(console, table.title, style="bold")
    drawn = RichTable(box=box.SIMPLE_HEAD, pad_edge=False)
    for number, column in enumerate(table.columns):
        drawn.add_column(column, justify="left" if number == 0 or table.wordy else "right", overflow="fold")
    for row in table.rows:
        drawn.add_row(*map(_cell, row))
    if table.rows:
        console.print(drawn)
    if table.has_scaled_cells:
        say(console, SCALED, style="dim")
    if table.about:
        console.print(table.about, style="dim", highlight=False, markup=False)


def _cell(text: str) -> Text:
    return Text(text, style="yellow" if is_warning(text) else _COLOURS.get(text.partition(" ")[0], ""))
