"""Tracks the outcomes of tasks and asks the policy of their scope what to do next."""

from __future__ import annotations

from collections import deque
from contextvars import Context
from typing import Any

from .._handles.cancelled import is_own_cancellation
from .._rules.policies import KEPT_FAILURES, Collect, FailFast, Policy, Tally, Verdict
from .._tasks.types import Outcome

GO_ON = Verdict.GO_ON


class PolicyState:
    """Counts the tasks that `spawn` started as they end.

    Attributes:
        failures: the exceptions of the tasks that failed, in the order they ended: the first `kept_failures` of the
            policy before it has decided, and all of the tasks that were running when it did.
        dropped: how many more there were.
        decided: the policy's verdict, once it is another than to go on.
        restarts: the policy may restart failed tasks.
        tally: how many tasks ended how.
        is_custom: the policy is a class of the user.
        values_never_decide: no returned value changes the verdict of the policy, so it is not asked.
    """

    __slots__ = (
        "_broken",
        "_kept_failures",
        "_policy",
        "_restarted",
        "decided",
        "dropped",
        "failures",
        "is_custom",
        "restarts",
        "tally",
        "values_never_decide",
    )

    def __init__(self, policy: Policy) -> None:
        self._policy = policy
        self._broken: BaseException | None = None
        self._restarted: deque[float] | None = None
        self.decided: Verdict | None = None
        self.failures: list[BaseException] = []
        self.dropped = 0
        self._kept_failures: int = getattr(policy, "kept_failures", KEPT_FAILURES)
        self.restarts = callable(getattr(policy, "restart", None))
        self.tally = Tally()
        self.values_never_decide = type(policy) in (FailFast, Collect)
        self.is_custom = not type(policy).__module__.startswith("unified_exec.")

    def record(self, outcome: Outcome[Any], scope: object, context: Context | None) -> Verdict:
        """Count the outcome of one task of `scope`; returns the verdict of the policy if it is a new one.

        A policy of the user judges in `context`, the one in which the task was spawned, or in the current one.
        """
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
            if self.decided is not None or len(self.failures) < self._kept_failures:
                self.failures.append(outcome.error)
            else:
                self.dropped += 1
        # An error in a custom policy fails its scope, and nothing in the pool that settles the task.
        try:
            judge = self._policy.judge
            verdict = judge(tally) if context is None else context.run(judge, tally)
            if type(verdict) is not Verdict:
                raise TypeError(f"{type(self._policy).__name__}.judge() must return a Verdict, got {verdict!r}")
        except BaseException as error:
            self._broken = error if self._broken is None else self._broken
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
        if delay is None:
            return None
        self._restarted.append(now)
        return max(0.0, float(delay))

    def raised(self) -> list[BaseException]:
        """The failures that the scope is to raise."""
        try:
            failures = self.failures if self._policy.raises(self.tally) else []
        except BaseException as error:
            self._broken = error if self._broken is None else self._broken
            failures = self.failures
        if self.dropped and failures is self.failures and not failures:
            failures = [RuntimeError(f"{self.dropped} tasks failed, and {self._policy!r} keeps no failure to raise")]
        return failures if self._broken is None else [*failures, self._broken]

    def shown(self, error: BaseException | None, failures: list[BaseException]) -> BaseException | None:
        """Return what the scope raises in place of `error`: the failure that is alone in a group if the policy unwraps.
        A note tells how many failures are missing next to the `failures` in the group."""
        if not isinstance(error, BaseExceptionGroup):
            return error
        if self.dropped and failures:
            error.add_note(
                f"{self.dropped} more tasks failed; before it has decided, {self._policy!r} keeps the first "
                f"{self._kept_failures} failures"
            )
        elif len(error.exceptions) == 1:
            alone = error.exceptions[0]
            # GeneratorExit closes an async generator that yields inside of the scope; in a group it would be an error.
            if getattr(self._policy, "unwrap", False) or isinstance(alone, GeneratorExit):
                return alone
        return error

    def forget(self) -> None:
        """Drop the references to exceptions."""
        self.failures = []
        self._broken = None
