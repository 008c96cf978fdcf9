"""The seats of the processes at a shared channel, who of them has died, and what dead hands held.

A process says that it is busy before it looks at the gate and before it touches a pipe. An audit shuts the gate, then
waits until nobody alive is busy. A number that is then in neither pipe was in dead hands, and its slot's header tells
where it belongs. An auditor may die as well: its record lock is then free while the gate is shut, and who meets that
begins the audit anew.
"""

from __future__ import annotations

import fcntl
import os
import time
from _thread import allocate_lock
from collections.abc import Iterator
from contextlib import contextmanager

from ..._platform import posix
from ...errors import SerializationError
from .memory import (
    COUNT,
    DEAD,
    ENDS,
    ENDS_MADE,
    ENDS_MAX,
    GATE,
    HEADERS,
    IN_USE,
    LOST,
    OWNED,
    OWNER,
    PID,
    SEAT_SIZE,
    SEATS,
    SEATS_MAX,
    START,
    STATE,
    STATES,
    TAKEN,
    TAKING,
    USE,
    ChannelMemory,
    drain,
    fill,
)

__all__ = [
    "audit",
    "audit_is_due",
    "close_ends_of_dead",
    "find_dead",
    "free_seat",
    "record_lock",
    "renew_lock",
    "someone_is_busy",
    "take_seat",
]

_BARRIER = 0.0001
_SUM = 1 << 63

_threads = allocate_lock()  # record locks exclude processes, not threads


def renew_lock() -> None:
    """In a forked child: another thread of the parent may have held the lock."""
    global _threads
    _threads = allocate_lock()


@contextmanager
def record_lock(fd: int, wait: bool) -> Iterator[bool]:
    """Hold the one record lock of the page; the kernel lets go of it when this process dies."""
    with _threads:
        try:
            fcntl.lockf(fd, fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB, 1)
        except OSError:
            yield False
            return
        try:
            yield True
        finally:
            fcntl.lockf(fd, fcntl.LOCK_UN, 1)


def take_seat(memory: ChannelMemory) -> int:
    """Take a free seat for this process; returns the index of its first word.

    Raises:
        SerializationError: all seats are taken by living processes.
    """
    words = memory.words
    with record_lock(memory.fds[4], True):
        for seat in range(SEATS, ENDS, SEAT_SIZE):
            pid = words[seat + PID]
            if not pid or (not words[seat + STATE] and _is_dead(pid, words[seat + START])):
                _close_ends(memory, seat)
                words[seat + START] = _state_and_start(os.getpid())[1]
                words[seat + PID] = os.getpid()
                return seat
    raise SerializationError(
        "a channel",
        f"{SEATS_MAX} processes have it, and it has no room for more",
        "drop it in processes that need it no more",
    )


def free_seat(memory: ChannelMemory, seat: int) -> None:
    words = memory.words
    if words[seat + PID] == os.getpid():
        _close_ends(memory, seat)
        words[seat + STATE] = words[seat + PID] = 0


def someone_is_busy(memory: ChannelMemory) -> bool:
    """Tell whether any process is in the midst of an operation."""
    return any(state & USE for state in _states(memory))


def _states(memory: ChannelMemory) -> list[int]:
    return memory.words[SEATS + STATE : ENDS : SEAT_SIZE].tolist()


def _use(memory: ChannelMemory) -> set[int]:
    return {state & USE for state in _states(memory)}


def find_dead(memory: ChannelMemory) -> list[int]:
    """The seats that need an audit: their processes died in an operation, or with something taken."""
    words = memory.words
    return [
        SEATS + SEAT_SIZE * index
        for index, state in enumerate(_states(memory))
        if state and _is_dead(words[SEATS + SEAT_SIZE * index + PID], words[SEATS + SEAT_SIZE * index + START])
    ]


def audit_is_due(memory: ChannelMemory) -> bool:
    """Tell whether an audit was begun and not ended."""
    return bool(memory.words[GATE]) or DEAD in _use(memory)


def audit(memory: ChannelMemory, dead: list[int], patience: float) -> bool:
    """Give back what dead processes had in their hands. The caller's own seat is not busy, and stays so.

    Args:
        memory: the channel.
        dead: the seats of dead processes.
        patience: seconds to wait for living processes that are busy.

    Returns:
        whether it is done, or another process does it; otherwise try again later.
    """
    words = memory.words
    with record_lock(memory.fds[4], False) as held:
        if not held:
            return True
        for seat in dead:
            words[seat + STATE] = words[seat + STATE] & ~USE | DEAD  # it remains so if we die as well
        marked = [SEATS + SEAT_SIZE * index for index, state in enumerate(_states(memory)) if state & USE == DEAD]
        if marked or words[GATE]:
            words[GATE] = 1
            time.sleep(_BARRIER)  # who was past its look at the gate has its state in memory by now
            end = time.monotonic() + patience
            while IN_USE in _use(memory):
                if time.monotonic() > end:
                    words[GATE] = 0
                    return False
                time.sleep(_BARRIER)
            _return_numbers(memory)
            for seat in marked:
                _count_lost(memory, seat)
        words[GATE] = 0
        return True


def _return_numbers(memory: ChannelMemory) -> None:
    """Put each number that is in neither pipe where its header says. Every step can be repeated."""
    words = memory.words
    free, filled = drain(memory.fds[0]), drain(memory.fds[2])
    missing = set(range(memory.capacity)).difference(free, filled)
    again = [number for number in missing if words[HEADERS + 2 * number] & STATES]  # nobody has been given these
    fill(memory.fds[3], sorted([*filled, *again], key=lambda number: words[HEADERS + 2 * number]))
    fill(memory.fds[1], [*free, *missing.difference(again)])


def _count_lost(memory: ChannelMemory, seat: int) -> None:
    """Count what a dead process had taken out, and free its seat.

    Its start time is needed no more and holds the new sum: if we die here, the next audit goes on with that.
    """
    words = memory.words
    if not words[seat + START] & _SUM:
        lengths = [words[HEADERS + 2 * number + 1] for number in range(memory.capacity)]
        back = sum(
            length >> OWNER == seat + 1 and words[HEADERS + 2 * number] & STATES != 0
            for number, length in enumerate(lengths)
        )
        state = words[seat + STATE]
        taking = max(0, (state >> TAKING & COUNT) - back)
        words[seat + START] = _SUM | words[LOST] + taking + (state >> TAKEN)
    words[LOST] = words[seat + START] ^ _SUM
    _close_ends(memory, seat)
    words[seat + STATE] = 0
    words[seat + PID] = 0


def close_ends_of_dead(memory: ChannelMemory) -> None:
    """Close the send ends that dead processes had opened."""
    words = memory.words
    if not words[ENDS_MADE]:
        return
    owners = {cell & (1 << OWNED) - 1 for cell in words[ENDS : ENDS + ENDS_MAX].tolist()} - {0}
    if any(_seat_is_dead(memory, owner - 1) for owner in owners):
        with record_lock(memory.fds[4], True):
            for owner in owners:
                if _seat_is_dead(memory, owner - 1):
                    _close_ends(memory, owner - 1)


def _seat_is_dead(memory: ChannelMemory, seat: int) -> bool:
    return _is_dead(memory.words[seat + PID], memory.words[seat + START])


def _close_ends(memory: ChannelMemory, seat: int) -> None:
    """Close the send ends of a seat whose process has gone."""
    words = memory.words
    if words[ENDS_MADE]:
        for cell in range(ENDS, ENDS + ENDS_MAX):
            if words[cell] and words[cell] & (1 << OWNED) - 1 == seat + 1:
                words[cell] = 0


def _is_dead(pid: int, start: int) -> bool:
    """Tell whether a process has ended. A zombie has; another process with its pid is not it."""
    state, started = _state_and_start(pid)
    return state in "ZX" or started != start


def _state_and_start(pid: int) -> tuple[str, int]:
    """The state of a process, X if there is none, and its start time; 0 where the system does not say."""
    if not posix.PLAIN:
        try:
            with open(f"/proc/{pid}/stat", "rb") as file:
                fields = file.read().rpartition(b")")[2].split()
            return fields[0].decode(), int(fields[19])
        except (OSError, IndexError, ValueError):
            if os.path.exists("/proc/self/stat"):
                return "X", 0
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return "X", 0
    except OSError:
        pass
    return "R", 0
