"""What functions of a script cost to send. Prints figures as JSON.

``python script_calls.py calls KIND CALLS`` prints the processor time of a call, in program and worker together; KIND is
ours, pickles or loky. ``python script_calls.py first KIND`` prints that of the first pickle (ours, cloudpickle).
"""

from __future__ import annotations

import asyncio
import importlib
import json
import math
import statistics
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from script_tasks import nothing, processor_time, run_pickled

A, B, C, D, E = 1, 2.5, "text", (1, 2), b"bytes"
TABLE = {"a": 1, "b": [1, 2, 3]}
ITEMS = [3, 1, 2]


def one(x: int) -> int:
    return x + A


def two(x: int) -> int:
    return one(x) * 2


class Item:
    def __init__(self, number: int) -> None:
        self.number = number


def alone() -> None:
    pass


def constants() -> object:
    return A, B, C, D, E, math, statistics, one, two, textwrap


def mixed() -> object:
    return A, B, C, D, E, TABLE, ITEMS, one, two, Item


FUNCTIONS: dict[str, Callable[[], object]] = {
    "importable": nothing,
    "no globals": alone,
    "ten constants": constants,
    "ten globals, some mutable": mixed,
}
Run = Callable[..., Any]
MANY = """
class Base{n}:
    LIMIT = {n}
    def __init__(self, x): self.x = x
    def run(self, y): return [self.x + y for _ in range(self.LIMIT)]
    @property
    def double(self): return self.x * 2
class Derived{n}(Base{n}):
    def run(self, y): return super().run(y) + helper{n}(y)
def helper{n}(y): return [y, {n}]
def task{n}(): return Derived{n}(1).run(2), TABLE
"""


@contextmanager
def ours() -> Iterator[Run]:
    from unified_exec import ProcessPool, TaskScope

    async def run(fn: Callable[..., object], args: tuple[object, ...], calls: int) -> object:
        async with TaskScope() as scope:
            for _ in range(calls):
                found = await scope.spawn(fn, *args, on=pool)
        return found

    with asyncio.Runner() as runner, ProcessPool(1) as pool:
        yield lambda fn, *args, calls=1: runner.run(run(fn, args, calls))


@contextmanager
def ours_with_pickles() -> Iterator[Run]:
    """As a program would do it that has no by-value pickling: cloudpickle, once for each call."""
    import cloudpickle

    from unified_exec import ProcessPool, TaskScope

    async def run(fn: Callable[..., object], calls: int) -> object:
        async with TaskScope() as scope:
            for _ in range(calls):
                found = await scope.spawn(run_pickled, cloudpickle.dumps(fn), on=pool)
        return found

    with asyncio.Runner() as runner, ProcessPool(1) as pool:
        yield lambda fn, calls=1: runner.run(run(fn, calls))


@contextmanager
def loky() -> Iterator[Run]:
    from loky import ProcessPoolExecutor

    with ProcessPoolExecutor(1) as executor:

        def run(fn: Callable[..., object], *args: object, calls: int = 1) -> object:
            for _ in range(calls):
                found = executor.submit(fn, *args).result()
            return found

        yield run


def time_calls(run: Run, calls: int) -> dict[str, float]:
    times: dict[str, list[float]] = {name: [] for name in FUNCTIONS}
    for fn in FUNCTIONS.values():
        run(fn, calls=20)
    for _ in range(3):
        for name, fn in FUNCTIONS.items():
            before = time.process_time() + run(processor_time)
            run(fn, calls=calls)
            times[name].append((time.process_time() + run(processor_time) - before) / calls)
    return {name: min(found) for name, found in times.items()}


def time_first(kind: str) -> dict[str, float]:
    """Return the times of importing what pickles by value, and of the first function of a script with 60 classes."""
    importlib.import_module("unified_exec")  # a program that uses it has it already
    exec("".join([MANY.format(n=n) for n in range(30)]), globals())
    began = time.process_time()
    if kind == "ours":
        for name in ("entry_values", "globals_sent"):
            importlib.import_module(f"unified_exec._wire.pickling.{name}")
        from unified_exec._wire.pickling.functions import entry_for as pickle
    else:
        from cloudpickle import dumps as pickle
    imported = time.process_time()
    pickle(globals()["task0"])
    return {"import": imported - began, "": time.process_time() - imported}


def main(what: str, kind: str, calls: str = "") -> None:
    if what == "first":
        print(json.dumps(time_first(kind)))
        return
    with {"ours": ours, "pickles": ours_with_pickles, "loky": loky}[kind]() as run:
        print(json.dumps(time_calls(run, int(calls))))


if __name__ == "__main__":
    main(*sys.argv[1:])
