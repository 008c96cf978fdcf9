"""A template: a process that is what a worker is before it knows anything of the program; workers are forked from it.

It runs no code of the program and never has a second thread, so a fork of it inherits no lock that somebody holds.
"""

from __future__ import annotations

import gc
import os
from _socket import socket
from _struct import Struct
from mmap import mmap

from .._platform.shared_memory import close_all
from .._tasks import parent
from .connection import HAS_SETTINGS, receive_all
from .settings import CONTROL_FD, STATUS_FD, STATUS_SIZE

NUMBER = Struct("<q")
"""A request begins with a process id: of the program, with the descriptors of a worker that is to be forked, and the
numbers that it wants them to have; or of a worker that has ended and is to be reaped. The answer is the process id of
the new worker, or an error number, negative; or an exit code."""
_REQUEST_MAX = 64


def serve() -> None:
    """Serve the program's requests; returns in each forked worker, and never in the template."""
    with mmap(STATUS_FD, STATUS_SIZE) as status:
        status[HAS_SETTINGS] = 1  # ready
    control = socket(fileno=CONTROL_FD)
    buffer = bytearray(_REQUEST_MAX)
    gc.freeze()  # the collector of a worker would write to every object, and so copy it
    while True:
        size, fds = receive_all(control, buffer)
        if not size:
            os._exit(0)
        (number,) = NUMBER.unpack_from(buffer)
        if not fds:
            answer = os.waitstatus_to_exitcode(os.waitpid(number, 0)[1])
        else:
            answer = _fork()
            if not answer:
                parent.pid = number
                control.detach()
                for fd, wanted in zip(fds, buffer[NUMBER.size : size], strict=True):
                    os.dup2(fd, wanted)
                    os.close(fd)
                return
            close_all(fds)
        control.send(NUMBER.pack(answer))


def _fork() -> int:
    """Fork; 0 in the worker, which leads a process group, a negative error number if the system refuses."""
    try:
        pid = os.fork()
    except OSError as exc:
        return -(exc.errno or 1)
    try:
        os.setpgid(pid, pid)  # on both sides: the program may kill the group as soon as it knows it
    except OSError:
        pass  # it has ended
    return pid
