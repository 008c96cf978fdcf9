"""What many nodes cost the one program that uses them: faked agents in another process, over Dask's own connections.

The agents answer at once, so the figures are those of the program alone. They are printed for 64 nodes of
4 slots by ``python -m benchmarks.many_nodes 64 4``.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterable
from types import SimpleNamespace
from typing import Any

from unified_exec import TaskScope
from unified_exec._wire.pickling.codec import encode_value
from unified_exec.cluster import wire
from unified_exec.cluster.dask_comm import DaskComm
from unified_exec.cluster.dask_engine import DaskEngine
from unified_exec.cluster.lane import ClusterLane
from unified_exec.cluster.pool import ClusterPool

TASKS = 20_000
IDLE = 4.0
"""Seconds for which the cost of the connections alone is measured."""


async def serve(nodes: int, slots: int) -> None:
    """Be the agents of so many nodes until stdin is closed; their addresses are printed."""
    from distributed.comm import listen

    nothing = encode_value(None).data

    async def serve_one(comm: Any) -> None:
        ours = DaskComm(comm)
        try:
            if "hello" in await comm.read():
                welcome = wire.pack_times(wire.WELCOME, 0.0, time.monotonic(), "fake")
                ours.write([(welcome, ()), (wire.pack_numbers(wire.SLOTS, [slots]), ())])
            while True:
                answers = [answer for head, buffers in await ours.read() for answer in reply(head, buffers)]
                if answers:
                    ours.write(answers)
        except OSError:
            ours.abort()

    def reply(head: bytes, buffers: Any) -> Iterable[wire.Frame]:
        kind, now = wire.kind_of(head), time.monotonic()
        if kind == wire.PING:
            yield wire.pack_times(wire.PONG, wire.unpack_times(head)[0], now), ()
        elif kind == wire.TASK:
            call = wire.unpack_call(head, buffers)
            yield wire.pack_answer(wire.RelayAnswer(call.id, wire.frames.VALUE, nothing, (), now, now + 0.001, 1))

    listeners = [await listen("tcp://127.0.0.1:0", serve_one, deserialize=True) for _ in range(nodes)]
    print(*(listener.contact_address for listener in listeners), flush=True)
    await asyncio.to_thread(sys.stdin.read)


class FakedNodes(DaskEngine):
    """An engine whose seats are there at once, one for each slot of the faked nodes."""

    def __init__(self, addresses: list[str], slots: int) -> None:
        super().__init__("", (), 0, None, 30.0, "faked")
        self._client = SimpleNamespace(connection_args={})
        self._addresses = addresses
        self._slots = slots
        self._on_seat: Callable[[str, str], object]

    async def start(self, on_seat: Callable[[str, str], object]) -> None:
        self._on_seat = on_seat

    async def request_seats(self, lane: ClusterLane, n: int) -> None:
        if not lane.seats:
            lane.seats = self._slots * len(self._addresses)
            for address in self._addresses:
                self._on_seat(lane.name, address)

    async def withdraw_seats(self, lane: ClusterLane, n: int) -> int:
        return 0

    async def check(self, lanes: Iterable[ClusterLane]) -> int:
        return self._slots * len(self._addresses)

    async def stop(self) -> None:
        pass

    def has_ended(self) -> bool:
        return False

    async def drop_lane(self, name: str) -> None:
        pass


def faked_pool(addresses: list[str], slots: int) -> ClusterPool:
    return ClusterPool(
        FakedNodes(addresses, slots),
        "faked",
        max_workers=None,
        min_workers=0,
        idle_timeout=None,
        grace=1.0,
        lease=8.0,
        drain=0.0,
        start_timeout=60.0,
        env=None,
        initializer=None,
        initargs=(),
        max_tasks_per_worker=None,
        name=None,
    )


async def measure(addresses: list[str], slots: int, tasks: int) -> dict[str, float]:
    """Return the figures of one program with so many nodes."""
    async with faked_pool(addresses, slots) as pool, TaskScope() as scope:
        await scope.spawn(int, on=pool)
        while sum([node.slots for node in pool.nodes()]) < slots * len(addresses):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        figures = {}
        for title in ("first", "second"):
            wall, cpu = time.perf_counter(), time.process_time()
            handles = [scope.spawn(int, on=pool) for _ in range(tasks)]
            for handle in handles:
                await handle
            figures[f"{title}: CPU of the program for each task, s"] = (time.process_time() - cpu) / tasks
            figures[f"{title}: tasks a second"] = tasks / (time.perf_counter() - wall)
        cpu = time.process_time()
        await asyncio.sleep(IDLE)
        figures["idle: CPU a second, s"] = (time.process_time() - cpu) / IDLE
        figures["descriptors"] = len(os.listdir("/proc/self/fd"))
        return figures


def run(nodes: int, slots: int, tasks: int = TASKS) -> dict[str, float]:
    """Start the faked nodes and return what they cost the program."""
    command = [sys.executable, "-m", "benchmarks.many_nodes", "serve", str(nodes), str(slots)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as fakes:
        assert fakes.stdin is not None
        assert fakes.stdout is not None
        try:
            return asyncio.run(measure(fakes.stdout.readline().split(), slots, tasks))
        finally:
            fakes.stdin.close()


if __name__ == "__main__":
    *mode, n, slots_each = sys.argv[1:]
    if mode:
        asyncio.run(serve(int(n), int(slots_each)))
    else:
        for name, figure in run(int(n), int(slots_each)).items():
            print(f"{name:<50} {figure:.6g}")
