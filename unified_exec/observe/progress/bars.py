"""Progress as it is drawn: rich's bars on a terminal, tqdm's in a notebook. Loaded only where one of them is drawn."""

from __future__ import annotations

import threading
from typing import TYPE_CHECKING, Any

from .rate import short, span

if TYPE_CHECKING:
    from rich.progress import TaskID

    from .tracker import Progress

_lock = threading.Lock()
_shared: Terminal | None = None


class Terminal:
    """The one moving picture of this process: a terminal has room for no second. Drawn by whoever has news."""

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
    """One row of the terminal's picture."""

    def __init__(self, terminal: Terminal) -> None:
        self._terminal = terminal
        self._row: TaskID | None = None

    def draw(self, progress: Progress) -> None:
        with _lock:
            bars = self._terminal.progress
            if self._row is None:
                self._terminal.bars += 1
                self._row = bars.add_task(progress.name, total=progress.total, **facts(progress))
                bars.start()
            bars.update(self._row, completed=progress.done, total=progress.total, **facts(progress))
            bars.refresh()

    def close(self, progress: Progress) -> None:
        global _shared
        self.draw(progress)
        with _lock:
            self._terminal.bars -= 1
            if not self._terminal.bars:  # the cursor comes back
                self._terminal.progress.stop()
                _shared = None


def terminal_bar() -> TerminalBar | None:
    """A new row, or ``None`` on a terminal that cannot move its cursor."""
    global _shared
    with _lock:
        if _shared is None:
            _shared = Terminal()
        return TerminalBar(_shared) if _shared.usable() else None


def facts(progress: Progress) -> dict[str, Any]:
    """What stands beside the bar."""
    of = "" if progress.total is None else f"/{short(progress.total)}"
    return {
        "count": f"{short(progress.done)}{of}",
        "rate": "" if progress.rate is None else f"{short(progress.rate)}/s",
        "left": f"in {span(progress.seconds)}" if progress.ended else f"{span(progress.left)} left",
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
