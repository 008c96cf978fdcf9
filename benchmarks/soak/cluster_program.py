"""The program whose cluster `cluster_rounds` disturbs: it spawns random jobs until its stdin says that it is calm.

It prints one line of JSON for each job that it spawned, and one for each that has ended. It is run as
``python -m benchmarks.soak.cluster_program ADDRESS FOLDER SEED LOOP``.
"""

from __future__ import annotations

import json
import random
import sys
import threading
import time
from typing import Any

import anyio
import anyio.abc

from unified_exec import Collect, Retry, TaskScope
from unified_exec.cluster import DaskPool, NodeLost

from . import cluster_jobs as jobs

LEASE, GRACE, DRAIN = 3.0, 0.3, 0.5
START_TIMEOUT = 20.0
OPEN_MAX = 10
"""Jobs that have not ended at the same time."""
TIMEOUT = 25.0
"""Seconds after which a job ends in any case: its worker may have been stopped."""
CALM_JOBS = 6
BIG = 3 << 20
KINDS = {"plain": 8, "failing": 2, "stubborn": 2, "waiting": 4, "stream": 2, "map": 1, "big": 1, "cancelled": 6}


def say(**facts: Any) -> None:
    print(json.dumps(facts), flush=True)


class Program:
    """Spawns jobs and tells how they ended."""

    def __init__(self, pool: DaskPool, folder: str, rng: random.Random) -> None:
        self._pool = pool
        self._folder = folder
        self._rng = rng
        self._number = 0
        self._open = 0
        self.calm = threading.Event()

    async def run(self) -> None:
        async with TaskScope(policy=Collect()) as scope, anyio.create_task_group() as group:
            while not self.calm.is_set():
                if self._open < OPEN_MAX:
                    self._start(scope, group, self._rng.choices([*KINDS], [*KINDS.values()])[0])
                await anyio.sleep(self._rng.random() * 0.05)
        async with TaskScope(policy=Collect()) as scope, anyio.create_task_group() as group:
            for _ in range(CALM_JOBS):
                self._start(scope, group, "plain", calm=True)

    def _start(self, scope: Any, group: anyio.abc.TaskGroup, kind: str, calm: bool = False) -> None:
        rng, name = self._rng, f"{kind}-{self._number}"
        self._number += 1
        self._open += 1
        if kind in ("stream", "map"):
            say(spawned=name, kind=kind, at=time.monotonic())
            group.start_soon(self._iterate, scope, kind, name)
            return
        seconds = 0.01 if calm else rng.choice([0.0, 0.02, 0.2, 1.0, 2.0])
        cancel_after = rng.random() * 1.5 if kind in ("cancelled", "stubborn") and not calm else None
        retry = Retry(4, on=NodeLost) if rng.random() < 0.1 and not calm else None
        timeout = None if calm else rng.choice([0.05, 0.5, TIMEOUT, TIMEOUT, TIMEOUT])
        job: Any = {"failing": jobs.failing, "stubborn": jobs.stubborn, "waiting": jobs.waiting}.get(kind, jobs.plain)
        args: tuple[Any, ...] = (self._folder, name, seconds)
        if kind == "big":
            job, args = jobs.size_of, (bytearray(BIG),)
        say(
            spawned=name,
            kind=kind,
            cancelled=cancel_after is not None,
            tries=4 if retry else 1,
            calm=calm,
            at=time.monotonic(),
        )
        handle = scope.spawn(job, *args, on=self._pool, timeout=timeout, retry=retry)
        group.start_soon(self._watch, handle, name, cancel_after)

    async def _watch(self, handle: Any, name: str, cancel_after: float | None) -> None:
        if cancel_after is not None:
            with anyio.move_on_after(cancel_after):
                await handle.wait()
            handle.cancel("enough")
        await handle.wait()
        now = time.monotonic()
        error = None if handle.cancelled() else handle.exception()
        value = handle.result() if error is None and not handle.cancelled() else None
        self._ended(name, now, "Cancelled" if handle.cancelled() else error, value)

    async def _iterate(self, scope: Any, kind: str, name: str) -> None:
        found: list[int] = []
        error: Exception | None = None
        n = self._rng.randrange(1, 200)
        stream = (
            scope.stream(jobs.counting, self._folder, name, n, on=self._pool)
            if kind == "stream"
            else scope.map(jobs.square, range(n), on=self._pool)
        )
        try:
            async with stream:
                async for item in stream:
                    found.append(item)  # noqa: PERF401  what came before an error counts
        except Exception as exc:
            error = exc
        now = time.monotonic()
        expected = [i if kind == "stream" else i * i for i in range(n)]
        right = found == expected if error is None else found == expected[: len(found)]
        self._ended(name, now, error, "right" if right else f"{found} of {n}")

    def _ended(self, name: str, now: float, error: Any, value: Any) -> None:
        self._open -= 1
        while isinstance(error, ExceptionGroup) and len(error.exceptions) == 1:
            error = error.exceptions[0]
        how = error if isinstance(error, str) else None if error is None else type(error).__name__
        say(ended=name, at=now, how=how, value=value, text="" if error is None else str(error)[:200])


async def main(address: str, folder: str, seed: str) -> None:
    async with DaskPool(address, lease=LEASE, grace=GRACE, drain=DRAIN, start_timeout=START_TIMEOUT) as pool:
        program = Program(pool, folder, random.Random(seed))
        threading.Thread(target=lambda: (sys.stdin.read(), program.calm.set()), daemon=True).start()
        say(begun=time.monotonic())
        await program.run()
        say(left=time.monotonic())
    say(closed=time.monotonic())


if __name__ == "__main__":
    *arguments, loop = sys.argv[1:]
    options = {"use_uvloop": loop == "uvloop"} if loop != "trio" else {}
    anyio.run(main, *arguments, backend="trio" if loop == "trio" else "asyncio", backend_options=options)
