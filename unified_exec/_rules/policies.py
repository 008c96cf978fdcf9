"""Failure policies: what one outcome means for the other tasks of a scope. Pure decisions."""

from __future__ import annotations

from enum import Enum

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol
else:
    Protocol = object  # a protocol costs more to make than the rest of this module


class Verdict(Enum):
    """What a policy wants done after a task has ended."""

    GO_ON = "go on"
    CANCEL_REST = "cancel the other tasks that spawn() started"
    CANCEL_SCOPE = "cancel the whole scope, its body included"


class Tally:
    """How the tasks of a scope ended so far.

    Attributes:
        values: tasks that returned a value.
        errors: tasks that failed.
        cancelled: tasks that were cancelled.
    """

    __slots__ = ("cancelled", "errors", "values")

    def __init__(self, values: int = 0, errors: int = 0, cancelled: int = 0) -> None:
        self.values = values
        self.errors = errors
        self.cancelled = cancelled

    def __repr__(self) -> str:
        return f"Tally(values={self.values}, errors={self.errors}, cancelled={self.cancelled})"


class Policy(Protocol):
    """A policy of one's own needs these two methods and nothing else; it need not inherit."""

    def judge(self, tally: Tally) -> Verdict:
        """Called after each task that `spawn` started has ended."""

    def raises(self, tally: Tally) -> bool:
        """Called at the end of the scope: shall the failures of the tasks be raised?"""


def is_policy(thing: object) -> bool:
    """Tell whether `thing` is an object with the methods of a policy."""
    return (
        not isinstance(thing, type)
        and callable(getattr(thing, "judge", None))
        and callable(getattr(thing, "raises", None))
    )


class FailFast:
    """The first failure cancels all other tasks and the body; the scope raises the failures. The default."""

    def judge(self, tally: Tally) -> Verdict:
        return Verdict.CANCEL_SCOPE if tally.errors else Verdict.GO_ON

    def raises(self, tally: Tally) -> bool:
        return tally.errors > 0

    def __repr__(self) -> str:
        return "FailFast()"


class Collect:
    """Every task runs to its end; nothing is raised at exit, the handles hold the outcomes."""

    def judge(self, tally: Tally) -> Verdict:
        return Verdict.GO_ON

    def raises(self, tally: Tally) -> bool:
        return False

    def __repr__(self) -> str:
        return "Collect()"


class Race:
    """The first `n` values win and cancel the rest; with fewer than `n` values the failures are raised.

    Args:
        n: how many values are wanted, at least 1.

    Raises:
        TypeError: `n` is no whole number.
        ValueError: `n` is less than 1.
    """

    def __init__(self, n: int = 1) -> None:
        if type(n) is not int:
            raise TypeError(f"Race(n) needs a whole number of values, got {n!r}")
        if n < 1:
            raise ValueError(f"Race(n) needs n >= 1, got {n}")
        self.n = n

    def judge(self, tally: Tally) -> Verdict:
        return Verdict.CANCEL_REST if tally.values >= self.n else Verdict.GO_ON

    def raises(self, tally: Tally) -> bool:
        return tally.values < self.n and tally.errors > 0

    def __repr__(self) -> str:
        return f"Race({self.n})"
