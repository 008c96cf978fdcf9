"""The way back of a worker's tasks: requests go up on the way of reports, replies come down in the mailbox."""

from __future__ import annotations

import os
from _functools import partial  # type: ignore[import-not-found, unused-ignore]
from _thread import get_ident
from sys import _getframe

from .._platform import shared_memory
from .._tasks.requests import RUN, WAIT
from .._tasks.types import CANCELLED, Outcome
from .._wire import frames
from .._wire.errors.decode import decode_error
from .._wire.errors.nodes import text_of
from .._wire.pickling import codec
from ..errors import SerializationError

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

    from .._tasks.requests import Pending
    from .cancel_signal import CancelSignal
    from .connection import WorkerConnection


class WorkerRequests:
    """The requests of this worker's tasks that have not been answered.

    Args:
        connection: the sockets.
        signal: reads the mailbox.
        thread: the main thread.
    """

    __slots__ = ("_connection", "_pending", "_pid", "_signal", "_thread")

    def __init__(self, connection: WorkerConnection, signal: CancelSignal, thread: int) -> None:
        self._connection = connection
        self._signal = signal
        self._thread = thread
        self._pid = os.getpid()
        self._pending: dict[int, Pending] = {}

    def send(self, id: int, name: str, pending: Pending) -> None:
        """Send a request of task `id`.

        Raises:
            SerializationError: the function or an argument cannot travel.
            RuntimeError: this is a fork of the worker.
            OSError: the parent is gone.
        """
        if os.getpid() != self._pid:
            raise RuntimeError("a fork of a worker has no way back: from_task works in the task's own process")
        what = f"what {name}() asks of its scope"
        packed = codec.encode_value((pending.verb, pending.fn, pending.args, pending.options), what)
        flags = frames.RING
        if get_ident() == self._thread:
            if not pending.sleeps:
                flags |= frames.AT_LOOP
            else:
                flags = frames.BLOCKS if pending.verb in (RUN, WAIT) else 0
        if pending.is_answered():
            self._pending[pending.number] = pending
        self._connection.report(id, partial(frames.pack_request, id, pending.number), packed, flags)

    def wait(self, pending: Pending) -> None:
        """Wait for an answer; in the main thread, handle whatever else the parent sends meanwhile.

        Raises:
            Cancelled: the task was requested to stop. In the main thread.
        """
        if get_ident() != self._thread:
            pending.lock.acquire()
        else:
            self._signal.read_until(lambda: pending.found is not None, _getframe())

    def forget(self, pending: Pending) -> bool:
        """Drop the answer when it comes; ``False`` if it has come."""
        return self._pending.pop(pending.number, None) is not None

    def on_reply(self, message: bytes, fds: list[int]) -> None:
        """An answer has come; maybe in the signal handler, so it is only rebuilt by the code that waits for it."""
        _, _, number, _ = frames.unpack_reply(memoryview(message))
        pending = self._pending.pop(number, None)
        if pending is None:
            shared_memory.close_all(fds)
        else:
            pending.answer(lambda: _outcome(message, fds))


def _outcome(message: bytes, fds: list[int]) -> Outcome[Any]:
    flags, kind, _, payload = frames.unpack_reply(memoryview(message))
    data: frames.Bytes = payload
    buffers: list[memoryview] = []
    if kind == frames.ERROR and not flags & frames.IN_SHARED:
        return Outcome(error=decode_error(bytes(data)))
    if kind == frames.STOPPED:
        return CANCELLED
    try:
        if flags & frames.IN_SHARED:
            data, buffers = shared_memory.read_block(fds[0], payload)
        if kind == frames.ERROR:
            return Outcome(error=decode_error(bytes(data)))
        if flags & frames.WITH_GLOBALS:
            return Outcome(codec.decode_alone(bytes(data)))
        value: Any = codec.decode(data, buffers, "the answer")
        return Outcome(value[0])
    except (OSError, SerializationError) as exc:
        return Outcome(error=exc)
    except Exception as exc:
        error = SerializationError(
            "the answer", f"rebuilding it here raised {type(exc).__name__}: {text_of(exc)}", sent=True
        )
        error.__cause__ = exc
        return Outcome(error=error)
