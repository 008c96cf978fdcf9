"""Counted send ends: which of a channel are open, in one process and, once it is shared, in all of them.

In a shared channel each open end has a cell: its number in the order of opening, and the seat of the process that
opened it. That process closes the end without a lock, for a finalizer may do it; any other closes it under the record
lock, under which cells are given out. So no cell that serves again is closed by mistake.
"""

from __future__ import annotations

from _thread import allocate_lock
from typing import Any
from weakref import ref

from ...errors import ChannelClosed, SerializationError
from ..shared import seats
from ..shared.seats import PID, START
from .memory import ENDS, ENDS_MADE, ENDS_MAX, OWNED, ChannelMemory

Place = tuple[Any, int, int]
"""Where an end is noted in a shared channel: its form, the index of the cell, and what is in the cell."""


class OpenEnds:
    """The open send ends of a channel that were opened in this process.

    Attributes:
        lock: held while one is opened, and while the channel takes its shared form.
    """

    __slots__ = ("_open", "lock")

    def __init__(self) -> None:
        self.lock = allocate_lock()
        self._open: dict[int, ref[Any]] = {}

    def __bool__(self) -> bool:
        return bool(self._open)

    def add(self, end: Any) -> None:
        self._open[id(end)] = ref(end)

    def remove(self, end: Any) -> None:
        """Note that it is closed. Without the lock: a finalizer may call this."""
        self._open.pop(id(end), None)

    def share(self, form: Any) -> None:
        """Give each a cell of the shared form that the channel takes. With the lock held."""
        for found in list(self._open.values()):
            end = found()
            if end is not None and not end.closed:
                end.place = open_cell(form)
                if end.closed:  # by another thread, which did not find its place
                    close_cell(end.place, ours=True)


def open_cell(form: Any) -> Place:
    """Note an open end in a shared channel.

    Raises:
        ChannelClosed: the channel is closed.
        SerializationError: it has no cell left.
    """
    memory: ChannelMemory = form.memory
    words = memory.words
    with seats.record_lock(memory.page_fd, True):
        made = words[ENDS_MADE] + 1
        for step in range(ENDS_MAX):
            cell = ENDS + (made + step) % ENDS_MAX
            if not words[cell]:
                words[ENDS_MADE] = made
                value = words[cell] = made << OWNED | form.seat + 1
                break
        else:
            raise SerializationError(
                "a send end", f"{ENDS_MAX} of its channel are open", "share one among several tasks"
            )
    if form.closed:
        words[cell] = 0
        raise ChannelClosed("the channel", True)
    return form, cell, value


def close_cell(place: Place, ours: bool) -> None:
    """Note that an end is closed, and close the channel if it was the last; closing twice is fine.

    Args:
        place: of the end.
        ours: it was opened in this process, which closes it once. Then no lock is needed.
    """
    form, cell, value = place
    words = form.memory.words
    if ours:
        if words[cell] == value:
            words[cell] = 0
    else:
        with seats.record_lock(form.memory.page_fd, True):
            if words[cell] == value:
                words[cell] = 0
    if none_is_open(form.memory):
        form.close()


def none_is_open(memory: ChannelMemory) -> bool:
    """Tell whether send ends have been opened, and all are closed."""
    return bool(memory.words[ENDS_MADE]) and not any(memory.words[ENDS : ENDS + ENDS_MAX])


def close_ends_of_dead(memory: ChannelMemory) -> None:
    """Close the send ends that dead processes had opened."""
    words = memory.words
    if not words[ENDS_MADE]:
        return
    owners = {cell & (1 << OWNED) - 1 for cell in words[ENDS : ENDS + ENDS_MAX].tolist()} - {0}
    if any(_seat_is_dead(memory, owner - 1) for owner in owners):
        with seats.record_lock(memory.page_fd, True):
            for owner in owners:
                if _seat_is_dead(memory, owner - 1):
                    memory.seat_freed(owner - 1)


def _seat_is_dead(memory: ChannelMemory, seat: int) -> bool:
    return seats.is_dead(memory.words[seat + PID], memory.words[seat + START])
