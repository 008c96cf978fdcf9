"""Aliases of the `type` statement (CPython 3.12 on). Plain pickle knows them by name only."""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable
from typing import Any

from . import homes, sent_home
from .closure_state import identity_of
from .sent_home import SentHome

__all__ = ["KIND", "home_of", "reduce", "same"]

KIND: Any = getattr(typing, "TypeAliasType", None)
"""The class of the aliases; ``None`` where there is none."""
_LAZY = "def make(values):\n    type {name} = values[0]\n    return {name}\n"
_values: dict[int, list[Any]] = {}
"""Where each alias that is being rebuilt will find its value, by its id."""


def home_of(alias: Any, upward: bool) -> SentHome | homes.Home | None:
    """Return the home in which an alias stands under its own name: the parent's, if it is on its way up."""
    module = sys.modules.get(alias.__module__)
    if module is None or vars(module).get(alias.__name__) is not alias:
        return None
    return homes.home_of(vars(module)) if upward else sent_home.home_of(vars(module))


def reduce(alias: Any) -> tuple[Any, ...]:
    """Reduce an alias to its value, which may hold it, as in ``type Json = dict[str, Json]``.

    One that names what was imported for type checkers only cannot be evaluated, here or there.
    """
    name, parameters = alias.__name__, alias.__type_params__
    try:
        value = alias.__value__
    except NameError as error:
        return _make_undefined, (alias.__module__, name, str(error.name))
    if parameters or not name.isidentifier():
        return _make, (alias.__module__, name, value, parameters)
    return _make_lazy, (alias.__module__, name), (value,), None, None, _set_value


def _make(module: str, name: str, value: Any, parameters: tuple[Any, ...]) -> Any:
    names = {"__name__": module, "kind": KIND, "parts": (name, value), "parameters": parameters}
    return eval("kind(*parts, type_params=parameters)", names)  # in the name of its module


def _make_undefined(module: str, name: str, unknown: str) -> Any:
    names: dict[str, Any] = {"__name__": module}
    exec(f"type {name} = {unknown}", names)
    return names[name]


def _make_lazy(module: str, name: str) -> Any:
    names: dict[str, Any] = {"__name__": module}
    exec(_LAZY.format(name=name), names)
    values: list[Any] = []
    alias = names["make"](values)
    _values[id(alias)] = values
    return alias


def _set_value(alias: Any, state: tuple[Any]) -> None:
    _values.pop(id(alias)).extend(state)


def same(alias: Any) -> Callable[[Any], bool]:
    """Return what tells whether a value is still this alias. It has no weak reference, but its value has."""
    name = alias.__name__
    try:
        value, by_reference = identity_of(alias.__value__)
    except NameError:
        return lambda now: type(now) is KIND and now.__name__ == name and reduce(now)[0] is _make_undefined

    def same(now: Any) -> bool:
        if type(now) is not KIND:
            return False
        found = value() if by_reference else value  # type: ignore[operator]
        return found is now.__value__ and found is not None

    return same
