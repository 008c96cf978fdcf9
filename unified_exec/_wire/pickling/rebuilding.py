"""What each thread is rebuilding of what came by value, and definitions that were replaced before they were rebuilt."""

from __future__ import annotations

from _thread import get_ident

from . import identity

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

older: dict[str, dict[tuple[str, int], tuple[bytes, Any]]] = {}
"""By the token of a home, the classes and functions that arrived after a newer value of their name, by this name and
the number of the value: the pickle, and what it wants. Calls that were pickled before may still refer to them."""
_OLDER = "older"

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


def note_older(token: str, name: str, version: int, data: bytes | None, needs: Any) -> None:
    """Keep what arrived after a newer value of its name, if it is a class or function."""
    if data is not None and is_definition(data):
        older.setdefault(token, {})[name, version] = data, needs


def older_one(home: Any, name: str, known: str, rebuild: Callable[[bytes], object]) -> tuple[Any, Any]:
    """Return the stand-in of the identity `known`, which an older definition of this name makes, and what that wants.

    It does not get the name. Both are empty if no older definition makes it.
    """
    home.load(name)  # what stands there now may be the same object, or hold it
    obj = identity.living(known)
    if obj is not None or is_older(home, name):
        return obj, ()
    made = b"\x8c%c%b" % (len(known), known.encode())  # as a pickle has it
    for (one, _), (data, needs) in sorted(older.get(home.token, {}).copy().items(), reverse=True):
        if one == name and made in data:
            with Rebuilding(home, name, _OLDER, definition=True):
                whole = rebuild(data)
                obj = identity.living(known)
            del whole  # of which it may be a part
            return obj, needs
    return None, ()


def is_older(home: Any, name: str) -> bool:
    """Tell whether this thread is inside of the rebuilding of an older definition of this name."""
    return bool(older) and count(home, name, _OLDER) > 0
