"""What a map sends and what it receives: chunks of items, and their results in order."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .._worker.run_chunk import ItemFailure, PartOfResults
from ..errors import SerializationError, WorkerCrashed

if TYPE_CHECKING:
    from .._handles.handle import TaskHandle
    from .._tasks.types import Outcome

PENDING: Any = object()
"""In place of a result: the item is tried again."""
SKIPPED: Any = object()
"""In place of a result: the item has failed, and `on_error` took the failure."""


class Stop:
    """In place of a result: the map ends here with `error`, even if failures of items are returned."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


NO_RESULT = frozenset({ItemFailure, Stop})


class Chunk:
    """Items that are sent together.

    Attributes:
        attempt: which attempt this is, from 1.
        origin: for an item that is sent again, alone: the chunk it comes from, and `index`, its position there.
        results: in the order of the items; fewer if the chunk ended at a failure. ``None`` while the chunk is in
            flight.
        missing: how many of the results are still to come.
    """

    __slots__ = ("attempt", "index", "items", "missing", "origin", "results")

    def __init__(self, items: list[Any], attempt: int = 1, origin: Chunk | None = None, index: int = 0) -> None:
        self.items = items
        self.attempt = attempt
        self.origin = origin
        self.index = index
        self.results: list[Any] | None = None
        self.missing = 0

    def alone(self, index: int, attempt: int) -> Chunk:
        """Return a chunk of one of its items."""
        if self.origin is not None:
            return Chunk(self.items, attempt, self.origin, self.index)
        return Chunk([self.items[index]], attempt, self, index)

    def mark_returned(self, results: list[Any], continues: bool) -> range:
        """Return the positions of items that the worker returned unstarted, as the chunk took too long.

        Args:
            results: what the worker sent; `PENDING` is appended for each returned item.
            continues: the worker goes on after a failed item.
        """
        started = len(results)
        if started < len(self.items) and (continues or type(results[-1]) is not ItemFailure):
            results += [PENDING] * (len(self.items) - started)
        return range(started, len(results))


class Order:
    """Puts results in order.

    Attributes:
        ready: results the consumer may take.
        held: finished results that wait for an earlier one.
        open: chunks that are not finished, or wait for an earlier one.
    """

    __slots__ = ("_last", "_ordered", "_window", "held", "open", "ready")

    def __init__(self, ordered: bool) -> None:
        self._ordered = ordered
        self._window: deque[Chunk] = deque()
        self.ready: deque[Any] = deque()
        self._last: Stop | None = None
        self.held = 0
        self.open = 0

    def expect(self, chunk: Chunk) -> None:
        """Register a chunk; its results come after those of all earlier chunks."""
        self.open += 1
        if self._ordered:
            self._window.append(chunk)

    def fill(self, chunk: Chunk, results: list[Any], pending: int) -> None:
        """Take the results of a chunk; `pending` of them will follow one by one."""
        origin = chunk.origin
        if origin is None:
            chunk.results, chunk.missing = results, pending
        elif not pending:
            assert origin.results is not None
            origin.results[chunk.index] = results[0]
            origin.missing -= 1
        else:
            return
        if not self._ordered:
            self._release(results)
            if not (chunk if origin is None else origin).missing:
                self.open -= 1
                self._finish()
            return
        self.held += len(results) - pending
        window = self._window
        while window and window[0].results is not None and not window[0].missing:
            finished = window.popleft().results
            assert finished is not None
            self.held -= len(finished)
            self.open -= 1
            self._release(finished)

    def _release(self, results: list[Any]) -> None:
        self.ready.extend([result for result in results if result is not PENDING and result is not SKIPPED])

    def finish_with(self, stop: Stop) -> None:
        """Let `stop` follow the results of all registered chunks."""
        if self._ordered and self._window:
            last = Chunk([])
            self.expect(last)
            self.fill(last, [stop], 0)
        else:
            self._last = stop
            self._finish()

    def _finish(self) -> None:
        if self._last is not None and not self.open:
            self.ready.append(self._last)
            self._last = None

    def clear(self) -> None:
        self._window.clear()
        self.open = self.held = 0


def results_of(handle: TaskHandle[Any], outcome: Outcome[Any], chunk: Chunk, single: bool) -> list[Any]:
    """Return the results of a chunk whose task has ended; fewer than its items if it ended at a failure, or took too
    long."""
    if outcome.is_value:
        value = outcome.unwrap()
        if type(value) is PartOfResults:
            for item, result in zip(chunk.items, value.results, strict=False):
                if type(result) is ItemFailure and isinstance(error := result.error, SerializationError):
                    error.what += f" for item {_short(item)}"
        return [value] if single else value.results
    if outcome.cancelled:
        return [Stop(handle.cancellation()) for _ in chunk.items]
    assert outcome.error is not None
    if isinstance(outcome.error, WorkerCrashed):
        outcome.error.detail = outcome.error.detail or _lost_items(chunk.items)
    return [ItemFailure(outcome.error) for _ in chunk.items]


def _lost_items(items: list[Any], shown: int = 5) -> str:
    """Name the items that were lost with a worker."""
    names = ", ".join(_short(item) for item in items[:shown])
    if len(items) > shown:
        names += f" and {len(items) - shown} more"
    return f"it had {'item' if len(items) == 1 else f'{len(items)} items'} {names}"


def _short(item: Any, most: int = 60) -> str:
    try:
        text = repr(item)
    except Exception:
        text = f"<{type(item).__name__}>"
    return text if len(text) <= most else text[: most - 3] + "..."
