"""Counting Ctrl-C while scopes of a trio run wait for threads that do not end.

A task that waits in a nursery collects each `KeyboardInterrupt` and waits on: without this nothing but `kill` would end
a program whose cancelled thread does not return.
"""

from __future__ import annotations

import signal
from collections.abc import Callable
from types import FrameType
from typing import Any

import trio


class CtrlCCounter:
    """Counts while there is somebody to tell, in place of trio's own handler, which it calls."""

    def __init__(self, token: trio.lowlevel.TrioToken) -> None:
        self._token = token
        self._counts: dict[Callable[[], object], int] = {}
        self._handler: Any = None

    def add(self, fn: Callable[[], object]) -> Callable[[], object]:
        """Call `fn` at the second Ctrl-C from now on; returns a function that ends this."""
        self._counts[fn] = 0
        if self._handler is None:
            self._install()
        return lambda: self._remove(fn)

    def _install(self) -> None:
        handler = signal.getsignal(signal.SIGINT)
        if getattr(handler, "__module__", None) != "trio._core._ki":
            return  # the program's own
        try:
            signal.signal(signal.SIGINT, self._on_ctrl_c)
        except ValueError:
            return  # not the main thread
        self._handler = handler

    def _remove(self, fn: Callable[[], object]) -> None:
        self._counts.pop(fn, None)
        if not self._counts and self._handler is not None:
            handler, self._handler = self._handler, None
            if signal.getsignal(signal.SIGINT) == self._on_ctrl_c:
                signal.signal(signal.SIGINT, handler)

    @trio.lowlevel.enable_ki_protection
    def _on_ctrl_c(self, signum: int, frame: FrameType | None) -> None:
        for fn in list(self._counts):
            self._counts[fn] = self._counts.get(fn, 0) + 1
            if self._counts[fn] == 2:
                try:
                    self._token.run_sync_soon(fn)
                except trio.RunFinishedError:
                    pass
        if self._handler is not None:
            self._handler(signum, frame)
