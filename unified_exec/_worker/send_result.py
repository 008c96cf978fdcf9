"""From an outcome to the bytes of its answer. Whatever a task returned or raised, a correct answer is sent."""

from __future__ import annotations

import sys
from _contextvars import Context
from collections.abc import Sequence

from .._platform import shared_memory
from .._tasks.current import current
from .._wire import frames
from .._wire.errors.encode import encode_error
from .._wire.pickling import codec, homes
from .._wire.pickling.c_pickle import PROTOCOL, dumps
from .._wire.pickling.shared_refs import pickled_here
from ..errors import SerializationError
from . import passing
from .connection import WorkerConnection
from .context_state import note_absent
from .noted_calls import changes

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

_pack_header = frames.DONE_HEADER.pack


def send(
    connection: WorkerConnection,
    context: Context,
    id: int,
    name: str,
    value: Any,
    error: BaseException | None,
    cancelled: bool,
    started: float,
    finished: float,
    flags: int = 0,
) -> None:
    """Answer task `id`, which ran in `context`, with its value, its error, or the news that it was cancelled.

    Raises:
        OSError: the sockets are gone, for instance because the task closed them; the worker must exit.
    """
    if error is None and type(value) in codec.ATOMS and not cancelled and not connection.reported_on:
        try:
            data = dumps(value, PROTOCOL)
        except Exception:  # reported below
            data = b""
        if data and len(data) <= frames.INLINE_MAX:  # what `pack_done` does, without the call
            connection.answer(_pack_header(frames.DONE, flags, frames.VALUE, id, started, finished) + data)
            return
    if cancelled:
        connection.done(id, frames.pack_done(id, frames.STOPPED, started, finished, b"", flags))
        return
    kind, data, buffers = context.run(_encoded, name, value, error)
    if connection.logs is not None:  # it may have run code of the user's
        flags |= connection.log_flags()
    if not buffers and len(data) <= frames.INLINE_MAX:
        connection.done(id, frames.pack_done(id, kind, started, finished, data, flags))
        return
    try:
        fd, table = shared_memory.write_block(data, buffers, connection.blocks)
    except (OSError, MemoryError) as exc:
        why = SerializationError(f"the result of {name}()", f"no shared memory for {len(data)} bytes: {exc}")
        connection.done(id, frames.pack_done(id, frames.ERROR, started, finished, encode_error(why), flags))
        return
    connection.done(id, frames.pack_done(id, kind, started, finished, table, flags | frames.IN_SHARED), fd)


def _encoded(name: str, value: Any, error: BaseException | None) -> tuple[int, bytes, Sequence[memoryview]]:
    current.set(None)  # the task is over: what is pickled here may run code of the user's
    if error is None:
        try:
            met = pickled_here()
            met.clear()
            packed = _packed(value, f"the result of {name}()")
            if met:
                passing.offer(met.taken(), True)
            return frames.VALUE, packed.data, packed.buffers
        except BaseException as exc:  # also what a __reduce__ of the user's raises to end the program
            error = exc
    try:
        if homes.tokens():
            from .._wire.pickling import name_notes

            name_notes.add_to(error)
        note_absent(error)
    except Exception:
        pass  # code of the exception's own has raised; it travels without a note
    return frames.ERROR, encode_error(error), ()


def _packed(value: Any, what: str) -> codec.Packed:
    try:
        return codec.encode_value(value, what)
    except SerializationError:
        without = getattr(type(value), "without_unpicklable", None)
        if without is None:
            raise
        return codec.encode_value(without(value, what), what)


def flush() -> None:
    """Flush what the task printed, so that it is seen before its answer. A stream that the task broke is ignored."""
    try:
        sys.stdout.flush()
    except ValueError:
        changes.made = True  # it was closed
    except BaseException:
        pass
    try:
        sys.stderr.flush()
    except ValueError:
        changes.made = True
    except BaseException:
        pass
