"""Waits for limits, locks and channels as events. None of this is called while nobody listens."""

from __future__ import annotations

import sys
from time import monotonic

from .._tasks import events
from .._tasks.current import CurrentTask, current
from .._tasks.messages import Waited
from .._worker import context

MOMENT = 0.01
"""Seconds. Shorter waits for locks and channels are not told: there may be very many."""
NAME_MAX = 200


def is_told() -> bool:
    """Tell whether waits are worth noting: somebody listens, here or in the program that this is a worker of."""
    return events.rows is not None or (context.worker is not None and context.worker.watched)


class ToldWait:
    """A wait of a task; see `begin`.

    Args:
        task: id of the task, 0 for code outside of tasks.
        view: the task as its own code sees it, if it may have to be told elsewhere.
        on, name, place, held_by: see `begin`.
    """

    __slots__ = ("_task", "_view", "_wait")

    def __init__(self, task: int, view: CurrentTask | None, on: str, name: str, place: int, held_by: str) -> None:
        self._task = task
        self._view = view
        self._wait = Waited(on, name[:NAME_MAX], place, held_by[:NAME_MAX], monotonic(), None)

    def tell_begun(self) -> None:
        events.emit_wait(self._task, self._wait)

    def has_lasted(self) -> bool:
        """Tell whether it has lasted long enough to be told."""
        return monotonic() - self._wait.began >= MOMENT

    def end(self) -> None:
        """The wait is over, however it ended."""
        wait, ended = self._wait, monotonic()
        if _not_told.pop(self, None) is None:
            events.emit(events.WAIT_ENDED, self._task, wait.name, wait.on, wait.began)
        elif ended - wait.began >= MOMENT:
            wait.ended = ended
            events.emit_wait(self._task, wait)
            if self._view is not None and not isinstance(sys.exception(), GeneratorExit):  # not out of the collector
                self._view.send_wait(wait)


_not_told: dict[ToldWait, bool] = {}
"""The waits that go on and that nobody has told. Who takes one out tells that it has begun."""


def begin(on: str, name: str, place: int = 0, held_by: str = "") -> ToldWait:
    """Note that the calling task begins to wait; call `ToldWait.end` when it does so no more.

    The wait is told once it has lasted a `MOMENT`: by the thread of the listeners, or by `ToldWait.end`.

    Args:
        on: what kind of thing it waits for, such as ``"lock"``.
        name: which one.
        place: its number in the queue, from 1; 0 if that is not known.
        held_by: who can end the wait, in words.
    """
    task = current.get()
    wait = ToldWait(0 if task is None else task.id, task, on, name, place, held_by)
    _not_told[wait] = True
    return wait


def tell_at_once(task: int, on: str, name: str, place: int, held_by: str) -> ToldWait:
    """Tell that a task begins to wait, however long that will last; see `begin`."""
    wait = ToldWait(task, None, on, name, place, held_by)
    wait.tell_begun()
    return wait


def tell_long_waits() -> None:
    """Tell the waits that go on and have lasted a moment. The thread of the listeners calls this."""
    for wait in list(_not_told):
        if wait.has_lasted() and _not_told.pop(wait, None) is not None:
            wait.tell_begun()
