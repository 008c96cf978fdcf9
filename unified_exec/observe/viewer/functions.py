"""What the tasks of one function have cost so far."""

from __future__ import annotations

from collections import deque
from typing import Any

from ..output.figures import percentile

RECENT = 200
"""The newest tasks, from which the quantiles are taken."""


class FunctionTotals:
    """Counts the settled tasks of one function on one backend.

    Attributes:
        name: ``module:qualname``.
        backend: where they ran.
    """

    __slots__ = ("_ran", "_waited", "backend", "count", "failed", "longest", "name", "total")

    def __init__(self, name: str, backend: str) -> None:
        self.name = name
        self.backend = backend
        self.count = self.failed = 0
        self.total = self.longest = 0.0
        self._ran: deque[float] = deque(maxlen=RECENT)
        self._waited: deque[float] = deque(maxlen=RECENT)

    def add(self, waited: float, ran: float | None, failed: bool) -> None:
        """Count a task; `ran` is ``None`` if it never began."""
        self.count += 1
        self.failed += failed
        if ran is not None:
            self.total += ran
            self.longest = max(self.longest, ran)
            self._ran.append(ran)
        self._waited.append(waited)

    def describe(self) -> dict[str, Any]:
        """Plain data; the quantiles are those of the newest tasks, ``None`` if none of them has begun."""
        ran, waited = sorted(self._ran), sorted(self._waited)
        return {
            "name": self.name,
            "backend": self.backend,
            "count": self.count,
            "failed": self.failed,
            "total": self.total,
            "longest": self.longest,
            "run_p50": percentile(ran, 0.5) if ran else None,
            "run_p99": percentile(ran, 0.99) if ran else None,
            "wait_p50": percentile(waited, 0.5),
            "wait_p99": percentile(waited, 0.99),
        }
