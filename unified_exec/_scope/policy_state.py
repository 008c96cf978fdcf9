"""Tracks the outcomes of tasks and asks the policy of their scope what to do next."""

from __future__ import annotations

from collections import deque
from typing import Any

from .._handles.cancelled import is_own_cancellation
from .._rules.policies import Collect, FailFast, Policy, Tally, Verdict
from .._tasks.types import Outcome

GO_ON = Verdict.GO_ON


class PolicyState:
    """Counts the tasks that `spawn` started as they end.

    Attributes:
        failures: the exceptions of the tasks that failed, in the order they ended.
        decided: the policy's verdict, once it is another than to go on.
        restarts: the policy may restart failed tasks.
        tally: how many tasks ended how.
        values_never_decide: no returned value changes the verdict of the policy, so it is not asked.
    """

    __slots__ = ("_broken", "_policy", "_restarted", "decided", "failures", "restarts", "tally", "values_never_decide")

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._broken: Exception | None = None
        self._restarted: deque[float] | None = None
        self.decided: Verdict | None = None
        self.failures: list[BaseException] = []
        self.restarts = callable(getattr(policy, "restart", None))
        self.tally = Tally()
        self.values_never_decide = type(policy) in (FailFast, Collect)

    def record(self, outcome: Outcome[Any], scope: object) -> Verdict:
        """Count the outcome of one task of `scope`; returns the verdict of the policy if it is a new one."""
        tally = self.tally
        if outcome.cancelled:
            tally.cancelled += 1
        elif outcome.error is None:
            tally.values += 1
            if self.values_never_decide:
                return GO_ON
        elif is_own_cancellation(outcome.error, scope):
            tally.cancelled += 1
        else:
            tally.errors += 1
            self.failures.append(outcome.error)
        # An error in a custom policy fails its scope, and nothing in the pool that settles the task.
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
        """Ask a policy that restarts tasks (see `Supervise`) whether one that failed with `error` is started again.

        Returns:
            seconds to wait before, ``None`` if it is not.
        """
        if not self.restarts:
            return None
        if self._restarted is None:
            self._restarted = deque(maxlen=1000)
        policy: Any = self._policy
        delay: float | None = policy.restart(error, [now - instant for instant in self._restarted])
        if delay is not None:
            self._restarted.append(now)
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
        """Drop the references to exceptions."""
        self.failures = []
        self._broken = None
