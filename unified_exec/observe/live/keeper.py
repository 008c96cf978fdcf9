"""Keeps the door of this process: opens it, waits for viewers, and takes the thread away while the process forks."""

from __future__ import annotations

import logging
import os
import select
import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from .door import Door

if TYPE_CHECKING:
    from ..._loops.adapter import LoopAdapter

CAN_WAIT = hasattr(select, "poll") and hasattr(os, "geteuid")
AFTER_FORK_SECONDS = 0.05
FEW_DESCRIPTORS = 64
"""A program that may have no more than these needs them for itself: it cannot be looked at."""

_door: Door | None = None
_adapter: weakref.ref[LoopAdapter] | None = None
_when_closed: Callable[[], object] = int


def serve(door: Door) -> None:
    """Wait for viewers. What answers them is loaded when the first one comes."""
    poll = select.poll()
    poll.register(door.listener, select.POLLIN)
    poll.register(door.wake_read, select.POLLIN)
    while not door.stopping:
        ready = poll.poll()
        if any(fd == door.listener for fd, _ in ready):
            from .talk import Reception

            Reception(door).run()
            return
        _drain(door.wake_read)


def _drain(fd: int) -> None:
    try:
        while os.read(fd, 4096):
            pass
    except OSError:
        pass


def open_door(adapter: LoopAdapter, when_closed: Callable[[], object]) -> None:
    """Open the door, or start its thread again. A program in which that is impossible goes on without it.

    Args:
        adapter: an event loop, in which the thread is started again after a fork.
        when_closed: called when the door has been closed, so that the next scope opens it.
    """
    global _door, _adapter, _when_closed
    if not CAN_WAIT or _descriptors_are_few():
        return
    _adapter, _when_closed = weakref.ref(adapter), when_closed
    try:
        if _door is None:
            _door = Door()
        _door.start(serve)
    except (OSError, RuntimeError, MemoryError) as error:
        logging.getLogger("unified_exec").debug("this program cannot be looked at: %s", error)


def open_for_viewer() -> None:
    """Open the door although no scope has done so; see `inject`. Does nothing if it is open."""
    global _door
    try:
        if _door is None:
            _door = Door()
            _door.start(serve)
    except (OSError, RuntimeError, MemoryError) as error:
        logging.getLogger("unified_exec").warning("this program cannot be looked at: %s", error)


def _descriptors_are_few() -> bool:
    import resource

    return 0 <= resource.getrlimit(resource.RLIMIT_NOFILE)[0] <= FEW_DESCRIPTORS


def current_door() -> Door | None:
    """The door of this process, if it is open."""
    return _door


def _before_fork() -> None:
    if _door is not None and not _door.stopping:
        _door.stop()


def _after_fork_in_parent() -> None:
    if _door is None:
        return
    adapter = None if _adapter is None else _adapter()
    # Not now: a thread that runs when `os.fork` returns would make it warn.
    if adapter is None or not adapter.call_threadsafe(adapter.call_later, AFTER_FORK_SECONDS, _start_again, adapter):
        _when_closed()


def _start_again(adapter: LoopAdapter) -> None:
    if _door is not None and _door.stopping:
        open_door(adapter, _when_closed)


def _after_fork_in_child() -> None:
    global _door
    if _door is not None:
        _door.close()
        _door = None
    _when_closed()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(before=_before_fork, after_in_parent=_after_fork_in_parent, after_in_child=_after_fork_in_child)
