"""Where the chunks of a map run, how large they are, and how many items may be read and sent ahead of the consumer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

from .._rules.chunking import Chunking
from .._sync.limit import Gate, Limit

if TYPE_CHECKING:
    from .._handles.handle import TaskHandle
    from .._handles.owner import Launcher
    from ..abc import Backend

LOOP_LIMIT = 100
"""Coroutines of one map that run at the same time, unless `limit` says otherwise."""
CHUNKS_AHEAD = 3
"""Chunks in flight per worker: one runs, one is queued in the worker, one is being sent."""
UNBOUNDED = 1_000_000
"""More workers than any pool has."""
CHUNKS_BUFFERED = 16
"""Finished chunks per worker that may wait for their turn or for the consumer."""


class Placement(Protocol):
    """Decides where each chunk of a map runs."""

    def choose(self) -> tuple[Backend | None, int]:
        """Return the pool for the next chunk (``None``: the event loop) and how many chunks may run in it at once."""

    def launch(self, handle: TaskHandle[Any], backend: Backend | None, timeout: float | None, items: int) -> object:
        """Start the task of a chunk of `items` items in the chosen pool; see `Launcher.launch`."""


class FixedPlacement:
    """Every chunk runs in the same pool."""

    def __init__(self, scope: Launcher, backend: Backend | None) -> None:
        self._scope = scope
        self._backend = backend

    def choose(self) -> tuple[Backend | None, int]:
        backend = self._backend
        return backend, LOOP_LIMIT if backend is None else backend.max_workers  # a cluster grows and shrinks

    def launch(self, handle: TaskHandle[Any], backend: Backend | None, timeout: float | None, items: int) -> object:
        if items > 1:
            handle.items = items
        return self._scope.launch(handle, backend, timeout)


class MapBounds:
    """The bounds of one map.

    Args:
        workers: how many chunks can run at once in the pool.
        on_loop: they are coroutines on the event loop.
        single: each item is sent alone, as a task of its own.
        limit, chunk, buffer: the options of `TaskScope.map`; `chunk` is ``None`` for automatic sizes.

    Attributes:
        chunking: the present size of a chunk.
        workers: how many chunks can run at once.
    """

    def __init__(
        self,
        workers: int,
        on_loop: bool,
        single: bool,
        limit: int | Gate | None,
        chunk: int | None,
        buffer: int | None,
    ) -> None:
        number = limit if isinstance(limit, int) else None
        self._workers_most = min(limit.n if isinstance(limit, Limit) else UNBOUNDED, number or UNBOUNDED)
        if isinstance(limit, Limit):
            workers = min(workers, limit.n)
        most = 1 if single or isinstance(limit, Gate) else 2000 if number is None else number // (2 * workers)
        self.workers = min(workers, self._workers_most)
        self.chunking = Chunking(1 if most == 1 else chunk, most)
        self._in_flight = self.workers if number is None and on_loop else number
        self._buffer = buffer

    def room(self, unfinished: int, finished: int) -> int:
        """How many more items may be read and sent now.

        Args:
            unfinished: items that were read and have no result yet.
            finished: results that wait for their turn or for the consumer.
        """
        size = self.chunking.size
        in_flight = self._in_flight if self._in_flight is not None else CHUNKS_AHEAD * self.workers * size
        buffer = max(CHUNKS_BUFFERED * self.workers * size, 2 * in_flight) if self._buffer is None else self._buffer
        return min(in_flight - unfinished, in_flight + buffer - unfinished - finished)

    def set_workers(self, workers: int) -> None:
        """Note how many chunks can run at once in the pool of the next one."""
        self.workers = min(self._workers_most, workers)
