"""Type variables and their kin by value. Plain pickle knows them by name only, and cloudpickle not all of them.

One of the new syntax (``class Node[T: Node]``) evaluates its bound, constraints and default when asked for them, as an
alias does its value. They may lead back to it, so it is made first, with a place in which it will find them.
"""

from __future__ import annotations

import sys
import typing
from types import CodeType
from typing import Any

from . import identity

_PARAMETERS: tuple[Any, ...] = (typing.TypeVar, typing.ParamSpec, typing.TypeVarTuple)
KINDS: tuple[Any, ...] = (*_PARAMETERS, typing.NewType)
_NEW_SYNTAX = "def make(held):\n    type {0}{1} = held[-1]('__value__')\n    return {0}\n"
_STARS = dict(zip(_PARAMETERS, ("", "**", "*"), strict=True))
_held: dict[int, _Held] = {}
"""What each parameter or alias that is being rebuilt will find, by its id."""


class _Held:
    """The bound, constraints and default of one parameter, or the value of an alias; or another one that has them."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.twin: Any = None

    def __call__(self, key: str) -> Any:
        if self.twin is not None:
            return getattr(self.twin, key)
        value = self.values[key]
        if type(value) is Unknown:
            raise NameError(f"name {value.name!r} is not defined", name=value.name)
        return value


class Unknown:
    """Stands for what only a type checker can evaluate."""

    def __init__(self, name: str) -> None:
        self.name = name


def reduce(parameter: Any, upward: bool) -> tuple[Any, ...]:
    """Reduce a type parameter or a new type to its name and properties."""
    if upward and (token := identity.token_known_above(parameter)) is not None:
        return identity.parents_own, (token,)
    token = identity.issue(parameter)
    module = parameter.__module__
    if type(parameter) is typing.NewType:
        made: tuple[Any, ...] = (parameter.__name__, parameter.__supertype__, module)
        return identity.adopt, (token, upward, _make_new_type, made, True)
    if is_lazy(parameter):
        values = _evaluated(parameter)
        made = (module, _syntax(parameter, values))
        return identity.adopt, (token, upward, _make_lazy, made, True), values, None, None, set_values
    options = {option: value for option in _OPTIONS if (value := getattr(parameter, f"__{option}__", None))}
    if _has_default(parameter):
        options["default"] = parameter.__default__
    made = (type(parameter), parameter.__name__, module, getattr(parameter, "__constraints__", ()), options)
    return identity.adopt, (token, upward, _make, made, True)


def describe(parameter: Any, upward: bool) -> tuple[str, bool, str, str]:
    """Return what `make_alias` needs for a parameter that is made with its alias."""
    return identity.issue(parameter), upward, parameter.__module__, _syntax(parameter, _evaluated(parameter))


_OPTIONS = ("bound", "covariant", "contravariant", "infer_variance")


def _has_default(parameter: Any) -> bool:
    has = getattr(parameter, "has_default", None)  # of Python 3.13, or of typing_extensions
    return has is not None and bool(has())


def is_lazy(parameter: Any) -> bool:
    """Tell whether it is of the new syntax."""
    return sys.version_info >= (3, 12) and bool(
        getattr(parameter, "__infer_variance__", type(parameter) is typing.TypeVarTuple)
    )


def _evaluated(parameter: Any) -> dict[str, Any]:
    names = ["__bound__", "__constraints__"] if type(parameter) is typing.TypeVar else []
    if _has_default(parameter):
        names.append("__default__")
    found = {name: evaluated(parameter, name) for name in names}
    return {name: value for name, value in found.items() if value is not None and value != ()}


def evaluated(obj: Any, name: str) -> Any:
    """Return an attribute, or a mark in its place if only a type checker can evaluate it."""
    try:
        return getattr(obj, name)
    except NameError as error:
        return Unknown(str(error.name))


def _syntax(parameter: Any, values: dict[str, Any]) -> str:
    """Return the parameter as the new syntax has it, with its values looked up."""
    text: str = _STARS[type(parameter)] + parameter.__name__
    if "__bound__" in values:
        text += ": held[{0}]('__bound__')"
    elif "__constraints__" in values:
        constraints = values["__constraints__"]
        count = len(constraints) if type(constraints) is tuple else 2
        parts = [f"held[{{0}}]('__constraints__')[{index}]" for index in range(count)]
        text += f": ({', '.join(parts)})"
    return text + (" = held[{0}]('__default__')" if "__default__" in values else "")


def _make_lazy(module: str, syntax: str) -> Any:
    alias = _new_alias(module, "made", [syntax])
    del _held[id(alias)]
    return _of_module(alias.__type_params__[0], module)


def make_alias(module: str, name: str, described: tuple[tuple[str, bool, str, str], ...], qualname: str) -> Any:
    """Make an alias of the new syntax. What it evaluates comes with `set_values`."""
    alias = _new_alias(module, name, [each[-1] for each in described], qualname)
    for made, (token, upward, of, _) in zip(alias.__type_params__, described, strict=True):
        identity.adopt(token, upward, _of_module, (made, of))
    return alias


def _new_alias(module: str, name: str, parameters: list[str], qualname: str = "") -> Any:
    names: dict[str, Any] = {"__name__": module}
    text = ", ".join([syntax.format(index) for index, syntax in enumerate(parameters)])
    code = compile(_NEW_SYNTAX.format(name, text and f"[{text}]"), "<unified_exec>", "exec")
    exec(_with_name(code, f"make.<locals>.{name}", qualname), names)
    held = [_Held() for _ in (*parameters, name)]
    alias = names["make"](held)
    _held.update(zip(map(id, (*alias.__type_params__, alias)), held, strict=True))
    return alias


def _with_name(code: CodeType, old: str, new: str) -> CodeType:
    """From CPython 3.15 on an alias, whose qualified name cannot be set, has that of the code of its value."""
    inner = [_with_name(each, old, new) if type(each) is CodeType else each for each in code.co_consts]
    return code.replace(co_consts=tuple(inner), co_qualname=new if code.co_qualname == old else code.co_qualname)


def set_values(made: Any, values: dict[str, Any]) -> None:
    """Set what a parameter or an alias evaluates, if it is new here."""
    if (held := _held.pop(id(made), None)) is not None:
        held.values.update(values)
        if "__value__" in values:
            for own, sent in zip(made.__type_params__, values["__type_params__"], strict=True):
                if own is not sent and (held := _held.pop(id(own), None)) is not None:
                    held.twin = sent  # it had arrived before its alias


def _make(kind: Any, name: str, module: str, constraints: tuple[Any, ...], options: dict[str, Any]) -> Any:
    maker: Any = typing
    if sys.version_info < (3, 13) and not {"default", "infer_variance"}.isdisjoint(options):
        import typing_extensions as maker  # what only it can make here, it has made there
    return _of_module(getattr(maker, kind.__name__)(name, *constraints, **options), module)


def _make_new_type(name: str, supertype: Any, module: str) -> Any:
    return _of_module(typing.NewType(name, supertype), module)


def _of_module(made: Any, module: str) -> Any:
    if made.__module__ != module:
        made.__module__ = module
    return made
