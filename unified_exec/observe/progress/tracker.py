"""``progress=`` of `spawn`, `map` and pipelines: counts what is done and shows it."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextvars import copy_context
from typing import TYPE_CHECKING, Any

from ..._rules.arguments import check_callback
from ..._tasks.messages import Report
from .rate import RateEstimator
from .record import Picture, Progress, Show

if TYPE_CHECKING:
    from ..._handles.handle import TaskHandle
    from ..._handles.owner import Launcher
    from ..._loops.adapter import Timer

REDRAW = 0.1
"""Seconds between two drawings of a bar."""


class Tracker:
    """Counts what is done and shows it: calls a function at each change, or redraws a bar at a steady pace."""

    def __init__(self, scope: Launcher, name: str, total: float | None, show: Show) -> None:
        self._scope = scope
        self._name = name
        self._total = total
        self._done = 0.0
        self._text: str | None = None
        self._began = time.monotonic()
        self._rate = RateEstimator(self._began)
        self._function = show if callable(show) else None
        self._context = copy_context()  # the function runs as the code that called `spawn` or `map` would run it
        self._picture = None if callable(show) else picture_for(name)
        self._timer: Timer | None = None
        self._ended = False
        if self._picture is not None:
            self._draw()

    def on_task_report(self, message: Any) -> None:
        """Take a message of the task that is tracked; messages other than reports are ignored."""
        if type(message) is Report:
            self._done, self._text = message.done, message.text
            self._total = message.total if message.total is not None else self._total
            self._changed()

    def on_item_report(self, message: Any) -> None:
        """Take a message of one of many tasks: its text is shown; its numbers are about itself alone."""
        if type(message) is Report and message.text:
            self._text = message.text
            self._changed()

    def advance(self, units: int) -> None:
        self._done += units
        self._changed()

    def close(self) -> None:
        """Show the last state. May be called again."""
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        picture, self._picture = self._picture, None
        if picture is not None:
            picture.close(self._snapshot())
        self._call()

    def _changed(self) -> None:
        if not self._ended:
            self._rate.note(time.monotonic(), self._done)
            self._call()

    def _call(self) -> None:
        if self._function is not None:
            try:
                self._context.copy().run(self._function, self._snapshot())
            except BaseException as error:
                failed, self._function = self._function, None
                if not isinstance(error, Exception):  # raised in a callback of the loop it would cost tasks their end
                    self._scope.fail(error)
                    return
                import logging

                logging.getLogger("unified_exec").exception("a progress function failed and is dropped: %r", failed)

    def _draw(self) -> None:
        if self._picture is not None:
            self._picture.draw(self._snapshot())
            self._timer = self._scope.adapter.call_later(REDRAW, self._draw)

    def _snapshot(self) -> Progress:
        now = time.monotonic()
        left = None if self._ended else self._rate.left(now, self._total)
        seconds = now - self._began
        rate = self._done / seconds if self._ended and seconds > 0 else self._rate.rate(now)
        return Progress(self._name, self._done, self._total, self._text, seconds, rate, left, self._ended)


def check_show(show: object) -> None:
    """Check ``progress=``.

    Raises:
        TypeError: it is neither a bool nor a plain function.
        ImportError: no library is installed that could show it.
    """
    if show is not None and not isinstance(show, bool) and not callable(show):
        raise TypeError(f"progress must be True, False or a function of one Progress, got {show!r}")
    check_callback("progress", show)
    if show is True and not _installed("rich") and not (_in_notebook() and _installed("tqdm")):
        raise ImportError("progress=True needs rich: pip install 'unified-exec[rich]', or progress=a_function")


def picture_for(name: str) -> Picture | None:
    """Return a bar in a notebook or on a terminal, ``None`` elsewhere."""
    if _in_notebook() and _installed("tqdm"):
        from .bars import NotebookBar

        return NotebookBar(name)
    if _in_notebook() or (sys.stderr is not None and sys.stderr.isatty()):
        from .bars import terminal_bar

        return terminal_bar()
    return None


def follow(scope: Launcher, handle: TaskHandle[Any], show: Show, launch: Callable[[], object]) -> None:
    """Start a task with `launch` and show its reports."""
    check_show(show)
    tracker = Tracker(scope, handle.name, None, show)
    handle.listener = tracker.on_task_report
    try:
        launch()
    except BaseException:
        tracker.close()
        raise
    handle.when_done(tracker.close)


def _in_notebook() -> bool:
    return "ipykernel" in sys.modules


def _installed(module: str) -> bool:
    from importlib.util import find_spec

    return module in sys.modules or find_spec(module) is not None
