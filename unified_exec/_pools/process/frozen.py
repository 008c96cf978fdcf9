"""Frozen applications: the executable is the program, so a worker is the program, which becomes a worker at its top."""

from __future__ import annotations

import sys

from ...errors import WorkerStartError

WORKER_OPTION = "--unified-exec-worker"

_prepared = False


def freeze_support() -> None:
    """Let a frozen application (PyInstaller, cx_Freeze) have worker processes. Elsewhere it does nothing.

    Call it first thing in the main file, before imports that take long. The executable of such an application is the
    application itself, not Python: a worker is the application started once more, and ends inside this call. Without
    the call, process tasks fail with `WorkerStartError`.

    Example::

        import unified_exec

        unified_exec.freeze_support()

        import anyio

        async def main():
            print(await unified_exec.call(sum, range(1000), on="process"))

        anyio.run(main)
    """
    global _prepared
    if not is_frozen():
        return
    _prepared = True
    if sys.argv[1:2] == [WORKER_OPTION]:
        del sys.argv[1]
        from ..._worker.main import main

        main()


def is_frozen() -> bool:
    """Tell whether the executable runs this program and not Python."""
    return bool(getattr(sys, "frozen", False))


def check_frozen() -> None:
    """Check that a worker can be started if this application is frozen.

    Raises:
        WorkerStartError: the application would start itself, again and again.
    """
    if is_frozen() and not _prepared:
        raise WorkerStartError(
            "this application is frozen, so its executable runs the application and not Python; "
            "call unified_exec.freeze_support() first thing in its main file"
        )
