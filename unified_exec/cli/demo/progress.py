"""What is seen while the work goes on: bars on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any, Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn

from .flow import HybridRun
from .sequential import SequentialRun
from .stages import Stage

REFRESH_EVERY = 0.1  # seconds
LINE_EVERY = 1.0  # seconds
BESIDE_THE_BAR = 72  # columns


class Show(Protocol):
    """Called again and again while a run goes on."""

    def __call__(self) -> object: ...


class Display(Protocol):
    """Shows both runs; each method gives what the run shall call as it goes on."""

    def hybrid(self, run: HybridRun) -> AbstractContextManager[Show]: ...

    def sequential(self, run: SequentialRun) -> AbstractContextManager[Show]: ...


def display_for(console: Console) -> Display:
    """Choose by what `console` writes to: bars for a terminal, else lines without control characters."""
    return Bars(console) if console.is_terminal and not console.is_dumb_terminal else Lines(console)


class Bars:
    """One moving bar per backend, drawn by the run's own thread: no further one takes part in what is timed."""

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
            bar = progress.add_task("one after another", total=len(run.paths), **nothing)
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
        # The rows must end before the terminal does: Ctrl-C's echo would break the line and spoil the picture.
        width = max(4, min(40, self._console.width - BESIDE_THE_BAR))
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
    """A plain line now and then."""

    def __init__(self, console: Console) -> None:
        self._console = console

    @contextmanager
    def hybrid(self, run: HybridRun) -> Iterator[Show]:
        shown = time.monotonic()

        def line() -> None:
            parts = [f"{stage.verb} {stage.stats.finished} ({_busy(stage)})" for stage in run.stages]
            self._print(f"{run.seconds:6.1f} s  {', '.join(parts)} of {len(run.job.paths)} files")

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
        shown = -LINE_EVERY  # the first file is told at once

        def show() -> None:
            nonlocal shown
            now = time.monotonic()
            if now - shown >= LINE_EVERY or run.done == len(run.paths):
                shown = now
                self._print(f"{now - started:6.1f} s  one after another: {run.done} of {len(run.paths)} files")

        yield show

    def _print(self, line: str) -> None:
        self._console.print(line, soft_wrap=True, highlight=False, markup=False)


def _facts(stage: Stage, seconds: float) -> dict[str, Any]:
    return {"backend": stage.backend, "busy": _busy(stage), "rate": _rate(stage.stats.finished, seconds)}


def _busy(stage: Stage) -> str:
    return f"{stage.stats.running()}/{stage.workers} busy"


def _rate(done: int, seconds: float) -> str:
    return f"{done / seconds:.0f} files/s" if seconds > 0 and done else ""
