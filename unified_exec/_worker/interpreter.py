"""What a program has set in its interpreter since the start, taken over by a new worker: limits and warning filters."""

from __future__ import annotations

import sys

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any


class _NamedCategory(type):
    """The type of a warning category that is known by name only, so that its module need not be imported.

    A filter matches a warning by `issubclass(warning, category)`: a class of that name is a subclass.
    """

    def __subclasscheck__(cls, other: type) -> bool:
        return any((kind.__module__, kind.__qualname__) == (cls.__module__, cls.__qualname__) for kind in other.__mro__)


def read() -> dict[str, Any]:
    """Return what this process has set, in plain values."""
    return {
        "digits": sys.get_int_max_str_digits(),
        "recursion": sys.getrecursionlimit(),
        "switch": sys.getswitchinterval(),
        "bytecode": (sys.dont_write_bytecode, sys.pycache_prefix),
        "filters": _read_filters(),
    }


def apply(state: dict[str, Any]) -> None:
    """Set in a worker what the parent has read."""
    sys.set_int_max_str_digits(state["digits"])
    sys.setswitchinterval(state["switch"])
    sys.dont_write_bytecode, sys.pycache_prefix = state["bytecode"]
    try:
        sys.setrecursionlimit(state["recursion"])
    except RecursionError:
        pass  # too low for the frames of the worker itself
    if _read_filters() != state["filters"]:
        import warnings

        warnings.resetwarnings()  # also tells the interpreter that the filters have changed
        warnings.filters[:] = [  # type: ignore[index]
            (action, _compiled(message), _category(*category), _compiled(module), line)
            for action, message, category, module, line in state["filters"]
        ]


def _read_filters() -> list[tuple[Any, ...]]:
    import _warnings

    filters = getattr(sys.modules.get("warnings"), "filters", _warnings.filters)
    return [
        (action, _plain(message), (category.__module__, category.__qualname__), _plain(module), line)
        for action, message, category, module, line in list(filters)
    ]


def _plain(pattern: Any) -> Any:
    return (pattern.pattern, pattern.flags) if hasattr(pattern, "pattern") else pattern


def _compiled(pattern: Any) -> Any:
    if type(pattern) is not tuple:
        return pattern
    import re

    return re.compile(*pattern)


def _category(module: str, name: str) -> type:
    import builtins

    if module == "builtins" and hasattr(builtins, name):
        return getattr(builtins, name)  # type: ignore[no-any-return]
    return _NamedCategory(name, (Warning,), {"__module__": module, "__qualname__": name})
