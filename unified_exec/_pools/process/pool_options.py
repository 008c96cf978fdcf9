"""What a user may ask of a process pool, checked before any worker is started."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


def check(max_workers: int | None, tasks: int | None, memory: int | None, idle: float | None, grace: float) -> None:
    """Check the numbers.

    Raises:
        ValueError: one is out of its range.
    """
    for what, value in (("max_workers", max_workers), ("max_tasks_per_worker", tasks), ("max_worker_memory", memory)):
        if value is not None and value < 1:
            raise ValueError(f"{what} must be at least 1 or None, got {value}")
    if idle is not None and idle <= 0:
        raise ValueError(f"idle_timeout must be positive or None, got {idle}")
    if grace < 0:
        raise ValueError(f"grace must not be negative, got {grace}")


def encode_initializer(fn: Callable[..., object], args: tuple[Any, ...]) -> bytes:
    """Pickle the initializer and its arguments by value: each new worker gets the same bytes.

    Raises:
        SerializationError: one of them cannot travel.
    """
    from ..._wire.pickling import by_value, pickle_errors

    try:
        return by_value.dumps((fn, args), upward=False)[0]
    except Exception as error:
        raise pickle_errors.refused_call(fn, args, error) from error
