"""Why a scope ends before its tasks have ended by themselves: a failure, its policy, a cancellation or its timeout."""

from __future__ import annotations

from contextlib import AsyncExitStack
from math import inf as INF
from typing import TYPE_CHECKING

import anyio

from .._loops.callbacks import loop_time
from .._loops.current import native_cancels
from ..errors import TaskTimeout

if TYPE_CHECKING:
    from collections.abc import Iterable

    from anyio import CancelScope

    from .._handles.open_scopes import ScopePart
    from .lazy_group import LazyTaskGroup
    from .policy_state import PolicyState

DECIDED = "the outcome of its scope is decided"


class Ending:
    """What has cut one scope short, as far as anything has.

    Args:
        name: the name of the scope.
        timeout: its timeout in seconds, which begins now; ``None`` for none.
        around: the cancel scope around its block.
        outcomes: the outcomes of its tasks.

    Attributes:
        ends_at: when the timeout strikes, as an instant of the event loop's clock.
        cut_short: some task, or the body, was cancelled before it had ended.
        block: tells what was started with anyio's own verbs; ``None`` until the body has ended.
    """

    __slots__ = (
        "_around",
        "_cancelled",
        "_name",
        "_native",
        "_outcomes",
        "_reason",
        "_timeout",
        "block",
        "cut_short",
        "ends_at",
    )

    def __init__(self, name: str | None, timeout: float | None, around: CancelScope, outcomes: PolicyState) -> None:
        self._name = name
        self._timeout = timeout
        self._around = around
        self._outcomes = outcomes
        self._cancelled = False
        self._reason: str | None = None
        self._native: tuple[int, int] | None = None
        self.block: LazyTaskGroup | None = None
        self.cut_short = False
        self.ends_at = INF
        if timeout is not None:
            self.ends_at = loop_time() + timeout
            around.deadline = min(around.deadline, self.ends_at)

    def note_cancelled(self, reason: str | None) -> None:
        """Note that the scope was cancelled by something else than its timeout."""
        self._cancelled, self._reason = True, reason
        self._native = native_cancels()

    def swallows(self, error: BaseException) -> bool:
        """Tell whether `error`, which came out of the cancel scope, is the cancellation of this scope after all.

        anyio lets it out if `asyncio.Task.cancel` was called since the block was entered. Here it ends if all those
        calls came before the scope was cancelled: a program that cleans up after its task was cancelled ends the scope.
        """
        own = f"Cancelled via cancel scope {id(self._around):x} "
        if self._native is None or not str(error).startswith(own) or native_cancels() != self._native:
            return False
        return anyio.current_effective_deadline() != -INF  # no scope around this one is cancelled

    def note_body_raised(self) -> None:
        """Note whether the timeout had to do with the exception of the body, as far as can be known now."""
        if self._around.cancel_called:
            self.cut_short = True
        elif loop_time() < self.ends_at:
            self._cancelled = True

    def end_streams(self, parts: Iterable[ScopePart], tasks: int) -> None:
        """End the maps and streams if the body has ended and nothing else of the scope runs: their consumers have left.

        Args:
            parts: those of the scope.
            tasks: how many tasks of the scope have not ended.
        """
        if self.block is None or self.block.started_plainly:  # a plain task might be a consumer
            return
        if sum(part.running() for part in parts) == tasks:
            for part in list(parts):
                part.consumers_left()

    def reason(self) -> str:
        """Why the scope cancels its tasks."""
        outcomes = self._outcomes
        if outcomes.failures and self._around.cancel_called:
            return f"another task of the scope failed with {type(outcomes.failures[0]).__name__}"
        if self._reason is not None:
            return self._reason
        if outcomes.decided is not None:
            return DECIDED
        if not self._cancelled and loop_time() >= self.ends_at:
            return f"the timeout of its scope ({self._timeout:g} s) is over"
        return "its scope was cancelled"

    def timeout_error(self, raised: BaseException | None) -> TaskTimeout | None:
        """The error of a scope in which its own timeout, and nothing else, has cut something short.

        Args:
            raised: what the task group of the scope raised.
        """
        around, name = self._around, self._name
        if self._timeout is None or self._cancelled or not around.cancel_called:
            return None
        if loop_time() < self.ends_at:
            return None
        if around.cancelled_caught or self.cut_short or isinstance(raised, BaseExceptionGroup):
            return TaskTimeout(f"scope {name!r}" if name else "the scope", self._timeout)
        return None


async def close_parts(parts: Iterable[ScopePart]) -> None:
    """Close what stays open until every task of the scope has ended: its actors.

    Raises:
        BaseException: an error of one of them. The others are closed all the same.
    """
    async with AsyncExitStack() as stack:
        for part in reversed(list(parts)):
            stack.push_async_callback(part.last_of_all)
