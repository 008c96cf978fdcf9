"""What the workers are made to suffer. Workers import this module by name: only the standard library here."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from pathlib import Path
from typing import Any, NoReturn

_children: list[Any] = []
DEATHS = ("exit", "segfault", "abort", "kill")


def note(path: str, text: object) -> None:
    """Append one line, in one write: any number of processes may do so at once."""
    fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    try:
        os.write(fd, f"{text}\n".encode())
    finally:
        os.close(fd)


def noted(path: str) -> list[str]:
    return Path(path).read_text().split() if Path(path).exists() else []


def exists(pid: int) -> bool:
    """Tell whether there is such a process, be it a zombie."""
    return os.path.exists(f"/proc/{pid}")


def die(how: str) -> NoReturn:
    """End this process as `how` says, without a clean-up."""
    if how == "exit":
        os._exit(7)
    if how == "abort":
        no_core_file()
        os.abort()
    if how == "segfault":
        no_core_file()
        ctypes.string_at(0)
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("still here")


def no_core_file() -> None:
    import resource

    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))


def note_and_die(path: str, text: object, how: str) -> None:
    note(path, text)
    die(how)


def note_and_return(path: str, text: object) -> object:
    note(path, text)
    return text


def note_and_wait(path: str, text: object, gate: str) -> object:
    """Note the start, with the worker's pid, then wait until the file `gate` is there."""
    note(path, f"{text}:{os.getpid()}")
    while not os.path.exists(gate):
        time.sleep(0.005)
    return text


def pid() -> int:
    return os.getpid()


def double(number: int) -> int:
    return number * 2


def hang() -> None:
    while True:
        time.sleep(1000)


def hang_whatever_is_asked() -> None:
    """Hang, and swallow each ask to stop: only killing its worker ends it."""
    while True:
        try:
            hang()
        except BaseException:
            pass


def start_grandchild(path: str, seconds: int = 1000) -> int:
    """Start a process of the worker's own, note its pid and let it be."""
    import subprocess

    child = subprocess.Popen(["/bin/sleep", str(seconds)])  # holds none of the worker's descriptors
    _children.append(child)
    note(path, child.pid)
    return child.pid


def environment(name: str) -> str | None:
    return os.environ.get(name)


def get_mark() -> Any:
    return getattr(sys, "unified_exec_mark", None)


def set_mark(*values: object) -> None:
    sys.unified_exec_mark = values  # type: ignore[attr-defined]


def fail_to_start(what: str) -> None:
    raise ValueError(what)


def grow(megabytes: int) -> int:
    sys.unified_exec_ballast = b"x" * (megabytes << 20)  # type: ignore[attr-defined]
    return os.getpid()


class Trap:
    """An object that does `what` at a point of its journey.

    Args:
        where: "pickle" or "unpickle".
        what: "error", "sys.exit", "interrupt", or one of `DEATHS`.
        home: process id in which nothing happens, 0 for none.
    """

    def __init__(self, where: str, what: str, home: int = 0) -> None:
        self.where = where
        self.what = what
        self.home = home

    def __reduce__(self) -> Any:
        if self.where == "pickle" and os.getpid() != self.home:
            spring(self.what)
        return rebuild, (self.where, self.what, self.home)


def rebuild(where: str, what: str, home: int) -> Trap:
    if where == "unpickle" and os.getpid() != home:
        spring(what)
    return Trap(where, what, home)


def spring(what: str) -> object:
    if what == "error":
        raise ValueError("sprung")
    if what == "sys.exit":
        sys.exit(3)
    if what == "interrupt":
        raise KeyboardInterrupt
    die(what)


def make_trap(where: str, what: str) -> Trap:
    return Trap(where, what)


def take(thing: object) -> str:
    return type(thing).__name__
