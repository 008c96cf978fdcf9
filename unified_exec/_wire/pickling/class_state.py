"""Whether a class or function that stands in its module under a name is still what was sent."""

from __future__ import annotations

import types
from typing import Any
from weakref import ref as weak

from .closure_state import CaptureSnapshot, Mutable, identity_of, same_items
from .digests import digest
from .kinds import SINGLE_DISPATCH
from .lazy_annotations import CACHE
from .sent_home import importable

_MISSING = object()
_NOT_SENT = ("__dict__", "__weakref__", "_abc_impl", CACHE)


def snapshots_inside(value: Any) -> tuple[Any, ...]:
    """Return snapshots of a class or function: while all are unchanged, so is its pickle.

    Raises:
        Mutable: it holds something of which only its pickle can tell whether it has changed.
    """
    queue: list[Any] = [value]
    seen: set[int] = set()
    snapshots: list[Any] = []
    while queue:
        obj = queue.pop()
        if id(obj) in seen:
            continue
        seen.add(id(obj))
        if isinstance(obj, type):
            snapshots.append(ClassSnapshot(obj, queue))
        elif isinstance(obj, types.FunctionType) and obj.__code__ is SINGLE_DISPATCH:
            snapshots.append(RegistrySnapshot(obj))
        else:
            snapshots.append(CaptureSnapshot(obj, queue))
    return tuple(snapshots)


class RegistrySnapshot:
    """What was registered with a generic function of `functools.singledispatch`."""

    __slots__ = ("_items", "_ref")

    def __init__(self, fn: Any) -> None:
        self._ref = weak(fn)
        self._items = [(weak(cls), weak(found)) for cls, found in fn.registry.items()]

    def unchanged(self) -> bool:
        fn: Any = self._ref()
        if fn is None or len(fn.registry) != len(self._items):
            return False
        return all(fn.registry.get(cls()) is found() for cls, found in self._items)


class ClassSnapshot:
    """The attributes of a class: by identity, and what is mutable by its digest.

    What has a dunder name is looked at by identity only: it belongs to the decorator or metaclass that set it.
    """

    __slots__ = ("_attributes", "_count", "_digests", "_ref")

    def __init__(self, cls: type, queue: list[Any]) -> None:
        self._ref = weak(cls)
        attributes = []
        digests = []
        for name, value in list(vars(cls).items()):
            if name in _NOT_SENT:
                continue
            attributes.append((name, *identity_of(value)))
            inner: Any = value.__func__ if isinstance(value, (staticmethod, classmethod)) else value
            if isinstance(value, property):
                queue += [fn for fn in (value.fget, value.fset, value.fdel) if isinstance(fn, types.FunctionType)]
            elif isinstance(inner, types.FunctionType):
                if inner.__globals__.get("__name__") == cls.__module__ and not importable(inner):
                    queue.append(inner)
            elif isinstance(inner, type):
                if inner.__module__ == cls.__module__ and inner.__qualname__.startswith(cls.__qualname__ + "."):
                    queue.append(inner)
            elif name[:2] != "__" and type(inner) in (list, dict, set, bytearray):
                digests.append((name, _digest(inner)))
        self._attributes = tuple(attributes)
        self._digests = tuple(digests)
        self._count = _count_of(vars(cls))

    def unchanged(self) -> bool:
        """Tell whether the class still has the very same attributes, with the same contents."""
        cls = self._ref()
        if cls is None:
            return False
        known = vars(cls)
        if _count_of(known) != self._count or not same_items(self._attributes, known):
            return False
        if not self._digests:
            return True
        try:
            return all(digest(known[name]) == seen for name, seen in self._digests)
        except Exception:
            return False


def _count_of(attributes: Any) -> int:
    return len(attributes) - (CACHE in attributes)


def _digest(value: Any) -> tuple[int, bytes]:
    try:
        return digest(value)
    except Exception:
        raise Mutable from None
