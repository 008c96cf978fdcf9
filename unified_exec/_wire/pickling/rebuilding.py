"""What each thread is rebuilding of what came by value."""

from __future__ import annotations

from _thread import get_ident

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

__all__ = ["Rebuilding", "count", "is_definition", "of_definitions", "of_nothing"]

_inside: dict[int, list[Rebuilding]] = {}
"""By thread, what it is rebuilding, the innermost last."""


def is_definition(data: bytes) -> bool:
    """Tell whether this is the pickle of a class or function."""
    return data.find(b"\x8c\x05place\x94\x93", 0, 120) >= 0


def count(*key: Any) -> int:
    """Return how often this thread is inside of the rebuilding of what has this key."""
    return sum(each.key == key for each in _inside.get(get_ident(), ()))


def of_nothing() -> bool:
    """Tell whether this thread rebuilds nothing."""
    return get_ident() not in _inside


def of_definitions() -> bool:
    """Tell whether this thread is inside of the rebuilding of a class or function."""
    return any(each.definition for each in _inside.get(get_ident(), ()))


class Rebuilding:
    """Inside of it, this thread rebuilds what has this key."""

    __slots__ = ("definition", "key")

    def __init__(self, *key: Any, definition: bool = False) -> None:
        self.key = key
        self.definition = definition

    def __enter__(self) -> None:
        _inside.setdefault(get_ident(), []).append(self)

    def __exit__(self, *_: object) -> None:
        thread = get_ident()
        stack = _inside[thread]
        stack.remove(self)
        if not stack:
            del _inside[thread]
