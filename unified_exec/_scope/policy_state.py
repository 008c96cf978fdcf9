"""How a scope stands: which of its tasks ended how, and what its policy makes of it."""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING, Any

from .._handles.cancelled import is_own_cancellation
from .._rules.policies import Collect, FailFast, Policy, Tally, Verdict

if TYPE_CHECKING:
    from .._handles.handle import TaskHandle
    from .._tasks.types import Outcome

GO_ON = Verdict.GO_ON


class PolicyState:
    """Counts the tasks that `spawn` started as they end.

    Attributes:
        failures: the exceptions of those that failed, in their order.
        decided: the policy's verdict, once it is another than to go on.
    """

    __slots__ = ("_broken", "_policy", "_restarts", "_values_are_fine", "decided", "failures", "tally")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._values_are_fine = type(policy) in (FailFast, Collect)  # no need to ask them
        self._broken: Exception | None = None
        self._restarts: deque[float] = deque(maxlen=1000)
        self.tally = Tally()
        self.failures: list[BaseException] = []
        self.decided: Verdict | None = None

    def count(self, handle: TaskHandle[Any], outcome: Outcome[Any]) -> Verdict:
        """Count one task; returns what is to be done now that was not done before."""
        tally = self.tally
        if outcome.cancelled:
            tally.cancelled += 1
        elif outcome.error is None:
            tally.values += 1
            if self._values_are_fine:
                return GO_ON
        elif is_own_cancellation(outcome.error, handle.owner):
            tally.cancelled += 1
        else:
            tally.errors += 1
            self.failures.append(outcome.error)
        # A policy of the user's own may be wrong: that fails its scope, and nothing of the pool that calls this.
        try:
            verdict = self._policy.judge(tally)
            if type(verdict) is not Verdict:
                raise TypeError(f"{type(self._policy).__name__}.judge() must return a Verdict, got {verdict!r}")
        except Exception as error:
            self._broken = self._broken or error
            verdict = Verdict.CANCEL_SCOPE
        if verdict is GO_ON or verdict is self.decided or self.decided is Verdict.CANCEL_SCOPE:
            return GO_ON
        self.decided = verdict
        return verdict

    def restart(self, error: Exception, now: float) -> float | None:
        """Ask a policy that restarts tasks (see `Supervise`) whether one that failed with `error` shall start again.

        Returns:
            seconds to wait before, ``None`` for no.
        """
        ask: Any = getattr(self._policy, "restart", None)
        if not callable(ask):
            return None
        delay: float | None = ask(error, [now - instant for instant in self._restarts])
        if delay is not None:
            self._restarts.append(now)
        return delay

    def raised(self) -> list[BaseException]:
        """The failures that the scope is to raise."""
        try:
            failures = self.failures if self._policy.raises(self.tally) else []
        except Exception as error:
            self._broken = self._broken or error
            failures = self.failures
        return failures if self._broken is None else [*failures, self._broken]

    def forget(self) -> None:
        """Let go of the exceptions."""
        self.failures = []
        self._broken = None
