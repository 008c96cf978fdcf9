"""Who holds an object: the first question when memory is left behind.

One look at the whole heap, a second or two long, also into the frames that run and through NumPy arrays, of which the
garbage collector knows nothing.
"""

from __future__ import annotations

import gc
import sys
from collections import deque
from collections.abc import Container
from mmap import PAGESIZE, mmap
from reprlib import Repr
from types import FrameType, ModuleType
from typing import Any

_short = Repr()
_short.maxother = _short.maxstring = 100


SHOWN = 20
"""Things at each end of a long way that are told."""
MOST = 5
"""Blocks whose holders are told; the heap is looked through once for all of them."""


def of_mappings(sizes: Container[int]) -> list[str]:
    """For each open `mmap` that takes so many bytes of addresses, the way to what keeps it alive."""
    frozen = gc.get_freeze_count()
    gc.unfreeze()  # what was there before the tests may hold things too
    try:
        blocks = [thing for thing in gc.get_objects() if isinstance(thing, mmap) and _addresses(thing) in sizes]
        if not blocks:
            return ["by what Python cannot see, or by what has gone in this moment: no mmap object has its size"]
        heap = Heap()
        return [heap.way_out(block) for block in blocks[:MOST]]
    finally:
        if frozen:
            gc.freeze()


def _addresses(block: mmap) -> int:
    try:
        return -(-len(block) // PAGESIZE) * PAGESIZE
    except ValueError:  # closed
        return 0


class Heap:
    """Which object refers to which, at one moment; frames of this file are left out."""

    def __init__(self) -> None:
        things = gc.get_objects()  # first: what is made from here on is not in it
        self._holders: dict[int, list[Any]] = {}
        self._frames: dict[int, FrameType] = {}
        for thing in things:
            for inner in gc.get_referents(thing) if thing is not self else ():
                self._note(inner, thing)
        self._look_into_frames()

    def _look_into_frames(self) -> None:
        for frame in sys._current_frames().values():
            at: FrameType | None = frame
            while at is not None:
                if at.f_code.co_filename != __file__:
                    self._frames[id(at)] = at
                    for value in at.f_locals.values():
                        self._note(value, at)
                at = at.f_back
        del frame  # it may be the one that runs here: it would hold itself, and all this

    def _note(self, held: Any, holder: Any) -> None:
        known = self._holders.setdefault(id(held), [])
        if any(other is holder for other in known[-2:]):
            return
        known.append(holder)
        if not gc.is_tracked(held) and (base := getattr(held, "base", None)) is not None:
            self._note(base, held)

    def way_out(self, thing: object) -> str:
        """The shortest way from `thing` over its holders to one that lives by itself: a module or a running frame.

        Without such a way a circle of references is all that holds it, which a garbage collection ends, or something
        that cannot be seen from Python.
        """
        found = [thing]
        held_by_it: dict[int, Any] = {id(thing): None}  # of each thing found; ways themselves would fill the memory
        for known in found:
            for holder in self._holders.get(id(known), ()):
                if id(holder) in held_by_it:
                    continue
                held_by_it[id(holder)] = known
                if isinstance(holder, ModuleType) or id(holder) in self._frames:
                    return _told(holder, held_by_it)
                found.append(holder)
        return f"{_told(found[-1], held_by_it)}, and no further: a circle of references, or what Python cannot see"


def _told(last: Any, held_by_it: dict[int, Any]) -> str:
    way = [last]
    while (thing := held_by_it[id(way[-1])]) is not None:
        way.append(thing)
    shown = way[::-1] if len(way) <= 2 * SHOWN else [*way[: -SHOWN - 1 : -1], "...", *way[SHOWN - 1 :: -1]]
    return " <- ".join(_named(thing) for thing in shown)


def _named(thing: Any) -> str:
    if isinstance(thing, FrameType):
        return f"frame of {thing.f_code.co_qualname}, {thing.f_code.co_filename}:{thing.f_lineno}"
    if isinstance(thing, (dict, list, tuple, set, frozenset, deque)):
        return f"{type(thing).__name__} of {len(thing)}"
    try:
        return _short.repr(thing)
    except Exception as error:
        return f"{type(thing).__name__}, whose repr fails with {type(error).__name__}"
