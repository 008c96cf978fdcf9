"""Making classes that travel by value, as cloudpickle does, and without importing it in a worker."""

from __future__ import annotations

from sys import modules
from types import new_class

from ..._tasks.loaded import loaded
from ..._tasks.on_import import when_imported
from ..._tasks.weak_sets import WeakTable
from . import module_names

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

_CLOUDPICKLE = "cloudpickle.cloudpickle"
_untracked = WeakTable()
"""Classes that were made before cloudpickle was imported, by their names in its pickles."""


def make_class(meta: Any, name: str, bases: tuple[Any, ...], body: dict[str, Any], tracked: str) -> Any:
    """Make a class without its attributes.

    Args:
        tracked: its name in pickles that a task writes or reads with cloudpickle.
    """
    made: Any = new_class(name, bases, {"metaclass": meta}, lambda namespace: namespace.update(body))
    cloudpickle = loaded(_CLOUDPICKLE)
    if cloudpickle is not None:
        return cloudpickle._lookup_class_or_track(tracked, made)
    _untracked[tracked] = made
    return made


def _track() -> None:
    for tracked, made in _untracked.items():
        modules[_CLOUDPICKLE]._lookup_class_or_track(tracked, made)


def set_state(cls: Any, state: tuple[dict[str, Any], object]) -> None:
    """Set the attributes of a class, and what is registered with an abstract one."""
    attributes = state[0]
    for name, value in attributes.items():
        if name != "_abc_impl":
            setattr(cls, name, value)
    if "__firstlineno__" in attributes:  # setting `__module__` deletes it (CPython 3.13 on)
        cls.__firstlineno__ = attributes["__firstlineno__"]
    for subclass in attributes.get("_abc_impl", ()):
        cls.register(subclass)


if not module_names.in_worker:  # a program's import system is left alone
    import cloudpickle  # noqa: F401
when_imported(_CLOUDPICKLE, _track)
