"""The name of a thread, as Python and the operating system show it."""

from __future__ import annotations

import os
import sys
import threading

# From 3.14 on `threading` itself tells the system. Elsewhere than on Linux there is no file for it.
_COMM = "/proc/thread-self/comm" if sys.platform == "linux" and sys.version_info < (3, 14) else None
_SHOWN = 15
"""Bytes that Linux keeps."""


def name_thread(name: str) -> None:
    """Give the calling thread a name, in `threading` and for ``top -H``."""
    threading.current_thread().name = name
    if _COMM is not None:
        try:
            file = os.open(_COMM, os.O_WRONLY | os.O_CLOEXEC)
            try:
                os.write(file, name.encode("utf-8", "replace")[:_SHOWN])
            finally:
                os.close(file)
        except OSError:
            pass  # no /proc here, or no descriptor left: only a name
