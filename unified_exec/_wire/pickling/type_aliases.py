"""Aliases of the `type` statement (CPython 3.12 on). Plain pickle knows them by name only."""

from __future__ import annotations

import sys
import typing
from collections.abc import Callable
from typing import Any

from . import homes, sent_home, type_parameters
from .closure_state import identity_of
from .sent_home import SentHome

KIND: Any = getattr(typing, "TypeAliasType", None)
"""The class of the aliases; ``None`` where there is none."""


def home_of(alias: Any, upward: bool) -> SentHome | homes.Home | None:
    """Return the home in which an alias stands under its own name: the parent's, if it is on its way up."""
    module = sys.modules.get(alias.__module__)
    if module is None or vars(module).get(alias.__name__) is not alias:
        return None
    return homes.home_of(vars(module)) if upward else sent_home.home_of(vars(module))


def reduce(alias: Any, upward: bool) -> tuple[Any, ...]:
    """Reduce an alias to its value, which may hold it, as in ``type Tree[T] = T | list[Tree[T]]``."""
    module, name, parameters = alias.__module__, alias.__name__, alias.__type_params__
    value = type_parameters.evaluated(alias, "__value__")
    if not name.isidentifier() or not all(map(type_parameters.is_lazy, parameters)):
        return _make, (module, name, value, parameters)
    described = tuple([type_parameters.describe(each, upward) for each in parameters])
    state = {"__value__": value, "__type_params__": parameters}
    made = (module, name, described, getattr(alias, "__qualname__", name))
    return type_parameters.make_alias, made, state, None, None, type_parameters.set_values


def _make(module: str, name: str, value: Any, parameters: tuple[Any, ...]) -> Any:
    names = {"__name__": module, "kind": KIND, "parts": (name, value), "parameters": parameters}
    return eval("kind(*parts, type_params=parameters)", names)  # in the name of its module


def same(alias: Any) -> Callable[[Any], bool]:
    """Return what tells whether a value is still this alias. It has no weak reference, but its value has."""
    value, by_reference = identity_of(_told_by(alias))

    def same(now: Any) -> bool:
        found = value() if by_reference else value  # type: ignore[operator]
        return found is not None and type(now) is KIND and found is _told_by(now)

    return same


def _told_by(alias: Any) -> Any:
    value = type_parameters.evaluated(alias, "__value__")
    return value.name if type(value) is type_parameters.Unknown else value
