"""A program with several event loops at once, each in a thread of its own: ``python -m tests.observe.several``.

Each has a scope that is named after its loop, in which a coroutine sleeps, a thread waits for a lock that the scope's
block holds, and a worker process sleeps: each loop has one of a pool of one.
"""

from __future__ import annotations

import sys
import threading
import time
from typing import Any

import anyio
import anyio.to_thread

from unified_exec import Lock, ProcessPool, TaskScope

LOOPS: dict[str, dict[str, Any]] = {
    "asyncio": {"backend": "asyncio"},
    "trio": {"backend": "trio"},
    "uvloop": {"backend": "asyncio", "backend_options": {"use_uvloop": True}},
}


def wants(lock: Lock) -> None:
    with lock:
        pass


async def main(loop: str, ready: threading.Barrier, pool: ProcessPool) -> None:
    lock = Lock(name=loop)
    async with TaskScope(name=f"on {loop}", processes=pool) as scope:
        scope.spawn(anyio.sleep_forever, name=f"sleeps on {loop}")
        process = scope.spawn(time.sleep, 1e6, on="process", name=f"computes for {loop}")
        async with lock:
            scope.spawn(wants, lock, on="thread", name=f"wants on {loop}")
            while process.state.value != "running":
                await anyio.sleep(0.01)
            await anyio.to_thread.run_sync(ready.wait)
            await anyio.to_thread.run_sync(sys.stdin.readline, abandon_on_cancel=True)


if __name__ == "__main__":
    names = [name for name in LOOPS if name in sys.argv[1:]]
    barrier, pool = threading.Barrier(len(names) + 1), ProcessPool(1)
    for name in names:
        threading.Thread(target=anyio.run, args=(main, name, barrier, pool), kwargs=LOOPS[name], daemon=True).start()
    barrier.wait()
    print("ready", flush=True)
    while True:
        time.sleep(1000)
