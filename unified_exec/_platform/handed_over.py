"""Buffers for a worker that is an interpreter of this process: it sees the memory itself, and nothing is copied.

They wait in a queue between interpreters, which pins their owner. Who receives the task's message takes them out, and
the queue with them. Only what the receiver cannot write to travels so: all else that arrives is a copy.

When the receiver drops a buffer, CPython asks its owner's interpreter to let it go. It can keep 300 such requests, and
forgets all others: their memory would stay for ever. So there are never as many buffers as that.
"""

from __future__ import annotations

from _struct import Struct
from _weakref import ref

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

OUT_MAX = 100
"""Buffers that other interpreters have at the same time; what would come on top is copied."""
_HEADER = Struct("<QI")  # number of the queue, number of buffers
_REMOVE = 1  # what becomes of the items of an interpreter that ends before they were taken
_DEFAULT = -1
_queues: Any = None
_out: dict[int, ref[memoryview]] = {}  # by identity: the hash of a view is that of its content


def can_be(buffers: Sequence[memoryview]) -> bool:
    """Tell whether all of these buffers may be handed over."""
    return len(_out) + len(buffers) <= OUT_MAX and all(buffer.readonly for buffer in buffers)


def offer(data: bytes, buffers: Sequence[memoryview]) -> bytes:
    """Return the payload for a pickle and its buffers; `take` or `drop` must follow.

    Raises:
        MemoryError: no memory is left.
    """
    queues = _loaded()
    queue = queues.create(0, _REMOVE, _DEFAULT)
    try:
        for buffer in buffers:
            queues.put(queue, _noted(buffer))
    except BaseException:
        queues.destroy(queue)
        raise
    return _HEADER.pack(queue, len(buffers)) + data


def _noted(buffer: memoryview) -> memoryview:
    """Return a view of a buffer that lives until the receiver has let go of it."""
    view = buffer[:]
    key = id(view)
    _out[key] = ref(view, lambda _: _out.pop(key, None))
    return view


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
