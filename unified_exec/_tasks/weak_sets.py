"""Weak sets that are read by another thread than those that change them, and the weak references of this package.

The module `weakref` itself is not imported: a worker must stay light.
"""

from __future__ import annotations

from _weakref import ref

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any, TypeVar
    from weakref import WeakSet

    T = TypeVar("T")

TRIES = 20


class OwnRef(ref):  # type: ignore[type-arg]
    """A weak reference of this package's own, by which no code of the program reaches its object."""

    __slots__ = ()


class Registry:
    """Objects while they live. Any thread may add, discard and iterate at the same time, the collector too.

    A `WeakSet` runs Python code while it is copied. Here each step is one operation of a dictionary.
    """

    def __init__(self) -> None:
        self._refs: dict[int, OwnRef] = {}

    def add(self, one: Any) -> None:
        number, refs = id(one), self._refs
        if number not in refs:
            refs[number] = OwnRef(one, lambda _: refs.pop(number, None))

    def discard(self, one: Any) -> None:
        self._refs.pop(id(one), None)

    def __contains__(self, one: object) -> bool:
        return id(one) in self._refs

    def __iter__(self) -> Iterator[Any]:
        """Iterate over a copy."""
        return iter([one for each in self._refs.copy().values() if (one := each()) is not None])


class WeakTable:
    """Objects by key, while they live."""

    def __init__(self) -> None:
        self._refs: dict[Any, OwnRef] = {}

    def __setitem__(self, key: Any, one: Any) -> None:
        refs = self._refs

        def forget(dead: OwnRef) -> None:
            if refs.get(key) is dead:
                refs.pop(key, None)

        refs[key] = OwnRef(one, forget)

    def get(self, key: Any) -> Any:
        ref = self._refs.get(key)
        return None if ref is None else ref()

    def items(self) -> list[tuple[Any, Any]]:
        return [(key, one) for key, each in self._refs.copy().items() if (one := each()) is not None]


def members(weak: WeakSet[T]) -> list[T]:
    """Its members now. A set that changes while it is read is read again."""
    for _ in range(TRIES):
        try:
            return list(weak)
        except RuntimeError:  # it changed
            pass
    return []
