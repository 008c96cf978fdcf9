"""The pool of interpreters as its users see it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Any

from ...abc import Capabilities
from ...errors import WorkerStartError
from ..process.templates import Templates
from ..process.worker_pool import WorkerPool
from ..process.worker_spec import WorkerSpec, make_spec
from . import shutdown
from .carrier import InterpreterChild, start_interpreter

IDLE_TIMEOUT = 60.0
GRACE = 1.0
"""Seconds that a running task gets to stop when the program ends."""
CLOSE_SECONDS = 30.0
"""What closing a pool waits for idle interpreters at most, which take milliseconds. Nothing is killed after it."""
FIRST = (3, 14)


class InterpreterPool(WorkerPool):
    """Workers that are interpreters of this process, each with a GIL of its own (CPython 3.14 on).

    They run pure Python code in parallel, and cost less memory and a shorter start than processes. A call costs about
    as much as one to a process: arguments and results are copies here, too. One kind of argument is not copied: a
    read-only `memoryview` of 64 KiB or more is this process's memory itself, if interpreters have fewer than 100 such
    views. In return they give less:

    - Most extension modules cannot be loaded in them: NumPy, pandas, lxml, pydantic and others raise `ImportError` in
      the task. Most of the standard library can.
    - A crash in C code, or `os._exit`, ends the program, as in a thread.
    - A call into C that does not return cannot be ended. Python code is interrupted when it is cancelled, and its
      ``finally`` blocks run.
    - `os.fork` must not be called while a worker exists (CPython crashes in the child). Before a fork in the thread of
      the event loop idle workers end by themselves; `subprocess` is safe.

    So ``on="cpu"`` and ``on="auto"`` never choose it: use ``on="interpreter"``, which has a pool shared by all scopes,
    or a pool of your own.

    Args:
        max_workers: how many workers at most; by default the cores this process may use. An event loop that has work
            gets at least one.
        initializer: called in each new worker before its first task; if it fails, the waiting tasks fail with
            `WorkerStartError`.
        initargs: arguments of the initializer.
        name: shown in errors.

    Raises:
        WorkerStartError: this Python is older than 3.14; or it is 3.14 and `tracemalloc` is tracing, which crashes it.
        ValueError: `max_workers` is less than 1.
        SerializationError: the initializer or its arguments cannot travel.

    Cancelling `aclose` ends the waiting; what still runs goes on to its end.

    Example::

        import anyio
        from unified_exec import InterpreterPool, TaskScope

        async def main():
            async with InterpreterPool(max_workers=2) as pool, TaskScope() as scope:
                total = scope.spawn(sum, range(1000), on=pool)
                print(await total)

        anyio.run(main)
    """

    kind = "interpreter"
    capabilities = Capabilities(streams=True, interrupt=True, copies=True)

    def __init__(
        self,
        max_workers: int | None = None,
        *,
        initializer: Callable[..., object] | None = None,
        initargs: tuple[Any, ...] = (),
        name: str | None = None,
    ) -> None:
        _check()
        spec = make_spec(max_workers, initializer, initargs, None, None, IDLE_TIMEOUT, None, None)
        super().__init__(InterpreterSpec(*spec), GRACE, name)
        self.grace = CLOSE_SECONDS
        shutdown.track(self._registry)


class InterpreterSpec(WorkerSpec):
    """How an interpreter starts."""

    __slots__ = ()

    def should_wait(self, templates: Templates) -> bool:
        return False

    def start_child(self, environment: dict[str, str], templates: Templates) -> InterpreterChild:
        _check()
        return start_interpreter()

    def environment(self) -> dict[str, str]:
        return dict(os.environ)  # it cannot have variables of its own


def _check() -> None:
    """Check that this Python can have interpreters.

    Raises:
        WorkerStartError: it cannot.
    """
    if sys.version_info < FIRST:
        raise WorkerStartError(
            f'on="interpreter" needs CPython 3.14 or later, and this is {sys.version.split()[0]}: use on="process"'
        )
    tracing = "tracemalloc" in sys.modules and sys.modules["tracemalloc"].is_tracing()
    if tracing and sys.version_info < (3, 15):
        raise WorkerStartError("CPython 3.14 crashes when an interpreter starts while tracemalloc is tracing")
