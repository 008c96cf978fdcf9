"""Bare processes for many items: tickets of any length out of one pipe, and pickled batches down another."""

from __future__ import annotations

import os
import pickle
import subprocess
from collections.abc import Sequence
from time import perf_counter

from .bare import read_all, start

_WORK = """
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


def share(turns: Sequence[int], processes: int = 2) -> float:
    """Seconds that bare processes need for calls of `benchmarks.work.count`, each taking the next when it is free."""
    take, put = os.pipe()
    read, write = os.pipe()
    children = [start(_WORK, str(take), str(write), fds=(take, write)) for _ in range(processes)]
    os.close(take)
    os.close(write)
    read_all(read, processes)
    began = perf_counter()
    for each in turns:
        os.write(put, each.to_bytes(4, "little"))
    os.close(put)
    read_all(read, processes)
    seconds = perf_counter() - began
    os.close(read)
    _wait(children)
    return seconds


def receive(items: int) -> float:
    """Seconds to read so many integers from a bare process that sends them down a pipe, pickled by the hundred."""
    read, write = os.pipe()
    go, say = os.pipe()
    child = start(_GENERATE, str(items), str(write), str(go), fds=(write, go))
    os.close(write)
    os.close(go)
    count = 0
    with os.fdopen(read, "rb") as pipe:
        began = perf_counter()
        os.write(say, b"g")
        while count < items:
            for _ in pickle.load(pipe):
                count += 1
        seconds = perf_counter() - began
    os.close(say)
    _wait([child])
    return seconds


def _wait(children: list[subprocess.Popen[bytes]]) -> None:
    for child in children:
        child.wait()
