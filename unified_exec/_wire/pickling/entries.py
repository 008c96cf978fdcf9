"""Entries: one value of one global, its pickle, and how to tell whether the global still has that value."""

from __future__ import annotations

import types
from typing import Any
from weakref import ref as weak

from ..._tasks.fork_lock import fork_lock
from . import plain_functions
from .c_pickle import OOB_MIN, PROTOCOL, dumps
from .closure_state import CaptureSnapshot, identity_of, is_by_name, plain_watch, same_atom, same_object
from .issuer import next_number
from .sent_home import MISSING, Entry, SentHome, importable, names_wanted
from .shared_refs import pickled_here

_ATOMS = frozenset({type(None), bool, int, float, complex})

lock = fork_lock()
"""Held while entries are made: one that is half made must not be sent by another thread."""


def current_entry(home: SentHome, globals_: dict[str, Any], name: str) -> Entry | None:
    """Return the entry of a global with its present value; ``None`` if there is no such name and never was."""
    value = globals_.get(name, MISSING)
    entry = home.entries.get(name)
    if entry is not None and entry.same(value):
        return entry
    if value is MISSING and entry is None:
        return None
    met = pickled_here()
    before = len(met)
    made = home.entries[name] = _make_entry(home, globals_, name, value)
    made.shared = tuple(met[before:])
    for one in made.group:
        home.entries[one].shared = made.shared
    return made


def _make_entry(home: SentHome, globals_: dict[str, Any], name: str, value: Any) -> Entry:
    number = next_number()
    if value is MISSING:
        return Entry(home, name, number, lambda now: now is MISSING)
    entry = Entry(home, name, number, same_object(value))
    if _fill_plainly(entry, value, home):
        return entry
    from . import entry_values  # brings cloudpickle, which most scripts never need

    return entry_values.fill(entry, value, home, globals_, current_entry)


def _fill_plainly(entry: Entry, value: Any, home: SentHome) -> bool:
    """Pickle what the plain pickler can; ``False`` if it cannot."""
    kind = type(value)
    if kind in _ATOMS or ((kind is str or kind is bytes) and len(value) < OOB_MIN):
        entry.data, entry.same, entry.value = dumps(value, PROTOCOL), same_atom(value), value
        return True
    if kind is types.FunctionType and value.__globals__ is home.globals():
        return _fill_with_function(entry, value, home)
    if kind is types.ModuleType:
        data = plain_functions.module(value)
    elif is_by_name(value) or (kind is types.FunctionType and importable(value)):
        data = plain_functions.by_name(value)
    else:
        return False
    reference, is_reference = identity_of(value)
    if data is None or not is_reference:
        return False
    entry.data, entry.value, entry.is_reference = data, reference, True
    return True


def _fill_with_function(entry: Entry, function: types.FunctionType, home: SentHome) -> bool:
    """Pickle a function that captures nothing; ``False`` if it does."""
    names = names_wanted(function)
    data = plain_functions.pickled(function, home, entry.name, names)
    watch = plain_watch(function)
    if data is None or watch is None:
        return False
    entry.data = data
    others = [name for name in names if name != entry.name]
    entry.needs = tuple([(None, name) for name in others])
    entry.wire_needs = tuple([(home.facts.token, home.facts.name, name) for name in others])
    entry.value, entry.code, entry.defaults = watch
    ref, snapshot = weak(function), CaptureSnapshot(function, [])
    entry.same = lambda now: ref() is now and snapshot.unchanged()
    return True
