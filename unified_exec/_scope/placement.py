"""Finding the pool for a call."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from .._handles.validation import close_coroutine
from .._pools import default_pools
from .._rules.dispatch import AUTO, not_a_function, place_of, unknown_place
from ..abc import Backend

if TYPE_CHECKING:
    from .._handles.handle import TaskHandle
    from .scope import TaskScope


def resolve(scope: TaskScope, fn: Callable[..., Any], on: object) -> tuple[str, Backend | None]:
    """Return the name of the place a call goes to and its pool, ``None`` for the event loop.

    Raises:
        TypeError: `fn` is no function, or cannot run there.
        ValueError: `on` is no place.
    """
    if on is None or isinstance(on, str):
        if on == AUTO:
            if not callable(fn):
                close_coroutine(fn)
                raise TypeError(not_a_function(fn))
            place, backend = (_auto or _import_auto()).resolve(scope, fn)
            return place, backend
        place = _place_of(fn, on)
        if place == "loop":
            return place, None
        if place == "thread":
            return place, scope.thread_pool()
        if place == "cpu" and default_pools.gil_is_off():
            return "thread", default_pools.default_cores()
        return "process", scope.process_pool()
    if isinstance(on, Backend):
        _place_of(fn, on.kind)
        return on.kind, on
    raise ValueError(unknown_place(on))


def _place_of(fn: Callable[..., Any], on: str | None) -> str:
    try:
        return place_of(fn, on)
    except TypeError:
        close_coroutine(fn)
        raise


_auto: Any = None  # an import statement in a function costs more than all that is to be decided


def launch_auto(scope: TaskScope, handle: TaskHandle[Any], backend: Backend | None, timeout: float | None) -> None:
    """Start a task with ``on="auto"`` in the place that `resolve` found."""
    _import_auto().launch(scope, handle, backend, timeout)  # which puts `auto.launch` itself in this one's place


def _import_auto() -> Any:
    global _auto, launch_auto
    from .._auto import placer

    _auto, launch_auto = placer, placer.launch
    return placer
