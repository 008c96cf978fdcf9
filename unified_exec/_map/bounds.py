"""How far a map goes ahead of its consumer: how large a chunk is, and how many items may be read and sent."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from .._rules.chunking import Chunking
from .._sync.limit import Gate, Limit

if TYPE_CHECKING:
    from .._auto.placer import AdaptivePlacement
    from ..abc import Backend

LOOP_LIMIT = 100
"""Coroutines of one map at the same time, unless said otherwise."""
AHEAD = 3
"""Chunks in flight for each worker: one runs, one waits beside it, one is on its way."""
MAX_STEERED = 1_000_000
"""Workers of a map whose place may change: no bound beside its limit."""
HELD = 16
"""Finished chunks for each worker that may wait for their turn, or for the consumer."""


class MapBounds:
    """The bounds of one map.

    Args:
        single: each item travels alone, as one task.

    Attributes:
        chunking: the size of a chunk now.
        workers: how many chunks can run at once.
    """

    def __init__(
        self,
        backend: Backend | None,
        steering: AdaptivePlacement | None,
        single: bool,
        limit: int | Gate | None,
        chunk: int | None,
        buffer: int | None,
    ) -> None:
        self.workers: int = LOOP_LIMIT if backend is None else backend.max_workers
        if steering is not None and backend is not None:
            self.workers = steering.workers(backend)
        if isinstance(limit, Limit):
            self.workers = min(self.workers, limit.n)
        number = limit if isinstance(limit, int) else None
        most = 1 if single or isinstance(limit, Gate) else 2000 if number is None else number // (2 * self.workers)
        self._workers_most = min(limit.n if isinstance(limit, Limit) else MAX_STEERED, number or MAX_STEERED)
        if number is not None:
            self.workers = min(self.workers, number)
        self.chunking = Chunking(1 if most == 1 else chunk, most)
        self._number = self.workers if number is None and backend is None else number
        self._buffer = buffer

    def room(self, read: int, kept: int) -> int:
        """How many items may be read and sent now.

        Args:
            read: items that were read and have no result yet.
            kept: results that wait for their turn, or for the consumer.
        """
        size = self.chunking.size
        flight = self._number if self._number is not None else AHEAD * self.workers * size
        keep = self._buffer if self._buffer is not None else max(HELD * self.workers * size, 2 * flight)
        return min(flight - read, flight + keep - read - kept)

    def steered(self, steering: AdaptivePlacement, backend: Any) -> None:
        """The map goes to another place now."""
        self.workers = min(self._workers_most, steering.workers(backend))
