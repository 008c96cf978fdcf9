"""Whether a function that goes by value need be sent only once: while all it captures is immutable and unchanged."""

from __future__ import annotations

import functools
import logging
import re
import sys
import types
from collections.abc import Callable, Iterable
from contextvars import ContextVar
from typing import Any
from weakref import ref as weak

from .code_facts import facts_of
from .kinds import SET_BY_LRU_CACHE, CachedFunction, place_in_module
from .sent_home import home_of_function, importable
from .shared_refs import Unchanging

_MISSING = object()
_GIVEN = SET_BY_LRU_CACHE - {"__wrapped__"}
_ATOMS = frozenset(
    {int, float, complex, str, bytes, bool, type(None), type(...), type(NotImplemented), range, re.Pattern}
)


class Mutable(Exception):
    """Something is captured whose current value every call must see."""


class CaptureSnapshot:
    """What one function captured when it was pickled; compared by identity.

    Holds strong references to atoms only: a function must be able to die although its entry is cached.
    """

    __slots__ = (
        "_attribute_count",
        "_attributes",
        "_cells",
        "_code",
        "_defaults",
        "_globals",
        "_kwdefaults",
        "_plain",
        "_ref",
    )

    def __init__(self, fn: Any, queue: list[Any]) -> None:
        self._ref = weak(fn)
        self._code = getattr(fn, "__code__", None)
        given = _GIVEN if isinstance(fn, CachedFunction) else ()
        self._attributes = _noted([name for name in vars(fn) if name not in given], vars(fn), queue)
        self._attribute_count = len(vars(fn))
        self._globals: tuple[tuple[str, object, bool], ...] = ()
        self._cells: tuple[tuple[int, object, bool], ...] = ()
        self._defaults: tuple[object, ...] | None = None
        self._kwdefaults: tuple[tuple[str, object, bool], ...] = ()
        if isinstance(fn, types.FunctionType):
            self._take(fn, queue)
        elif isinstance(fn, functools.partial):
            _noted(range(len(fn.args)), fn.args, queue)
            self._kwdefaults = _noted(fn.keywords, fn.keywords, queue)
            _note(fn.func, queue)
        # The common case, for which `unchanged` has a short way.
        self._plain = type(fn) is types.FunctionType and not (vars(fn) or self._kwdefaults or self._cells)

    def _take(self, fn: types.FunctionType, queue: list[Any]) -> None:
        facts = facts_of(fn.__code__)
        home = home_of_function(fn)
        if facts.cell_writes or (facts.writes and home is None):
            raise Mutable
        if home is None:  # otherwise they are watched where they live
            self._globals = _noted(facts.names, fn.__globals__, queue)
        self._cells = _noted(range(len(fn.__closure__ or ())), contents_of(fn), queue)
        self._defaults = fn.__defaults__
        _noted(range(len(fn.__defaults__ or ())), fn.__defaults__ or (), queue)
        self._kwdefaults = _noted(fn.__kwdefaults__ or (), fn.__kwdefaults__ or {}, queue)

    def unchanged(self) -> bool:
        """Tell whether the function still captures the very same objects."""
        fn: Any = self._ref()
        if self._plain and fn is not None:
            return (
                fn.__code__ is self._code
                and fn.__defaults__ is self._defaults
                and not fn.__kwdefaults__
                and not fn.__dict__
                and (not self._globals or same_items(self._globals, fn.__globals__))
            )
        if fn is None or len(vars(fn)) != self._attribute_count or not same_items(self._attributes, vars(fn)):
            return False
        if self._code is None:
            if not isinstance(fn, functools.partial):
                return True
            return len(fn.keywords) == len(self._kwdefaults) and same_items(self._kwdefaults, fn.keywords)
        if fn.__code__ is not self._code or fn.__defaults__ is not self._defaults:
            return False
        if len(fn.__kwdefaults__ or ()) != len(self._kwdefaults):
            return False
        return (
            same_items(self._globals, fn.__globals__)
            and (not self._kwdefaults or same_items(self._kwdefaults, fn.__kwdefaults__))
            and (not self._cells or same_items(self._cells, dict(enumerate(contents_of(fn)))))
        )


def snapshots_of(fn: Callable[..., object]) -> tuple[CaptureSnapshot, ...] | None:
    """Return snapshots of what `fn` captures: while all are unchanged, its pickle may be used again; None if never."""
    queue: list[Any] = [fn]
    seen: set[int] = set()
    snapshots: list[CaptureSnapshot] = []
    try:
        while queue:
            obj = queue.pop()
            if id(obj) not in seen:
                seen.add(id(obj))
                snapshots.append(CaptureSnapshot(obj, queue))
    except Mutable:
        return None
    return tuple(snapshots)


def plain_watch(
    fn: types.FunctionType,
) -> tuple[weak[types.FunctionType], types.CodeType, tuple[Any, ...] | None] | None:
    """Return a reference to `fn`, its code and its defaults, if nothing else of it can change and they are atoms."""
    if fn.__closure__ or fn.__kwdefaults__ or vars(fn) or not is_atom(fn.__defaults__) or home_of_function(fn) is None:
        return None
    return weak(fn), fn.__code__, fn.__defaults__


def _noted(keys: Iterable[Any], container: Any, queue: list[Any]) -> tuple[tuple[Any, object, bool], ...]:
    """Note what `container` holds under each key: the key, the value or a weak reference to it, and which of both."""
    noted = []
    for key in keys:
        value = container.get(key, _MISSING) if isinstance(container, dict) else container[key]
        noted.append((key, *_note(value, queue)))
    return tuple(noted)


def _note(value: Any, queue: list[Any]) -> tuple[object, bool]:
    if value is _MISSING or is_atom(value):
        return value, False
    if isinstance(value, Unchanging):
        return weak(value), True  # it is the same object, under the same token, for good
    if place_in_module(value) is not None:
        return weak(value), True  # watched where it lives
    if isinstance(value, (types.FunctionType, functools.partial, CachedFunction)):
        if isinstance(value, functools.partial) or not importable(value):
            if type(value) not in (types.FunctionType, functools.partial, CachedFunction):
                raise Mutable
            queue.append(value)
    elif isinstance(value, types.ModuleType):
        if value.__name__ == "__main__" or sys.modules.get(value.__name__) is not value:
            raise Mutable
    elif type(value) not in (logging.Logger, logging.RootLogger, ContextVar) and not is_by_name(value):
        raise Mutable
    return identity_of(value)


def identity_of(value: Any) -> tuple[object, bool]:
    """Return what tells whether a value is the same one: itself or a weak reference, and which of both."""
    if is_atom(value):
        return value, False
    try:
        return weak(value), True
    except TypeError:
        return value, False


def same_atom(value: Any) -> Callable[[Any], bool]:
    kind = type(value)
    if kind is float or kind is complex:
        return lambda now: now is value  # not a number is not equal to itself
    return lambda now: now is value or (type(now) is kind and now == value)


def same_object(value: Any) -> Callable[[Any], bool]:
    """Return what tells whether a value is this very object, without keeping it alive where that can be."""
    try:
        ref = weak(value)
    except TypeError:
        number, kind = id(value), type(value)
        return lambda now: id(now) == number and type(now) is kind
    return lambda now: now is not None and ref() is now  # it may have died, and None taken its place


def is_by_name(value: Any) -> bool:
    """Tell whether a builtin function, a class or a descriptor of one is found by its name in another process."""
    if isinstance(value, types.BuiltinFunctionType):
        return isinstance(value.__self__, types.ModuleType)
    if isinstance(value, (types.WrapperDescriptorType, types.MethodDescriptorType)):
        return importable(value.__objclass__)
    return isinstance(value, type) and importable(value)


def is_atom(value: object) -> bool:
    """Tell whether a value is immutable through and through."""
    kind = type(value)
    if kind is tuple or kind is frozenset:
        return all(is_atom(item) for item in value)  # type: ignore[attr-defined]
    return kind in _ATOMS


def contents_of(fn: types.FunctionType) -> list[object]:
    """Return the values of its captured variables, with a mark in place of those that have none."""
    contents = []
    for cell in fn.__closure__ or ():
        try:
            contents.append(cell.cell_contents)
        except ValueError:
            contents.append(_MISSING)
    return contents


def same_items(noted: Iterable[tuple[Any, object, bool]], container: Any) -> bool:
    """Tell whether `container` still has the very objects that were noted under their keys."""
    for key, value, by_reference in noted:
        found = container.get(key, _MISSING)
        if found is not (value() if by_reference else value) or (found is None and by_reference):  # type: ignore[operator]
            return False  # also where the noted object has died, and None has taken its place
    return True
