"""Progress bars: rich's on a terminal, tqdm's in a notebook. Imported only when one of them is drawn."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from .rate import format_number, format_seconds

if TYPE_CHECKING:
    from rich.progress import TaskID

    from .record import Progress

_lock = threading.Lock()
_shared: Terminal | None = None


class Terminal:
    """The process-wide live display (a terminal can show only one). Redrawn by whichever task reports progress."""

    def __init__(self) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self.bars = 0
        self.progress = Progress(
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            TextColumn("{task.fields[count]}", style="green"),
            TextColumn("{task.fields[rate]}", style="cyan"),
            TextColumn("{task.fields[left]}", style="yellow"),
            TextColumn("{task.fields[text]}", markup=False),
            console=Console(stderr=True),
            auto_refresh=False,
        )

    def usable(self) -> bool:
        console = self.progress.console
        return console.is_jupyter or not console.is_dumb_terminal


class TerminalBar:
    """One row of the display."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._row: TaskID | None = None

    def draw(self, progress: Progress) -> None:
        with _lock:
            bars = self._terminal.progress
            if self._row is None:
                self._terminal.bars += 1
                self._row = bars.add_task(progress.name, total=progress.total, **columns(progress))
                bars.start()
            bars.update(self._row, completed=progress.done, total=progress.total, **columns(progress))
            bars.refresh()

    def close(self, progress: Progress) -> None:
        global _shared
        self.draw(progress)
        with _lock:
            self._terminal.bars -= 1
            if not self._terminal.bars:  # shows the cursor again
                self._terminal.progress.stop()
                _shared = None


def terminal_bar() -> TerminalBar | None:
    """Return a new row, ``None`` on a terminal that cannot move its cursor."""
    global _shared
    with _lock:
        if _shared is None:
            _shared = Terminal()
        return TerminalBar(_shared) if _shared.usable() else None


def columns(progress: Progress) -> dict[str, Any]:
    of = "" if progress.total is None else f"/{format_number(progress.total)}"
    return {
        "count": f"{format_number(progress.done)}{of}",
        "rate": "" if progress.rate is None else f"{format_number(progress.rate)}/s",
        "left": f"in {format_seconds(progress.seconds)}" if progress.ended else f"{format_seconds(progress.left)} left",
        "text": progress.text or "",
    }


class NotebookBar:
    """tqdm's bar, which notebooks show as a widget."""

    def __init__(self, name: str) -> None:
        from tqdm.auto import tqdm

        self._bar: Any = tqdm(desc=name)

    def draw(self, progress: Progress) -> None:
        self._bar.total = progress.total
        self._bar.n = progress.done
        self._bar.set_postfix_str(progress.text or "", refresh=False)
        self._bar.refresh()

    def close(self, progress: Progress) -> None:
        self.draw(progress)
        self._bar.close()
