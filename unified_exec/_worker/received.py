"""What the parent has sent of shared objects, channels and locks, until tasks unpickle it, and what is made here.

Also what goes up and down of tasks that wait for them: a worker says that one has waited for long, is asked to tell
more, and hears which waits never end.
"""

from __future__ import annotations

import sys
from time import monotonic

from .._platform.posix import DONTWAIT
from .._platform.shared_memory import close_all
from .._tasks.weak_sets import WeakTable
from .._wire import frames
from .._wire.pickling.shared_refs import received as descriptors

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

shares: dict[bytes, Any] = {}
"""The shared objects the parent has sent: descriptors, table and size, or the object once it was unpickled here."""
channels: dict[bytes, Any] = {}
"""The channels the parent has sent: name and descriptors, or the channel itself once it was unpickled here."""
made_here = WeakTable()
"""The shared objects of this process while they live: a task may return them."""
_TELLS_FOR = 1.0
"""Seconds for which a worker that was asked tells what its tasks wait for."""

on_long_wait: Callable[[Any, Any, bytes], object] | None = None
"""In the program: called with the event loop and the worker that says that a task waits, and the mark of the wait."""
on_endless_wait: Callable[[bytes], object] | None = None
"""In a worker: called with what the parent has found; maybe in the signal handler."""
_tells_until = 0.0

_ALONE = 2
"""References to what only a table refers to: that one, and the argument of the call that counts."""


def on_share(message: bytes, fds: list[int]) -> None:
    """The parent has sent a shared object, which is made when it is first unpickled, or a bare descriptor (SHARE)."""
    token, size, table = frames.unpack_share(memoryview(message))
    if fds and not table:
        descriptors[token] = fds[0]
    elif token in shares or made_here.get(token) is not None or not fds:
        close_all(fds)
    else:
        shares[token] = fds, table, size


def on_channel(message: bytes, fds: list[int]) -> None:
    """The parent has sent a channel (CHANNEL). It is made when it is first unpickled."""
    token, name = frames.unpack_channel(memoryview(message))
    if token in channels:
        close_all(fds)
    else:
        channels[token] = name, fds


def on_drop(message: bytes, fds: list[int]) -> None:
    """The parent needs a shared object or a channel no more (DROP). Tasks that still hold it keep it."""
    token = bytes(frames.unpack_payload(memoryview(message))[1])
    close_unused(shares.pop(token, None), 0)
    if token in descriptors:
        close_all([descriptors.pop(token)])
    close_unused(channels.pop(token, None), 1)


def on_recall(message: bytes, fds: list[int]) -> None:
    """End a channel that only this table refers to (RECALL). It is made again when a call brings it."""
    token = bytes(frames.unpack_payload(memoryview(message))[1])
    if type(channels.get(token, ())) is not tuple and sys.getrefcount(channels[token]) == _ALONE:
        try:
            channels[token] = channels[token].unmade()
        except OSError:
            pass  # no descriptor is left


def close_unused(entry: Any, at: int) -> None:
    """Close the descriptors of what was never unpickled; they are item `at` of its entry."""
    if type(entry) is tuple:
        close_all(entry[at])


def is_of_parent(token: bytes) -> bool:
    """Tell whether the parent has sent the object of this token, and still has it."""
    return token in shares or token in channels


def heard(adapter: Any, worker: Any, mark: bytes) -> None:
    """A worker says that one of its tasks has waited for long (WAITS)."""
    if on_long_wait is not None:
        on_long_wait(adapter, worker, mark)


def say_long_wait(worker: Any, mark: int) -> None:
    """Say to the parent of this worker that a task has waited for long."""
    try:
        worker.connection.control.send(frames.pack_payload(frames.WAITS, mark.to_bytes(8, "little")), DONTWAIT)
    except OSError:
        pass  # it is said again


def is_asked_for_waits() -> bool:
    """Tell whether the parent has asked just now what the tasks of this worker wait for."""
    return monotonic() < _tells_until


def on_tell(message: bytes, fds: list[int]) -> None:
    """The parent asks what tasks wait for (TELL)."""
    global _tells_until
    _tells_until = monotonic() + _TELLS_FOR


def on_no_end(message: bytes, fds: list[int]) -> None:
    """The parent has found a wait that can never end (NO_END)."""
    if on_endless_wait is not None:
        on_endless_wait(bytes(frames.unpack_payload(memoryview(message))[1]))
