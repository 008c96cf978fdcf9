"""Watching the moves of tasks: free while nobody watches, harmless when a listener fails."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

Listener = Callable[[Any], object]

# Replaced as a whole, never changed in place: `emit` may run in any thread.
listeners: tuple[Listener, ...] = ()


def watch(listener: Listener) -> Callable[[], None]:
    """Call `listener` with each event (see `task.TaskMoved`); returns a function that ends the watching.

    The listener runs where the event happens and must be quick. One that raises is logged and dropped.
    """
    global listeners
    listeners = (*listeners, listener)

    def unwatch() -> None:
        global listeners
        listeners = tuple(kept for kept in listeners if kept is not listener)

    return unwatch


def emit(event: object) -> None:
    """Call every listener. The caller checks `listeners` first, so that no event is built without one."""
    global listeners
    for listener in listeners:
        try:
            listener(event)
        except Exception:
            import logging

            logging.getLogger("unified_exec").exception("a task listener failed and is dropped: %r", listener)
            listeners = tuple(kept for kept in listeners if kept is not listener)
