"""Classes of ctypes by value: what describes a layout travels, and the descriptors of its fields are made anew."""

from __future__ import annotations

import operator
import sys
from typing import Any

from ..._tasks.loaded import loaded

_PROTOTYPES = {1: "CFUNCTYPE", 1 | 4: "PYFUNCTYPE"}  # by their flags


def reduce_made(cls: Any) -> tuple[Any, ...] | None:
    """Reduce a class that ctypes has made of another and keeps: an array, a pointer, a number in the other byte order,
    a type of functions. And a metaclass, which has no name to be imported by."""
    ctypes = loaded("ctypes")
    if ctypes is None:
        return None
    if ctypes.Array in cls.__bases__:
        return operator.mul, (cls._type_, cls._length_)
    if ctypes._Pointer in cls.__bases__:
        return ctypes.POINTER, (cls._type_,)
    if ctypes._CFuncPtr in cls.__bases__ and getattr(cls, "_flags_", None) in _PROTOTYPES:
        return getattr(ctypes, _PROTOTYPES[cls._flags_]), (cls._restype_, *cls._argtypes_)
    if ctypes._SimpleCData in cls.__bases__:
        here, there = (
            ("__ctype_le__", "__ctype_be__") if sys.byteorder == "little" else ("__ctype_be__", "__ctype_le__")
        )
        if getattr(cls, there, None) is cls and getattr(cls, here, None) is not cls:
            return getattr, (getattr(cls, here), there)
    for made in (ctypes.Structure, ctypes.Union):
        if cls is type(made):
            return type, (made,)
    return None


def has_fields(cls: type) -> bool:
    """Tell whether this is a structure or union."""
    ctypes = loaded("ctypes")
    return ctypes is not None and issubclass(cls, (ctypes.Structure, ctypes.Union))


def keep_fields(state: dict[str, Any]) -> None:
    """Leave the descriptors of the fields out. What else describes the layout must be set before the fields."""
    for name in [name for name, value in state.items() if type(value).__name__ == "CField"]:
        del state[name]
    if "_fields_" in state:
        state["_fields_"] = state.pop("_fields_")


def set_with_fields(cls: Any, state: tuple[dict[str, Any], Any]) -> None:
    """Set what the class has besides what made it. Fields can be set only once."""
    for name, value in state[0].items():
        if name != "_fields_" or name not in vars(cls):
            setattr(cls, name, value)
