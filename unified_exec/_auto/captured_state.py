"""What a function can change besides its arguments: globals, captured variables, defaults, and its bound object."""

from __future__ import annotations

from types import FunctionType, MethodType, ModuleType
from zlib import crc32

from .._wire.pickling import codec
from .._wire.pickling.code_facts import facts_of

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

LARGE = 1000
"""Containers with more items than this are compared by their length alone."""

_CONTAINERS = (list, dict, set, bytearray)


def functions_in(fn: Any) -> list[FunctionType]:
    """Return the Python functions in a callable: itself, or those inside partials and methods."""
    found: list[FunctionType] = []
    queue, seen = [fn], set()
    while queue:
        thing = queue.pop()
        if id(thing) in seen:
            continue
        seen.add(id(thing))
        if isinstance(thing, FunctionType):
            found.append(thing)
            wrapped = getattr(thing, "__wrapped__", None)
            queue += [wrapped] if wrapped is not None else []
        elif isinstance(thing, MethodType):
            queue.append(thing.__func__)
        elif hasattr(thing, "func") and hasattr(thing, "keywords"):  # a partial
            queue += [thing.func, *(arg for arg in thing.args if isinstance(arg, FunctionType))]
    return found


def rebinding_function(fn: Any) -> str:
    """Return the name of a function in `fn` that assigns to a global or captured variable, "" if none does."""
    for function in functions_in(fn):
        if facts_of(function.__code__).writes:
            return function.__qualname__
    return ""


def mutable_state(fn: Any) -> dict[str, Any]:
    """Return the mutable objects that `fn` refers to, each with a readable name."""
    state: dict[str, Any] = {}
    inner = fn
    while hasattr(inner, "func") and hasattr(inner, "keywords"):
        state.update({f"argument {index + 1} bound by partial": arg for index, arg in enumerate(inner.args)})
        state.update({f"argument {name!r} bound by partial": arg for name, arg in inner.keywords.items()})
        inner = inner.func
    if isinstance(inner, MethodType) and not isinstance(inner.__self__, (type, ModuleType)):
        state["the object it is a method of"] = inner.__self__
    for function in functions_in(fn):
        for name in facts_of(function.__code__).names:
            if isinstance(function.__globals__.get(name), _CONTAINERS):
                state[f"the global {name!r}"] = function.__globals__[name]
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            try:
                state[f"the captured variable {name!r}"] = cell.cell_contents
            except ValueError:
                pass  # not assigned yet
        for number, value in enumerate(function.__defaults__ or ()):
            if isinstance(value, _CONTAINERS):
                state[f"default value {number + 1} of its parameters"] = value
    return {name: thing for name, thing in state.items() if not isinstance(thing, (FunctionType, type))}


def fingerprints(state: dict[str, Any]) -> dict[str, object]:
    """Return a checksum or a length of each object, ``None`` where neither is possible."""
    prints: dict[str, object] = {}
    for name, thing in state.items():
        size = len(thing) if isinstance(thing, _CONTAINERS) else None
        if size is not None and size > LARGE:
            prints[name] = size
            continue
        try:
            packed = codec.encode_args((thing,))
        except Exception:
            prints[name] = size
        else:
            prints[name] = (crc32(packed.data), *map(crc32, packed.buffers))
    return prints


def changed(before: dict[str, object], after: dict[str, object]) -> list[str]:
    """Return the names of the objects whose fingerprints differ."""
    return [name for name, old in before.items() if name in after and after[name] != old]
