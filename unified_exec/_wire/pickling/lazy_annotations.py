"""Annotations of what goes by value. From CPython 3.14 on they are evaluated when they are asked for, and may fail."""

from __future__ import annotations

import sys
import types
import typing
from typing import Any

CACHE = "__annotations_cache__"
"""In a class of CPython 3.14: what was evaluated. It comes with the first question, so it says nothing of a change."""


def in_words(obj: Any) -> dict[str, Any]:
    """Return the annotations of a class body or of a function: as they are, or as text where they are not evaluated."""
    found = vars(obj).get("__annotations__") if isinstance(obj, type) else None
    if found is None and sys.version_info >= (3, 14):
        import annotationlib

        found = annotationlib.get_annotations(obj, format=annotationlib.Format.STRING)
    elif found is None and not isinstance(obj, type):
        found = obj.__annotations__
    return found if isinstance(found, dict) else {}


def _evaluated(obj: Any) -> dict[str, Any]:
    """The values of the annotations; their texts if one cannot be evaluated: it was imported for type checkers only."""
    try:
        found = obj.__annotations__
    except Exception:
        return in_words(obj)
    return found if isinstance(found, dict) else {}


def keep(cls: type, state: dict[str, Any]) -> None:
    """Have a class keep its annotations. What evaluates them from CPython 3.14 on is not sent."""
    if sys.version_info < (3, 14):
        return
    state.pop(CACHE, None)
    found = _evaluated(cls)
    if found:
        state["__annotations__"] = found


def with_annotations(function: types.FunctionType) -> types.FunctionType:
    """Return a function whose annotations can be read: the same, or a copy of it with their texts."""
    if sys.version_info < (3, 14):
        return function
    try:
        function.__annotations__  # noqa: B018  evaluated here
    except Exception:
        pass
    else:
        return function
    copy = types.FunctionType(
        function.__code__, function.__globals__, function.__name__, function.__defaults__, function.__closure__
    )
    for name in ("__kwdefaults__", "__qualname__", "__module__", "__doc__", "__type_params__"):
        setattr(copy, name, getattr(function, name))
    copy.__dict__.update(function.__dict__)
    copy.__annotations__ = in_words(function)
    return copy


def _reduce_forward_ref(ref: Any) -> tuple[Any, ...]:
    """Reduce a name that could not be evaluated, as a dataclass keeps it, without the namespaces that were searched."""
    return _forward_ref, (ref.__forward_arg__, ref.__forward_module__, ref.__forward_is_class__)


def _forward_ref(name: str, module: Any, is_class: bool) -> Any:
    return typing.ForwardRef(name, module=module, is_class=is_class)


REDUCERS = {typing.ForwardRef: _reduce_forward_ref} if sys.version_info >= (3, 14) else {}
