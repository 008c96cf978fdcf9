"""What this package does where there is no POSIX. Run as a program: on Windows, or on a system made like it.

Prints three lines for each event loop: what a coroutine and a thread gave, what a process task says, a shared object.
"""

from __future__ import annotations

import sys
from typing import Any

# What Windows has not, as far as this package cares.
_OS = (
    "fork register_at_fork posix_spawn killpg getpgrp waitid memfd_create pidfd_open pwrite pread "
    "sched_getaffinity sysconf uname"
)
_SIGNAL = "SIGURG SIGALRM setitimer pthread_sigmask"
_SOCKET = "CMSG_SPACE SCM_RIGHTS SOCK_SEQPACKET MSG_DONTWAIT MSG_CMSG_CLOEXEC"


def take_posix_away() -> None:
    import asyncio  # noqa: F401  # these look for themselves, now
    import multiprocessing  # noqa: F401
    import os
    import select
    import signal
    import socket
    import subprocess  # noqa: F401
    import tempfile  # noqa: F401

    import anyio  # noqa: F401
    import trio  # noqa: F401

    missing: Any = None
    sys.modules["fcntl"] = missing
    modules = [(os, _OS), (signal, _SIGNAL), (socket, _SOCKET), (select, "poll")]
    modules += [(sys.modules["_signal"], _SIGNAL), (sys.modules["_socket"], _SOCKET)]
    for module, names in modules:
        for name in names.split():
            if hasattr(module, name):
                delattr(module, name)


def main() -> None:
    import anyio

    import unified_exec
    from unified_exec import Collect, ProcessPool, TaskScope, WorkerStartError, cpu_count, share

    for name in unified_exec.__all__:
        getattr(unified_exec, name)

    async def fetch() -> str:
        await anyio.lowlevel.checkpoint()
        return "loop"

    async def use() -> None:
        async with TaskScope() as scope:
            print(await scope.spawn(fetch), await scope.spawn(str, "thread"), cpu_count() > 0)
        async with TaskScope(policy=Collect()) as scope:
            failing: list[Any] = [scope.spawn(abs, n, on="process") for n in range(3)]
            failing.append(scope.spawn(fetch, on="process"))
        for handle in failing:
            assert type(handle.exception()) is WorkerStartError, handle.exception()
        print(failing[0].exception())
        async with ProcessPool(2):
            pass
        print(share("an object").value)

    for backend in ("asyncio", "trio"):
        anyio.run(use, backend=backend)


if __name__ == "__main__":
    if sys.platform != "win32":
        take_posix_away()
    main()
