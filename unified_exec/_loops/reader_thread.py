"""Readers for event loops that have none (Proactor on Windows): the reactor waits in their place."""

from __future__ import annotations

import threading
from collections.abc import Callable

from . import reactor
from .adapter import LoopAdapter


class ReaderThread:
    """Lets the shared reactor watch descriptors for a loop. All methods belong to the loop's thread."""

    def __init__(self, port: LoopAdapter) -> None:
        self._port = port
        self._reactor: reactor.ReactorAdapter | None = None
        self._readers: dict[int, _Reader] = {}

    def add(self, fd: int, fn: Callable[[], object]) -> None:
        if self._reactor is None:
            self._reactor = reactor.acquire()
        reader = self._readers[fd] = _Reader(self._port, self._reactor, fd, fn)
        self._reactor.call_threadsafe(reader.arm)

    def remove(self, fd: int) -> None:
        """Stop watching. When this returns the descriptor may be closed."""
        reader = self._readers.pop(fd, None)
        if reader is None or self._reactor is None:
            return
        reader.removed = True
        # Waited for: the reactor must not select on a number that is closed, or already another's.
        told = threading.Event()
        if self._reactor.call_threadsafe(reader.disarm, told):
            told.wait()
        if not self._readers:
            reactor.release(self._reactor)
            self._reactor = None


class _Reader:
    """One descriptor. It is armed for one call at a time: else the reactor would spin until the loop has read."""

    def __init__(self, port: LoopAdapter, owner: reactor.ReactorAdapter, fd: int, fn: Callable[[], object]) -> None:
        self.port = port
        self.reactor = owner
        self.fd = fd
        self.fn = fn
        self.armed = False  # written in the reactor's thread only
        self.removed = False  # written in the loop's thread only

    def arm(self) -> None:
        if not self.removed:
            self.armed = True
            self.reactor.add_reader(self.fd, self._readable)

    def _readable(self) -> None:
        self.armed = False
        self.reactor.remove_reader(self.fd)
        self.port.call_threadsafe(self._serve)

    def disarm(self, told: threading.Event) -> None:
        try:
            if self.armed:
                self.armed = False
                self.reactor.remove_reader(self.fd)
        finally:
            told.set()

    def _serve(self) -> None:
        if not self.removed:
            self.fn()
        if not self.removed:
            self.reactor.call_threadsafe(self.arm)
