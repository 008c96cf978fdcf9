"""One worker process as the parent sees it: its sockets, what it owes, its end."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import Any

from ..._loops.adapter import Timer
from ..._platform import shared_memory
from ..._platform.posix import DONTWAIT, TELLS_END, is_full
from ..._platform.shm_cache import BlockCache
from ..._tasks.task import Task
from ..._wire import frames
from ..._wire.frames import ProtocolError
from ..._wire.pickling.functions import EncodedCall
from ..._wire.protocol import OVER, UP, Event, ParentConnection
from ..._worker import cancel_signal, connection
from ..._worker.shared_object import Shared
from .child import Child

_SHUT_WR = 1
FUNCTIONS_MAX = 2000
"""Functions a worker remembers; then it starts afresh."""


class Worker:
    """Sends tasks, takes unclaimed ones back, reads answers, asks, kills and buries.

    Attributes:
        tasks: the tasks it was sent and still owes, oldest first.
        load: estimated seconds of those tasks.
        heard: instant of its last answer, or of the moment it last became busy.
        stuck: it has not answered for so long that tasks were taken back from it.
        asked: timers of the tasks that were asked to stop, by task id.
        blocks: what large arguments may be written into.
        deaf: it has closed its end of the mailbox.
        culprit: the task for whose sake it was killed.
        detail: what else is known about its death.
    """

    __slots__ = (
        "__weakref__",
        "_buffer",
        "_view",
        "asked",
        "blocks",
        "buried",
        "child",
        "coroutines",
        "culprit",
        "deaf",
        "detail",
        "end",
        "heard",
        "load",
        "pid",
        "shares",
        "stuck",
        "tasks",
    )

    def __init__(self, child: Child, coroutines: bool) -> None:
        self.child = child
        self.pid = child.pid
        self.coroutines = coroutines
        self.end = ParentConnection()
        self.tasks: dict[int, Task] = {}
        self.load = 0.0
        self.heard = time.monotonic()
        self.stuck = False
        self.asked: dict[int, Timer] = {}
        self.culprit: Task | None = None
        self.detail: str | None = None
        self.buried = False
        self.deaf = False
        self.shares: set[bytes] = set()
        self.blocks: BlockCache | None = None
        self._buffer = bytearray(frames.MESSAGE_MAX)
        self._view = memoryview(self._buffer)

    def set_up(self, settings: bytes) -> None:
        """Send the pickled settings, for which the new process waits.

        Raises:
            OSError: no descriptor or no memory is left for large ones, or the process has died at once.
        """
        if len(settings) <= frames.INLINE_MAX:
            self.child.control.send(frames.pack_payload(frames.SETUP, settings))
            return
        fd, table = shared_memory.write_block(settings, ())
        try:
            message = frames.pack_payload(frames.SETUP, table, frames.IN_SHARED)
            self.child.control.sendmsg([message], connection.fd_message(fd))
        finally:
            os.close(fd)

    def send(self, task: Task, linger: bool = False) -> bool:
        """Send a task ahead; ``False`` if there is no room in its socket.

        Args:
            linger: there are cores to spare; the worker may look for its next task before it goes to sleep.

        Raises:
            OSError: no descriptor or no memory is left for the task's large arguments.
        """
        call: EncodedCall = task.backend_data
        if call.shared and not self._send_shares(call.shared):
            return False
        entry = call.entry
        flags = 0
        function: bytes = b""
        if entry.id and entry.id not in self.end.known:
            function = entry.payload
            flags = frames.NEW_FUNCTION
            if len(self.end.known) >= FUNCTIONS_MAX:  # a new lambda for each task must not fill the worker
                self.end.forget_functions()
                flags |= frames.FORGET_FUNCTIONS
        name = task.name.encode("utf-8", "replace")
        if not self.tasks:
            self.heard = time.monotonic()
        # Owed from here on: a finalizer that the collector runs behind the sending may take back what is not claimed.
        self.tasks[task.id] = task
        self.end.sent(task.id, entry.id if flags else None)
        if linger:
            flags |= frames.LINGER
        self.load += entry.stats.cost or 0.0
        task.location = self
        task.worker = self.pid
        sent = False
        try:
            if not call.buffers and len(call.data) + len(function) <= frames.INLINE_MAX:
                self.child.tasks.send(
                    frames.pack_task(task.id, name, entry.id, function, call.data, task.deadline, flags)
                )
            else:
                self._send_shared(task, name, function, flags)
            sent = True
        except OSError as exc:
            if not is_full(exc):
                raise
        finally:
            if not sent:
                self._no_longer_owed(task)
        return sent

    def _no_longer_owed(self, task: Task) -> None:
        self.end.taken_back(task.id)
        self.tasks.pop(task.id, None)
        self.load -= task.backend_data.entry.stats.cost or 0.0
        task.location = None
        task.worker = None

    def _send_shares(self, objects: tuple[Shared[Any], ...]) -> bool:
        """Send the shared objects the worker has not got; it looks for them when it rebuilds the arguments."""
        for shared_object in objects:
            if shared_object.token in self.shares:
                continue
            message = frames.pack_share(shared_object.token, shared_object.size, shared_object.table)
            try:
                self.child.control.sendmsg([message], connection.fd_message(shared_object.fileno()))
            except OSError as exc:
                if not is_full(exc):
                    raise
                self.ring()  # its mailbox is full: it shall read it
                return False
            self.shares.add(shared_object.token)
            shared_object.holders.add(self)
        return True

    def drop_share(self, token: bytes) -> None:
        """Let the worker forget a shared object; in any thread."""
        if not self.buried:
            self.shares.discard(token)
            try:
                self.child.control.send(frames.pack_payload(frames.DROP, token))
            except OSError:
                return  # full, or over: the memory goes with the worker
            self.ring()

    def _send_shared(self, task: Task, name: bytes, function: bytes, flags: int) -> None:
        call: EncodedCall = task.backend_data
        inline_function = function if len(function) <= frames.INLINE_MAX else b""
        # A function too large for a message travels as the first buffer behind the arguments.
        extra = [] if inline_function or not function else [memoryview(function)]
        if extra:
            flags |= frames.FUNCTION_IN_SHARED
        fd, table = shared_memory.write_block(call.data, [*extra, *call.buffers], self.blocks)
        try:
            message = frames.pack_task(
                task.id, name, call.entry.id, inline_function, table, task.deadline, flags | frames.IN_SHARED
            )
            self.child.tasks.sendmsg([message], connection.fd_message(fd))
        finally:
            os.close(fd)

    def take_back(self) -> list[Task]:
        """Take every task the worker has not claimed; each is ours again, and it will never start there."""
        back: list[Task] = []
        if len(self.tasks) < 2 and self.end.state == UP and not self.coroutines and self.started():
            return back
        buffer = bytearray(frames.MESSAGE_MAX)
        while True:
            try:
                # Without room for a descriptor: one that comes with a task is closed by the kernel.
                size = self.child.claims.recv_into(buffer, 0, DONTWAIT)
            except OSError:
                return back
            if not size:
                return back
            if buffer[0] == frames.STOP:  # nothing comes behind it
                self.child.tasks.send(frames.pack_payload(frames.STOP))
                return back
            message = frames.unpack_task(memoryview(buffer)[:size])
            task = self.tasks[message.id]
            self._no_longer_owed(task)
            back.append(task)

    def started(self) -> int:
        """Id of the task the worker has begun last."""
        id: int = connection.STARTED.unpack_from(self.child.status, 0)[0]
        return id if id in self.tasks else 0

    def is_running(self, task: Task) -> bool:
        return task.id in self.tasks and (self.coroutines or self.started() == task.id)

    def answered(self, id: int) -> Task:
        """Strike an answered task off the list."""
        task = self.tasks.pop(id)
        self.load = self.load - (task.backend_data.entry.stats.cost or 0.0) if self.tasks else 0.0
        if self.asked and (timer := self.asked.pop(id, None)) is not None:
            timer.cancel()
        return task

    def read_tasks(self, most: int) -> Iterator[Event]:
        """Read up to `most` answers. The payload of an event is valid until the next is read.

        Raises:
            ProtocolError: the worker talks nonsense.
        """
        sock, buffer, receive = self.child.tasks, self._buffer, self.end.receive
        for _ in range(most):
            try:
                size = sock.recv_into(buffer)
            except BlockingIOError:
                return
            except OSError as exc:
                raise ProtocolError(f"its socket failed: {exc}") from exc
            if not size:
                return
            yield receive(self._view[:size])
            if not self.tasks:
                return

    def read_control(self) -> Iterator[tuple[Event, int | None]]:
        """Read what came on the mailbox, with the descriptor each message brought; the caller closes it.

        What a task has said on the other socket before comes first.

        Raises:
            ProtocolError: the worker talks nonsense.
        """
        buffer = bytearray(frames.MESSAGE_MAX)
        while True:
            try:
                size, fd = connection.receive(self.child.control, buffer)
            except BlockingIOError:
                return
            except ConnectionResetError:
                # It ended with something of ours unread. That is told once, before what it had sent can be read.
                continue
            except ConnectionError:
                size = 0
            if not size:
                self.deaf = True
                return
            message = memoryview(buffer)[:size]
            try:
                if frames.is_after_stream(message):
                    for earlier in self.read_tasks(1 << 30):
                        yield earlier, None
                event = self.end.receive(message)
            except (ProtocolError, GeneratorExit):
                if fd is not None:
                    os.close(fd)
                raise
            yield event, fd

    def ask(self, id: int, reason: str | None) -> bool:
        """Put a cancellation into the mailbox and ring; ``False`` if the mailbox is full for now."""
        try:
            self.child.control.send(frames.pack_id(frames.CANCEL, id, reason))
        except OSError as exc:
            if is_full(exc):
                self.ring()
                return False
            # Else it is deaf, or has died: its end will be noticed, or the grace will be over
        self.ring()
        return True

    def give_credit(self, id: int, count: int) -> None:
        """Allow a task so many more messages."""
        try:
            self.child.control.send(frames.pack_credit(id, count))
        except OSError:
            pass  # its end will be noticed

    def ring(self) -> None:
        if not self.buried:
            try:
                cancel_signal.send(self.pid)
            except ProcessLookupError:
                pass  # it has just died: its end will be noticed

    def dismiss(self) -> None:
        """Let it end by itself when it has done what it claimed."""
        if not self.buried:
            self.end.dismissed()
            try:
                self.child.control.send(frames.pack_payload(frames.STOP))
                if TELLS_END:
                    self.child.tasks.shutdown(_SHUT_WR)
                else:
                    self.child.tasks.send(frames.pack_payload(frames.STOP))
            except OSError:
                pass
            if not TELLS_END:
                self.ring()  # the stream may have been full

    def kill(self) -> None:
        """Kill the worker and everything in its process group, unless it is over."""
        if not self.buried:
            self.child.kill()

    def abandon(self) -> None:
        """Kill it and forget what it owes: the loop that waited for it has ended."""
        self.end.state = OVER
        self.tasks.clear()
        self.kill()

    def reap_worker(self) -> int | None:
        """Reap its process, which must be dead or about to be, and close everything: the exit code, if we got it."""
        if self.buried:
            return None
        code = self.child.reap()
        self.close()
        return code

    def close(self) -> None:
        """Close our descriptors; after a fork, that is all the child may do with its parent's worker."""
        self.buried = True
        for timer in self.asked.values():
            timer.cancel()
        self.asked.clear()
        self.child.close()

    def payload(self, event: Any, fd: int | None) -> tuple[frames.Bytes, list[memoryview]]:
        """The payload of an answer, out of the message or out of the shared block that came with it.

        Raises:
            ProtocolError: the worker promised a block and sent none.
            OSError: no memory is left to map it.
        """
        if not event.shared:
            return event.payload, []
        if fd is None:
            raise ProtocolError("an answer in shared memory came without it")
        return shared_memory.read_block(fd, event.payload, blocks=self.blocks)
