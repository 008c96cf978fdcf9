"""Reading a weak set from another thread than those that change it."""

from __future__ import annotations

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import TypeVar
    from weakref import WeakSet

    T = TypeVar("T")

TRIES = 20


def members(weak: WeakSet[T]) -> list[T]:
    """Its members now. A set that changes while it is read is read again."""
    for _ in range(TRIES):
        try:
            return list(weak)
        except RuntimeError:  # it changed
            pass
    return []
