"""Which modules go by value: ``__main__``, what is registered with cloudpickle, and what no worker could import."""

from __future__ import annotations

import os
import sys
from _weakref import ref as weak
from types import ModuleType

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

MAINS = ("__main__", "__mp_main__")

by_value: set[str] = set()
"""Names of the modules besides ``__main__`` that a worker could not import, among those looked at so far."""
WAYS_OUT = (
    'define it in a module of its own, or let the workers import the program\'s main file: ProcessPool(main="import")'
)
"""For what cannot travel by value."""
main_is_imported = False
"""This is a worker of a pool that imports the main file: what it defines has a name here."""
in_worker = False
"""Modules here were imported by name, so a process started from here can import them too."""
_scanned = 0
_judged: dict[str, weak[ModuleType]] = {}


def goes_by_value(name: object) -> bool:
    """Tell whether what the module of this name defines travels by value."""
    if name in MAINS:
        return not main_is_imported
    if len(sys.modules) != _scanned:
        scan()
    if name in by_value:
        return True
    registered = _registered()
    if not registered or type(name) is not str:
        return False
    return any(name == known or name.startswith(known + ".") for known in registered)


def in_pickle(data: bytes, without_main: bool = False) -> bool:
    """Tell whether a pickle may look up something in a module that goes by value.

    A string with such a name in it is also taken for one, which only costs time. With `without_main`, the receiver has
    imported the main file.
    """
    # `in` raises and clears a TypeError inside, which takes three times as long as `find`.
    if data.find(b"_main__") >= 0 and not (without_main or main_is_imported):
        return True
    if len(sys.modules) != _scanned:
        scan()
    for name in by_value:
        if data.find(name.encode()) >= 0:
            return True
    if "cloudpickle" in sys.modules:
        for name in _registered():
            if data.find(name.encode()) >= 0:
                return True
    return False


def _registered() -> Any:
    # Without the attribute while it is being imported.
    registry = getattr(sys.modules.get("cloudpickle"), "list_registry_pickle_by_value", None)
    return () if registry is None else registry()


def scan() -> None:
    """Look at the modules that are new since the last time: could a worker import them?"""
    global _scanned
    count = len(sys.modules)
    if count == _scanned:
        return
    if not in_worker:
        folders = frozenset(sys.path)
        for name, module in list(sys.modules.items()):
            if type(module) is ModuleType and name not in MAINS and not _is_judged(name, module):
                _judge(name, module, folders)
    _scanned = count


def _is_judged(name: str, module: ModuleType) -> bool:
    known = _judged.get(name)
    return known is not None and known() is module


def _judge(name: str, module: ModuleType, folders: frozenset[str]) -> None:
    spec = getattr(module, "__spec__", None)
    if spec is not None and getattr(spec, "_initializing", False):
        return  # it is being imported: looked at when there are new ones again
    _judged[name] = weak(module)
    parent = name.rpartition(".")[0]
    package = sys.modules.get(parent) if parent else None
    if type(package) is ModuleType and not _is_judged(parent, package):
        _judge(parent, package, folders)
    if parent in by_value or not _may_be_imported(name, module, spec, folders):
        by_value.add(name)
    else:
        by_value.discard(name)  # an importable module took the place of one that was not


def _may_be_imported(name: str, module: ModuleType, spec: Any, folders: frozenset[str]) -> bool:
    parent, _, last = name.rpartition(".")
    if spec is None:  # made by hand; perhaps by the package it is in
        return parent in sys.modules
    if spec.name != name:
        return True
    origin = spec.origin
    where = folders if not parent else getattr(sys.modules.get(parent), "__path__", ())
    if origin is None and spec.submodule_search_locations is not None:
        # A package without a file of its own: a regular package of this name elsewhere on the path wins in a worker.
        mine = set(module.__path__)
        found = [_asked(finder, name, parent, where) for finder in _finders()]
        return any(not mine.isdisjoint(getattr(spec, "submodule_search_locations", None) or ()) for spec in found)
    if type(origin) is not str or not spec.has_location:
        return True
    folder, _, file = origin.rpartition(os.sep)
    if file.startswith("__init__."):
        folder, _, file = folder.rpartition(os.sep)
    if folder in where and file.partition(".")[0] == last:
        return True
    return any(getattr(_asked(finder, name, parent, where), "origin", None) == origin for finder in _finders())


def _finders() -> list[Any]:
    """Return the finders that a worker has too: a test runner's own is in this process alone."""
    return [finder for finder in sys.meta_path if not getattr(type(finder), "__module__", "").startswith("_pytest")]


def _asked(finder: Any, name: str, parent: str, folders: Iterable[str]) -> Any:
    try:
        return finder.find_spec(name, list(folders) if parent else None)
    except Exception:  # a finder of somebody else; it has not found it
        return None
