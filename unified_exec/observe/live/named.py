"""The socket of a program where one without a name cannot be reached: a name in a folder of the user."""

from __future__ import annotations

import atexit
import os
import re
import stat
from _thread import allocate_lock
from collections.abc import Iterator
from typing import TYPE_CHECKING

from ..._platform import posix

if TYPE_CHECKING:
    import socket

USED = posix.PLAIN or not os.path.isdir("/proc/self/fd")
"""Programs are found by the names of their sockets."""

NAME = re.compile(r"(\d{1,10})\.(?:sock|new)")
PATH_MAX = 103
"""Bytes that the path of a socket may have everywhere."""


def folder() -> str:
    """The folder for the sockets of this user: below the user's runtime folder, or else the temporary one."""
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    if runtime:
        return os.path.join(runtime, "unified_exec")
    import tempfile  # the first scope of every program loads this file

    return os.path.join(tempfile.gettempdir(), f"unified_exec-{os.geteuid()}")


def sockets() -> Iterator[tuple[int, str]]:
    """Find the sockets of the running programs of this user. Those of programs that have ended are removed."""
    path = folder()
    try:
        _check(path)
        names = os.listdir(path)
    except OSError:
        return  # there is none, or it is not ours
    for name in sorted(names):
        found = NAME.fullmatch(name)
        if found is None:
            continue
        pid, place = int(found[1]), os.path.join(path, name)
        if not is_running(pid):
            _remove(place)
        elif name.endswith(".sock"):
            yield pid, place


class Name:
    """The name of this program's socket. It goes when the program ends, also when it is being given at that moment."""

    def __init__(self) -> None:
        self._pid = os.getpid()
        self._place = ""
        self._lock = allocate_lock()
        self._ended = False
        atexit.register(self._remove)

    def listen(self, sock: socket.socket, backlog: int) -> str:
        """Give a socket its name, for this user alone, and remove what ended programs have left.

        It has its name once it listens, so that a viewer which finds it can connect.

        Raises:
            OSError: the folder cannot be made, is not this user's alone, or its path is too long; or the program ends.
        """
        place = os.path.join(folder(), f"{self._pid}.sock")
        if len(os.fsencode(place)) > PATH_MAX:
            raise OSError(f"the path is too long for a socket: {place}")
        with self._lock:
            if self._ended:
                raise OSError("the program ends")
            self._place = place
            try:
                _bind(sock, place)
            except FileNotFoundError:  # a program that ended just then has removed the folder
                _bind(sock, place)
            sock.listen(backlog)
            os.replace(_unfinished(place), place)
        return place

    def _remove(self) -> None:
        if os.getpid() != self._pid:
            return  # a forked child leaves its parent's
        with self._lock:
            self._ended = True
            if self._place:
                _remove(_unfinished(self._place))
                _remove(self._place)
                try:
                    os.rmdir(os.path.dirname(self._place))
                except OSError:
                    pass  # others are in it


def _bind(sock: socket.socket, place: str) -> None:
    path = os.path.dirname(place)
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        pass
    _check(path)
    for _ in sockets():
        pass
    place = _unfinished(place)
    _remove(place)  # left by an ended program that had the same process id
    sock.bind(place)  # nobody else can enter the folder
    os.chmod(place, 0o600)


def _unfinished(place: str) -> str:
    return f"{place.removesuffix('.sock')}.new"


def is_running(pid: int) -> bool:
    """Tell whether there is a process of that number."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        pass
    return True


def _check(path: str) -> None:
    """Make sure that nobody else can put anything into the folder."""
    found = os.lstat(path)
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o077:
        raise PermissionError(f"{path} is not a folder of this user alone")


def _remove(place: str) -> None:
    try:
        os.unlink(place)
    except OSError:
        pass
