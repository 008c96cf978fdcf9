"""Several items in one task: how they run, and how their results return."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from math import inf
from time import monotonic

from .._wire.errors.encode import encode_error
from .._wire.errors.nodes import as_outcome_error
from .._wire.pickling import codec
from ..errors import Cancelled
from . import forked
from .context_state import note_absent

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any


class ItemFailure:
    """Takes the place of the result of an item that failed.

    Args:
        error: what the item raised; it travels like every error of a task.
    """

    __slots__ = ("error",)

    def __init__(self, error: BaseException) -> None:
        self.error = as_outcome_error(error)

    def __reduce__(self) -> tuple[Any, ...]:
        note_absent(self.error)
        return _arrived, (encode_error(self.error, 1),)


def _arrived(data: bytes) -> ItemFailure:
    from .._wire.errors.decode import decode_error  # runs in the parent only

    return ItemFailure(decode_error(data))


class ChunkResults:
    """The results of a chunk, in order; fewer than its items if it stopped at a failure or its time was over."""

    __slots__ = ("results",)

    def __init__(self, results: list[Any]) -> None:
        self.results = results

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.results,)

    def without_unpicklable(self, what: str) -> ChunkResults:
        """The same, with each result that cannot travel replaced by its error; `send_result` looks for this method."""
        kept: list[Any] = []
        for result in self.results:
            try:
                codec.encode_value(result, what)
            except Exception as exc:
                result = ItemFailure(exc)
            kept.append(result)
        return PartOfResults(kept)


class PartOfResults(ChunkResults):
    """Those of a chunk some of which cannot travel, or could not be rebuilt: in their place there are failures."""

    __slots__ = ()


def run_chunk(fn: Callable[[Any], Any], go_on: bool, seconds: float, items: Iterable[Any]) -> ChunkResults:
    """Call `fn` for each item; continue after a failure only if `go_on`, and start no item after `seconds`."""
    results: list[Any] = []
    ends = monotonic() + seconds
    for item in items:
        try:
            results.append(fn(item))
            if forked.happened:
                forked.end(None)
        except Cancelled:
            raise
        except BaseException as exc:
            if forked.happened:
                forked.end(exc)
            results.append(ItemFailure(exc))
            if not go_on:
                break
        if monotonic() > ends:
            break
    return ChunkResults(results)


def run_star_chunk(fn: Callable[..., Any], items: Iterable[tuple[Any, ...]]) -> ChunkResults:
    """Call `fn(*item)` for each item up to the first failure."""
    return run_chunk(lambda item: fn(*item), False, inf, items)
