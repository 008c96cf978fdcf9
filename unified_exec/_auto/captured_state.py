"""What a function can change beside its arguments: globals, captured variables, defaults, and what it is bound to."""

from __future__ import annotations

from types import FunctionType, MethodType, ModuleType
from zlib import crc32

from .._wire.pickling import codec
from .._wire.pickling.code_facts import facts_of

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

LARGE = 1000
"""Items above which a container is known by their number alone."""

_CONTAINERS = (list, dict, set, bytearray)


def functions_in(fn: Any) -> list[FunctionType]:
    """The Python functions a callable is made of: itself, or what partials and methods lead to."""
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


def rebinds(fn: Any) -> str:
    """The name of a function in `fn` that assigns to a global or captured variable, "" if none does."""
    for function in functions_in(fn):
        if facts_of(function.__code__).writes:
            return function.__qualname__
    return ""


def around(fn: Any) -> dict[str, Any]:
    """What `fn` refers to that can be changed, each with a name for people."""
    things: dict[str, Any] = {}
    inner = fn
    while hasattr(inner, "func") and hasattr(inner, "keywords"):
        things.update({f"argument {index + 1} bound by partial": arg for index, arg in enumerate(inner.args)})
        things.update({f"argument {name!r} bound by partial": arg for name, arg in inner.keywords.items()})
        inner = inner.func
    if isinstance(inner, MethodType) and not isinstance(inner.__self__, (type, ModuleType)):
        things["the object it is a method of"] = inner.__self__
    for function in functions_in(fn):
        for name in facts_of(function.__code__).names:
            if isinstance(function.__globals__.get(name), _CONTAINERS):
                things[f"the global {name!r}"] = function.__globals__[name]
        for name, cell in zip(function.__code__.co_freevars, function.__closure__ or (), strict=False):
            try:
                things[f"the captured variable {name!r}"] = cell.cell_contents
            except ValueError:
                pass  # not assigned yet
        for number, value in enumerate(function.__defaults__ or ()):
            if isinstance(value, _CONTAINERS):
                things[f"default value {number + 1} of its parameters"] = value
    return {name: thing for name, thing in things.items() if not isinstance(thing, (FunctionType, type))}


def fingerprints(things: dict[str, Any]) -> dict[str, object]:
    """What each thing is like now; what cannot be told is left out."""
    prints: dict[str, object] = {}
    for name, thing in things.items():
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
    """The names of what is not as it was."""
    return [name for name, seen in before.items() if name in after and after[name] != seen]
