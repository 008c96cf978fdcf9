"""Which context variable is which in another process: by the modules that have it, or by a token.

A `ContextVar` does not pickle and does not know its module. One that a worker can import is known by the names under
which modules have it. Any other (of ``__main__``, a closure, a dict) has a token, and each process one variable for it.
"""

from __future__ import annotations

import sys
from _contextvars import Context, ContextVar
from types import ModuleType

from . import module_names
from .issuer import new_token

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

Names = tuple[tuple[str, str], ...]

_NAMES_MAX = 8
_SEARCHES_MAX = 200
"""So many variables that no module has are looked for inside objects; a library may make one for each request."""

_by_token: dict[str, ContextVar[Any]] = {}
_known: dict[int, tuple[ContextVar[Any], Names, str]] = {}  # by id: held, so that the id stays theirs
_searches = 0


def names_of(var: ContextVar[Any]) -> Names:
    """Return the modules that have a variable and the path to it in each, ``__main__`` included; looked for once."""
    return _record(var)[1]


def token_of(var: ContextVar[Any]) -> str:
    """Return the token of a variable; "" if a worker can import it."""
    return _record(var)[2]


def find(names: Names, token: str) -> ContextVar[Any] | None:
    """Return the variable that has these names or this token here; ``None`` if it is in no module that is loaded."""
    known = _by_token.get(token)
    if known is not None:
        return known
    for module_name, path in names:
        if module_name in module_names.MAINS and not module_names.main_is_imported:
            continue
        found: Any = sys.modules.get(module_name)
        for part in path.split("."):
            found = getattr(found, part, None)
        if isinstance(found, ContextVar):
            return found
    return None


def variable(token: str, name: str, default: tuple[Any, ...]) -> ContextVar[Any]:
    """Return the variable of this token; it is made at the first arrival."""
    found = _by_token.get(token)
    if found is None:
        made: ContextVar[Any] = ContextVar(name, default=default[0]) if default else ContextVar(name)
        found = _by_token.setdefault(token, made)
        _known[id(found)] = (found, (), token)
    return found


def reduce(var: ContextVar[Any]) -> tuple[Any, ...]:
    """Reduce a variable for a pickler by value."""
    _, names, token = _record(var)
    if not token or (names and module_names.main_is_imported):
        return _imported, min(names, key=lambda pair: pair[0] in module_names.MAINS)
    return variable, (token, var.name, default_of(var))


def default_of(var: ContextVar[Any]) -> tuple[Any, ...]:
    """Return the default in a tuple, which is empty if there is none."""
    try:
        return (Context().run(var.get),)
    except LookupError:
        return ()


def _imported(module_name: str, path: str) -> Any:
    __import__(module_name)
    found: Any = sys.modules[module_name]
    for part in path.split("."):
        found = getattr(found, part)
    return found


def _record(var: ContextVar[Any]) -> tuple[ContextVar[Any], Names, str]:
    record = _known.get(id(var))
    if record is None:
        names = _search(var)
        token = ""
        if all(module_name in module_names.MAINS for module_name, _ in names):
            token = new_token()
            _by_token[token] = var
        record = _known[id(var)] = (var, names, token)
    return record


def _search(var: ContextVar[Any]) -> Names:
    global _searches
    loaded: dict[str, Any] = sys.modules
    modules = [
        (name, vars(module))
        for name, module in list(loaded.items())
        if isinstance(module, ModuleType) and (name in module_names.MAINS or not module_names.goes_by_value(name))
    ]
    found = [(name, key) for name, names in modules for key, value in list(names.items()) if value is var]
    if not found and _searches < _SEARCHES_MAX:
        _searches += 1
        found = [
            (name, f"{key}.{inner}")
            for name, names in modules
            for key, value in list(names.items())
            if type(value) is not ModuleType
            for inner in _attributes_that_are(value, var)
        ]
    return tuple(found[:_NAMES_MAX])


def _attributes_that_are(value: Any, var: ContextVar[Any]) -> list[str]:
    try:
        attributes: Any = type.__getattribute__(value, "__dict__") if isinstance(value, type) else vars(value)
        return [name for name, held in list(attributes.items()) if held is var]
    except Exception:  # it has none, or lets nobody see them
        return []
