"""``progress=`` of `spawn`, `map` and pipelines: from what a task tells, or how many items are done, to who watches."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol

from ..._tasks.messages import Report
from .rate import RateEstimator

if TYPE_CHECKING:
    from ..._handles.handle import TaskHandle
    from ..._loops.adapter import LoopAdapter, Timer
    from ..._scope.scope import TaskScope

    Show = bool | Callable[["Progress"], object] | None

EVERY = 0.1
"""Seconds between two pictures."""


class Progress:
    """How far something is; what a function given as ``progress=`` is called with.

    Attributes:
        name: name of the task, the map or the stage.
        done: units done so far.
        total: units in all, ``None`` if unknown.
        text: what is being done, as the task says.
        seconds: how long it has been going on.
        rate: units a second over the last half minute, ``None`` if it is too early to say.
        left: seconds the rest will take at that rate, ``None`` if that cannot be said.
        ended: nothing more will come.
    """

    __slots__ = ("done", "ended", "left", "name", "rate", "seconds", "text", "total")

    def __init__(
        self,
        name: str,
        done: float,
        total: float | None,
        text: str | None,
        seconds: float,
        rate: float | None,
        left: float | None,
        ended: bool,
    ) -> None:
        self.name = name
        self.done = done
        self.total = total
        self.text = text
        self.seconds = seconds
        self.rate = rate
        self.left = left
        self.ended = ended

    def __repr__(self) -> str:
        of = "" if self.total is None else f" of {self.total:g}"
        return f"<Progress {self.name!r}: {self.done:g}{of}{', ended' if self.ended else ''}>"


class Picture(Protocol):
    """Draws one `Progress` again and again."""

    def draw(self, progress: Progress) -> object: ...

    def close(self, progress: Progress) -> object: ...


class Tracker:
    """Counts what is done and shows it: to a function at each change, on a picture in steady time."""

    def __init__(self, port: LoopAdapter, name: str, total: float | None, show: Show) -> None:
        self._port = port
        self._name = name
        self._total = total
        self._done = 0.0
        self._text: str | None = None
        self._began = time.monotonic()
        self._pace = RateEstimator(self._began)
        self._tell = show if callable(show) else None
        self._picture = None if callable(show) else picture_for(name)
        self._timer: Timer | None = None
        self._ended = False
        if self._picture is not None:
            self._draw()

    def heard(self, message: Any) -> None:
        """A task has told something: a report, or what is meant for others."""
        if type(message) is Report:
            self._done, self._text = message.done, message.text
            self._total = message.total if message.total is not None else self._total
            self._changed()

    def noted(self, message: Any) -> None:
        """The same from one item of many: its text is shown, its numbers are its own."""
        if type(message) is Report and message.text:
            self._text = message.text
            self._changed()

    def advance(self, units: int) -> None:
        self._done += units
        self._changed()

    def close(self) -> None:
        """Nothing more will come. May be called again."""
        if self._ended:
            return
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        picture, self._picture = self._picture, None
        if picture is not None:
            picture.close(self._now())
        self._call()

    def _changed(self) -> None:
        if not self._ended:
            self._pace.note(time.monotonic(), self._done)
            self._call()

    def _call(self) -> None:
        if self._tell is not None:
            try:
                self._tell(self._now())
            except Exception:
                import logging

                logging.getLogger("unified_exec").exception("a progress function failed and is dropped: %r", self._tell)
                self._tell = None

    def _draw(self) -> None:
        if self._picture is not None:
            self._picture.draw(self._now())
            self._timer = self._port.call_later(EVERY, self._draw)

    def _now(self) -> Progress:
        now = time.monotonic()
        pace = self._pace
        left = None if self._ended else pace.left(now, self._total)
        seconds = now - self._began
        rate = self._done / seconds if self._ended and seconds > 0 else pace.rate(now)
        return Progress(self._name, self._done, self._total, self._text, seconds, rate, left, self._ended)


def check_show(show: object) -> None:
    """Check ``progress=``.

    Raises:
        TypeError: it is neither a truth value nor a function.
        ImportError: nothing is installed that could show it.
    """
    if show is not None and not isinstance(show, bool) and not callable(show):
        raise TypeError(f"progress must be True, False or a function of one Progress, got {show!r}")
    if show is True and not _installed("rich") and not (_in_notebook() and _installed("tqdm")):
        raise ImportError("progress=True needs rich: pip install 'unified-exec[rich]', or progress=a_function")


def picture_for(name: str) -> Picture | None:
    """What shows progress here: a bar in a notebook or on a terminal, else nothing."""
    if _in_notebook() and _installed("tqdm"):
        from .bars import NotebookBar

        return NotebookBar(name)
    if _in_notebook() or (sys.stderr is not None and sys.stderr.isatty()):
        from .bars import terminal_bar

        return terminal_bar()
    return None


def follow(scope: TaskScope, handle: TaskHandle[Any], show: Show, launch: Callable[[], object]) -> None:
    """Start a task whose reports are shown."""
    check_show(show)
    assert scope._port is not None
    tracker = Tracker(scope._port, handle.name, None, show)
    handle.listener = tracker.heard
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
