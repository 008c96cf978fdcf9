"""What a map sends and what comes back: chunks of items, results in their places, and what ends the whole."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .._worker.run_chunk import ItemFailure
from ..errors import WorkerCrashed

if TYPE_CHECKING:
    from .._handles.handle import TaskHandle
    from .._tasks.types import Outcome

PENDING: Any = object()
"""The place of an item that is tried again."""
SKIPPED: Any = object()
"""The place of a failed item that somebody else took."""


class Stop:
    """In the place of a result: the map ends here, with this error, whatever was said about exceptions."""

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = error


NO_RESULT = frozenset({ItemFailure, Stop})


class Chunk:
    """Items that travel together.

    Attributes:
        tries: which try this is.
        home: the chunk an item that travels again, alone, came from, and `index` its place there.
        results: in the order of the items; fewer if the chunk ended at a failure. ``None`` as long as it travels.
        missing: places in the results that are still to be filled.
    """

    __slots__ = ("home", "index", "items", "missing", "results", "tries")

    def __init__(self, items: list[Any], tries: int = 1, home: Chunk | None = None, index: int = 0) -> None:
        self.items = items
        self.tries = tries
        self.home = home
        self.index = index
        self.results: list[Any] | None = None
        self.missing = 0

    def alone(self, index: int, tries: int) -> Chunk:
        """One of its items, to travel alone."""
        if self.home is not None:
            return Chunk(self.items, tries, self.home, self.index)
        return Chunk([self.items[index]], tries, self, index)

    def given_back(self, results: list[Any], goes_on: bool) -> range:
        """The places of items that were not begun because the chunk's time was over; they get their mark in `results`.

        Args:
            results: what came back.
            goes_on: items behind a failure are begun too.
        """
        began = len(results)
        if began < len(self.items) and (goes_on or type(results[-1]) is not ItemFailure):
            results += [PENDING] * (len(self.items) - began)
        return range(began, len(results))


class Order:
    """Where results wait for their turn.

    Attributes:
        ready: results the consumer may take.
        held: finished results that wait for one before them.
        open: chunks that are not finished, or wait.
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
        """A chunk was read from the source: its turn is now behind all before it."""
        self.open += 1
        if self._ordered:
            self._window.append(chunk)

    def fill(self, chunk: Chunk, results: list[Any], pending: int) -> None:
        """Results have come, `pending` of them to come later on their own."""
        home = chunk.home
        if home is None:
            chunk.results, chunk.missing = results, pending
        elif not pending:
            assert home.results is not None
            home.results[chunk.index] = results[0]
            home.missing -= 1
        else:
            return
        if not self._ordered:
            self._hand_over(results)
            if not (chunk if home is None else home).missing:
                self.open -= 1
                self._finish()
            return
        self.held += len(results) - pending
        window = self._window
        while window and window[0].results is not None and not window[0].missing:
            ended = window.popleft().results
            assert ended is not None
            self.held -= len(ended)
            self.open -= 1
            self._hand_over(ended)

    def _hand_over(self, results: list[Any]) -> None:
        self.ready.extend([result for result in results if result is not PENDING and result is not SKIPPED])

    def finish_with(self, stop: Stop) -> None:
        """Put the end behind everything that is expected."""
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
    """What stands in the places of a chunk's items once its task has ended; fewer if it ended at a
    failure, or its time was over."""
    if outcome.is_value:
        value = outcome.unwrap()
        return [value] if single else value.results
    if outcome.cancelled:
        return [Stop(handle.cancellation()) for _ in chunk.items]
    assert outcome.error is not None
    if isinstance(outcome.error, WorkerCrashed):
        outcome.error.detail = outcome.error.detail or _lost_with_it(chunk.items)
    return [ItemFailure(outcome.error) for _ in chunk.items]


def _lost_with_it(items: list[Any], shown: int = 5) -> str:
    """Name the items that a dying worker has cost."""
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
