"""The seats of the processes at a shared channel or lock, who of them has died, and the audit of what dead hands held.

A process says that it is busy before it looks at the gate and before it touches a pipe. An audit shuts the gate, then
waits until nobody alive is busy. A number that is then in no pipe was in dead hands, and the page tells where it
belongs. An auditor may die as well: its record lock is then free while the gate is shut, and who meets that
begins the audit anew.
"""

from __future__ import annotations

import os
import time
from _thread import RLock
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

from ..._platform import posix
from ...errors import SerializationError

GATE, SPREAD, DUE, PASSED = 0, 13, 14, 15
"""Words of a page: set while an audit keeps everybody out; set for good when the object has gone where nobody can tell
who has it; an operation was interrupted, and what it had in its hands may be nobody's; how many items under way contain
the object."""
SEATS = 16
SEATS_MAX = 256
STATE, PID, START, OWN = range(4)
SEAT_SIZE = 4
SEATS_END = SEATS + SEAT_SIZE * SEATS_MAX
IN_USE, DEAD = 1, 2
USE = 3
"""The bits of a seat's state that say whether its process is in an operation, or died in one. The own word of a seat
belongs to one thread of the process, which does without the lock of the others; it says the same of this thread. A
state or own word that is not zero means that the process has something in its hands: its seat is given to another one
after an audit only."""

_BARRIER = 0.0001

_threads = RLock()  # record locks exclude processes, not threads
_locked: dict[int, int] = {}
"""The descriptors of the pages that the thread with that lock has locked, each with that of its own open file."""


def renew_lock() -> None:
    """In a forked child: another thread of the parent may have held the lock."""
    global _threads, _locked
    for own in _locked.values():
        if own >= 0:
            os.close(own)
    _threads, _locked = RLock(), {}


class Page:
    """Memory that the processes of a shared object have in common; it begins with the gate and the seats.

    Attributes:
        fds: the descriptors of the object in this process.
        page_fd: that of the page.
        words: the page, in words of 8 bytes.
        kind: what it belongs to, for errors.
    """

    __slots__ = ("__weakref__", "fds", "page_fd", "words")

    kind = ""
    fds: tuple[int, ...]
    page_fd: int
    words: memoryview

    def seat_freed(self, seat: int) -> None:
        """The process that had this seat is gone: what it had opened is closed."""


@contextmanager
def record_lock(fd: int, wait: bool) -> Iterator[bool]:
    """Hold the one lock of the page; the kernel lets go of it when this process dies.

    It is a record lock, which belongs to the process, and the lock of an open file of its own: that one excludes the
    other interpreters of this process. Where a descriptor cannot be opened anew, they are not excluded.

    Raises:
        RuntimeError: this code has interrupted its own thread, which holds it.
    """
    import fcntl  # there is none where there are no workers

    how = fcntl.LOCK_EX if wait else fcntl.LOCK_EX | fcntl.LOCK_NB
    with _threads:
        if fd in _locked:
            raise used_by_interrupted("a channel or lock")
        _locked[fd] = -1  # first: a signal handler may run in the next call
        held = False
        try:
            with suppress(OSError):
                fcntl.lockf(fd, how, 1)
                _locked[fd] = posix.opened_anew(fd)
                if _locked[fd] >= 0:
                    fcntl.flock(_locked[fd], how)
                held = True
            yield held
        finally:
            own = _locked[fd]
            del _locked[fd]  # no call: a signal handler may raise after one, after each of those below, too
            try:
                if own >= 0:
                    fcntl.flock(own, fcntl.LOCK_UN)  # a child that was forked meanwhile may have this open file, too
            finally:
                try:
                    if own >= 0:
                        os.close(own)
                finally:
                    fcntl.lockf(fd, fcntl.LOCK_UN, 1)


def used_by_interrupted(kind: str) -> RuntimeError:
    """Return the error of a signal handler that would wait for what it has interrupted."""
    return RuntimeError(
        f"{kind} is being used by this thread, and a signal handler cannot use it at the same time: it may set a "
        "variable or call `loop.call_soon_threadsafe`, and other code sends, sets or notifies"
    )


def take_seat(page: Page) -> int:
    """Take a free seat for this process; returns the index of its first word.

    Raises:
        SerializationError: all seats are taken by living processes.
    """
    words = page.words
    with record_lock(page.page_fd, True):
        for seat in range(SEATS, SEATS_END, SEAT_SIZE):
            pid = words[seat + PID]
            in_hands = words[seat + STATE] or words[seat + OWN]
            if not pid or (not in_hands and is_dead(pid, words[seat + START])):
                page.seat_freed(seat)
                words[seat + START] = _state_and_start(os.getpid())[1]
                words[seat + PID] = os.getpid()
                return seat
    raise SerializationError(
        page.kind,
        f"{SEATS_MAX} processes have it, and it has no room for more",
        "drop it in processes that need it no more",
    )


def free_seat(page: Page, seat: int) -> None:
    words = page.words
    if words[seat + PID] == os.getpid():
        page.seat_freed(seat)
        words[seat + STATE] = words[seat + OWN] = words[seat + PID] = 0


def count_passed(page: Page, step: int) -> None:
    """Count the items under way that contain the object of this page."""
    with record_lock(page.page_fd, True):
        page.words[PASSED] = max(0, page.words[PASSED] + step)


def held_elsewhere(page: Page, seat: int) -> bool:
    """Tell whether a living process other than that of `seat` has a seat, or an item under way contains the object."""
    return bool(page.words[PASSED]) or bool(processes_elsewhere(page, seat))


def processes_elsewhere(page: Page, seat: int) -> list[int]:
    """Return the living processes that have a seat other than `seat`."""
    words = page.words
    return [
        int(words[other + PID])
        for other in range(SEATS, SEATS_END, SEAT_SIZE)
        if other != seat and words[other + PID] and not is_dead(words[other + PID], words[other + START])
    ]


def someone_is_busy(page: Page, seat: int) -> bool:
    """Tell whether the process of another seat is in the midst of an operation, or died in one."""
    states = _all(page, STATE)
    states[(seat - SEATS) // SEAT_SIZE] = 0
    return any(word & USE for word in states + _all(page, OWN))


def _all(page: Page, word: int) -> list[int]:
    """This word of every seat."""
    return page.words[SEATS + word : SEATS_END : SEAT_SIZE].tolist()


def _use(page: Page) -> set[int]:
    return {word & USE for word in _all(page, STATE) + _all(page, OWN)}


def _find_dead(page: Page) -> list[int]:
    """The seats that need an audit: their processes died in an operation, or with something taken."""
    words = page.words
    both = enumerate(zip(_all(page, STATE), _all(page, OWN), strict=True))
    seats = [SEATS + SEAT_SIZE * index for index, held in both if any(held)]
    return [seat for seat in seats if is_dead(words[seat + PID], words[seat + START])]


def audit_is_due(page: Page) -> bool:
    """Tell whether a process died or was interrupted in an operation, or an audit was begun and not ended."""
    return bool(page.words[GATE] or page.words[DUE]) or DEAD in _use(page) or bool(_find_dead(page))


def audit(page: Page, patience: float, give_back: Callable[[list[int]], None]) -> bool:
    """Give back what is in dead hands, or in nobody's. The caller's own seat is not busy, and stays so.

    Args:
        page: the page of the channel or lock.
        patience: seconds to wait for living processes that are busy.
        give_back: called with the seats of the dead; gives back what they held, then frees the seats. It may be
            called again if this process dies in its midst.

    Returns:
        whether it is done, or another process does it; otherwise try again later.
    """
    words = page.words
    with record_lock(page.page_fd, False) as held:
        if not held:
            return True
        for seat in _find_dead(page):  # with the lock held: nobody takes the seat of one that was dead a moment ago
            words[seat + STATE] = words[seat + STATE] & ~USE | DEAD  # it remains so if we die as well
            words[seat + OWN] &= ~USE
        marked = [SEATS + SEAT_SIZE * index for index, state in enumerate(_all(page, STATE)) if state & USE == DEAD]
        if marked or words[GATE] or words[DUE]:
            words[GATE] = 1
            time.sleep(_BARRIER)  # who was past its look at the gate has its state in memory by now
            end = time.monotonic() + patience
            while IN_USE in _use(page):
                if time.monotonic() > end:
                    words[GATE] = 0
                    return False
                time.sleep(_BARRIER)
            give_back(marked)
            words[DUE] = 0  # not before: if we die, the next audit does it all again
        words[GATE] = 0
        return True


def is_dead(pid: int, start: int) -> bool:
    """Tell whether a process has ended. A zombie has; another process with its pid is not it."""
    state, started = _state_and_start(pid)
    return state in "ZX" or started != start


def start_of(pid: int) -> int:
    """When a process began, in the system's own unit: together with its pid this names it for good."""
    return _state_and_start(pid)[1]


def _state_and_start(pid: int) -> tuple[str, int]:
    """The state of a process, X if there is none, and its start time; 0 where the system does not say."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            fields = file.read().rpartition(b")")[2].split()
        return fields[0].decode(), 0 if posix.PLAIN else int(fields[19])
    except (OSError, IndexError, ValueError):
        if os.path.exists("/proc/self/stat"):
            return "X", 0
    try:
        os.getpgid(pid)  # macOS and the BSDs find no zombie here, which `kill` finds
    except ProcessLookupError:
        return "X", 0
    except OSError:
        pass
    return "R", 0
