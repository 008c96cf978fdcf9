"""The signal that has a worker read its mailbox, repeated until it has done so.

A signal that reaches the worker's main thread just before a system call does not interrupt that call: its handler waits
until the call returns, and what was sent may be what the call waits for. An event loop that a task runs sleeps so.
"""

from __future__ import annotations

from weakref import WeakKeyDictionary

from ..._loops.adapter import LoopAdapter, call_later_apart
from ..._platform.posix import bytes_unread
from .worker import Worker

POST_AGAIN = 0.005
"""Seconds until a message that found a worker's mailbox full is sent again."""
_AGAIN, _AGAIN_MAX = 0.05, 1.0
"""Seconds until a worker that has not read its mailbox is signalled again. They double each time, up to the second."""

_pauses: WeakKeyDictionary[LoopAdapter, WeakKeyDictionary[Worker, float]] = WeakKeyDictionary()
"""When each worker will be looked at, in seconds. Each event loop has its own timers: a worker may change its loop."""


def signal_until_read(adapter: LoopAdapter, worker: Worker) -> None:
    """Have a worker read its mailbox; in the thread of the event loop that has the worker."""
    worker.signal()
    pauses = _pauses.get(adapter)
    if pauses is None:
        pauses = _pauses[adapter] = WeakKeyDictionary()
    if worker not in pauses:
        call_later_apart(adapter, _AGAIN, _look, adapter, worker)
    pauses[worker] = _AGAIN


def _look(adapter: LoopAdapter, worker: Worker) -> None:
    pauses = _pauses[adapter]
    pause = pauses.pop(worker)
    if worker.reaped:
        return
    try:
        unread = bytes_unread(worker.child.control.fileno())
    except (OSError, ValueError):
        return  # the thread of another loop, to which it has gone, has just closed it
    if unread or (unread is None and pause < _AGAIN_MAX):
        worker.signal()
        pauses[worker] = min(2 * pause, _AGAIN_MAX)
        call_later_apart(adapter, pauses[worker], _look, adapter, worker)
