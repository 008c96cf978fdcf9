"""``UNIFIED_EXEC_TRACE=file``: record the whole program, from its first scope until it ends."""

from __future__ import annotations

import atexit
import logging
import os

from .recorder import Recorder

_recorder: Recorder | None = None


def trace_until_exit(file: str) -> None:
    """Begin to record, and write `file` when the program ends; does nothing if that was begun before."""
    global _recorder
    if _recorder is None:
        _recorder = Recorder()
        _recorder.start()
        atexit.register(_write, file, os.getpid())


def _write(file: str, pid: int) -> None:
    from .trace_file import perfetto

    if _recorder is not None and os.getpid() == pid:
        try:
            data = perfetto(_recorder.stop())
            with open(file, "wb") as out:
                out.write(data)
        except OSError as error:
            logging.getLogger("unified_exec").warning("the trace could not be written: %s", error)
