"""Tasks of a worker that wait for long: it says so to its parent, is asked to tell more, and hears which never end."""

from __future__ import annotations

from time import monotonic

from .._platform.posix import DONTWAIT
from .._wire import frames
from . import context

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

__all__ = ["are_asked_for", "heard", "on_no_end", "on_tell", "say"]

_TELLS_FOR = 1.0
"""Seconds for which a worker that was asked tells what its tasks wait for."""

on_heard: Callable[[Any, Any, bytes], object] | None = None
"""In the program: called with the event loop and the worker that says that a task waits, and the mark of the wait."""
on_end_of_hope: Callable[[bytes], object] | None = None
"""In a worker: called with what the parent has found; maybe in the signal handler."""
_until = 0.0


def heard(adapter: Any, worker: Any, mark: bytes) -> None:
    """A worker says that one of its tasks waits."""
    if on_heard is not None:
        on_heard(adapter, worker, mark)


def say(mark: int) -> None:
    """Say to the parent that a task has waited for long."""
    worker = context.worker
    if worker is not None:
        try:
            worker.connection.control.send(frames.pack_payload(frames.WAITS, mark.to_bytes(8, "little")), DONTWAIT)
        except OSError:
            pass  # it is said again


def are_asked_for() -> bool:
    """Tell whether the parent has asked just now what the tasks of this worker wait for."""
    return monotonic() < _until


def on_tell(message: bytes, fds: list[int]) -> None:
    """The parent asks what tasks wait for (TELL)."""
    global _until
    _until = monotonic() + _TELLS_FOR


def on_no_end(message: bytes, fds: list[int]) -> None:
    """The parent has found a wait that can never end (NO_END)."""
    if on_end_of_hope is not None:
        on_end_of_hope(bytes(frames.unpack_payload(memoryview(message))[1]))
