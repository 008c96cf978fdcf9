"""The keeper of an agent: a tiny process that kills the agent's workers if the agent stops running, as by SIGSTOP.

It has a duplicate of the agent's end of each worker's lifeline. One byte on a lifeline makes the kernel kill that
worker's process group, in whatever call it is. The keeper exits with its agent.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import weakref

_PROGRAM = """
import select, socket, sys
beats, patience, ends = socket.socket(fileno=0), float(sys.argv[1]), []
def kill():
    for end in ends:
        try: end.send(b"x")
        except OSError: pass
while True:
    if not select.select([beats], [], [], patience)[0]:
        kill()
        beats.recv(1, socket.MSG_PEEK)
        continue
    data, fds, _, _ = socket.recv_fds(beats, 1, 8)
    if not data:  # the agent has exited, and these duplicates must not keep its workers alive
        kill()
        break
    ends += [socket.socket(fileno=fd) for fd in fds]
    for end in ends[:]:
        try:
            if end.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b"": ends.remove(end); end.close()
        except BlockingIOError: pass
        except OSError: ends.remove(end); end.close()
"""


class Keeper:
    """The agent's end. If the keeper is killed, the next `beat` starts another one.

    Args:
        patience: seconds without a beat after which the workers are killed.
    """

    def __init__(self, patience: float) -> None:
        self._patience = patience
        self._lifelines: weakref.WeakSet[socket.socket] = weakref.WeakSet()
        self._start()

    def _start(self) -> None:
        self._beats, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._beats.setblocking(False)
        with its:
            command: list[str] = [sys.executable, "-I", "-S", "-c", _PROGRAM, str(self._patience)]
            self._process: subprocess.Popen[bytes] = subprocess.Popen(
                command, stdin=its.fileno(), start_new_session=True
            )
        for lifeline in list(self._lifelines):
            self._hand_over(lifeline)

    def beat(self) -> None:
        """Note that the agent's event loop runs."""
        try:
            self._beats.send(b".")
        except BlockingIOError:
            return
        except OSError:
            self.close()
            self._start()

    def watch(self, lifeline: socket.socket) -> None:
        """Kill the worker at the other end if the beats stop."""
        self._lifelines.add(lifeline)
        self._hand_over(lifeline)

    def _hand_over(self, lifeline: socket.socket) -> None:
        if lifeline.fileno() < 0:
            return
        try:
            socket.send_fds(self._beats, [b"+"], [lifeline.fileno()])
        except OSError:
            pass  # it was killed: the next beat starts another one

    def close(self) -> None:
        """End it."""
        self._beats.close()
        if self._process.poll() is None:
            self._process.wait()

    @property
    def pid(self) -> int:
        return self._process.pid
