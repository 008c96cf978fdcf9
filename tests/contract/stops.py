"""Process tasks that are hard to stop, each in its own way. Files tell how far they came."""

from __future__ import annotations

import asyncio
import ctypes
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio

from unified_exec import Cancelled, is_cancelled


def endless_loop() -> None:
    on = True
    while on:
        pass


def _forever() -> Iterator[int]:
    try:
        while True:
            yield 1
    finally:
        sum((1, 2, 3))


def endless_generator() -> None:
    for _ in _forever():
        pass


def endless_comprehensions() -> None:
    while True:
        [n for n in range(100) if n % 3]


def endless_sleep() -> None:
    time.sleep(3600)


def endless_lock() -> None:
    lock = threading.Lock()
    lock.acquire()
    lock.acquire()


def endless_match() -> None:
    re.match(r"(a+)+b", "a" * 60)


def endless_finalizers() -> None:
    """Nearly all the time is spent where a raise is swallowed."""

    def items() -> Iterator[int]:
        try:
            yield 1
        finally:
            time.sleep(0.002)

    while True:
        next(items())


BODIES: list[Callable[[], None]] = [
    endless_loop,
    endless_generator,
    endless_comprehensions,
    endless_sleep,
    endless_lock,
    endless_match,
    endless_finalizers,
]


def in_a_finally(folder: Path, name: str, body: int) -> None:
    """Runs one of the bodies until it is asked, and notes what it was told."""
    try:
        try:
            (folder / f"{name}.before").write_text(str(is_cancelled()))
            (folder / f"{name}.started").touch()
            BODIES[body]()
        except Cancelled as ask:
            (folder / f"{name}.asked").write_text(f"{is_cancelled()} {ask.reason}")
            raise
    finally:
        (folder / f"{name}.ended").touch()


def deaf(folder: Path, name: str) -> None:
    """Swallows every ask, and has a child of its own."""
    child = subprocess.Popen(["sleep", "3600"])
    (folder / f"{name}.child").write_text(str(child.pid))
    while True:
        try:
            (folder / f"{name}.started").touch()  # in here: an ask that follows at once is swallowed too
            time.sleep(3600)
        except BaseException:
            pass


def in_c(folder: Path, name: str) -> None:
    """One C call that never looks at signals and keeps the GIL."""
    started = shlex.quote(str(folder / f"{name}.started"))
    # Unlike sleep(3), system(3) goes on after a signal. It tells of the start itself: no ask can come before it.
    ctypes.PyDLL(None).system(f"touch {started}; sleep 3600".encode())


def write_slow_module(folder: Path, name: str, end: str = "") -> None:
    """Write the module `slow_module`, whose import waits for the file `name.go` and keeps what is raised in it."""
    (folder / "slow_module.py").write_text(
        f"import os, pathlib\npath = {str(folder / name)!r}\n"
        "pathlib.Path(path + '.pid').write_text(str(os.getpid()))\n"
        "pathlib.Path(path + '.started').touch()\n"
        "try:\n    while not os.path.exists(path + '.go'):\n        pass\n"
        "except BaseException:\n    raise ImportError('half a module') from None\n"
        f"pathlib.Path(path + '.whole').touch()\n{end}\n"
    )
    if str(folder) not in sys.path:
        sys.path.insert(0, str(folder))


def import_that_changes_the_error(folder: Path) -> object:
    write_slow_module(folder, "import")
    return __import__("slow_module")


def in_an_import(folder: Path, name: str, end: str = "", tracer: Any = None) -> None:
    """Imports a module, then runs for ever."""
    write_slow_module(folder, name, end)
    try:
        sys.settrace(tracer)
        try:
            import slow_module  # type: ignore[import-not-found, unused-ignore]  # noqa: F401
        finally:
            sys.settrace(None)
        if tracer is None:
            (folder / f"{name}.after").touch()
        while True:
            pass
    finally:
        (folder / f"{name}.ended").touch()


def no_tracer(frame: object, event: str, arg: object) -> None:
    """A tracer, as a debugger's, that looks at nothing."""


async def blocked_by_an_import(folder: Path, name: str) -> None:
    in_an_import(folder, name)


def in_an_import_by_c(folder: Path, name: str) -> None:
    """The ask comes where C code makes an `ImportError` of every exception."""
    write_slow_module(folder, name)
    ctypes.pythonapi.PyCapsule_Import(b"slow_module.capsule", 0)


class Grave:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __del__(self) -> None:
        self.path.touch()
        while True:
            pass


def in_a_del(folder: Path, name: str) -> None:
    """The first ask lands where Python swallows every exception."""
    try:
        Grave(folder / f"{name}.started")
        while True:
            pass
    finally:
        (folder / f"{name}.ended").touch()


class SlowToRebuild:
    def __init__(self, folder: Path, name: str) -> None:
        self.place = folder, name

    def __reduce__(self) -> tuple[Any, ...]:
        return in_a_finally, (*self.place, 0)


def take(argument: object) -> str:
    return "taken"


def mark(folder: Path, name: str) -> int:
    (folder / f"{name}.started").touch()
    return os.getpid()


def maybe_hold(folder: Path, name: str, held: bool) -> int:
    """Short, but for the one that is held until `name.go` exists."""
    if held:
        (folder / f"{name}.started").touch()
        while not (folder / f"{name}.go").exists():
            time.sleep(0.002)
    return os.getpid()


def fails_in_cleanup(folder: Path, name: str) -> None:
    try:
        (folder / f"{name}.started").touch()
        endless_loop()
    finally:
        raise ValueError("cleanup")


def slow_cleanup(folder: Path, name: str) -> None:
    try:
        (folder / f"{name}.started").touch()
        endless_loop()
    finally:
        (folder / f"{name}.cleaning").touch()
        while not (folder / f"{name}.go").exists():
            time.sleep(0.002)
        (folder / f"{name}.ended").touch()


def tell_who_runs(folder: Path, name: str) -> int:
    """How many of these run at this moment, itself included."""
    own = folder / f"{name}.running"
    own.touch()
    seen = len(list(folder.glob("*.running")))
    own.unlink()
    return seen


def beside_a_closed_pipe(folder: Path, name: str) -> None:
    """As while an event loop closes: signals are to be written where nobody reads any more."""
    near, far = socket.socketpair()
    near.setblocking(False)
    far.close()
    signal.set_wakeup_fd(near.fileno())
    try:
        in_a_finally(folder, name, 0)
    finally:
        signal.set_wakeup_fd(-1)
        near.close()


def in_a_group(folder: Path, name: str, by: str) -> None:
    """Is asked inside of what gathers errors into groups: a task group of an event loop of its own, or plain code."""

    async def main() -> None:
        async with anyio.create_task_group():
            in_a_finally(folder, name, 0)

    if by != "hand":
        anyio.run(main, backend=by)
        return
    try:
        in_a_finally(folder, name, 0)
    except BaseException as error:
        raise BaseExceptionGroup("gathered", [error]) from None


# -- coroutines


async def a_in_a_finally(folder: Path, name: str) -> str:
    try:
        (folder / f"{name}.started").touch()
        while not (folder / f"{name}.go").exists():
            await asyncio.sleep(0.01)
        return name
    except asyncio.CancelledError as ask:
        (folder / f"{name}.asked").write_text(str(ask.args[0] if ask.args else None))
        raise
    finally:
        (folder / f"{name}.ended").touch()


async def a_blocks(folder: Path, name: str) -> None:
    """Keeps the event loop of its worker for itself."""
    in_a_finally(folder, name, 0)


async def a_deaf(folder: Path, name: str) -> None:
    while True:
        try:
            (folder / f"{name}.started").touch()
            time.sleep(3600)
        except BaseException:
            pass


async def a_sleep() -> None:
    await asyncio.sleep(3600)


async def a_pid() -> int:
    return os.getpid()
