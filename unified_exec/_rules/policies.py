"""Failure policies: what the outcome of one task means for the other tasks of its scope. Pure decisions."""

from __future__ import annotations

from enum import Enum

from .arguments import whole

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence
    from typing import Any, Protocol, TypeVar

    from .._tasks.types import Outcome

    T = TypeVar("T")
    T_co = TypeVar("T_co", covariant=True)

    class Ended(Protocol[T_co]):
        """A handle, reduced to its outcome."""

        @property
        def outcome(self) -> Outcome[Any] | None: ...

        def result(self) -> T_co: ...

else:
    Protocol = object  # a protocol costs more to make than the rest of this module


KEPT_FAILURES = 32
"""The failures that a scope keeps before its policy has decided, unless the policy has `kept_failures`."""


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
    """A custom policy only has to implement these two methods; subclassing is optional.

    Two attributes are optional. ``kept_failures`` is the number of failures that a scope keeps before the policy has
    decided, by default 32; later ones are only counted, and the group that the scope raises says how many they were. A
    policy that never raises sets it to 0, as `Collect` does. ``unwrap`` is the argument of that name of `FailFast`.
    """

    def judge(self, tally: Tally) -> Verdict:
        """Called after each task that `spawn` started has ended."""

    def raises(self, tally: Tally) -> bool:
        """Called when the scope exits: should the failures of its tasks be raised?"""


def is_policy(thing: object) -> bool:
    """Tell whether `thing` is an object with the methods of a policy."""
    return (
        not isinstance(thing, type)
        and callable(getattr(thing, "judge", None))
        and callable(getattr(thing, "raises", None))
    )


def _shown(unwrap: bool, before: str = "") -> str:
    return f"{before}unwrap=True" if unwrap else ""


class FailFast:
    """The first failure cancels all other tasks and the body; the scope raises the failures. The default.

    Args:
        unwrap: a failure that is alone, of a task or of the body, is raised itself; only several come in a group. Web
            frameworks, which choose a response by the type of an exception, need this.

    Example::

        import anyio
        from unified_exec import FailFast, TaskScope

        async def main():
            try:
                async with TaskScope(policy=FailFast(unwrap=True)) as scope:
                    scope.spawn(int, "x")
            except ValueError as error:
                print(error)

        anyio.run(main)
    """

    def __init__(self, *, unwrap: bool = False) -> None:
        self.unwrap = unwrap

    def judge(self, tally: Tally) -> Verdict:
        return Verdict.CANCEL_SCOPE if tally.errors else Verdict.GO_ON

    def raises(self, tally: Tally) -> bool:
        return tally.errors > 0

    def __repr__(self) -> str:
        return f"FailFast({_shown(self.unwrap)})"


class Collect:
    """Every task runs to its end; nothing is raised at exit, the handles hold the outcomes.

    A timeout of the scope still raises `TaskTimeout`: work that was cut short must not go unnoticed. Outcomes that
    arrived before are kept; `values` and `errors` select them.

    Example:
        handles = []
        try:
            async with TaskScope(policy=Collect(), timeout=10) as scope:
                handles = [scope.spawn(fetch, url) for url in urls]
        except TaskTimeout:
            pass
        pages = Collect.values(handles)

    The scope keeps nothing of a task that has ended: a failure whose handle you drop is freed.
    """

    kept_failures = 0

    @staticmethod
    def values(handles: Iterable[Ended[T]]) -> list[T]:
        """Return the values of the tasks that returned one, in the order of the handles."""
        return [handle.result() for handle in handles if handle.outcome is not None and handle.outcome.is_value]

    @staticmethod
    def errors(handles: Iterable[Ended[object]]) -> list[BaseException]:
        """Return the exceptions of the tasks that failed, in the order of the handles."""
        outcomes = [handle.outcome for handle in handles if handle.outcome is not None]
        return [outcome.error for outcome in outcomes if outcome.error is not None]

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
        unwrap: see `FailFast`.

    Raises:
        TypeError: `n` is not a whole number.
        ValueError: `n` is less than 1.
    """

    def __init__(self, n: int = 1, *, unwrap: bool = False) -> None:
        self.n = whole("Race(n)", n)
        self.unwrap = unwrap

    def judge(self, tally: Tally) -> Verdict:
        return Verdict.CANCEL_REST if tally.values >= self.n else Verdict.GO_ON

    def raises(self, tally: Tally) -> bool:
        return tally.values < self.n and tally.errors > 0

    def __repr__(self) -> str:
        return f"Race({self.n}{_shown(self.unwrap, ', ')})"


class Quorum:
    """`n` values out of `of` tasks win and cancel the rest; as soon as `n` values are impossible, everything is
    cancelled and the failures are raised.

    Args:
        n: how many values are wanted, at least 1.
        of: how many tasks there will be, at least `n`.
        unwrap: see `FailFast`.

    Raises:
        TypeError: one of them is not a whole number.
        ValueError: one of them is out of its range.

    Example:
        async with TaskScope(policy=Quorum(2, of=3)) as scope:
            handles = [scope.spawn(ask, replica) for replica in replicas]
    """

    def __init__(self, n: int, *, of: int, unwrap: bool = False) -> None:
        self.of = whole("Quorum(of=...)", of)
        self.n = whole("Quorum(n)", n, 1, self.of)
        self.unwrap = unwrap

    def judge(self, tally: Tally) -> Verdict:
        if tally.values >= self.n:
            return Verdict.CANCEL_REST
        lost = tally.errors + tally.cancelled
        return Verdict.CANCEL_SCOPE if lost > self.of - self.n else Verdict.GO_ON

    def raises(self, tally: Tally) -> bool:
        return tally.values < self.n

    def __repr__(self) -> str:
        return f"Quorum({self.n}, of={self.of}{_shown(self.unwrap, ', ')})"


class Supervise(FailFast):
    """A task that fails is restarted, alone; too many restarts in too short a time fail the scope.

    As Erlang's supervisors do (strategy ``one_for_one``, children that are ``transient``, a restart intensity for all
    tasks of the scope together; see the OTP Design Principles, "Supervisor Behaviour"). A crash of a worker is a
    failure like any other here. One failure too many ends the scope as `FailFast` does. Tasks that return or are
    cancelled are not restarted. Any policy with a method `restart` like this one does the same.

    Args:
        restarts: maximum number of restarts within `within` seconds.
        within: seconds.
        on: the exception types to restart after.
        backoff: seconds before a restart, or a function of the number of recent restarts (from 1), see `exponential`.
        unwrap: see `FailFast`.

    Raises:
        TypeError: an argument is not what it must be; `on` takes exception types.
        ValueError: a number is out of its range.

    Example:
        async with TaskScope(policy=Supervise(3, within=5.0)) as scope:
            scope.spawn(serve_forever)
    """

    def __init__(
        self,
        restarts: int = 3,
        within: float = 5.0,
        *,
        on: type[Exception] | tuple[type[Exception], ...] = Exception,
        backoff: float | Callable[[int], float] = 0.0,
        unwrap: bool = False,
    ) -> None:
        from .arguments import check_backoff, check_seconds, exception_types

        check_seconds("Supervise(within)", within, optional=False, positive=True)
        check_backoff("Supervise(backoff)", backoff)
        self.restarts = whole("Supervise(restarts)", restarts, 0)
        self.within = within
        self.on = exception_types("Supervise(on=...)", on)
        self.backoff = backoff
        super().__init__(unwrap=unwrap)

    def restart(self, error: Exception, ages: Sequence[float]) -> float | None:
        """Decide whether a task that failed with `error` is restarted.

        Args:
            error: what it failed with.
            ages: how many seconds ago the tasks of the scope were restarted, the oldest first.

        Returns:
            seconds to wait before it starts again, ``None`` to let it fail.
        """
        recent = sum(age < self.within for age in ages)
        if not isinstance(error, self.on) or recent >= self.restarts:
            return None
        return self.backoff(recent + 1) if callable(self.backoff) else self.backoff

    def __repr__(self) -> str:
        return f"Supervise({self.restarts}, within={self.within:g}{_shown(self.unwrap, ', ')})"
