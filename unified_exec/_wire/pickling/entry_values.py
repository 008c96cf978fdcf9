"""Entries whose value the plain pickler cannot pickle: by value, sharing one another's objects, or looked at by digest.

Loaded with the first of them; it brings cloudpickle.
"""

from __future__ import annotations

import enum
import importlib
import io
import logging
import pickle
import sys
import types
from collections.abc import Callable
from contextlib import suppress
from contextvars import ContextVar
from functools import partial
from itertools import islice
from typing import Any
from weakref import ref as weak

from . import large_values, type_aliases, type_parameters
from .c_pickle import PROTOCOL, dumps
from .class_state import snapshots_inside
from .closure_state import Mutable, identity_of, is_atom, is_by_name, plain_watch, same_atom, same_object
from .digests import digest, is_plain_pickle
from .entry_pickler import EntryPickler, SharingPickler
from .kinds import DEFINITIONS, CachedFunction
from .module_names import goes_by_value
from .refusal_words import why_undefined
from .sent_home import Entry, SentHome, importable
from .shared_refs import pickled_here

LARGE = 256 * 1024
"""A mutable global whose pickle has more bytes than this slows down each call: that is logged once."""
_PARTS_MAX = 100
"""The most parts of a value that cannot travel that are looked at before each call that uses it."""
_log = logging.getLogger("unified_exec")
_pickled: Callable[[Any], object] = partial(dumps, protocol=PROTOCOL)
_OFTEN = frozenset({type, types.FunctionType, types.ModuleType, int, str, type(None)})
_NEVER_SHARED = (type, types.FunctionType, types.ModuleType, CachedFunction, enum.Enum, logging.Logger)
_BY_IDENTITY = (*DEFINITIONS, types.ModuleType, ContextVar, *type_parameters.KINDS)
"""What plain pickle knows by name only, so that its pickle does not tell a new one from an old one."""
EntryFor = Callable[[SentHome, dict[str, Any], str], Entry | None]


def fill(entry: Entry, value: Any, home: SentHome, globals_: dict[str, Any], entry_for: EntryFor) -> Entry:
    """Pickle the value of a global into its entry, and note how to tell whether it has changed.

    Args:
        entry: of the global.
        value: the present value.
        home: the module's.
        globals_: of the module.
        entry_for: returns the current entry of another global.

    Returns:
        the entry, or another one that several globals share.
    """
    name = entry.name
    older = home.entries.get(name)
    try:
        if is_atom(value) or isinstance(value, types.ModuleType):
            _pickle_into(entry, value, home)
        else:
            if isinstance(value, DEFINITIONS):
                home.entries[name] = entry  # what it refers to may refer to it
                entry.data = b""
            others = _shareable(globals_, name)
            if others:
                met = pickled_here()
                before = len(met)
                held = _pickle_sharing(entry, value, home, others, entry_for)
                if held:
                    del met[before:]  # what the pickle holds that is not used
                    return _make_group(entry, home, globals_, held, others, entry_for)
            else:
                _pickle_into(entry, value, home)
        _note_same(entry, value, home)
    except BaseException as error:
        if not isinstance(error, Exception) or isinstance(error, (MemoryError, RecursionError)):
            _put_back(home, name, older)
            raise
        entry.data = None
        module = _importable_from(name, value)
        if module is not None:
            entry.data = pickle.dumps(_ByImport(module, name), 5)
        else:
            entry.why, entry.same = why_undefined(value, error), _same_parts(value)
    return entry


def _put_back(home: SentHome, name: str, older: Entry | None) -> None:
    """Forget an entry that is half made; the next call tries again."""
    if older is None:
        home.entries.pop(name, None)
    else:
        home.entries[name] = older


def _pickle_into(entry: Entry, value: Any, home: SentHome) -> None:
    entry.data, pickler = large_values.pickled(
        value, lambda file, callback: EntryPickler(file, value, home, entry.name, callback)
    )
    _note_needs(entry, pickler, home)


def _pickle_sharing(entry: Entry, value: Any, home: SentHome, others: dict[int, str], entry_for: EntryFor) -> set[str]:
    entry.data, pickler = large_values.pickled(
        value, lambda file, callback: SharingPickler(file, value, home, entry.name, others, entry_for, callback)
    )
    _note_needs(entry, pickler, home)
    return pickler.held


def _note_needs(entry: Entry, pickler: EntryPickler, home: SentHome, group: tuple[str, ...] = ()) -> None:
    needs = dict(pickler.needs)
    needs.update(((home, name), None) for name in group)
    needs.pop((home, entry.name), None)
    entry.needs = tuple([(None if other is home else other, name) for other, name in needs])
    entry.looked_up = tuple([(None if other is home else other, name) for other, name in pickler.looked_up])
    entry.wire_needs = tuple([(other.facts.token, other.facts.name, name) for other, name in needs])


# -- values that hold one another's objects


def _shareable(globals_: dict[str, Any], name: str) -> dict[int, str]:
    """Return the first name of each other global whose value this one may hold, by the id of that value."""
    found: dict[int, str] = {}
    for other, value in list(globals_.items()):
        if (
            type(value) in _OFTEN
            or other == name
            or other[:2] == "__"
            or isinstance(value, _NEVER_SHARED)
            or type(value) is type_aliases.KIND
            or is_atom(value)
        ):
            continue
        if not is_by_name(value):
            found.setdefault(id(value), other)
    return found


def _make_group(
    entry: Entry, home: SentHome, globals_: dict[str, Any], held: set[str], others: dict[int, str], entry_for: EntryFor
) -> Entry:
    """Make one pickle, with one number, for globals that hold one another's objects."""
    name, number = entry.name, entry.id
    names = {name, *held}
    met = pickled_here()
    before = len(met)
    while True:
        values = {one: globals_[one] for one in sorted(names)}
        data, pickler = large_values.pickled(
            values,
            lambda file, callback: SharingPickler(file, values, home, name, others, entry_for, callback),  # noqa: B023
        )
        if pickler.held <= names:
            break
        del met[before:]
        names |= pickler.held
    for one in names:
        entry = home.entries[one] = Entry(home, one, number, _same_digest(home, one, globals_[one]))
        entry.data = data
        entry.group = tuple(values)
        _note_needs(entry, pickler, home, entry.group)
    return home.entries[name]


# -- what counts as unchanged


def _note_same(entry: Entry, value: Any, home: SentHome) -> None:
    """Note how to tell that nothing has changed; also without a call to `Entry.same`, if there is a way."""
    if is_atom(value):
        entry.same, entry.value = same_atom(value), value
    elif isinstance(value, DEFINITIONS) and not importable(value):
        entry.same = _same_definition(home, entry.name, value)
        if type(value) is types.FunctionType and (plain := plain_watch(value)) is not None:
            entry.value, entry.code, entry.defaults = plain
    elif type(value) is type_aliases.KIND:
        entry.same = type_aliases.same(value)
    elif isinstance(value, _BY_IDENTITY) or is_by_name(value):
        entry.same = same_object(value)
        reference, entry.is_reference = identity_of(value)
        if entry.is_reference:
            entry.value = reference
    else:
        entry.same = large_values.same_frozen(value) or _same_digest(home, entry.name, value)


def _same_parts(value: Any) -> Callable[[Any], bool]:
    """For what cannot travel: the same object, which holds the same ones. To try with each call would cost more."""
    is_same, parts = same_object(value), _parts_of(value)
    return lambda now: is_same(now) and _parts_of(now) == parts


def _parts_of(value: Any) -> list[int]:
    """Return how much a container, a class or an instance holds, and the ids of the first parts. No code of it runs."""
    if isinstance(value, list):
        return [list.__len__(value), *map(id, list.__getitem__(value, slice(_PARTS_MAX)))]
    held: Any = ()
    if isinstance(value, dict):
        held = dict.values(value)
    elif isinstance(value, type):
        held = type.__getattribute__(value, "__dict__").values()
    else:
        with suppress(AttributeError):
            held = object.__getattribute__(value, "__dict__").values()
    try:
        return [len(held), *map(id, islice(held, _PARTS_MAX))]
    except RuntimeError:  # another thread changes it
        return []


def _same_digest(home: SentHome, name: str, value: Any) -> Callable[[Any], bool]:
    size, seen = found = digest(value)
    if size > LARGE and name not in home.logged:
        home.logged.add(name)
        _log.info(
            "the global %s.%s has %d KiB as a pickle, and is compared before each call that uses it: "
            "pass it as an argument, place it with share(), or make an array read-only",
            home.facts.name, name, size // 1024,
        )  # fmt: skip

    take, expected = (_pickled, seen) if is_plain_pickle(value, seen) else (digest, found)

    def same(now: Any) -> bool:
        try:
            return take(now) == expected
        except Exception:
            return False

    return same


def _same_definition(home: SentHome, name: str, value: Any) -> Callable[[Any], bool]:
    """For a class or function that goes by value: the same object, made of the same objects."""
    try:
        snapshots = snapshots_inside(value)
    except Mutable:
        return _same_pickle(home, name, value)
    ref = weak(value)

    def same(now: Any) -> bool:
        if ref() is not now:
            return False
        for snapshot in snapshots:  # noqa: SIM110  before each call
            if not snapshot.unchanged():
                return False
        return True

    return same


def _same_pickle(home: SentHome, name: str, value: Any) -> Callable[[Any], bool]:
    """For a definition that keeps something mutable: its pickle by value tells."""
    ref, home_ref = weak(value), weak(home)
    seen = _pickle_of(value, home, name)

    def same(now: Any) -> bool:
        home = home_ref()
        if ref() is not now or home is None:
            return False
        try:
            return _pickle_of(now, home, name) == seen
        except Exception:
            return False

    return same


def _pickle_of(value: Any, home: SentHome, name: str) -> bytes:
    with io.BytesIO() as file:
        EntryPickler(file, value, home, name).dump(value)
        return file.getvalue()


# -- what is imported under its own name


class _ByImport:
    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name

    def __reduce__(self) -> Any:
        return _imported, (self.module, self.name)


def _imported(module: str, name: str) -> Any:
    return getattr(importlib.import_module(module), name)


def _importable_from(name: str, value: Any) -> str | None:
    """Return a module that has this very object under this name: ``from loguru import logger``."""
    for module_name, module in sorted(sys.modules.items(), key=lambda item: item[0].count(".")):
        if type(module) is types.ModuleType and vars(module).get(name) is value and not goes_by_value(module_name):
            return module_name
    return None
