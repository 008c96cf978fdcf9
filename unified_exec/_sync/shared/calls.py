"""What the waiting forms of channels and locks have in common."""

from __future__ import annotations

import sys
import time
from collections.abc import Awaitable, Callable, Generator
from contextlib import contextmanager
from types import coroutine

from ..._tasks.current import current
from ..._tasks.loaded import loaded

LONGEST = 2e6
"""Seconds, 23 days: `poll` takes no more."""

TURNS = 32
"""Operations without a wait after which a coroutine gives its loop a turn: a busy consumer must be cancellable."""


def give_turn() -> Awaitable[None]:
    """Give the loop a turn; a cancellation arrives here, before anything was sent or taken."""
    running_loop = getattr(loaded("asyncio"), "_get_running_loop", None)
    if running_loop is not None and running_loop() is not None:
        return _turn_of_asyncio()
    turn: Awaitable[None] = sys.modules["trio"].lowlevel.checkpoint()
    return turn


@coroutine
def _turn_of_asyncio() -> Generator[None, None, None]:
    yield


class End(float):
    """The instant of `time.monotonic` at which a timeout ends.

    Attributes:
        timeout: its seconds, as the caller gave them.
    """

    __slots__ = ("timeout",)
    timeout: float


def end_of(timeout: float | None) -> End | None:
    """Return when a timeout ends.

    Raises:
        TypeError, ValueError: it is not a number. A negative one has ended.
    """
    if timeout is None:
        return None
    end = End(time.monotonic() + _seconds(timeout))
    end.timeout = timeout
    return end


def _seconds(timeout: float) -> float:
    if timeout == timeout and type(timeout) in (int, float):
        return min(timeout, LONGEST)
    from ..._rules.arguments import seconds_left

    return seconds_left("timeout", timeout)


def timed_out(timeout: float, failed: str, then: str = "") -> TimeoutError:
    """Return the error of a wait that has ended: in how many seconds, what did not happen, and what that means."""
    return TimeoutError(f"{failed} within {float(timeout):g} s{then and '; '}{then}")


@contextmanager
def within(timeout: float, words: Callable[[], tuple[str, str]]) -> Generator[None, None, None]:
    """Limit how long the block of a coroutine waits; `words` says what did not happen, and what that means.

    Raises:
        TimeoutError: the block has not ended after `timeout` seconds.
        TypeError, ValueError: that is not a number.
    """
    from anyio import move_on_after

    with move_on_after(_seconds(timeout)) as scope:
        yield
    if scope.cancelled_caught:
        raise timed_out(timeout, *words())


def check_cancelled() -> None:
    """Raise before anything is taken: a cancellation that was requested earlier cannot land after it.

    Raises:
        Cancelled: the task was requested to stop.
    """
    task = current.get()
    if task is not None and task.cancel_requested:
        task.raise_cancelled()


@coroutine
def _nothing() -> Generator[None, None, None]:
    return
    yield


DONE: Awaitable[None] = _nothing()
"""Awaiting it returns ``None`` at once, any number of times: a generator that has ended goes on saying so. Cheaper than
the coroutine of an async function that does not wait."""
next(DONE, None)  # type: ignore[call-overload]
