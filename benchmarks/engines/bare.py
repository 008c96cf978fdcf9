"""What the machine itself allows: the least code that can do a row's work. References, not peers."""

from __future__ import annotations

import asyncio
import os
import pickle
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from time import perf_counter
from typing import Any

from ..child import start_program
from ..row import Contender, Settings
from .engine import WORKERS, Batch, Calls, Engine, Plan, drive

_ANSWER = """
import pickle, socket, sys
from benchmarks import work
sock = socket.socket(fileno=int(sys.argv[1]))
while message := sock.recv(1 << 20):
    fn, args = pickle.loads(message)
    sock.send(pickle.dumps(fn(*args), 5))
"""


async def _ping_pong() -> AsyncIterator[Calls]:
    """asyncio, a socketpair and pickle, nothing else: one reader that stays registered, a future for each call.

    SOCK_SEQPACKET preserves message boundaries, so that neither side adds frames. A call is written and an answer read
    with one system call each, and the child blocks in `recv`.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    child = start_program(_ANSWER, str(theirs.fileno()), fds=(theirs.fileno(),))
    theirs.close()
    ours.setblocking(False)
    loop = asyncio.get_running_loop()
    waiting: list[asyncio.Future[Any]] = []
    buffer = bytearray(1 << 20)
    view = memoryview(buffer)

    def on_answer() -> None:
        size = ours.recv_into(buffer)
        waiting.pop().set_result(pickle.loads(view[:size]))

    def one(fn: Callable[..., Any], args: tuple[Any, ...]) -> asyncio.Future[Any]:
        future = loop.create_future()
        waiting.append(future)
        ours.send(pickle.dumps((fn, args), 5))
        return future

    async def many(fn: Callable[..., Any], args: tuple[Any, ...], count: int) -> None:
        for _ in range(count):
            await one(fn, args)

    loop.add_reader(ours.fileno(), on_answer)
    try:
        yield Calls(one, many)
    finally:
        loop.remove_reader(ours.fileno())
        ours.close()
        child.wait()


PING_PONG = Engine("bare ping-pong", _ping_pong, peer=False, only="asyncio")


def sharing(name: str, processes: int, plan: Callable[[Settings], Plan]) -> Contender:
    """Return bare processes that share the calls of `benchmarks.work.count`, performing `plan`; see `share`."""

    def timed(batch: Batch) -> tuple[float, Any]:
        if not batch.together or batch.fn.__name__ != "count":
            return 0.0, None  # warm-up: these processes are started for each batch, before it is timed
        return share(batch.args * batch.calls, processes), None

    return Contender(name, lambda settings: drive(plan(settings), timed), peer=False)


_SHARE = """
import os, sys
from benchmarks import work
tickets, done = int(sys.argv[1]), int(sys.argv[2])
os.write(done, b'r')
while ticket := os.read(tickets, 4):
    work.count(int.from_bytes(ticket, 'little'))
os.write(done, b'd')
"""

_GENERATE = """
import os, pickle, sys
items, go = int(sys.argv[1]), int(sys.argv[3])
with os.fdopen(int(sys.argv[2]), 'wb') as pipe:
    os.read(go, 1)
    for first in range(0, items, 100):
        pickle.dump(list(range(first, min(first + 100, items))), pipe, 5)
        pipe.flush()
"""


def share(turns: Sequence[int], processes: int = WORKERS) -> float:
    """Return the seconds that bare processes need for calls of `benchmarks.work.count`.

    Each process reads the next call from one shared pipe when it is free, so that they share the work ideally even on
    an uneven machine.
    """
    take, put = os.pipe()
    read, write = os.pipe()
    children = [start_program(_SHARE, str(take), str(write), fds=(take, write)) for _ in range(processes)]
    os.close(take)
    os.close(write)
    _read_all(read, processes)
    began = perf_counter()
    for each in turns:
        os.write(put, each.to_bytes(4, "little"))
    os.close(put)
    _read_all(read, processes)
    seconds = perf_counter() - began
    os.close(read)
    for child in children:
        child.wait()
    return seconds


def receive(items: int) -> float:
    """Return the seconds to read integers from a bare process that writes them to a pipe, pickled in lists of 100."""
    read, write = os.pipe()
    go_read, go = os.pipe()
    child = start_program(_GENERATE, str(items), str(write), str(go_read), fds=(write, go_read))
    os.close(write)
    os.close(go_read)
    count = 0
    with os.fdopen(read, "rb") as pipe:
        began = perf_counter()
        os.write(go, b"g")
        while count < items:
            for _ in pickle.load(pipe):
                count += 1
        seconds = perf_counter() - began
    os.close(go)
    child.wait()
    return seconds


def _read_all(fd: int, size: int) -> None:
    while size:
        data = os.read(fd, size)
        if not data:
            raise RuntimeError("a bare process exited early")
        size -= len(data)
