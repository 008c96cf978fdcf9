"""Pipes of numbers: slots of a channel, permits of a lock. Each read and write is atomic."""

from __future__ import annotations

import os
import select
import struct

from ..._platform import posix
from ...errors import SerializationError

BATCH = getattr(select, "PIPE_BUF", 512) // 4
"""The most numbers that one read or write of a pipe moves atomically."""

_PAGE_NUMBERS = 1024
_PLAIN_MAX = 4096
_HAS_PIPE_SIZE = False
try:
    import fcntl
    import termios

    _HAS_PIPE_SIZE = hasattr(fcntl, "F_SETPIPE_SZ") and not posix.PLAIN
except ImportError:  # Windows, where nothing is shared with processes
    pass


def make_pipe() -> list[int]:
    """Make a pipe that is never waited for in a read or a write."""
    ends = list(os.pipe())
    for end in ends:
        os.set_blocking(end, False)
    return ends


def make_room(fd: int, capacity: int, what: str) -> None:
    """Make a pipe so large that a write of numbers always finds room.

    A page is freed when it has been read to its end, and a write that does not fit into the last page begins another
    one: the pages that the numbers just fill are not enough.

    Raises:
        SerializationError: the pipes of this system are too small.
    """
    size = 4096 * (2 * -(-capacity // _PAGE_NUMBERS) + 2)
    if not _HAS_PIPE_SIZE:
        enough = capacity <= _PLAIN_MAX
    else:
        if size > fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ):
            try:
                fcntl.fcntl(fd, fcntl.F_SETPIPE_SZ, size)
            except OSError:
                pass  # above the limit of the system, or of the user
        enough = size <= fcntl.fcntl(fd, fcntl.F_GETPIPE_SZ)
    if not enough:
        raise SerializationError(
            what,
            "the pipes of this system are too small for that",
            "choose a smaller capacity",
        )


number_in = struct.Struct("<I").unpack
"""Returns the number of one record, in a tuple."""


def record(number: int) -> bytes:
    return number.to_bytes(4, "little")


def numbers_in(data: bytes) -> list[int]:
    return list(struct.unpack(f"<{len(data) // 4}I", data))


def waiting(fd: int) -> int:
    """How many numbers lie in a pipe."""
    return int(struct.unpack("i", fcntl.ioctl(fd, termios.FIONREAD, b"\0\0\0\0"))[0]) // 4


def drain(fd: int) -> list[int]:
    """Read a pipe to its end."""
    found: list[int] = []
    while True:
        try:
            found += numbers_in(os.read(fd, 4 * BATCH))
        except BlockingIOError:
            return found


def fill(fd: int, numbers: list[int]) -> None:
    for at in range(0, len(numbers), BATCH):
        os.write(fd, b"".join(map(record, numbers[at : at + BATCH])))
