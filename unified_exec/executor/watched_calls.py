"""What events and spans tell of the calls of executors. Loaded with the first call while somebody listens."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Future
from typing import Any

from .._tasks import events
from .._tasks.current import current
from .._tasks.task import Task
from .._worker.run_chunk import run_star_chunk
from ..abc import Lane


class WatchedCall(Task):
    """A call of a `ThreadExecutor`, which completes its future itself: the outcome is that of the future."""

    __slots__ = ("future",)
    future: Future[Any]

    def emit_settled(self, outcome: str, error: BaseException | None) -> None:
        future = self.future
        if future.cancelled():
            outcome = "cancelled"
        elif outcome == "value" and future.done() and (error := Future.exception(future)) is not None:
            outcome = events.outcome_name(error, False)
        super().emit_settled(outcome, error)


def start(task: Task, fn: Any, args: tuple[Any, ...], launch: Callable[[], None]) -> None:
    """Call `launch`, which starts `task`, and tell of it.

    Args:
        task: the call.
        fn, args: what the user submitted.
        launch: hands it to its lane.
    """
    if fn is run_star_chunk:
        fn, task.items = args[0], len(args[1])
    task.fn_name = events.function_name(fn)
    if isinstance(task, WatchedCall):
        assert task.args is not None
        task.future = task.args[0][0]
    spawner = current.get()
    task.note_spawner(0 if spawner is None else spawner.id)
    in_span = events.in_span
    if in_span is None:
        launch()
    else:
        in_span(task, launch)


def prepare(call: Task, fn: Any, args: tuple[Any, ...], lane: Lane) -> None:
    """Encode the call of a `ProcessExecutor`, and tell of it."""

    def encode() -> None:
        call.backend_data = lane.prepare(call)

    start(call, fn, args, encode)
