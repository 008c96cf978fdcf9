"""The socket through which a viewer looks at this program: without a name, for the same user and root only.

On Linux a socket that was bound and unlinked can still be reached, as ``/proc/PID/fd/N``: the kernel lets nobody in who
could not read that process's memory, and when the process has ended, however it did, nothing is left.
"""

from __future__ import annotations

import logging
import os
import time
from _thread import allocate_lock, get_native_id, start_new_thread
from collections.abc import Callable
from typing import TYPE_CHECKING

from ..._platform.posix import StandardTaken
from . import named

if TYPE_CHECKING:
    import socket

FOLDERS = ("XDG_RUNTIME_DIR", "TMPDIR")
BACKLOG = 4
GONE_SECONDS = 0.05


class Door:
    """The listening socket and the thread that answers.

    Attributes:
        listener: the descriptor of the socket; not a socket object, which would warn at exit that it is open. -1 until
            the thread has made it.
        inode: a descriptor that keeps the unlinked socket reachable; -1 until then, and where sockets have names.
        wake_read, wake_write: a pipe that wakes the thread.
    """

    def __init__(self) -> None:
        self.listener = self.inode = -1
        self._name = named.Name() if named.USED else None
        with StandardTaken():
            self.wake_read, self.wake_write = os.pipe()
        os.set_blocking(self.wake_read, False)
        os.set_blocking(self.wake_write, False)
        self._thread: int | None = None
        self._stopped = allocate_lock()
        self._stopping = False

    @property
    def descriptors(self) -> frozenset[int]:
        return frozenset((self.listener, self.inode, self.wake_read, self.wake_write))

    def start(self, serve: Callable[[Door], object]) -> None:
        """Call ``serve(self)`` in a thread. It is one of `_thread`: nothing that counts a program's threads sees it."""
        self._stopping = False
        self._stopped.acquire()
        try:
            start_new_thread(self._run, (serve,))
        except BaseException:
            self._stopped.release()
            raise

    def _run(self, serve: Callable[[Door], object]) -> None:
        self._thread = get_native_id()
        try:
            if self.listener < 0:  # not on the event loop's thread: a file system may be slow
                with StandardTaken():
                    self.listener, self.inode = _listen(self._name)
            serve(self)
        except OSError as error:
            logging.getLogger("unified_exec").debug("this program cannot be looked at: %s", error)
        finally:
            self._stopped.release()

    def stop(self) -> None:
        """End the thread, and wait until the system has forgotten it: a fork warns of every thread there is."""
        self._stopping = True
        self.wake()
        self._stopped.acquire()
        self._stopped.release()
        wait_for_end_of(self._thread or 0)

    @property
    def stopping(self) -> bool:
        return self._stopping

    def wake(self) -> None:
        """Have the thread look at what there is to do; from any thread."""
        try:
            os.write(self.wake_write, b"x")
        except OSError:
            pass  # it is full: the thread will wake

    def close(self) -> None:
        """Close the descriptors; in a forked child, where they are the parent's."""
        for fd in (self.listener, self.inode, self.wake_read, self.wake_write):
            if fd >= 0:
                os.close(fd)


def wait_for_end_of(thread: int) -> None:
    """Wait until the system has forgotten a thread, by its native id, that is about to end; 0 is none."""
    until = time.monotonic() + GONE_SECONDS
    while thread and os.path.exists(f"/proc/self/task/{thread}") and time.monotonic() < until:
        time.sleep(0.0002)


def _listen(name: named.Name | None) -> tuple[int, int]:
    import socket

    sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    sock.setblocking(False)
    try:
        if name is not None:
            name.listen(sock, BACKLOG)
            return sock.detach(), -1
        os.fchmod(sock.fileno(), 0o600)  # before it is bound: the inode is made with this mode
        path = _bind(sock)
        try:
            sock.listen(BACKLOG)  # first: by the inode it is found
            inode = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
        finally:
            os.unlink(path)
    except BaseException:
        sock.close()
        raise
    return sock.detach(), inode


def _bind(sock: socket.socket) -> str:
    """Bind to a name that nobody could foresee, in the first folder that allows it."""
    name = f"unified_exec-{os.getpid()}-{os.urandom(8).hex()}.sock"
    failed: OSError | None = None
    for folder in (*(os.environ.get(variable) for variable in FOLDERS), "/tmp", "/dev/shm"):
        if folder:
            try:
                sock.bind(os.path.join(folder, name))
                return os.path.join(folder, name)
            except OSError as error:
                failed = error
    raise failed or OSError("there is no folder for a socket")
