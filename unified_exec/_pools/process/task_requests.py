"""Requests of the tasks of one group: handed to the scope of each task, answered in the mailbox of its worker."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

from ..._loops.adapter import call_later_apart
from ..._platform import shared_memory
from ..._tasks.requests import LOOK_UP, STOP, Request
from ..._tasks.types import Outcome
from ..._wire import frames, protocol
from ..._wire.errors.encode import encode_error
from ..._wire.pickling import codec
from ..._wire.pickling.c_pickle import PROTOCOL, dumps
from ..._wire.pickling.shared_refs import pickled_here
from ...errors import SerializationError
from .mailbox_signal import POST_AGAIN, signal_until_read
from .worker import Worker
from .worker_group import BLOCKED, WorkerGroup

ENDED = "the task has ended: nothing can be asked of its scope"


class EncodedReply(NamedTuple):
    """The answer to a request, ready to travel.

    Attributes:
        kind: ``frames.VALUE``, ``ERROR`` or ``STOPPED``.
        data: the pickled value or error.
        buffers: the large buffers of that pickle.
        flags: of the REPLY.
        shared: the objects in it that travel by descriptors; the worker must have them first.
    """

    kind: int
    data: bytes
    buffers: Sequence[memoryview] = ()
    flags: int = 0
    shared: Sequence[Any] = ()


class WorkerRequest(Request):
    """A request of a task in a worker.

    Args:
        number, flags: of the message.
        call: verb, function, arguments and options.
        reply: called with the name of the function and its outcome.
    """

    __slots__ = ("_reply", "cancelled_by_itself")

    def __init__(self, number: int, flags: int, call: Any, reply: Callable[[str, Outcome[Any]], object]) -> None:
        super().__init__(number, *call)
        self._reply = reply
        at_loop = flags & frames.AT_LOOP != 0
        self.cancelled_by_itself = at_loop or not flags & frames.RING
        self.waits = not at_loop

    def answer(self, outcome: Outcome[Any]) -> None:
        self._reply(getattr(self.fn, "__qualname__", None) or "the function", outcome)


class UnreadRequest(Request):
    """A request of a task in a worker, which is passed on as it came.

    Attributes:
        flags: of the message.
        data: its pickle.
        buffers: the large buffers of that pickle.
    """

    __slots__ = ("_reader", "_worker", "buffers", "data", "flags")

    def __init__(
        self,
        reader: RequestReader,
        worker: Worker,
        number: int,
        flags: int,
        data: bytes,
        buffers: Sequence[memoryview],
    ) -> None:
        super().__init__(number, STOP, None, (), None)
        self._reader = reader
        self._worker = worker
        self.flags = flags
        self.data = data
        self.buffers = buffers

    def send_reply(self, encoded: EncodedReply) -> None:
        """Send the answer, which was encoded elsewhere."""
        if not self._worker.reaped:
            self._reader.send_reply(self._worker, self.number, self.flags, "the function", encoded)

    def withdrawn(self) -> None:
        """Note that the task does not wait for the answer any more."""
        self._reader.unblock(self._worker, self.number)


class RequestReader:
    """Reads the requests of one group's workers and sends the replies.

    A worker that waits for a reply runs nothing else. What it was sent ahead is taken back, and if all workers of the
    group wait, one more may be started: what they wait for may be a task that waits for a worker.

    Args:
        unread: requests are handed to their tasks as they came, for somebody else to rebuild and answer.
    """

    __slots__ = ("_group", "_unread")

    def __init__(self, group: WorkerGroup, unread: bool = False) -> None:
        self._group = group
        self._unread = unread

    def read(self, worker: Worker, asked: protocol.TaskAsks, fd: int | None) -> None:
        """Hand a request to the scope of its task.

        Raises:
            ProtocolError: the worker promised a block and sent none.
        """
        number, flags = asked.number, asked.flags
        content, buffers = worker.payload(asked, fd)
        if flags & frames.BLOCKS:
            self._block(worker, number)
        task = worker.tasks.get(asked.id)
        try:
            if task is None:
                raise RuntimeError(ENDED)
            if self._unread:
                task.on_request(UnreadRequest(self, worker, number, flags, bytes(content), buffers))
                return
            call: Any = codec.decode(content, buffers, "what the task asks of its scope")
            request = WorkerRequest(number, flags, call, partial(self.reply, worker, number, flags))
            if request.verb == LOOK_UP:  # not for the scope
                self.send_reply(worker, number, flags, "", encode_global(*request.args))
                return
            if request.verb == STOP:
                self.unblock(worker, request.args[0])
        except Exception as error:
            self.reply(worker, number, flags, "", Outcome(error=error))
        else:
            task.on_request(request)

    def reply(self, worker: Worker, number: int, flags: int, name: str, outcome: Outcome[Any]) -> None:
        """Send the answer to a request."""
        if not worker.reaped:
            self.send_reply(worker, number, flags, name, encode_reply(name, outcome))

    def send_reply(self, worker: Worker, number: int, flags: int, name: str, encoded: EncodedReply) -> None:
        """Send an encoded answer, which must fit through the mailbox: large ones in shared memory."""
        kind, data, buffers, flag, shares = encoded
        fd = None
        if buffers or len(data) > frames.INLINE_MAX:
            try:
                fd, data = shared_memory.write_block(data, buffers)
                flag |= frames.IN_SHARED
            except (OSError, MemoryError) as exc:
                why = SerializationError(f"the result of {name}()", f"no shared memory for {len(data)} bytes: {exc}")
                kind, data, flag = frames.ERROR, encode_error(why), 0
        self._post(worker, number, flags, frames.pack_reply(number, kind, data, flag), fd, shares)

    def _post(
        self, worker: Worker, number: int, flags: int, message: bytes, fd: int | None, shares: Sequence[Any]
    ) -> None:
        if not worker.reaped:
            sent = worker.send_shares(shares) and worker.post(message, fd)
            if not sent:
                again = partial(self._post, worker, number, flags, message, fd, shares)
                self._group.adapter.call_later(POST_AGAIN, again)
                return
            if flags & frames.RING:
                signal_until_read(self._group.adapter, worker)
            if flags & frames.BLOCKS:
                self.unblock(worker, number)
        if fd is not None:
            os.close(fd)

    def _block(self, worker: Worker, number: int) -> None:
        worker.blocked_at = time.monotonic()
        worker.blocked_by = number
        worker.stuck = True  # nothing is sent there
        self._group.recall(worker)
        call_later_apart(self._group.adapter, BLOCKED, self._group.pump)
        self._group.adapter.call_soon(self._group.pump)

    def task_ended(self, worker: Worker) -> None:
        """Note that a worker has answered the task that waited."""
        if worker.blocked_by is not None:
            self.unblock(worker, worker.blocked_by)

    def unblock(self, worker: Worker, number: int) -> None:
        """Note that a worker does not wait for the answer to a request any more."""
        if worker.blocked_by == number:  # else it has given up that request, and waits for another
            worker.blocked_at = worker.blocked_by = None
            worker.stuck = False
            self._group.unblocked = True
            self._group.adapter.call_soon(self._group.pump)


def encode_global(token: str, name: str) -> EncodedReply:
    """Pickle the global that a task has looked up, and what it needs."""
    from ..._wire.pickling import globals_sent  # brings cloudpickle

    parts, shared = globals_sent.look_up(token, name)
    return EncodedReply(frames.VALUE, dumps((parts,), PROTOCOL), shared=shared)


def encode_reply(name: str, outcome: Outcome[Any]) -> EncodedReply:
    """Pickle the outcome of function `name`."""
    met = pickled_here()
    met.clear()
    kind, data, buffers, flags = _encoded(name, outcome)
    return EncodedReply(kind, data, buffers, flags, met.taken())


def _encoded(name: str, outcome: Outcome[Any]) -> tuple[int, bytes, Any, int]:
    if outcome.cancelled:
        return frames.STOPPED, b"", (), 0
    error = outcome.error
    if error is None:
        try:
            packed = codec.encode_args((outcome.unwrap(),))
            if not packed.needs:
                return frames.VALUE, packed.data, packed.buffers, 0
            from ..._wire.pickling import globals_sent  # brings cloudpickle

            return frames.VALUE, globals_sent.encode_alone(outcome.unwrap()), (), frames.WITH_GLOBALS
        except SerializationError as exc:
            error = SerializationError(f"the result of {name}()", exc.why, exc.hint)
        except Exception as exc:
            error = exc
    return frames.ERROR, encode_error(error), (), 0
