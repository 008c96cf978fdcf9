"""What ends with the tasks it was passed to: the send end of a channel."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import Any

live: set[int] = set()
"""The ids of those of this process that have not ended. While there are none, a task looks for none."""


class Bound:
    """Ends when every task that it was passed to has ended.

    Attributes:
        tasks: the numbers of those tasks.
    """

    __slots__ = ("tasks",)

    def __init__(self) -> None:
        self.tasks: set[int] = set()
        live.add(id(self))

    def task_ended(self, task: int) -> None:
        self.tasks.discard(task)
        if not self.tasks:
            self.close()

    def close(self) -> None:
        raise NotImplementedError


def bound_among(task: int, fn: Callable[..., object], args: tuple[object, ...]) -> tuple[Bound, ...] | None:
    """Bind what is found in a call to its task: an argument, one of a `partial`, or the object of a bound method."""
    found = tuple([one for one in _arguments(fn, args) if isinstance(one, Bound) and id(one) in live])
    for one in found:
        one.tasks.add(task)
    return found or None


def _arguments(fn: Any, args: Iterable[object]) -> Iterable[object]:
    yield from args
    while isinstance(fn, partial):
        yield from fn.args
        yield from fn.keywords.values()
        fn = fn.func
    yield getattr(fn, "__self__", None)
