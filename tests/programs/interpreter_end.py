"""A program that ends while the workers of an `InterpreterPool` are in the state that its argument names."""

from __future__ import annotations

import atexit
import os
import select
import sys
import threading
import time
from collections.abc import Callable

import anyio

from unified_exec import Cancelled, TaskScope

started = threading.Event()


def twice(n: int) -> int:
    return 2 * n


def spin(begun: int) -> None:
    os.write(begun, b".")
    while True:
        try:
            while True:
                pass
        except Cancelled:
            pass  # so it is still busy when the program ends


def spin_in_a_thread(begun: int) -> None:
    threading.Thread(target=spin, args=(begun,)).start()
    time.sleep(1000)


def sleep(begun: int) -> None:
    os.write(begun, b".")
    time.sleep(1000)


def write(begun: int) -> None:
    while True:
        try:
            while True:
                if select.select([], [begun], [], 0)[1]:
                    os.write(begun, b".")
        except Cancelled:
            pass


def tell_of_writers(reader: int) -> None:
    reads = 0
    while reads < 3 and select.select([reader], [], [], 0.2)[0]:
        os.read(reader, 1 << 20)
        reads += 1
    if reads == 3:
        print("a task still runs")


def count(begun: int) -> int:
    os.write(begun, b".")
    return sum(range(10**12))  # in C, and with the interpreter's lock


async def hold(fn: Callable[[int], object], begun: int) -> None:
    async with TaskScope() as scope:
        for _ in range(2):
            scope.spawn(fn, begun, on="interpreter")
        started.set()
        await anyio.sleep(1000)


async def use() -> None:
    async with TaskScope() as scope:
        for n in range(2):
            scope.spawn(twice, n, on="interpreter")


def main(state: str) -> None:
    if state == "idle":
        anyio.run(use)
    else:
        reader, begun = os.pipe()  # a descriptor is one of the whole process
        if state == "writing":
            atexit.register(tell_of_writers, reader)  # first, so it is called last
        fn = {"sleeping": sleep, "counting": count, "threads": spin_in_a_thread, "writing": write}.get(state, spin)
        threading.Thread(target=anyio.run, args=(hold, fn, begun), daemon=True).start()
        started.wait()
        for _ in range(0 if state == "starting" else 2):
            os.read(reader, 1)
    if state == "error":
        raise ValueError("the program's own")


if __name__ == "__main__":
    main(sys.argv[1])
