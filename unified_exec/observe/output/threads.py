"""What the threads of the program do, and whether they wait for the GIL: read from /proc while the GIL is held.

The reader must not release the GIL between two threads: others would wait for it and get it, and each file would be
read at another moment. So the C library is called through `ctypes.PyDLL`.
"""

from __future__ import annotations

import sys
import threading
from typing import NamedTuple

RUNS, WANTS_GIL, BLOCKED = "runs", "wants_gil", "blocked"
THREADS_MAX = 64
"""Threads that are looked at; more would hold the GIL for too long."""
_TRIES = 3
_RUNTIME_BYTES = 1 << 20
"""At least the size of the interpreter's own state, where the GIL is."""
_CLOEXEC_READ = 0o2000000
_FUTEX = {"x86_64": "202", "aarch64": "98"}


class Used(NamedTuple):
    """What a thread used so far.

    Attributes:
        seconds: processor time.
        stalled: seconds for which it was ready to run while others had the cores.
    """

    seconds: float
    stalled: float


class ThreadReader:
    """Reads what the threads of this process do. Where the system does not tell, it returns nothing."""

    def __init__(self) -> None:
        self._buffer = self._libc = None
        self._gil = range(0)
        self._futex = ""
        if sys.platform != "linux":
            return
        try:
            import ctypes
            import platform

            self._libc = ctypes.PyDLL(None)
            self._buffer = ctypes.create_string_buffer(256)
            begin = ctypes.addressof(ctypes.c_char.in_dll(ctypes.pythonapi, "_PyRuntime"))
        except (ImportError, OSError, ValueError):
            return
        self._gil = range(begin, begin + _RUNTIME_BYTES)
        self._futex = _FUTEX.get(platform.machine(), "")

    def used(self) -> dict[int, Used]:
        """The processor time of the threads, by ident."""
        found: dict[int, Used] = {}
        for ident, thread in _threads().items():
            fields = self._read(thread, b"schedstat")
            if len(fields) >= 2:
                found[ident] = Used(int(fields[0]) / 1e9, int(fields[1]) / 1e9)
        return found

    def states(self) -> dict[int, str] | None:
        """What the threads do at this moment, by ident.

        It is nothing where threads need no GIL, and ``None`` where the system does not tell.

        A thread that was just woken up, or that has just given the GIL to this one, still runs for a moment: such are
        read again.
        """
        if not getattr(sys, "_is_gil_enabled", lambda: True)():
            return {}
        if not self._futex:
            return None
        threads = _threads()
        found = {ident: self._state(thread) for ident, thread in threads.items()}
        for _ in range(_TRIES):
            running = [ident for ident, state in found.items() if state == RUNS]
            found.update({ident: self._state(threads[ident]) for ident in running})
            if not any(found[ident] != RUNS for ident in running):
                break
        return {ident: state for ident, state in found.items() if state} or None

    def _state(self, thread: int) -> str:
        fields = self._read(thread, b"syscall")
        if not fields:
            return ""
        if fields[0] == "running":
            return RUNS
        # A futex in the interpreter's own memory is the GIL's; locks of the program are elsewhere.
        return WANTS_GIL if fields[0] == self._futex and int(fields[1], 16) in self._gil else BLOCKED

    def _read(self, thread: int, what: bytes) -> list[str]:
        if self._libc is None or self._buffer is None:
            return []
        file = self._libc.open(b"/proc/self/task/%d/%s" % (thread, what), _CLOEXEC_READ)
        if file < 0:
            return []
        count = self._libc.read(file, self._buffer, 256)
        self._libc.close(file)
        return self._buffer.raw[: max(0, count)].decode().split()


def _threads() -> dict[int, int]:
    """The ids that the system gave to the other threads, by ident."""
    alive = sys._current_frames().keys() - {threading.get_ident()}
    found = {thread.ident: thread.native_id for thread in threading.enumerate() if thread.ident in alive}
    return {ident: native for ident, native in list(found.items())[-THREADS_MAX:] if ident and native}
