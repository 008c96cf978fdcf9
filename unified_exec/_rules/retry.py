"""Whether a failed call is tried again, and when. Data and arithmetic only; `_scope.retrying` waits and tries."""

from __future__ import annotations

import random
from collections.abc import Callable

from ..errors import SerializationError, WorkerCrashed
from .arguments import check_backoff, check_seconds, exception_types, seconds_left, whole


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
        TypeError: an argument is not a number.
        ValueError: an argument is out of its range.
    """
    for what, number in (("first", first), ("factor", factor), ("most", most), ("jitter", jitter)):
        check_seconds(what, number, optional=False)
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
        TypeError: an argument is not what it must be; `on` takes exception types.

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
        check_backoff("Retry(backoff)", backoff)
        self.times = whole("Retry(times)", times)
        self.on = exception_types("Retry(on=...)", on)
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
        if callable(self.backoff):
            return seconds_left("what Retry(backoff) returned", self.backoff(retry), optional=False)
        return float(self.backoff)

    def __repr__(self) -> str:
        names = ", ".join(kind.__name__ for kind in self.on)
        return f"Retry({self.times}, on=({names}), backoff={self.backoff!r})"
