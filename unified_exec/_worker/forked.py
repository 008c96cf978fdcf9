"""A process that a task has forked: the parent hears from the real worker alone.

A task may fork, as `multiprocessing` does. Its child has no part in our sockets, and where it comes back to the engine,
in which it would answer the task a second time and take the next one, it ends.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable

from . import context, send_result
from .connection import WorkerConnection

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import NoReturn

happened = False
"""This process is such a child."""


def watch(connection: WorkerConnection, in_child: Callable[[], object] | None = None) -> None:
    """Have every child of this worker let go of the sockets.

    Args:
        connection: the sockets.
        in_child: called in a child after that.
    """

    def after_fork() -> None:
        global happened
        happened = True
        context.worker = None
        connection.close()
        if in_child is not None:
            in_child()

    os.register_at_fork(after_in_child=after_fork)


def end(error: BaseException | None) -> NoReturn:
    """End this process, whose function has returned or raised `error`, with the exit code that a program would have."""
    code = 0
    try:
        if isinstance(error, SystemExit):
            code = _code_of(error)
        elif error is not None:
            code = 1
            sys.excepthook(type(error), error, error.__traceback__)
    finally:
        send_result.flush()
        os._exit(code & 0xFF)


def end_in_loop() -> NoReturn:
    """End the child in the event loop, to which its coroutine has come back without having ended."""
    end(RuntimeError("the child of a fork in a coroutine cannot go on in the event loop of its parent"))


def _code_of(error: SystemExit) -> int:
    if error.code is None:
        return 0
    if isinstance(error.code, int):
        return error.code
    print(error.code, file=sys.stderr)
    return 1
