"""Globals of the program that a task looks up by their names, and that no function it was sent names."""

from __future__ import annotations

import os
import sys

from .._tasks.current import current
from .._wire.pickling import homes
from ..errors import SerializationError
from .context import WorkerContext, WorkerTask

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any


def connect(worker: WorkerContext, main_is_imported: bool) -> None:
    """Have the running tasks of this worker ask for what they look up, also in ``__main__`` if it is not imported."""

    def ask(token: str, name: str) -> None:
        homes.receive(_asked(worker, token, name), for_now=name == homes.ALL)

    def before_fork() -> None:
        if os.getpid() == pid:
            for token in homes.tokens():
                ask(token, homes.ALL)  # the child cannot ask

    pid = os.getpid()
    if hasattr(os, "register_at_fork"):
        os.register_at_fork(before=before_fork, after_in_parent=homes.forget_unused)
    homes.ask_sender = ask
    if not main_is_imported:
        sys.modules["__main__"].__class__ = homes.HomeModule


def _asked(worker: WorkerContext, token: str, name: str) -> Any:
    """Return what the parent has under a name, for `homes.receive`."""
    task = current.get()
    if type(task) is WorkerTask:
        id, of = task.id, task.name
    else:  # in a thread that a task has started, or in one of its own tasks
        id, of = worker.signal.running or next(iter(worker.signal.coroutines()), 0), "a task"
    if not id:
        return ()  # nobody listens between tasks
    from .._tasks.requests import LOOK_UP, Pending  # most workers ask for nothing

    requests, pending = worker.requests, Pending(LOOK_UP, None, (token, name))
    try:
        requests.send(id, of, pending)
        requests.wait(pending)
    except (OSError, RuntimeError, SerializationError):
        return ()  # the parent is gone, or this is a fork of the worker
    except BaseException:
        requests.forget(pending)
        raise
    assert pending.found is not None
    outcome = pending.found()
    return () if outcome.error is not None or outcome.cancelled else outcome.unwrap()
