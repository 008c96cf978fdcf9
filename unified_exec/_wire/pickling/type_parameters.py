"""Type variables and their kin by value. Plain pickle knows them by name only, and cloudpickle not all of them.

One of the new syntax (``class Node[T: Node]``) evaluates its bound, constraints and default when asked for them. They
may lead back to it, so it is made first, with a place in which it will find them.
"""

from __future__ import annotations

import sys
import typing
from typing import Any

from . import identity

__all__ = ["KINDS", "reduce"]

KINDS: tuple[Any, ...] = (typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple)
_NEW_SYNTAX = "def make(held):\n    type made[{}] = None\n    return made.__type_params__[0]\n"
_STARS = dict(zip(KINDS, ("", "**", "*"), strict=True))
_held: dict[int, _Held] = {}
"""What each parameter that is being rebuilt will find, by its id."""


class _Held:
    """The bound, constraints and default of one parameter."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}

    def __call__(self, key: str) -> Any:
        value = self.values[key]
        if type(value) is _Unknown:
            raise NameError(f"name {value.name!r} is not defined", name=value.name)
        return value


class _Unknown:
    """Stands for what only a type checker can evaluate."""

    def __init__(self, name: str) -> None:
        self.name = name


def reduce(parameter: Any, upward: bool) -> tuple[Any, ...]:
    """Reduce a type parameter to its name and properties."""
    if upward and (token := identity.token_known_above(parameter)) is not None:
        return identity.parents_own, (token,)
    token = identity.issue(parameter)
    kind, name = type(parameter), parameter.__name__
    lazy = sys.version_info >= (3, 12) and getattr(parameter, "__infer_variance__", kind is typing.TypeVarTuple)
    if lazy:
        values = _evaluated(parameter)
        made: tuple[Any, ...] = (kind, name, parameter.__module__, _syntax(kind, name, values))
        return _adopt, (token, upward, _make_lazy, made), values, None, None, _set_values
    options = {option: value for option in _OPTIONS if (value := getattr(parameter, f"__{option}__", None))}
    if _has_default(parameter):
        options["default"] = parameter.__default__
    made = (kind, name, parameter.__module__, getattr(parameter, "__constraints__", ()), options)
    return _adopt, (token, upward, _make, made)


_OPTIONS = ("bound", "covariant", "contravariant", "infer_variance")


def _has_default(parameter: Any) -> bool:
    has = getattr(parameter, "has_default", None)  # of Python 3.13, or of typing_extensions
    return has is not None and bool(has())


def _evaluated(parameter: Any) -> dict[str, Any]:
    found: dict[str, Any] = {}
    names = ["__bound__", "__constraints__"] if type(parameter) is typing.TypeVar else []
    if _has_default(parameter):
        names.append("__default__")
    for name in names:
        try:
            value = getattr(parameter, name)
        except NameError as error:
            value = _Unknown(str(error.name))
        if value is not None and value != ():
            found[name] = value
    return found


def _syntax(kind: Any, name: str, values: dict[str, Any]) -> str:
    """Return the parameter as the new syntax has it, with its values looked up."""
    text: str = _STARS[kind] + name
    if "__bound__" in values:
        text += ": held('__bound__')"
    elif "__constraints__" in values:
        constraints = values["__constraints__"]
        count = len(constraints) if type(constraints) is tuple else 2
        parts = [f"held('__constraints__')[{index}]" for index in range(count)]
        text += f": ({', '.join(parts)})"
    return text + (" = held('__default__')" if "__default__" in values else "")


def _adopt(token: str, upward: bool, make: Any, args: tuple[Any, ...]) -> Any:
    return identity.adopt(token, upward, make, args, in_place=True)


def _make_lazy(kind: Any, name: str, module: str, syntax: str) -> Any:
    names: dict[str, Any] = {}
    exec(_NEW_SYNTAX.format(syntax), names)
    held = _Held()
    made = names["make"](held)
    _held[id(made)] = held
    return _of_module(made, module)


def _set_values(parameter: Any, values: dict[str, Any]) -> None:
    held = _held.pop(id(parameter), None)
    if held is not None:  # it is new here
        held.values.update(values)


def _make(kind: Any, name: str, module: str, constraints: tuple[Any, ...], options: dict[str, Any]) -> Any:
    maker: Any = typing
    if sys.version_info < (3, 13) and not {"default", "infer_variance"}.isdisjoint(options):
        import typing_extensions as maker  # what only it can make here, it has made there
    return _of_module(getattr(maker, kind.__name__)(name, *constraints, **options), module)


def _of_module(made: Any, module: str) -> Any:
    if made.__module__ != module:
        made.__module__ = module
    return made
