"""Enumerations by value: the members are rebuilt as they are, and no code of the user runs.

The class is made by its own metaclass, with keys in place of the values and a `__new__` that returns the finished
members. The user's own `__new__` and the rest of the class body are put back afterwards.
"""

from __future__ import annotations

import enum
from typing import Any

from .lazy_annotations import CACHE

_COMPUTED = frozenset(
    {
        "_generate_next_value_", "_member_names_", "_member_map_", "_member_type_", "_value2member_map_",
        "_unhashable_values_", "_unhashable_values_map_", "_hashable_values_", "_new_member_", "__new_member__",
        "_use_args_", "_value_repr_", "_flag_mask_", "_singles_mask_", "_all_bits_", "_inverted_", "__new__",
        "_ignore_", "_order_", "__order__", CACHE,
    }
)  # fmt: skip
_SET_LAST = ("_generate_next_value_", "__new_member__", "_new_member_", "_use_args_")


def reduce(cls: Any, state: dict[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return the arguments for `make`, and what of the class's attributes has to be set afterwards."""
    members: list[tuple[str, Any, Any, Any]] = []
    kind = cls._member_type_
    for name, found in cls.__members__.items():
        if found.name == name:
            members.append((name, kind, _arguments(kind, found), {"_value_": found._value_}))
        else:
            members.append((name, None, found.name, None))
    aliases = [(value, found.name) for value, found in cls._value2member_map_.items() if found._value_ != value]
    later = {name: value for name, value in state.items() if name not in cls.__members__ and name not in _COMPUTED}
    later.update((name, vars(cls)[name]) for name in _SET_LAST if name in vars(cls))
    boundary = getattr(cls, "_boundary_", None)
    bounds = None if boundary is None else boundary.name
    return (type(cls), cls.__name__, cls.__qualname__, cls.__module__, cls.__bases__, members, aliases, bounds), later


def _arguments(kind: Any, found: Any) -> tuple[Any, ...]:
    """Return the arguments with which the members' data type makes the same data again."""
    if kind is object:
        return ()
    arguments = getattr(kind, "__getnewargs__", None)
    if arguments is not None:
        return tuple(arguments(found))
    for base in kind.__mro__[:-1]:
        if "__reduce__" in vars(base):
            return tuple(kind.__reduce__(found)[1])
        if "__reduce_ex__" in vars(base):
            return tuple(kind.__reduce_ex__(found, 2)[1])
    return ()


class _Key:
    """Stands for a value in the class body."""

    __slots__ = ("index",)

    def __init__(self, index: int) -> None:
        self.index = index


def make(
    meta: Any, name: str, qualname: str, module: str, bases: Any, members: Any, aliases: Any, boundary: str | None
) -> Any:
    """Make the class from what `reduce` returned."""
    by_name = {found[0]: found for found in members}

    def new(cls: Any, key: Any) -> Any:
        if type(key) is tuple:  # where the data is a tuple, `enum` wraps it once more
            (key,) = key
        _, kind, arguments, attributes = members[key.index]
        if attributes is None:  # another name of the member `arguments`
            _, kind, arguments, attributes = by_name[arguments]
        made = object.__new__(cls) if kind is object or not arguments else kind.__new__(cls, *arguments)
        made.__dict__.update(attributes)
        return made

    namespace = meta.__prepare__(name, bases)
    namespace["__module__"] = module
    namespace["__qualname__"] = qualname
    dict.__setitem__(namespace, "__new__", new)
    dict.__setitem__(namespace, "__init__", lambda self, *args: None)
    for index, found in enumerate(members):
        namespace._ignore = []
        namespace[found[0]] = _Key(index)
    options = {} if boundary is None else {"boundary": enum.FlagBoundary[boundary]}
    cls = meta.__new__(meta, name, bases, namespace, **options)
    type.__delattr__(cls, "__init__")
    for attribute in ("__new_member__", "_new_member_"):
        there = vars(cls).get(attribute)
        if there is new or getattr(there, "__func__", None) is new:
            type.__setattr__(cls, attribute, getattr(bases[-1], "_new_member_", object.__new__))
    for value, member_name in aliases:
        cls._value2member_map_.setdefault(value, cls._member_map_[member_name])
        if "_hashable_values_" in vars(cls):
            cls._hashable_values_.append(value)
    return cls


def member(cls: Any, name: str) -> Any:
    return cls._member_map_[name]
