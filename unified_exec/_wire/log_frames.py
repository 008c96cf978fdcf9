"""What the pipe of a worker's log records carries: pickled tuples, each with its length before it."""

from __future__ import annotations

from _struct import Struct

from .pickling.c_pickle import PROTOCOL, dumps, loads

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any

RECORD, WARNING, CUT = range(3)
"""The first item of a tuple says what it is. RECORD: task id, the values of `FIELDS`, the error, what ``extra=`` added;
WARNING: task id, the warning, file name, line; CUT: pairs of (logger, level) and how many records were dropped."""

FIELDS = (
    "name",
    "msg",
    "levelname",
    "levelno",
    "pathname",
    "filename",
    "module",
    "exc_text",
    "stack_info",
    "lineno",
    "funcName",
    "created",
    "msecs",
    "thread",
    "threadName",
    "process",
    "processName",
    "taskName",
)
"""The attributes of a record that travel as they are."""

RATE = 2000
"""Records a second that one worker sends."""

_LENGTH = Struct("<I")


def framed(items: tuple[Any, ...]) -> bytes:
    data = dumps(items, PROTOCOL)
    return _LENGTH.pack(len(data)) + data


def take_whole(buffer: bytearray, read: Callable[[bytes], Any] = loads) -> Iterator[Any]:
    """Take the complete tuples off the start of `buffer`; each is what `read` makes of its pickle."""
    at = 0
    try:
        while len(buffer) - at >= _LENGTH.size:
            (size,) = _LENGTH.unpack_from(buffer, at)
            start = at + _LENGTH.size
            if len(buffer) - start < size:
                return
            at = start + size
            yield read(memoryview(buffer)[start:at].tobytes())
    finally:
        del buffer[:at]
