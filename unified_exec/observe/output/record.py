"""`observe.trace` and `observe.report`: record a block, and write what happened in it to a file."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from .recorder import Recorder, Recording


@contextmanager
def trace(file: str | os.PathLike[str]) -> Iterator[None]:
    """Record what happens in a ``with`` block, and write it as a trace for https://ui.perfetto.dev when it is left.

    The trace has a track for each worker, thread and event loop, the scopes, waits, worker starts, memory and queues.
    Any number of blocks may record at the same time.

    Args:
        file: where to; replaced if it exists.

    Raises:
        OSError: the file could not be written. It is opened when the block is entered.
        TypeError: `file` is not a path.

    Example::

        import anyio
        from unified_exec import TaskScope, observe

        async def main():
            with observe.trace("run.pftrace"):
                async with TaskScope() as scope:
                    scope.spawn(sum, [1, 2, 3], on="cpu")

        anyio.run(main)
    """
    from .trace_file import perfetto

    with open(os.fspath(file), "wb") as out, _recorded(lambda recording: out.write(perfetto(recording))):
        yield


@contextmanager
def report(file: str | os.PathLike[str]) -> Iterator[None]:
    """Record what happens in a ``with`` block, and write a report when it is left: one page of HTML.

    The page shows advice with the figures it rests on, a timeline, where the time went for each function, the scopes,
    the slowest tasks, the workers, and failures with their tracebacks. It asks for nothing from the network.

    Args:
        file: where to; replaced if it exists.

    Raises:
        OSError: the file could not be written. It is opened when the block is entered.
        TypeError: `file` is not a path.

    Example::

        import anyio
        from unified_exec import TaskScope, observe

        async def main():
            with observe.report("run.html"):
                async with TaskScope() as scope:
                    scope.spawn(sum, [1, 2, 3], on="cpu")

        anyio.run(main)
    """
    from .report_page import page

    with (
        open(os.fspath(file), "w", encoding="utf-8", newline="\n") as out,
        _recorded(lambda recording: out.write(page(recording))),
    ):
        yield


@contextmanager
def _recorded(write: Callable[[Recording], object]) -> Iterator[None]:
    recorder = Recorder()
    recorder.start()
    try:
        yield
    finally:
        write(recorder.stop())
