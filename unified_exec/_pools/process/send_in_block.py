"""Sending a task whose call is too large for a message: in shared memory, or as it is to a worker in this process."""

from __future__ import annotations

import os

from ..._platform import handed_over, shared_memory
from ..._platform.shm_cache import BlockCache
from ..._tasks.task import Task
from ..._wire import frames
from ..._wire.pickling.functions import EncodedCall
from ..._worker.connection import fd_message
from .child import Child


def send_in_block(
    child: Child, blocks: BlockCache | None, task: Task, name: bytes, function: bytes, flags: int
) -> None:
    """Send `task` to a worker.

    Args:
        child: the worker's process.
        blocks: memory that may be used again.
        task: its call was encoded.
        name: of the task.
        function: what the worker must learn before.
        flags: of the message.

    Raises:
        OSError: its socket is full, or no descriptor or no memory is left.
    """
    call: EncodedCall = task.backend_data
    if child.same_process and len(call.data) + len(function) <= frames.INLINE_MAX and handed_over.can_be(call.buffers):
        _hand_over(child, blocks, task, name, function, flags)
        return
    inline_function = function if len(function) <= frames.INLINE_MAX else b""
    # A function too large for a message travels as the first buffer, before those of the arguments.
    extra = [] if inline_function or not function else [memoryview(function)]
    if extra:
        flags |= frames.FUNCTION_IN_SHARED
    if call.block is not None and not extra:
        fd, table = os.dup(call.block.fd), call.block.table
    else:
        fd, table = shared_memory.write_block(call.data, [*extra, *call.buffers], blocks)
    try:
        message = frames.pack_task(
            task.id, name, call.entry.id, inline_function, table, task.deadline, flags | frames.IN_SHARED
        )
        child.tasks.sendmsg([message], fd_message(fd))
    finally:
        os.close(fd)


def _hand_over(child: Child, blocks: BlockCache | None, task: Task, name: bytes, function: bytes, flags: int) -> None:
    """Send the buffers as they are, and with them a block that the worker may write its answer into."""
    call: EncodedCall = task.backend_data
    payload = handed_over.offer(call.data, call.buffers)
    spare = blocks.take(call.size) if blocks is not None else None
    try:
        message = frames.pack_task(
            task.id, name, call.entry.id, function, payload, task.deadline, flags | frames.HANDED_OVER
        )
        child.tasks.sendmsg([message], fd_message(spare) if spare is not None else ())
    except BaseException:
        handed_over.drop(memoryview(payload))
        raise
    finally:
        if spare is not None:
            os.close(spare)
