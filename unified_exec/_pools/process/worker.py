"""One worker process as the parent sees it: its sockets, the tasks sent to it, its end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from typing import Any

from ..._loops.adapter import Timer
from ..._platform import handed_over, process_control, shared_memory
from ..._platform.posix import DONTWAIT, TELLS_END, is_full
from ..._platform.shm_cache import BlockCache
from ..._tasks import events
from ..._tasks.task import Task
from ..._tasks.weak_sets import OwnRef
from ..._wire import frames
from ..._wire.frames import ProtocolError
from ..._wire.pickling.functions import EncodedCall
from ..._wire.pickling.shared_refs import ByDescriptors
from ..._wire.pickling.surroundings import Snapshot, snapshot
from ..._wire.protocol import OVER, UP, ParentConnection
from ..._worker.connection import HAS_SETTINGS, STARTED, fd_message
from ..._worker.settings import WorkerKind
from .child import Child
from .inbox import Inbox
from .send_in_block import send_in_block
from .worker_knowledge import NOTHING_NEW, WorkerKnowledge

_SHUT_WR = 1


class Worker:
    """Sends tasks, takes back those that were not claimed, requests cancellations, kills and reaps.

    Attributes:
        kind: what it runs.
        connection: the state of the protocol.
        credentials: user, groups and root folder of this process when the worker was started.
        tasks: the tasks it was sent and has not answered, oldest first.
        load: estimated seconds of those tasks.
        answered_at: instant of its last answer, or of the moment it last became busy.
        stuck: it has not answered for so long that tasks were taken back from it.
        cancel_timers: timers of the tasks that were requested to stop, by task id.
        blocks: what large arguments may be written into.
        ends_with_program: the program ends and with it this worker; its event loop, in a thread that nobody waits for,
            is told nothing any more.
        inbox: what has come from it and was not handled yet.
        killed_for: the task that it was killed to stop.
        detail: what else is known about its death.
        found: what it has answered to `ask_where`, and when; JSON.
        shares: the shared objects and channels that it has, by token.
        reaped: its process was reaped and our descriptors are closed.
        blocked_at: when it began to wait for the answer to a request, and runs nothing else meanwhile.
        blocked_by: the number of that request.
        start_timer: kills it if it does not become a worker; ``None`` once it is up.
        knowledge: what it knows of the program beyond its functions.
    """

    def __init__(self, child: Child, kind: WorkerKind, surroundings: Callable[[], Snapshot] = snapshot) -> None:
        self.child, self.kind, self._surroundings = child, kind, surroundings
        self._to_reap = [child]  # taken by the thread that reaps it
        self.pid = child.pid
        self.connection = ParentConnection()
        self.credentials = process_control.credentials()
        self.tasks: dict[int, Task] = {}
        self.load = 0.0
        self.answered_at = time.monotonic()
        self.stuck = False
        self.cancel_timers: dict[int, Timer] = {}
        self.killed_for: Task | None = None
        self.detail: str | None = None
        self.found: tuple[float, bytes] | None = None
        self.blocked_at: float | None = None
        self.blocked_by: int | None = None
        self.reaped = False
        self.ends_with_program = False
        self.inbox = Inbox()
        self.start_timer: Timer | None = None
        self.shares: dict[bytes, OwnRef] = {}
        self.blocks: BlockCache | None = None
        self.knowledge = WorkerKnowledge(self.connection)

    # -- sending

    def send_settings(self, settings: bytes) -> None:
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
            self.child.control.sendmsg([message], fd_message(fd))
        finally:
            os.close(fd)

    def send(self, task: Task, linger: bool = False) -> bool:
        """Send a task; ``False`` if there is no room in its socket.

        Args:
            linger: there are cores to spare; the worker may look for its next task before it goes to sleep.

        Raises:
            OSError: no descriptor or no memory is left for the task's large arguments.
        """
        call: EncodedCall = task.backend_data
        if call.shared and not self.send_shares(call.shared):
            return False
        entry, connection = call.entry, self.connection
        flags, function, learns = NOTHING_NEW
        has, now, carried = self.knowledge, self._surroundings(), call.carried
        fresh = carried is not None and has.lacks(carried)
        if fresh or (entry.id and entry.id not in connection.known) or call.needs or now is not has.surroundings:
            flags, function, learns = has.complete(call, now)
        if carried is not None:
            flags |= frames.IN_CONTEXT
        name = task.name.encode("utf-8", "replace")
        id, tasks = task.id, self.tasks
        if not tasks:
            self.answered_at = time.monotonic()
        # Noted before it is sent: a finalizer that the collector runs after the send may take back what is unclaimed.
        tasks[id] = task
        connection.pending[id] = learns
        if linger:
            flags |= frames.LINGER
        self.load += entry.stats.cost or 0.0
        task.location = self
        task.worker = self.pid
        sent = False
        instant = None if events.rows is None else time.monotonic()  # before it is sent: the worker may be quick
        flags |= frames.WATCHED if instant is not None else 0
        try:
            if not call.buffers and len(call.data) + len(function) <= frames.INLINE_MAX:
                self.child.tasks.send(frames.pack_task(id, name, entry.id, function, call.data, task.deadline, flags))
            else:
                send_in_block(self.child, self.blocks, task, name, function, flags)
            sent = True
        except OSError as exc:
            if not is_full(exc):
                raise
        finally:
            if not sent:
                self._remove(task)
        if instant is not None and sent:
            task.sent_at, task.bytes_sent = instant, call.size if call.buffers else len(call.data)
            if events.moves is not None:
                task.emit_sent(self.pid, len(tasks) - 1)
        return sent

    def _remove(self, task: Task) -> None:
        """Note that the worker will not run this task."""
        self.connection.taken_back(task.id)
        self.tasks.pop(task.id, None)
        self.load -= task.backend_data.entry.stats.cost or 0.0
        task.location = None
        task.worker = None

    def send_shares(self, objects: Iterable[ByDescriptors]) -> bool:
        """Send the shared objects and channels that the worker does not have; ``False`` if there is no room for one."""
        for shared_object in objects:
            if shared_object.token in self.shares:
                continue
            message, fds = shared_object.message()
            try:
                self.child.control.sendmsg([message], fd_message(*fds))
            except OSError as exc:
                if not is_full(exc):
                    raise
                self.signal()
                return False
            self.shares[shared_object.token] = OwnRef(shared_object)
            shared_object.sent_to(self, self.child.can_kill)
        return True

    def drop_share(self, token: bytes) -> None:
        """Let the worker forget a shared object; in any thread."""
        if not self.reaped:
            self.shares.pop(token, None)
            if self.post(frames.pack_payload(frames.DROP, token)):  # else the memory goes with the worker
                self.signal()

    def take_back(self) -> list[Task]:
        """Take back every task the worker has not claimed; it will never start there."""
        back: list[Task] = []
        if len(self.tasks) < 2 and self.connection.state == UP and not self.kind.concurrent and self.started():
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
            if buffer[0] == frames.STOP:  # always the last message
                self.child.tasks.send(frames.pack_payload(frames.STOP))
                return back
            message = frames.unpack_task(memoryview(buffer)[:size])
            if message.flags & (frames.IN_SHARED | frames.HANDED_OVER) == frames.HANDED_OVER:
                handed_over.drop(memoryview(message.payload))
            task = self.tasks[message.id]
            self._remove(task)
            if events.moves is not None:
                events.emit_move(events.TASK_RETURNED, task.event_id, self.pid)
            back.append(task)

    def started(self) -> int:
        """Return the id of the task the worker has started last, 0 if that was answered."""
        id: int = STARTED.unpack_from(self.child.status, 0)[0]
        return id if id in self.tasks else 0

    def has_settings(self) -> bool:
        """Tell whether it has read its settings: what it does until it is up is its initializer's."""
        return bool(self.child.status[HAS_SETTINGS])

    def stop_start_timer(self) -> None:
        """Note, in its loop's thread, that it has come up or will not."""
        if self.start_timer is not None:
            self.start_timer.cancel()
            self.start_timer = None

    def is_running(self, task: Task) -> bool:
        return task.id in self.tasks and (self.kind.concurrent or self.started() == task.id)

    def payload(self, event: Any, fd: int | None) -> tuple[frames.Bytes, list[memoryview]]:
        """Return the payload of an event, out of the message or out of the shared block that came with it.

        Raises:
            ProtocolError: the worker promised a block and sent none.
            OSError: no descriptor is left to receive it, or no memory to map it.
        """
        if not event.shared:
            return event.payload, []
        if fd is None:
            # Raises if no descriptor is left: then the kernel has dropped the one that came.
            os.close(os.dup(self.child.control.fileno()))
            raise ProtocolError("an answer in shared memory came without it")
        return shared_memory.read_block(fd, event.payload, blocks=self.blocks)

    def post(self, message: bytes, fd: int | None = None) -> bool:
        """Put a message into the mailbox; ``False`` if that is full for now. If the worker is gone, that is noticed."""
        try:
            self.child.control.sendmsg([message], fd_message(fd) if fd is not None else ())
        except OSError as exc:
            if is_full(exc):
                self.signal()  # so that it reads
                return False
        return True

    # -- cancelling and ending

    def request_cancel(self, id: int, reason: str | None) -> bool:
        """Put a cancellation into the mailbox and signal it; ``False`` if the mailbox is full for now."""
        if not self.post(frames.pack_id(frames.CANCEL, id, reason)):
            return False
        self.signal()
        return True

    def give_credit(self, id: int, count: int) -> bool:
        """Allow a task `count` more messages; ``False`` if the mailbox is full for now."""
        return self.post(frames.pack_credit(id, count))

    def signal(self) -> None:
        """Tell the worker to read its mailbox."""
        if not self.reaped:
            self.child.ring()

    def dismiss(self) -> None:
        """Let it exit when it has done what it claimed."""
        if not self.reaped:
            self.connection.dismissed()
            try:
                self.child.control.send(frames.pack_payload(frames.STOP))
                if TELLS_END:
                    self.child.tasks.shutdown(_SHUT_WR)
                else:
                    self.child.tasks.send(frames.pack_payload(frames.STOP))
            except OSError:
                pass
            if not TELLS_END:
                self.signal()  # the stream may have been full

    def kill(self) -> None:
        """Kill the worker and everything in its process group, unless it was reaped."""
        if not self.reaped:
            self.child.kill()

    def abandon(self) -> None:
        """Kill it and forget its tasks: the event loop that waited for them has ended."""
        self.connection.state = OVER
        self.tasks.clear()
        self.kill()

    def reap(self) -> int | None:
        """Reap its process, which must be dead or about to be, and close all; returns the exit code, if it is known."""
        try:
            child = self._to_reap.pop()
        except IndexError:
            return None  # done, or another thread is at it
        try:
            lost = self.started()
            code = child.reap()
            if events.rows is not None:
                events.emit(events.WORKER_DIED, self.pid, code, lost, self.detail or "")
            self.close()
        except BaseException:  # of a signal handler
            if not self.reaped:
                self._to_reap.append(child)
            raise
        return code

    def close(self) -> None:
        """Close our descriptors."""
        self.reaped = True
        for timer in self.cancel_timers.values():
            timer.cancel()
        self.cancel_timers.clear()
        self.child.close()
        self.inbox.close()

    def close_after_fork(self) -> None:
        """In a forked child, close our copies of the descriptors: the worker and its timers are the parent's."""
        self.cancel_timers.clear()
        self.close()
