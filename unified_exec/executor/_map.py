"""`Executor.map`: results in order; calls whose results are not fetched are cancelled."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future
from itertools import islice
from typing import Any

from .._rules.arguments import as_int, seconds_left
from ..errors import SerializationError


class Results(Iterator[Any]):
    """Iterates over the values of calls, which run ahead of the iteration.

    Args:
        submit: starts one call.
        calls: the arguments of each.
        timeout: seconds from now for all of them together.
        ahead: how many calls may be submitted before their values are fetched; ``None`` for all at once.
    """

    def __init__(
        self,
        submit: Callable[..., Future[Any]],
        calls: Iterable[tuple[Any, ...]],
        timeout: float | None,
        ahead: int | None,
    ) -> None:
        self._iterated = False
        self._until = None if timeout is None else time.monotonic() + seconds_left("timeout", timeout)
        self._started: deque[Future[Any]] = deque()
        self._submit: Callable[..., Future[Any]] | None = None
        self._calls: Iterator[tuple[Any, ...]] = iter(())
        try:
            if ahead is not None:
                self._submit, self._calls = submit, iter(calls)
                calls = islice(self._calls, ahead)
            self._started.extend(submit(*args) for args in calls)
        except BaseException:
            self.close()
            raise

    def __next__(self) -> Any:
        self._iterated = True
        if not self._started:
            raise StopIteration
        try:
            if self._submit is not None:
                for args in self._calls:
                    self._started.append(self._submit(*args))
                    break
            return _take(self._started.popleft(), self._until)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Cancel the calls whose values were not fetched."""
        started, self._started = self._started, deque()
        self._submit, self._calls = None, iter(())
        for future in reversed(started):  # the last first: a cancelled call makes room for the one before it
            future.cancel()

    def __del__(self) -> None:
        # Like a generator: one that was iterated cancels the rest when it is dropped; a fresh one lets them run.
        if self._iterated:
            self.close()


def _take(future: Future[Any], until: float | None) -> Any:
    try:
        return future.result(None if until is None else until - time.monotonic())
    except StopIteration as error:
        raise _not_the_end() from error
    except BaseException:
        future.cancel()
        raise
    finally:
        del future  # no cycle from its exception over the traceback to this frame


def _not_the_end() -> RuntimeError:
    """What a call's `StopIteration` becomes, as in the standard library: it would end the iteration like the last
    value."""
    return RuntimeError("a call raised StopIteration")


class Chained(Iterator[Any]):
    """The values of `Results` of chunks. A failure in a chunk does not lose the values before it.

    Args:
        chunks: the results of the chunks.
        backend: the kind of the pool.
    """

    def __init__(self, chunks: Results, backend: str) -> None:
        self._chunks = chunks
        self._backend = backend
        self._values: deque[Any] = deque()

    def __next__(self) -> Any:
        from .._worker.run_chunk import ItemFailure

        while not self._values:
            self._values.extend(next(self._chunks).results)
        value = self._values.popleft()
        if type(value) is not ItemFailure:
            return value
        self.close()
        from .errors import translate  # loaded with the first error

        error = translate(value.error, self._backend)
        try:
            if isinstance(error, StopIteration):
                raise _not_the_end() from error
            raise error
        finally:
            del value, error

    def close(self) -> None:
        """Cancel the calls whose values were not fetched."""
        self._values.clear()
        self._chunks.close()


def check(chunksize: int, buffersize: int | None) -> tuple[int, int | None]:
    """Check the numbers that `map` was given, and return them.

    Raises:
        TypeError, ValueError: one is not a whole number above 0.
    """
    size, ahead = as_int(chunksize), as_int(buffersize)
    if size is None:
        raise TypeError(f"chunksize must be an integer, got {chunksize!r}")
    if size < 1:
        raise ValueError(f"chunksize must be >= 1, got {size}")
    if ahead is None and buffersize is not None:
        raise TypeError(f"buffersize must be an integer or None, got {buffersize!r}")
    if ahead is not None and ahead < 1:
        raise ValueError(f"buffersize must be None or > 0, got {ahead}")
    return size, ahead


def named(fn: Any, args: tuple[Any, ...], error: Exception) -> Exception:
    """Return the error for a call that cannot travel: in that for a chunk, the user's function has its name."""
    from .._wire.pickling.codec import encode_call_args
    from .._worker.run_chunk import run_star_chunk

    if fn is run_star_chunk and isinstance(error, SerializationError):
        inner, chunk = args
        for each in chunk:
            try:
                encode_call_args(inner, each)
            except SerializationError as own:
                return own
    return error


def in_chunks(calls: Iterable[tuple[Any, ...]], size: int) -> Iterator[tuple[list[tuple[Any, ...]]]]:
    """Yield the calls in lists of `size`, each as the one argument of another call."""
    rest = iter(calls)
    while chunk := list(islice(rest, size)):
        yield (chunk,)
