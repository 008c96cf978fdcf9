"""Pickling by value with the globals that the receiver must have: which they are, and whether they are still the same.

A function needs the entries of the globals that its code names, and those that they need in their turn.
"""

from __future__ import annotations

import io
import types
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

from . import entries, homes, plain_functions
from .c_pickle import PROTOCOL, dumps
from .kinds import DEFINITIONS, place_in_module
from .sent_home import MISSING, Entry, SentHome, dead, home_of
from .shared_refs import pickled_here, shared_of


class HomeSnapshot:
    """All that one function needs of one home; part of what tells whether its cached pickle is still true.

    It is looked at before each call, so it sorts the entries by how they are looked at, and most need no Python call.
    """

    __slots__ = ("_by_call", "_functions", "_home", "_looked_up", "_missing", "_references", "_values")

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
        self._looked_up = len(home.looked_up)

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
        if self._looked_up != len(self._home.looked_up):
            return False
        missing = self._missing
        if not missing:
            return True
        # A name that was defined for a while has an entry: another function may have sent it.
        return globals_.keys().isdisjoint(missing) and self._home.entries.keys().isdisjoint(missing)


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
    if type(value) is types.FunctionType and not upward and (place := place_in_module(value)) is not None:
        return _by_place(value, *place)
    from .by_value import ByValuePickler  # brings cloudpickle, which most scripts never need

    with entries.lock, io.BytesIO() as file:
        pickler = ByValuePickler(file, upward=upward, buffer_callback=buffer_callback)
        pickler.dump(value)
        needs = NOTHING if upward else _needs(pickler.needs, pickler.homes)
        _refuse_missing(pickler.looked_up)
        return Sent(file.getvalue(), tuple(pickler.sent), needs)


def _by_place(function: types.FunctionType, home: SentHome, path: str) -> Sent:
    needed = home, path.partition(".")[0]
    with entries.lock:
        data = plain_functions.by_place(function, home, path)
        needs = _needs([needed], [home])
        _refuse_missing([needed])
    return Sent(data, (function,), needs)


def encode_alone(value: object, whole: bool = False) -> bytes:
    """Pickle `value` with all the globals it needs, for a process that has none; see `codec.decode_alone`.

    Args:
        value: it.
        whole: add the classes and functions of its modules, which a receiver that cannot ask may look up.

    Raises:
        Exception: as `encode`.
    """
    sent = encode(value, upward=False)
    needed: tuple[Entry, ...] = sent.needs.entries
    others: list[Entry] = []
    if whole:
        with entries.lock:
            names = {
                (snapshot.home, name): None for snapshot in sent.needs.snapshots for name in defined(snapshot.home)
            }
            others = [entry for entry in _needs(names, ()).entries if entry not in needed]
    pickled_here().extend(shared_of([*needed, *others]))
    return dumps((_parts(needed), sent.data, _parts(others)), PROTOCOL)


def defined(home: SentHome) -> list[str]:
    """Return the names of the classes and functions that a module defines."""
    found = list((home.globals() or {}).items())
    return [
        name
        for name, value in found
        if isinstance(value, DEFINITIONS) and getattr(value, "__module__", None) == home.facts.name
    ]


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


def look_up(token: str, name: str) -> tuple[list[Any], list[Any]]:
    """Return what a worker that has looked up a global must be sent.

    Args:
        token: of the home, or the name of the module.
        name: the global, or `homes.ALL` for all classes and functions. If there is no such global, a `__getattr__` of
            the module goes in its place.

    Returns:
        what `homes.receive` reads, which is empty if there is no such global, and the objects in it that travel by
        descriptors.

    Raises:
        Exception: as `encode`.
    """
    globals_ = homes.look_up(token, name)
    home = home_of(globals_) if globals_ is not None else None
    if globals_ is None or home is None:
        return [], []
    with entries.lock:
        if name == homes.ALL:
            names = defined(home)
        else:
            names = [name if name in globals_ else "__getattr__"]
            home.looked_up[names[0]] = None
        needed = _needs({(home, name): None for name in names}, ()).entries
    return _parts(needed), shared_of(needed)


def _needs(names: Iterable[tuple[SentHome, str]], of_functions: Iterable[SentHome]) -> Needs:
    """Return all entries that these names need, theirs included, and what workers have looked up in these homes."""
    found: dict[tuple[SentHome, str], Entry] = {}
    missing: dict[SentHome, list[str]] = {home: [] for home in of_functions}
    queue = [(home, name) for home in missing for name in home.looked_up]
    queue += reversed([*names])
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
