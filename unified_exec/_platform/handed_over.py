"""Buffers for a worker that is an interpreter of this process: it sees the memory itself, and nothing is copied.

They wait in a queue between interpreters, which pins their owner. Who receives the task's message takes them out, and
the queue with them. Only what the receiver cannot write to travels so: all else that arrives is a copy.
"""

from __future__ import annotations

from _struct import Struct

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

_HEADER = Struct("<QI")  # number of the queue, number of buffers
_REMOVE = 1  # what becomes of the items of an interpreter that ends before they were taken
_DEFAULT = -1
_queues: Any = None


def can_be(buffers: Sequence[memoryview]) -> bool:
    """Tell whether all of these buffers may be handed over."""
    return all(buffer.readonly for buffer in buffers)


def offer(data: bytes, buffers: Sequence[memoryview]) -> bytes:
    """Return the payload for a pickle and its buffers; `take` or `drop` must follow.

    Raises:
        MemoryError: no memory is left.
    """
    queues = _loaded()
    queue = queues.create(0, _REMOVE, _DEFAULT)
    try:
        for buffer in buffers:
            queues.put(queue, buffer)
    except BaseException:
        queues.destroy(queue)
        raise
    return _HEADER.pack(queue, len(buffers)) + data


def take(payload: memoryview) -> tuple[memoryview, list[memoryview]]:
    """Return the pickle and its buffers."""
    queue, count = _HEADER.unpack_from(payload)
    queues = _loaded()
    try:
        return payload[_HEADER.size :], [queues.get(queue)[0] for _ in range(count)]
    finally:
        queues.destroy(queue)


def drop(payload: memoryview) -> None:
    """Let the buffers go: nobody takes them."""
    _loaded().destroy(_HEADER.unpack_from(payload)[0])


def _loaded() -> Any:
    """Return CPython's queues between interpreters: `concurrent.interpreters` would cost a worker 5 ms and 1 MB."""
    global _queues
    if _queues is None:
        from importlib import import_module

        _queues = import_module("_interpqueues")
    return _queues
