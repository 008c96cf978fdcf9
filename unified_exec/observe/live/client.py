"""The viewer's side: find the programs that can be looked at, and ask one. It trusts nothing of what it reads."""

from __future__ import annotations

import os
import re
import socket
import time
from collections.abc import Iterator
from typing import Any, NamedTuple

from . import named
from .protocol import ANSWER_MAX, VERSION, BadMessage, pack, take
from .samples import usage

LINK = re.compile(r"/unified_exec-\d+-[0-9a-f]{16}\.sock(?: \(deleted\))?$")
SECONDS = 10.0
JUST_BEGUN = 0.5

NO_SOCKET = (
    "has no socket to look through: it has not entered a TaskScope, uses an older unified_exec, or runs with "
    "UNIFIED_EXEC_OBSERVE=0"
)


class CannotLook(Exception):
    """The program cannot be looked at; the text says why and what to do."""


class Program(NamedTuple):
    """A program that can be looked at.

    Attributes:
        pid: its process id, as seen from here.
        path: the path of its socket.
    """

    pid: int
    path: str


def programs() -> list[Program]:
    """Find the programs of this user (for root: of all) that have a door."""
    if named.USED:
        return [Program(pid, path) for pid, path in named.sockets()]
    found: list[Program] = []
    seen: set[int] = set()
    for pid in sorted(int(name) for name in os.listdir("/proc") if name.isdigit()):
        for path, inode in _doors(pid):
            if inode not in seen:  # a child that was forked by C code has inherited the descriptor
                seen.add(inode)
                found.append(Program(pid, path))
    return found


def command(pid: int) -> str:
    """The command line of a process; "" if it has ended."""
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            return file.read().replace(b"\0", b" ").decode("utf-8", "replace").strip()
    except OSError:
        return "" if not named.USED or not named.is_running(pid) else "?"


def named_so(text: str) -> int:
    """The process id of the one program whose command line contains a text.

    Raises:
        CannotLook: there is none, or more than one.
    """
    found = [program.pid for program in programs() if program.pid != os.getpid() and text in command(program.pid)]
    if not found:
        raise CannotLook(f"no program that can be looked at has {text!r} in its command line")
    if len(found) > 1:
        raise CannotLook(f"several programs have {text!r} in their command lines: {', '.join(map(str, found))}")
    return found[0]


def _doors(pid: int) -> Iterator[tuple[str, int]]:
    folder = f"/proc/{pid}/fd"
    try:
        names = os.listdir(folder)
    except OSError:
        return  # another user's, or gone
    for name in names:
        path = f"{folder}/{name}"
        try:
            if LINK.search(os.readlink(path)):
                yield path, os.stat(path).st_ino
        except OSError:
            continue


def find(pid: int) -> Program:
    """Find one program.

    Raises:
        CannotLook: there is no such program, it is another user's, or it has no door.
    """
    if named.USED:
        return _find_by_name(pid)
    until = time.monotonic() + JUST_BEGUN
    while True:
        for path, _ in _doors(pid):
            return Program(pid, path)
        if time.monotonic() > until or not os.access(f"/proc/{pid}/fd", os.R_OK):
            break
        time.sleep(JUST_BEGUN / 20)  # its thread makes the socket a moment after the first scope was entered
    if not os.path.exists(f"/proc/{pid}"):
        raise CannotLook(f"there is no process {pid}")
    if not os.access(f"/proc/{pid}/fd", os.R_OK):
        raise CannotLook(f"process {pid} belongs to another user: only that user and root may look at it")
    raise CannotLook(f"process {pid} {NO_SOCKET}")


def _find_by_name(pid: int) -> Program:
    until = time.monotonic() + JUST_BEGUN
    while named.is_running(pid):
        for found, path in named.sockets():
            if found == pid:
                return Program(pid, path)
        if time.monotonic() > until:
            raise CannotLook(f"process {pid} {NO_SOCKET}, or belongs to another user")
        time.sleep(JUST_BEGUN / 20)
    raise CannotLook(f"there is no process {pid}")


def is_stopped(pid: int) -> bool:
    """Tell whether a process was stopped, by Ctrl-Z or a signal; ``False`` where the system does not tell."""
    return usage(pid).state in ("T", "t")


def _silent(pid: int) -> str:
    if is_stopped(pid):
        return f"process {pid} is stopped, as by Ctrl-Z or a debugger; `kill -CONT {pid}` lets it go on"
    return (
        f"process {pid} does not answer: the machine is busy, or code that holds the GIL keeps Python from running "
        f"there; `py-spy dump --native --pid {pid}` shows which"
    )


class Connection:
    """A conversation with one program. Use it in a ``with`` block.

    Attributes:
        hello: what the program said first.

    Raises:
        CannotLook: it refuses, or speaks another version.
    """

    def __init__(self, program: Program, seconds: float | None = None) -> None:
        self._pid = program.pid
        self._seconds = seconds = SECONDS if seconds is None else seconds
        self._buffer = bytearray()
        self._sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self._sock.settimeout(seconds)
        try:
            self._sock.connect(program.path)
            self.hello = self.receive()
            if self.hello.get("v") != VERSION:
                raise CannotLook(
                    f"process {program.pid} speaks version {self.hello.get('v')!r}, this viewer {VERSION}: use the "
                    "program's own unified-exec"
                )
        except BaseException as error:
            self._sock.close()
            if isinstance(error, OSError):
                late = isinstance(error, TimeoutError)
                what = _silent(program.pid) if late else f"process {program.pid} does not answer: {error}"
                raise CannotLook(what) from None
            raise

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, kind: object, exc: object, tb: object) -> None:
        self._sock.close()

    def send(self, **request: Any) -> None:
        try:
            self._sock.sendall(pack(request))
        except OSError as error:
            raise CannotLook(f"the program has gone: {error}") from None

    def receive(self, seconds: float | None = None) -> dict[str, Any]:
        """Wait for one message.

        Raises:
            CannotLook: the program has gone, says that something failed, or sent nonsense.
        """
        until = time.monotonic() + (self._seconds if seconds is None else seconds)
        try:
            while (message := take(self._buffer, ANSWER_MAX)) is None:
                self._sock.settimeout(max(0.01, until - time.monotonic()))
                data = self._sock.recv(1 << 16)
                if not data:
                    raise CannotLook("the program has gone")
                self._buffer += data
        except BadMessage as error:
            raise CannotLook(f"the program sent {error}") from None
        except TimeoutError:
            raise
        except OSError as error:
            raise CannotLook(f"the program has gone: {error}") from None
        if message.get("type") == "error":
            raise CannotLook(f"the program refuses: {message.get('what')}")
        return message

    def tree(self, stacks: str = "mine") -> dict[str, Any]:
        self.send(type="tree", stacks=stacks)
        try:
            tree = self.receive()["tree"]
        except TimeoutError:
            raise CannotLook(_silent(self._pid)) from None
        if not isinstance(tree, dict):
            raise CannotLook("the program sent no tree")
        return tree
