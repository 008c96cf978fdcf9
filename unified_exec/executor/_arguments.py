"""What all executors check of their arguments; numbers out of range in the words of the standard library."""

from __future__ import annotations

import sys
from typing import Any

from .._rules.arguments import check_initializer, whole


def check_arguments(max_workers: Any, initializer: Any, initargs: Any, pool: object, kind: type, name: str) -> None:
    """Check what all executors take.

    Args:
        max_workers, initializer, initargs, pool: the arguments.
        kind: what `pool` must be.
        name: of the class that makes one.

    Raises:
        TypeError, ValueError: an argument is of the wrong kind, or out of its range.
    """
    if max_workers is not None and whole("max_workers", max_workers, -sys.maxsize, instead="None") <= 0:
        raise ValueError("max_workers must be greater than 0")
    check_initializer(initializer, initargs)
    if pool is not None and not isinstance(pool, kind):
        raise TypeError(f"pool must be a {name}, got {pool!r}: write pool={name}(max_workers=...)")


def check_alone(*others: object) -> None:
    """Check that nothing is given together with `pool` that belongs to the making of one.

    Raises:
        ValueError: something is.
    """
    if any(other is not None for other in others):
        raise ValueError("pool= brings its own workers: give max_workers, initializer and the rest to the pool")
