"""The keeper of an agent: a tiny process that kills the agent's workers if the agent stops running, as by SIGSTOP.

It knows each worker by its number and a pidfd. It must not hold the agent's end of a lifeline: then the workers of a
killed agent would run on until the keeper is scheduled, or has even started. Only where there are no pidfds it has a
duplicate of that end: one byte written to it kills the process group of the worker. The keeper exits with its agent.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import weakref
from contextlib import suppress

from .._pools.process.child import Child

_PROGRAM = """
import _signal, os, select, socket, sys
beats, patience, workers = socket.socket(fileno=0), float(sys.argv[1]), {}
def is_left(fd, pid):
    if not pid: return not select.select([fd], [], [], 0)[0]
    try: _signal.pidfd_send_signal(fd, 0)  # until it is reaped, nobody else has its number
    except OSError: return False
    return True
def kill():
    for fd, pid in workers.items():
        if not is_left(fd, pid): continue
        try: os.killpg(pid, 9) if pid else os.write(fd, b"x")
        except OSError: pass
        try: pid and _signal.pidfd_send_signal(fd, 9)
        except OSError: pass
while True:
    if not select.select([beats], [], [], patience)[0]:
        kill()
        beats.recv(1, socket.MSG_PEEK)
        continue
    data, fds, _, _ = socket.recv_fds(beats, 32, 8)
    if not data:
        kill()
        break
    for fd in fds: workers[fd] = int(data)
    for fd in [fd for fd, pid in workers.items() if not is_left(fd, pid)]: os.close(fd); del workers[fd]
"""


class Keeper:
    """The agent's end. If the keeper is killed, the next `beat` starts another one.

    Args:
        patience: seconds without a beat after which the workers are killed.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._workers: weakref.WeakKeyDictionary[socket.socket, tuple[int, int | None]] = weakref.WeakKeyDictionary()
        self._start()

    def _start(self) -> None:
        self._beats, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._beats.setblocking(False)
        with its:
            command: list[str] = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(self._patience)]
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                command, stdin=its.fileno(), start_new_session=True
            )
        self._untold = list(self._workers)
        self._tell()

    def beat(self) -> None:
        """Note that the agent's event loop runs."""
        try:
            self._beats.send(b".")
        except OSError:  # it was killed, or has read nothing for minutes
            self.close()
            with suppress(OSError):  # no process or descriptor is left: the next beat tries again
                self._start()
        else:
            self._tell()

    def watch(self, worker: Child) -> None:
        """Kill the worker if the beats stop. Give it no task before."""
        self._workers[worker.lifeline] = worker.pid, worker.pidfd
        self._untold.append(worker.lifeline)
        self._tell()

    def _tell(self) -> None:
        """Hand over the workers that the keeper does not know."""
        with suppress(OSError):  # it has much to read, and the next beat goes on here; or it was killed
            while self._untold:
                self._hand_over(self._untold[-1])
                self._untold.pop()

    def _hand_over(self, lifeline: socket.socket) -> None:
        if lifeline.fileno() < 0:
            return  # it was reaped
        pid, pidfd = self._workers[lifeline]
        message = (0, lifeline.fileno()) if pidfd is None else (pid, pidfd)
        socket.send_fds(self._beats, [b"%d" % message[0]], [message[1]])

    def close(self) -> None:
        """End it."""
        self._beats.close()
        self._process.kill()  # it may be stopped
        self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid
