"""How a task is run if not just once: tried again when it fails, started when a limit allows."""

from __future__ import annotations

from collections.abc import Callable, MutableMapping
from typing import Any

from .._rules.arguments import as_int
from .._rules.dispatch import unwrap
from .._rules.retry import Retry
from .._sync.limit import Gate, Limit, as_gate


class RunPlan:
    """The retry policy of a task and the limit that each attempt must acquire.

    Attributes:
        retry: when the caller wants the task tried again, ``None`` for never.
        limit: what each attempt waits for, ``None`` for nothing.
    """

    __slots__ = ("limit", "retry")

    def __init__(self, retry: Retry | None, limit: Gate | None) -> None:
        self.retry = retry
        self.limit = limit


def make_plan(fn: Callable[..., Any], retry: object, limit: object, limits: MutableMapping[object, Gate]) -> RunPlan:
    """Check ``retry=`` and ``limit=`` of `spawn` and make a plan of them.

    Args:
        fn: the function to call.
        retry: a `Retry` or ``None``.
        limit: a `Limit`, a `Rate`, a number or ``None``.
        limits: those that were made of a number before, by function and number; a new one is added.

    Raises:
        TypeError, ValueError: one of them does not fit.
    """
    if retry is not None and not isinstance(retry, Retry):
        raise TypeError(f"retry must be a Retry, got {retry!r}: write retry=Retry(3)")
    number = as_int(limit)
    if number is not None:
        key = unwrap(fn), number
        gate = limits.get(key)
        if gate is None:
            gate = limits[key] = Limit(number)
        return RunPlan(retry, gate)
    return RunPlan(retry, as_gate(limit, "limit"))
