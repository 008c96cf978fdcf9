"""From an outcome to the bytes of its answer. Whatever a task returned or raised, something correct is sent."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from .._platform import shared_memory
from .._wire import frames
from .._wire.errors.encode import encode_error
from .._wire.pickling import codec
from ..errors import SerializationError
from .connection import WorkerConnection


def send(
    link: WorkerConnection,
    task: frames.TaskMessage,
    value: Any,
    error: BaseException | None,
    stopped: bool,
    started: float,
    finished: float,
    leaving: bool,
) -> None:
    """Answer `task` with its value, its error, or the news that it was stopped.

    Raises:
        OSError: the sockets are gone, for instance because the task closed them; the worker must end.
    """
    flags = frames.RETIRING if leaving else 0
    if stopped:
        link.done(task.id, frames.pack_done(task.id, frames.STOPPED, started, finished, b"", flags))
        return
    kind = frames.VALUE
    buffers: Sequence[memoryview] = ()
    if error is None:
        try:
            packed = _packed(value, f"the result of {task.name}()")
            data: bytes = packed.data
            buffers = packed.buffers
        except BaseException as exc:  # also what a __reduce__ of the user's raises to end the program
            error = exc
    if error is not None:
        kind, data = frames.ERROR, encode_error(error)
    if not buffers and len(data) <= frames.INLINE_MAX:
        link.done(task.id, frames.pack_done(task.id, kind, started, finished, data, flags))
        return
    try:
        fd, table = shared_memory.write_block(data, buffers, link.blocks)
    except (OSError, MemoryError) as exc:
        why = SerializationError(f"the result of {task.name}()", f"no shared memory for {len(data)} bytes: {exc}")
        data = encode_error(why)
        link.done(task.id, frames.pack_done(task.id, frames.ERROR, started, finished, data, flags))
        return
    link.done(task.id, frames.pack_done(task.id, kind, started, finished, table, flags | frames.IN_SHARED), fd)


def _packed(value: Any, what: str) -> codec.Packed:
    try:
        return codec.encode_value(value, what)
    except SerializationError:
        if type(value).__name__ != "ChunkResults":  # its module is loaded only where chunks are run
            raise
        return codec.encode_value(value.salvaged(what), what)


def flush() -> None:
    """Push out what the task printed before its answer is seen. A stream the task has broken is its own affair."""
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except BaseException:
            pass
