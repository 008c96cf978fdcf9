"""Who can reach an object: the references to it, counted.

An object is reached by its holders alone if the number of its references is that of the ones found in what the holders
have. One reference that was not found, such as that of a global, a timer or a running frame, means: not known.
"""

from __future__ import annotations

import gc
import sys
import types
import weakref
from collections import defaultdict, deque
from collections.abc import Generator
from functools import partial
from typing import Any

from ..._tasks.weak_sets import OwnRef
from ..shared.travel import shared_here
from .graph import Key

MOST = 5000
"""The most objects that are looked at."""
REFERENCES_MOST = 30_000
"""The most references that are followed: a look must take milliseconds in a program with large containers, too."""
LARGE = 1000
"""References of one container that make it too large to be followed."""
_LEAVES = (types.ModuleType, type, types.CodeType, types.BuiltinFunctionType, weakref.ref)
_FOLLOWED = frozenset({"trio.Nursery", "trio._core._run.NurseryManager", "trio._core._traps.WaitTaskRescheduled"})
"""They refer to cancel scopes."""
_CONTAINERS = frozenset({dict, list, tuple, set, deque, partial, types.CellType, types.FunctionType, types.MethodType})
_CONTAINERS |= {types.CoroutineType, types.GeneratorType, types.AsyncGeneratorType}
_FOREIGN = frozenset({"_asyncio", "_contextvars", "asyncio", "trio", "unified_exec._loops", "uvloop"})


class Reach:
    """What a number of holders have. Add their roots, then `explore`."""

    def __init__(self) -> None:
        self._objects: dict[int, Any] = {}
        self._found: defaultdict[int, int] = defaultdict(int)  # references
        self._referrers: defaultdict[int, list[int]] = defaultdict(list)
        self._owners: dict[int, Key | None] = {}
        self._first: deque[int] = deque()  # what this package's objects lead to is followed before
        self._later: deque[int] = deque()  # the data of the program
        self._references = 0
        self._own = self._count(self._add([]))

    def add_root(self, root: object, owner: Key | None) -> None:
        """Add an object that is used by one holder only, such as its coroutine; by none if it is the event loop's."""
        if id(root) not in self._owners:
            self._owners[self._add(root, True)] = owner

    def add_reference(self, target: object, owner: Key) -> None:
        """Add one reference from a variable of a holder's frame."""
        self._references -= 1
        self._owners[self._references] = owner
        self._note(target, self._references)

    def _add(self, found: object, first: bool = False) -> int:
        if id(found) not in self._objects:
            self._objects[id(found)] = found
            (self._first if first else self._later).append(id(found))
            if type(found) is types.TracebackType:
                self._owners[id(found)] = None  # nobody goes on with what only an error leads to
        return id(found)

    def _note(self, target: object, referrer: int, first: bool = False) -> None:
        if gc.is_tracked(target) and not issubclass(type(target), _LEAVES):
            self._found[id(target)] += 1
            self._referrers[id(target)].append(referrer)
            if len(self._objects) < MOST:
                self._add(target, first)

    def explore(self) -> None:
        """Follow the references, first those of scopes. Of what is left out, such as globals, they are missing then."""
        left = REFERENCES_MOST
        while (self._first or self._later) and left > 0:
            is_first = bool(self._first)
            number = (self._first or self._later).popleft()
            found = self._objects[number]
            if not _runs(found) and (number in self._owners or not _is_foreign(found)):
                is_ours = _is_ours(found) or (is_first and type(found) in _CONTAINERS)
                targets = gc.get_referents(found)
                if len(targets) <= LARGE:
                    left -= len(targets)
                    for target in targets:
                        self._note(target, number, is_ours)

    def holders_of(self, number: int) -> set[Key] | None:
        """Return who can reach the object of this id; ``None`` if others may reach it, too."""
        holders: set[Key | None] = set()
        todo, seen = [number], set()
        while todo:
            number = todo.pop()
            if number in seen:
                continue
            seen.add(number)
            if number in self._owners:
                holders.add(self._owners[number])
                continue
            found = self._objects.get(number)
            if found is None or self._count(number) != self._own + self._found[number] + 1:  # that of `found`
                return None
            if _has_weak_references(found):
                return None
            todo += self._referrers[number]
        return {holder for holder in holders if holder is not None}

    def object_of(self, number: int) -> Any:
        """Return the object of this id, which was met."""
        return self._objects[number]

    def _count(self, number: int) -> int:
        return sys.getrefcount(self._objects[number])


def _runs(found: object) -> bool:
    """Tell whether this is a generator that runs: what its variables refer to is counted for its thread."""
    if type(found) is types.AsyncGeneratorType:
        return sys.version_info >= (3, 12) and found.ag_running and not found.ag_suspended
    return (type(found) is types.GeneratorType and found.gi_running) or (
        type(found) is types.CoroutineType and found.cr_running
    )


def _is_foreign(found: object) -> bool:
    """Tell whether an object is an event loop's own, or the globals of a module: what it has is not followed."""
    if type(found) is dict:
        return "__builtins__" in found
    module = module_of(type(found))
    if type(module) is not str:
        return False  # a property of its instances
    if f"{module}.{name_of(type(found))}" in _FOLLOWED:
        return False
    return module in _FOREIGN or module.partition(".")[0] in _FOREIGN or module.rpartition(".")[0] in _FOREIGN


module_of = type.__dict__["__module__"].__get__  # not that of a metaclass, which may be code
name_of = type.__dict__["__name__"].__get__


def _is_ours(found: object) -> bool:
    """Tell whether an object is this package's, or of a library that has scopes."""
    module = module_of(type(found))
    return type(module) is str and module.partition(".")[0] in _OURS


_OURS = frozenset({"anyio", "trio", "unified_exec"})


def _has_weak_references(found: object) -> bool:
    """Tell whether anybody may reach an object who has no reference to it."""
    if module_of(type(found)) == "unified_exec._scope.engine":
        return False  # in the list of open scopes
    own = 2 * (found in shared_here)  # the finalizer's, and that in the table of tokens
    return sum(type(each) is not OwnRef for each in weakref.getweakrefs(found)) > own


_counts: bool | None = None


def can_count() -> bool:
    """Tell whether references can be counted in this interpreter: with a GIL, and if every variable has a reference."""
    global _counts
    if _counts is None:
        is_locked = getattr(sys, "_is_gil_enabled", lambda: True)
        _counts = sys.implementation.name == "cpython" and is_locked() and _is_exact()
    return _counts


def _is_exact() -> bool:
    target: list[Any] = []
    made = _outer(target)
    made.send(None)
    number = id(target)
    del target
    found = Reach()
    each: Any = made
    while hasattr(each, "cr_frame"):
        found.add_root(each, (0, 1))
        each = each.cr_await
    del each
    found.explore()
    alone = found.holders_of(number)
    outside = found._objects[number]
    shared = found.holders_of(number)
    del outside
    made.close()
    return alone == {(0, 1)} and shared is None


async def _outer(target: object) -> None:
    await _Inner(target).wait(target)


class _Inner:
    def __init__(self, target: object) -> None:
        self.target = target

    async def wait(self, target: object) -> None:
        await _stop()


@types.coroutine
def _stop() -> Generator[None, None, None]:
    yield
