"""Watching the moves of tasks: free while nobody watches, harmless when a listener is broken."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .states import TaskState
    from .task import Task


class TaskMoved:
    """A task went from one state to another."""

    __slots__ = ("new", "old", "task")

    def __init__(self, task: Task, old: TaskState, new: TaskState) -> None:
        self.task = task
        self.old = old
        self.new = new

    def __repr__(self) -> str:
        return f"TaskMoved({self.task.name!r}, {self.old.value} -> {self.new.value})"


Listener = Callable[[TaskMoved], object]

# Replaced as a whole, never changed in place: `emit` may run in any thread.
listeners: tuple[Listener, ...] = ()


def watch(listener: Listener) -> Callable[[], None]:
    """Call `listener` at each move of every task; returns a function that ends the watching.

    The listener runs where the move happens and must be quick. One that raises is logged and dropped.
    """
    global listeners
    listeners = (*listeners, listener)

    def unwatch() -> None:
        global listeners
        listeners = tuple(kept for kept in listeners if kept is not listener)

    return unwatch


def emit(task: Task, old: TaskState, new: TaskState) -> None:
    """Tell every listener; the caller checks `listeners` first, so that nothing is built for nobody."""
    global listeners
    event = TaskMoved(task, old, new)
    for listener in listeners:
        try:
            listener(event)
        except Exception:
            import logging

            logging.getLogger("unified_exec").exception("a task listener failed and is dropped: %r", listener)
            listeners = tuple(kept for kept in listeners if kept is not listener)
