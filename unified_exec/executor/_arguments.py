"""What both executors check of their arguments; numbers out of range in the words of the standard library."""

from __future__ import annotations

import sys
from typing import Any

from .._rules.arguments import check_initializer, whole


def check_arguments(max_workers: Any, initializer: Any, initargs: Any, pool: object, kind: type) -> None:
    """Check what both executors take.

    Raises:
        TypeError, ValueError: an argument is of the wrong kind, or out of its range.
    """
    if max_workers is not None and whole("max_workers", max_workers, -sys.maxsize, optional=True) <= 0:
        raise ValueError("max_workers must be greater than 0")
    check_initializer(initializer, initargs)
    if pool is not None and not isinstance(pool, kind):
        raise TypeError(f"pool must be a {kind.__name__}, got {pool!r}: write pool={kind.__name__}(max_workers=...)")
