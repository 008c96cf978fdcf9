"""Pickling by value with the globals that the receiver must have: which they are, and whether they are still the same.

A function needs the entries of the globals that its code names, and those that they need in their turn.
"""

from __future__ import annotations

import io
import types
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple
from weakref import ref as weak

from . import entries
from .by_value import ByValuePickler
from .c_pickle import PROTOCOL, dumps
from .closure_state import is_atom
from .sent_home import MISSING, Entry, SentHome, dead, home_of_function
from .shared_refs import pickled_here, shared_of

__all__ = ["HomeSnapshot", "Needs", "Sent", "encode", "encode_alone", "message", "needs_of_function"]


class HomeSnapshot:
    """All that one function needs of one home; part of what tells whether its cached pickle is still true.

    It is looked at before each call, so it sorts the entries by how they are looked at, and most need no Python call.
    """

    __slots__ = ("_by_call", "_functions", "_home", "_missing", "_references", "_values", "definitions")

    def __init__(self, home: SentHome, needed: Iterable[Entry], missing: Iterable[str]) -> None:
        self._home = home
        values: list[tuple[str, Any, Callable[[Any], bool]]] = []
        references: list[tuple[str, Any]] = []
        functions: list[tuple[str, Any, types.CodeType, tuple[object, ...] | None]] = []
        by_call: list[tuple[str, Callable[[Any], bool]]] = []
        for entry in needed:
            if entry.code is not None:
                functions.append((entry.name, entry.value, entry.code, entry.defaults))
            elif entry.is_reference:
                references.append((entry.name, entry.value))
            elif entry.value is not MISSING:
                values.append((entry.name, entry.value, entry.same))
            else:
                by_call.append((entry.name, entry.same))
        self._values, self._references = tuple(values), tuple(references)
        self._functions, self._by_call = tuple(functions), tuple(by_call)
        self._missing = tuple(missing)
        self.definitions: tuple[Entry, ...] | None = None

    @property
    def home(self) -> SentHome:
        return self._home

    def unchanged(self) -> bool:
        """Tell whether every global still has the value that was pickled."""
        globals_ = self._home.globals()
        if globals_ is None:
            return False
        get = globals_.get
        for name, value, same in self._values:
            if (now := get(name, MISSING)) is not value and not same(now):
                return False
        for name, reference in self._references:
            if (now := get(name)) is None or reference() is not now:
                return False
        for name, reference, code, defaults in self._functions:
            now = get(name)
            if (
                now is None
                or reference() is not now
                or now.__code__ is not code
                or now.__defaults__ is not defaults
                or now.__kwdefaults__
                or now.__dict__
            ):
                return False
        for name, same in self._by_call:
            if not same(get(name, MISSING)):
                return False
        if self.definitions is not None and definitions_of(self._home, globals_) is not self.definitions:
            return False
        return not self._missing or all(name not in globals_ for name in self._missing)


class Needs(NamedTuple):
    """The entries a function or a pickle needs, and what tells whether they are still true."""

    entries: tuple[Entry, ...]
    snapshots: tuple[HomeSnapshot, ...]


NOTHING = Needs((), ())


class Sent(NamedTuple):
    """One value, pickled by value.

    Attributes:
        data: the pickle.
        keep: the objects that went by value: while one of them may still come back as a token, keep it alive.
        needs: the globals that what was pickled refers to; the receiver must have them first.
    """

    data: bytes
    keep: tuple[object, ...]
    needs: Needs


def encode(value: object, *, upward: bool, buffer_callback: Callable[[Any], Any] | None = None) -> Sent:
    """Pickle `value`, with all classes and functions that have no importable name by value.

    Raises:
        Exception: whatever pickling raises, and `TypeError` for a global that `value` refers to and that cannot travel.
    """
    with entries.lock, io.BytesIO() as file:
        pickler = ByValuePickler(file, upward=upward, buffer_callback=buffer_callback)
        pickler.dump(value)
        needs = NOTHING if upward or not pickler.needs else _needs(pickler.needs)
        _refuse_missing(pickler.looked_up)
        return Sent(file.getvalue(), tuple(pickler.sent), needs)


def encode_alone(value: object) -> bytes:
    """Pickle `value` with all the globals it needs, for a process that has none; see `homes.decode_alone`.

    Raises:
        Exception: as `encode`.
    """
    sent = encode(value, upward=False)
    pickled_here().extend(shared_of(sent.needs.entries))
    return dumps((_parts(sent.needs.entries), sent.data), PROTOCOL)


def message(
    needed: Iterable[Entry], function: bytes, changes: dict[str, Any] | None, told: set[str], context: bytes | None
) -> bytes:
    """Return what travels in a function's place to a worker that lacks globals or has an older view of the program.

    Args:
        needed: the entries.
        function: the function's pickle, which may be empty.
        changes: what has changed in the surroundings.
        told: tokens of the homes that the worker has; updated.
        context: what the task carries of its spawner's context, if the worker lacks that.
    """
    drops = [token for token in told if token in dead] if dead else []
    told.difference_update(drops)
    told.update(entry.home.token for entry in needed)
    return dumps((_parts(needed), function, changes, drops, context), PROTOCOL)


def needs_of_function(fn: Any, needs: Needs) -> Needs:
    """Add the definitions of the module that `fn` is in."""
    if not isinstance(fn, types.FunctionType):
        home = needs.snapshots[0].home if needs.snapshots else None
    else:
        home = home_of_function(fn)
    globals_ = home.globals() if home is not None else None
    if home is None or globals_ is None:
        return needs
    snapshots = needs.snapshots
    snapshot = next((found for found in snapshots if found.home is home), None)
    if snapshot is None:
        snapshot = HomeSnapshot(home, (), ())
        snapshots = (*snapshots, snapshot)
    found = {(entry.home, entry.name): entry for entry in needs.entries}
    with entries.lock:
        snapshot.definitions = definitions_of(home, globals_)
        for entry in snapshot.definitions:
            current = entries.current_entry(home, globals_, entry.name)
            if current is not None:
                found.setdefault((home.facts, entry.name), current)
    return Needs(tuple(found.values()), snapshots)


def _needs(names: Iterable[tuple[SentHome, str]]) -> Needs:
    """Return all entries that these names need, theirs included, in the order they are met."""
    found: dict[tuple[SentHome, str], Entry] = {}
    missing: dict[SentHome, list[str]] = {}
    queue = list(names)
    queue.reverse()
    seen = set()
    while queue:
        key = queue.pop()
        if key in seen:
            continue
        seen.add(key)
        home, name = key
        globals_ = home.globals()
        entry = entries.current_entry(home, globals_, name) if globals_ is not None else None
        if entry is None:
            missing.setdefault(home, []).append(name)
            continue
        found[key] = entry
        queue += [(other or home, needed) for other, needed in entry.needs]
    by_home: dict[SentHome, list[Entry]] = {home: [] for home in missing}
    for (home, _), entry in found.items():
        by_home.setdefault(home, []).append(entry)
    snapshots = tuple([HomeSnapshot(home, needed, missing.get(home, ())) for home, needed in by_home.items()])
    return Needs(tuple(found.values()), snapshots)


def _refuse_missing(looked_up: Iterable[tuple[SentHome, str]]) -> None:
    """Refuse what the receiver could not rebuild, because it would look up a global that cannot travel.

    Raises:
        TypeError: names the global.
    """
    queue = list(looked_up)
    seen = set(queue)
    while queue:
        home, name = queue.pop()
        entry = home.entries.get(name)
        if entry is None:
            continue
        if entry.why:
            raise TypeError(f"{home.facts.name}.{name}: {entry.why}")
        more = {(other or home, needed) for other, needed in entry.looked_up} - seen
        seen |= more
        queue += more


def definitions_of(home: SentHome, globals_: dict[str, Any]) -> tuple[Entry, ...]:
    """Return the module's own classes: what a pickle may look up there although no function names it.

    The same tuple as long as nothing was defined anew. Of what they name in their turn only what is small and immutable
    comes along.
    """
    if home.size == len(globals_):
        get = globals_.get
        for name, ref in home.definition_refs:
            value = get(name)
            if value is None or ref() is not value:
                break
        else:
            return home.definitions
    with entries.lock:
        return _new_definitions(home, globals_)


def _new_definitions(home: SentHome, globals_: dict[str, Any]) -> tuple[Entry, ...]:
    refs = [
        (name, weak(value))
        for name, value in list(globals_.items())
        if isinstance(value, type) and getattr(value, "__module__", None) == home.facts.name
    ]
    home.size = len(globals_)
    if refs == home.definition_refs:
        return home.definitions
    home.definition_refs = refs
    found: dict[str, Entry] = {}
    for name, _ in refs:
        entry = entries.current_entry(home, globals_, name)
        if entry is None:
            continue
        found[name] = entry
        for other, needed in entry.needs:
            value = globals_.get(needed, MISSING)
            if other is None and needed not in found and (is_atom(value) or isinstance(value, types.ModuleType)):
                more = entries.current_entry(home, globals_, needed)
                if more is not None:
                    found[needed] = more
    home.definitions = tuple(found.values())
    return home.definitions


def _parts(needed: Iterable[Entry]) -> list[Any]:
    """Return what `homes.receive` reads."""
    parts: dict[str, Any] = {}
    part: Any
    for entry in needed:
        home = entry.home
        part = parts.get(home.token)
        if part is None:
            part = parts[home.token] = (home.token, home.name, home.attributes(), [])
        part[3].append((entry.name, entry.id, entry.data, entry.wire_needs, entry.why, entry.group))
    return list(parts.values())
