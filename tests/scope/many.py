"""What the tests of maps, streams, limits and retries run, at each place; and where that is."""

from __future__ import annotations

import os
import signal
import socket
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anyio
import anyio.lowlevel

from tests.contract.tasks import a_hold as a_hold
from tests.contract.tasks import hold as hold
from unified_exec import report


@dataclass(frozen=True)
class Place:
    """Where a function runs, and in which shape."""

    on: str
    coroutine: bool

    def fn(self, plain: Callable[..., Any]) -> Callable[..., Any]:
        twin: Callable[..., Any] = globals()[f"a_{plain.__name__}"] if self.coroutine else plain
        return twin


PLACES = {
    "loop": Place("loop", True),
    "thread": Place("thread", False),
    "process": Place("process", False),
    "process-coroutine": Place("process", True),
}


def double(x: int) -> int:
    return 2 * x


async def a_double(x: int) -> int:
    await anyio.lowlevel.checkpoint()
    return 2 * x


def half(x: int) -> int:
    return x // 2


def fail_at_three(x: int) -> int:
    if x == 3:
        raise ValueError(x)
    return x


async def a_fail_at_three(x: int) -> int:
    return fail_at_three(x)


def fail_odd(x: int) -> int:
    if x % 2:
        raise ValueError(x)
    return x


async def a_fail_odd(x: int) -> int:
    return fail_odd(x)


def tell_run(folder: Path, x: object) -> int:
    """Note one run of item `x`; returns which it is."""
    with (folder / f"{x}.runs").open("ab") as file:
        file.write(b".")
        return file.tell()


def runs(folder: Path, x: object) -> int:
    try:
        return (folder / f"{x}.runs").stat().st_size
    except FileNotFoundError:
        return 0


class Gone(Exception):
    """Raised by work that is worth another try."""


def needs(folder: Path, name: str, tries: int) -> str:
    """Succeeds at the `tries`-th try."""
    if tell_run(folder, name) < tries:
        raise Gone(name)
    return name


async def a_needs(folder: Path, name: str, tries: int) -> str:
    await anyio.lowlevel.checkpoint()
    return needs(folder, name, tries)


def crash_first(folder: Path, name: str) -> str:
    if tell_run(folder, name) == 1:
        os.kill(os.getpid(), signal.SIGKILL)
    return name


NONSENSE: list[tuple[Any, ...]] = [
    ("a",),
    (None,),
    (True,),
    (1j,),
    (-1,),
    (float("nan"),),
    (float("inf"),),
    (10**400,),
    (1, "a"),
    (1, float("inf")),
    (1, -1.0),
    (1, 2, 3),
    (1, None, b"a"),
]


def report_nonsense() -> list[str]:
    """What is said of each."""
    said = []
    for args in NONSENSE:
        try:
            report(*args)
        except (TypeError, ValueError) as error:
            said.append(str(error))
    return said


async def a_report_nonsense() -> list[str]:
    return report_nonsense()


def told(n: int) -> int:
    for done in range(n):
        report(done, n, f"step {done}")
    return n


async def a_told(n: int) -> int:
    for done in range(n):
        report(done, n, f"step {done}")
        await anyio.lowlevel.checkpoint()
    return n


def unpicklable(x: int) -> Any:
    return socket.socket() if x == 3 else x


class Home:
    """Can be rebuilt in the process that it was made in alone."""

    def __init__(self, x: int) -> None:
        self.x, self.pid = x, os.getpid()

    def __setstate__(self, state: dict[str, Any]) -> None:
        if state["pid"] != os.getpid():
            raise ValueError("far from home")
        self.__dict__.update(state)


class Parcel:
    def __init__(self, x: int, *content: Any) -> None:
        self.x, self.content = x, content


def parcel(x: int) -> Parcel:
    kinds: dict[int, Any] = {1: Home(x), 4: {"deep": [Home(x)]}, 6: b"." * 70_000}
    return Parcel(x, kinds.get(x), SHARED)


SHARED = [Parcel(0)]


class Chaos:
    """Item by item: return, raise, or take the worker along. Each run is noted."""

    def __init__(self, folder: Path, fates: dict[int, str], recover: bool = False) -> None:
        self.folder = folder
        self.fates = fates
        self.recover = recover

    def run(self, x: int) -> int:
        run = tell_run(self.folder, x)
        fate = self.fates.get(x, "value") if run == 1 or not self.recover else "value"
        if fate == "raise":
            raise Gone(x)
        if fate == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        return x

    async def a_run(self, x: int) -> int:
        await anyio.lowlevel.checkpoint()
        return self.run(x)


def count_to(folder: Path, n: int) -> Iterator[int]:
    """Notes how far it was driven, and its end."""
    try:
        for x in range(n):
            (folder / "driven").write_text(str(x))
            yield x
    finally:
        (folder / "closed").touch()


async def a_count_to(folder: Path, n: int) -> AsyncIterator[int]:
    try:
        for x in range(n):
            (folder / "driven").write_text(str(x))
            yield x
            await anyio.lowlevel.checkpoint()
    finally:
        (folder / "closed").touch()


def three_then_fail(folder: Path) -> Iterator[int]:
    yield from range(3)
    raise Gone("the generator")


async def a_three_then_fail(folder: Path) -> AsyncIterator[int]:
    for x in range(3):
        yield x
    raise Gone("the generator")


def three_then_die(folder: Path) -> Iterator[int]:
    for x in range(3):
        yield x
        if x == 2:
            os.kill(os.getpid(), signal.SIGKILL)


class Source:
    """An endless source that knows how far it was read."""

    def __init__(self, end: int | None = None, error: Exception | None = None) -> None:
        self.read = 0
        self.end = end
        self.error = error

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        if self.end is not None and self.read >= self.end:
            raise self.error or StopIteration
        self.read += 1
        return self.read - 1


class AsyncSource:
    """The same, async."""

    def __init__(self, end: int | None = None, error: Exception | None = None) -> None:
        self.plain = Source(end, error)
        self.closed = False

    def __aiter__(self) -> AsyncIterator[int]:
        return self

    async def __anext__(self) -> int:
        await anyio.lowlevel.checkpoint()
        try:
            return next(self.plain)
        except StopIteration:
            raise StopAsyncIteration from None

    @property
    def read(self) -> int:
        return self.plain.read

    async def aclose(self) -> None:
        self.closed = True


async def never_closed(ends: list[str]) -> AsyncIterator[int]:
    """Endless items; the clean-up hangs and notes in `ends` that it began and that it was cancelled."""
    try:
        while True:
            yield 1  # no `await` between the items: a cancellation finds it suspended here
    finally:
        ends.append("closing")
        try:
            await anyio.sleep_forever()
        except BaseException:
            ends.append("cancelled")
            raise


def unpicklable_items() -> Iterator[Any]:
    yield socket.socket()


def hold_at(folder: Path, name: str, at: int, x: int) -> int:
    """Let the items before `at` pass, hold that one."""
    if x == at:
        hold(folder, name)
    return x


async def a_hold_first(folder: Path, name: str, x: int) -> int:
    await a_hold(folder, name)
    return x


def slow_from(folder: Path, first: int, x: int) -> int:
    """Quick before item `first`; from there on each takes its time and notes where it ran."""
    if x >= first:
        time.sleep(0.05)
        (folder / f"{x}.where").write_text(f"{os.getpid()} {threading.get_ident()}")
    return x


def hold_and_fail(folder: Path, name: str) -> None:
    """Answers the ask to stop with a failure of its own."""
    tell_run(folder, name)
    try:
        hold(folder, name)
    except BaseException:
        raise Gone(name) from None


async def a_hold_and_fail(folder: Path, name: str) -> None:
    tell_run(folder, name)
    try:
        await a_hold(folder, name)
    except BaseException:
        raise Gone(name) from None


def needs_list(folder: Path, items: list[str]) -> list[str]:
    needs(folder, "list", 3)
    return items


def serve(folder: Path, name: str, failures: int) -> str:
    """A service: fails `failures` times, then runs until the test says so."""
    if tell_run(folder, name) <= failures:
        raise Gone(name)
    return hold(folder, name)


async def a_serve(folder: Path, name: str, failures: int) -> str:
    await anyio.lowlevel.checkpoint()
    if tell_run(folder, name) <= failures:
        raise Gone(name)
    return await a_hold(folder, name)


def start_second_slowly(folder: Path) -> None:
    """An initializer of workers: the second one waits until the test says so."""
    if tell_run(folder, "start") == 2:
        while not (folder / "second.go").exists():
            time.sleep(0.002)


def quick_then_waiting(folder: Path, n: int) -> Iterator[int]:
    """After `n` quick items, one that the consumer must take before there is another."""
    yield from range(n)
    time.sleep(0.05)  # the consumer waits meanwhile, and asks in vain
    yield n
    hold(folder, "taken")
    yield n + 1


async def a_quick_then_waiting(folder: Path, n: int) -> AsyncIterator[int]:
    for x in range(n):
        yield x
    await anyio.sleep(0.05)  # as above
    yield n
    await a_hold(folder, "taken")
    yield n + 1


async def collect(stream: Any) -> list[Any]:
    return [each async for each in stream]
