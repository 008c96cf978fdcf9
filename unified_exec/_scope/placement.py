"""Where a call runs: the event loop or a pool."""

from __future__ import annotations

from collections.abc import Callable
from types import FunctionType
from typing import TYPE_CHECKING, Any

from .._handles.validation import close_coroutine
from .._pools import default_pools
from .._rules.dispatch import AUTO, is_async, must_not_be_async, not_a_function, place_of, unknown_place
from .._tasks import loaded
from ..abc import Backend

if TYPE_CHECKING:
    from .._handles.owner import Launcher


def resolve(scope: Launcher, fn: Callable[..., Any], on: object) -> tuple[str, Backend | None]:
    """Return where a call runs, by name, and its pool; ``None`` for the event loop.

    Raises:
        TypeError: `fn` is not a function, or cannot run there.
        ValueError: `on` is not a valid target.
    """
    if type(fn) is not FunctionType and not callable(fn):
        close_coroutine(fn)
        raise TypeError(not_a_function(fn))
    if on is None:
        place = place_of(fn)
    elif on == "loop":
        return "loop", None
    elif on == AUTO:
        place, backend = (_placer or auto_placer()).resolve(scope, fn)
        return place, backend
    elif isinstance(on, str):
        place = place_of(fn, on)
    else:
        return _in_pool(fn, on)
    if place == "loop":
        return place, None
    if place == "thread":
        return place, scope.thread_pool()
    if place == "interpreter":
        return place, default_pools.default_interpreters()
    if place == "cpu" and loaded.gil_is_off():
        cores = default_pools.default_cores()
        return cores.kind, cores
    return "process", scope.process_pool()


def _in_pool(fn: Callable[..., Any], on: object) -> tuple[str, Backend]:
    if not isinstance(on, Backend):
        raise ValueError(unknown_place(on))
    if not on.capabilities.coroutines and is_async(fn):
        raise TypeError(must_not_be_async(fn, on.kind))
    return on.kind, on


_placer: Any = None


def auto_placer() -> Any:
    """Return the module `_auto.placer`. Loaded with the first ``on="auto"``: it brings `statistics`."""
    global _placer
    if _placer is None:  # an import statement in a function takes a microsecond each time
        from .._auto import placer

        _placer = placer
    return _placer
