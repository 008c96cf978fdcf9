"""What the machine itself allows: the least code that could do a row's work. References, not peers."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path
from time import perf_counter
from typing import Any

from ..model import Settings
from .base import WORKERS, AsyncioEngine, Batch, Engine, Plan, perform_async, perform_sync

_ROOT = str(Path(__file__).parents[2])


def start(program: str, *args: str, fds: tuple[int, ...] = ()) -> subprocess.Popen[bytes]:
    """Start a bare interpreter that can import the benchmarks."""
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([_ROOT, os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen(
        [sys.executable, "-c", program, *args], pass_fds=fds, env=environment, stdin=subprocess.DEVNULL
    )


_ANSWER = """
import pickle, socket, sys
from benchmarks import work
sock = socket.socket(fileno=int(sys.argv[1]))
while message := sock.recv(1 << 20):
    fn, args = pickle.loads(message)
    sock.send(pickle.dumps(fn(*args), 5))
"""


class PingPong(AsyncioEngine):
    """asyncio, a socketpair and pickle, and nothing else: one reader that stays registered, a future for each call.

    SOCK_SEQPACKET keeps the messages apart, so that neither side frames them. A call is written and an answer read
    with one system call each, and the child blocks in `recv`.
    """

    name = "bare ping-pong"
    peer = False

    async def serve(self, plan: Plan) -> float:
        ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        child = start(_ANSWER, str(its.fileno()), fds=(its.fileno(),))
        its.close()
        ours.setblocking(False)
        loop = asyncio.get_running_loop()
        waiting: list[asyncio.Future[Any]] = []
        buffer = bytearray(1 << 20)
        view = memoryview(buffer)

        def answered() -> None:
            size = ours.recv_into(buffer)
            waiting.pop().set_result(pickle.loads(view[:size]))

        async def timed(batch: Batch) -> tuple[float, Any]:
            fn, args, value = batch.fn, batch.args, None
            began = perf_counter()
            for _ in range(batch.calls):
                future = loop.create_future()
                waiting.append(future)
                ours.send(pickle.dumps((fn, args), 5))
                value = await future
            return perf_counter() - began, value

        loop.add_reader(ours.fileno(), answered)
        try:
            return await perform_async(plan, timed)
        finally:
            loop.remove_reader(ours.fileno())
            ours.close()
            child.wait()


_SHARE = """
import os, sys
from benchmarks import work
tickets, done, turns = int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
os.write(done, b'r')
while os.read(tickets, 1):
    work.count(turns)
    os.write(done, b'd')
"""


class TwoProcesses(Engine):
    """Two bare processes that share the calls ideally: each takes the next ticket out of one pipe when it is free.

    Only for batches of `benchmarks.work.count` given out together, which is all it is needed for.
    """

    name = "two bare processes"
    peer = False

    def __init__(self, processes: int = WORKERS) -> None:
        self.processes = processes
        if processes == 1:
            self.name = "one bare process"

    def perform(self, plan: Plan, settings: Settings) -> float:
        return perform_sync(plan, self._timed)

    def _timed(self, batch: Batch) -> tuple[float, Any]:
        if not batch.together or batch.fn.__name__ != "count":
            return 0.0, None  # warming up: these processes are started for each batch, before it is timed
        (turns,) = batch.args
        take, put = os.pipe()
        read, write = os.pipe()
        children = [start(_SHARE, str(take), str(write), str(turns), fds=(take, write)) for _ in range(self.processes)]
        os.close(take)
        os.close(write)
        read_all(read, self.processes)
        began = perf_counter()
        os.write(put, b"t" * batch.calls)
        read_all(read, batch.calls)
        seconds = perf_counter() - began
        os.close(put)
        for child in children:
            child.wait()
        os.close(read)
        return seconds, None


def read_all(fd: int, size: int) -> None:
    """Read so many bytes."""
    while size:
        data = os.read(fd, size)
        if not data:
            raise RuntimeError("a bare process has ended early")
        size -= len(data)
