"""What the C pickler alone can pickle: functions of a script that capture nothing, as most do, and what has a name.

What arrives is what `by_value.ByValuePickler` would have sent, at a tenth of the cost.
"""

from __future__ import annotations

import marshal
import types
from sys import modules
from typing import Any

from . import function_parts, homes, identity
from .c_pickle import PROTOCOL, dumps
from .closure_state import plain_watch
from .code_facts import facts_of
from .sent_home import SentHome, home_of, reduce_by_name


class Part:
    """Pickles as the call it was made of."""

    __slots__ = ("_reduced",)

    def __init__(self, *reduced: Any) -> None:
        self._reduced = reduced

    def __reduce__(self) -> Any:
        return self._reduced


def pickled(function: Any, home: SentHome, name: str, names: tuple[str, ...]) -> bytes | None:
    """Return the pickle of a function that stands in its module under its own name.

    Args:
        function: the value of the global, which may be anything.
        home: the module's.
        name: of the global.
        names: the globals that the function may look up.

    Returns:
        the pickle; ``None`` if something of it needs the pickler for what goes by value.
    """
    if function.__qualname__ != name or plain_watch(function) is None or not _has_plain_annotations(function):
        return None
    if getattr(function, "__type_params__", ()):
        return None
    code, facts = function.__code__, home.facts
    try:
        part = Part(marshal.loads, (marshal.dumps(code, function_parts.WITHOUT_REFERENCES),))
    except ValueError:  # a constant that this version of the format does not know
        return None
    slots = {
        "__qualname__": function.__qualname__,
        "__annotations__": function.__annotations__,
        "__defaults__": function.__defaults__,
        "__module__": function.__module__,
        "__doc__": function.__doc__,
        "__closure__": None,
        "submodules": [Part(function_parts.imported, (found,)) for found in _submodules(function)],
        "__code__": part,  # for one that is updated in its place
    }
    made = (part, facts.token, facts.name, function.__name__, None, names)
    place = (facts.token, facts.name, name, identity.issue(function), homes.make_function, made)
    state: tuple[Any, ...] = (function_parts.set_state, ({}, slots), None)
    return by_name(Part(homes.place, place, state, None, None, identity.refresh))


def by_place(function: types.FunctionType, home: SentHome, path: str) -> bytes:
    """Return the pickle of a function by its place in its module, which the receiver must have."""
    return dumps(Part(*reduce_by_name(function, home, path)), PROTOCOL)


def by_name(value: object) -> bytes | None:
    """Return the pickle of what is imported under its own name; ``None`` if it cannot be."""
    try:
        return dumps(value, PROTOCOL)
    except Exception:
        return None


def module(value: types.ModuleType) -> bytes | None:
    """Return the pickle of a module that workers import; ``None`` if they cannot."""
    name = value.__name__
    if modules.get(name) is not value or home_of(vars(value)) is not None:
        return None
    return dumps(Part(function_parts.imported, (name,)), PROTOCOL)


def _has_plain_annotations(function: types.FunctionType) -> bool:
    if getattr(function, "__annotate__", None) is not None:  # evaluated when they are asked for
        return False
    for found in function.__annotations__.values():
        if (
            type(found) is not str
            and found is not None
            and not (type(found) is type and found.__module__ == "builtins")
        ):
            return False
    return True


def _submodules(function: types.FunctionType) -> list[str]:
    """Return the modules that the code reaches through the packages it names, and that must be imported for that."""
    known = function.__globals__
    packages = [
        value
        for name in facts_of(function.__code__).names
        if isinstance(value := known.get(name), types.ModuleType) and hasattr(value, "__path__")
    ]
    if not packages:
        return []
    from cloudpickle import cloudpickle

    return [module.__name__ for module in cloudpickle._find_imported_submodules(function.__code__, packages)]
