"""The progress of a run: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from ..measuring.terminal import say
from .pipeline_runs import HybridRun, SequentialRun, Stage

REFRESH_EVERY = 0.1
"""Seconds between two redraws of a bar."""
LINE_EVERY = 1.0
"""Seconds between two lines."""
TEXT_COLUMNS = 72
"""Columns of the text around a bar."""


class Show(Protocol):
    """Called repeatedly during a run."""

    def __call__(self) -> object: ...


class Display(Protocol):
    """Shows both runs; each method yields the function that the run calls repeatedly."""

    def hybrid(self, run: HybridRun) -> AbstractContextManager[Show]: ...

    def sequential(self, run: SequentialRun) -> AbstractContextManager[Show]: ...


def display_for(console: Console) -> Display:
    """Return bars for a terminal, else lines without control characters."""
    return Bars(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


class Bars:
    """One moving bar per backend, drawn by the thread of the run: another thread would take part in what is timed."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def hybrid(self, run: HybridRun) -> Iterator[Show]:
        total = len(run.job.paths)
        with self._progress() as progress:
            bars = {stage: progress.add_task(stage.verb, total=total, **_facts(stage, 0.0)) for stage in run.stages}

            def show() -> None:
                for stage, bar in bars.items():
                    progress.update(bar, completed=stage.stats.finished, **_facts(stage, run.seconds))
                progress.refresh()

            try:
                yield show
            finally:
                show()

    @contextmanager
    def sequential(self, run: SequentialRun) -> Iterator[Show]:
        with self._progress() as progress:
            nothing: dict[str, Any] = {"backend": "", "busy": "", "rate": ""}
            bar = progress.add_task("sequential", total=len(run.paths), **nothing)
            started = shown = time.monotonic()

            def show() -> None:
                nonlocal shown
                now = time.monotonic()
                if now - shown >= REFRESH_EVERY or run.done == len(run.paths):
                    shown = now
                    progress.update(bar, completed=run.done, rate=_rate(run.done, now - started))
                    progress.refresh()

            yield show

    def _progress(self) -> Progress:
        # Rows must be shorter than the terminal: otherwise the echo of Ctrl-C wraps a line and breaks the display.
        width = max(4, min(40, self._console.width - TEXT_COLUMNS))
        return Progress(
            TextColumn("{task.description:<17}"),
            TextColumn("{task.fields[backend]:<10}", style="cyan"),
            BarColumn(bar_width=width),
            MofNCompleteColumn(),
            TextColumn("{task.fields[busy]:>11}", style="yellow"),
            TextColumn("{task.fields[rate]:>12}", style="green"),
            console=self._console,
            auto_refresh=False,
        )


class Lines:
    """A plain line every second."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def hybrid(self, run: HybridRun) -> Iterator[Show]:
        shown = time.monotonic()

        def line() -> None:
            parts = [f"{stage.verb} {stage.stats.finished} ({_busy(stage)})" for stage in run.stages]
            say(self._console, f"{run.seconds:6.1f} s  {', '.join(parts)} of {len(run.job.paths)} files")

        def show() -> None:
            nonlocal shown
            if time.monotonic() - shown >= LINE_EVERY:
                shown = time.monotonic()
                line()

        try:
            yield show
        finally:
            line()

    @contextmanager
    def sequential(self, run: SequentialRun) -> Iterator[Show]:
        started = time.monotonic()
        shown = -LINE_EVERY  # the first file prints a line at once

        def show() -> None:
            nonlocal shown
            now = time.monotonic()
            if now - shown >= LINE_EVERY or run.done == len(run.paths):
                shown = now
                say(self._console, f"{now - started:6.1f} s  sequential: {run.done} of {len(run.paths)} files")

        yield show


def _facts(stage: Stage, seconds: float) -> dict[str, Any]:
    return {"backend": stage.backend, "busy": _busy(stage), "rate": _rate(stage.stats.finished, seconds)}


def _busy(stage: Stage) -> str:
    return f"{stage.stats.running()}/{stage.workers} busy"


def _rate(done: int, seconds: float) -> str:
    return f"{done / seconds:.0f} files/s" if seconds > 0 and done else ""
