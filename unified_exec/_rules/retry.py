"""Whether a failed call is tried again, and when. Data and arithmetic only; `_scope.retrying` waits and tries."""

from __future__ import annotations

import random
from collections.abc import Callable
from typing import Any

from ..errors import SerializationError, WorkerCrashed


def exponential(
    first: float = 0.1, factor: float = 2.0, most: float = 30.0, jitter: float = 0.1
) -> Callable[[int], float]:
    """Return a backoff: the n-th retry waits ``first * factor ** (n - 1)`` seconds, at most `most`.

    Args:
        first: seconds before the first retry.
        factor: growth from one retry to the next, at least 1.
        most: maximum seconds of one wait.
        jitter: each wait is longer or shorter by up to this fraction, so that many clients do not retry at once.

    Raises:
        ValueError: an argument is out of its range.
    """
    if first < 0 or factor < 1 or most < 0 or not 0 <= jitter <= 1:
        raise ValueError("exponential() needs first >= 0, factor >= 1, most >= 0 and 0 <= jitter <= 1")

    def wait(retry: int) -> float:
        plain = min(most, first * factor ** min(retry - 1, 64))
        return plain * (1 + random.uniform(-jitter, jitter))

    return wait


class Retry:
    """Try a failed call again.

    A call may run more than once: use `Retry` for idempotent functions only. A cancelled call is never tried again, nor
    one whose arguments cannot be pickled.

    Args:
        times: maximum number of retries, after the first try.
        on: the exception types to retry after. A crash of the worker counts only if `WorkerCrashed` itself is
            named here.
        backoff: seconds before each retry, or a function of the retry's number (from 1), see `exponential`.

    Raises:
        ValueError: `times` is less than 1, or the backoff is negative.
        TypeError: `on` contains something that is not an exception type.

    Example::

        import anyio
        from unified_exec import Retry, TaskScope

        async def fetch(url):
            return f"the page at {url}"

        async def main():
            retry = Retry(3, on=(ConnectionError,), backoff=0.5)
            async with TaskScope() as scope:
                async for page in scope.map(fetch, ["/a", "/b"], retry=retry):
                    print(page)

        anyio.run(main)
    """

    __slots__ = ("backoff", "on", "times")

    def __init__(
        self,
        times: int = 3,
        on: type[Exception] | tuple[type[Exception], ...] = (Exception,),
        backoff: float | Callable[[int], float] = 0.0,
    ) -> None:
        kinds: tuple[Any, ...] = on if isinstance(on, tuple) else (on,)
        for kind in kinds:
            if not (isinstance(kind, type) and issubclass(kind, BaseException)):
                raise TypeError(f"Retry(on=...) takes exception types, got {kind!r}")
        if times < 1:
            raise ValueError(f"Retry(times) must be at least 1, got {times}")
        if not callable(backoff) and backoff < 0:
            raise ValueError(f"Retry(backoff) must not be negative, got {backoff}")
        self.times = times
        self.on = kinds
        self.backoff = backoff

    def wants(self, error: BaseException, tries: int) -> bool:
        """Tell whether a call that failed with `error` at its `tries`-th try should be tried again."""
        if tries > self.times or isinstance(error, SerializationError):
            return False
        if isinstance(error, WorkerCrashed):
            return any(issubclass(kind, WorkerCrashed) for kind in self.on)
        return isinstance(error, self.on)

    def delay(self, retry: int) -> float:
        """Seconds to wait before the `retry`-th retry, counted from 1."""
        return max(0.0, self.backoff(retry) if callable(self.backoff) else self.backoff)

    def __repr__(self) -> str:
        names = ", ".join(kind.__name__ for kind in self.on)
        return f"Retry({self.times}, on=({names}), backoff={self.backoff!r})"
