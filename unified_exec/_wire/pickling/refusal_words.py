"""Short words for why a value cannot travel."""

from __future__ import annotations

from typing import Any

from .module_names import WAYS_OUT


def reason(obj: Any, error: Exception) -> str:
    """Say what `obj` is, and what pickling it raised if that says more."""
    kind = type(obj)
    name = kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"
    thing = f"{'an' if name[:1] in 'aeiouAEIOU' else 'a'} {name!r} object"
    text = str(error).lower()
    plain = isinstance(error, TypeError) and text.startswith("cannot pickle '") and text.endswith("' object")
    return thing if plain else f"pickling {thing} raised {short(error)}"


def short(error: BaseException) -> str:
    """Return the type and the beginning of the message; of a group with one member those of the member."""
    while isinstance(error, BaseExceptionGroup) and len(error.exceptions) == 1:
        error = error.exceptions[0]
    try:
        text = str(error)
    except Exception:
        text = "<its str() fails>"
    name = type(error).__qualname__
    return f"{name}: {text[:500]}" if text else name


def why_undefined(value: object, error: Exception) -> str:
    """Say why the value of a global cannot travel. Nothing is searched: most such globals are never touched."""
    if isinstance(value, type):
        return why_not_by_value(value, error)
    return f"its value, {reason(value, error)}, cannot travel to another process"


def why_not_by_value(cls: type, error: Exception) -> str:
    """Say why a class cannot travel by value, and what to do."""
    maker = f"{type(cls).__module__}.{type(cls).__qualname__}"
    return f"a class made by {maker} cannot travel by value ({short(error)}): {WAYS_OUT}"
