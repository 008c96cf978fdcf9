"""A lock or semaphore that several processes share: each permit is a number in a pipe.

Acquire: busy, the gate, read a number, count it and note the holder. Release: busy, the gate, strike the holder out,
then write the number. An audit gives back each number that is in no pipe and was in dead hands; if its holder is noted,
it is abandoned. See `..shared.seats`.
"""

from __future__ import annotations

import os
import select
from _thread import RLock

from ..._tasks.current import CurrentTask, sleepers
from ..shared.bells import Bell, sleep, thread_bell
from ..shared.gate import PATIENCE, Gated
from ..shared.pipes import drain, fill, make_room, numbers_in, record, waiting
from ..shared.seats import PID, STATE
from .page import BODY, LockPage, SharedLockForm

TOTAL, RAISES = 1, 2
"""Words of the page: the number of permits; who acquires an abandoned one gets an error."""
HELD = 8
"""The bit of a seat's state from which on it counts the permits that its process holds."""
HOLDER, ABANDONED, NAME = range(3)
"""Words of a permit: the seat, plus one, of its holder; the pid of the process that left it, times two, plus one if it
was a task that ended while the process lived; the name of the holder, in `_NAME` bytes."""
SIZE = 8

_NAME = 48


class SharedPermits(Gated, SharedLockForm):
    """Permits in a pipe.

    Attributes:
        readable: the descriptor that is readable while a permit is free.
    """

    __slots__ = ("_lock", "_rest", "_state", "_total", "readable")
    memory: LockPage

    def __init__(self, page: LockPage) -> None:
        super().__init__(page)
        self._total = int(self.words[TOTAL])
        self.readable = page.fds[1]

    @classmethod
    def create(cls, total: int, kind: str, raises: bool) -> SharedPermits:
        """Make one with all permits held by nobody and none in the pipe; `begin` goes on.

        Raises:
            OSError: no descriptor or no memory is left.
            SerializationError: the pipes of this system are too small.
        """
        page = LockPage.create(kind, SIZE * total)
        make_room(page.fds[2], total, kind)
        page.words[TOTAL], page.words[RAISES] = total, raises
        return cls(page)

    def sit_down(self) -> None:
        self._lock = RLock()
        super().sit_down()
        self._state = self.seat + STATE
        self._rest = 0

    @property
    def total(self) -> int:
        """How many permits there are."""
        return self._total

    @property
    def raises(self) -> bool:
        """Who acquires an abandoned permit gets an error."""
        return bool(self.words[RAISES])

    def begin(self, free: list[int]) -> None:
        """Take over the permits of the local form: those in `free` are free, this process has the others."""
        words = self.words
        with self._lock:
            found: list[int] = []
            while free:
                try:
                    found.append(free.pop())
                except IndexError:
                    break
            held = set(range(self._total)).difference(found)
            for number in held:
                words[BODY + SIZE * number + HOLDER] = self.seat + 1
                at = 8 * (BODY + SIZE * number + NAME)
                self.memory.map[at : at + _NAME] = b"a task".ljust(_NAME, b"\0")
            words[self._state] = self._rest = len(held) << HELD
            fill(self.memory.fds[2], sorted(found))

    # -- at once

    def try_take(self, name: str, taken: list[int]) -> str | None:
        """Put a permit, if there is one, into `taken`, for a holder of this name; returns who had abandoned it."""
        left: str | None = self._in_turn(self._take, (name.encode()[:_NAME].ljust(_NAME, b"\0"), taken))
        return left

    def _take(self, argument: tuple[bytes, list[int]]) -> str | None:
        name, taken = argument
        words = self.words
        try:
            (number,) = numbers_in(os.read(self.readable, 4))
        except BlockingIOError:
            return None
        at = BODY + SIZE * number
        left = words[at + ABANDONED]
        who = f"{self._name_of(number)} in process {left >> 1}{'' if left & 1 else ' (dead)'}" if left else None
        self._rest += 1 << HELD  # no signal is handled from here on
        self.memory.map[8 * (at + NAME) : 8 * (at + NAME) + _NAME] = name
        words[at + HOLDER] = self.seat + 1
        words[at + ABANDONED] = 0
        taken += (number,)
        return who

    def _name_of(self, number: int) -> str:
        at = 8 * (BODY + SIZE * number + NAME)
        return self.memory.map[at : at + _NAME].rstrip(b"\0").decode(errors="replace")

    def give(self, taken: list[int], abandoned: bool = False) -> None:
        """Put back the permits of this process that are in `taken`. Each leaves it in the same step."""
        while taken:
            self._in_turn(self._give_abandoned if abandoned else self._give, taken)

    def _give_abandoned(self, taken: list[int]) -> None:
        at = BODY + SIZE * taken[-1]
        if self.words[at + HOLDER] == self.seat + 1:
            self.words[at + ABANDONED] = os.getpid() << 1 | 1
        self._give(taken)

    def _give(self, taken: list[int]) -> None:
        words, number = self.words, taken[-1]
        at, data = BODY + SIZE * number, record(number)
        if words[at + HOLDER] != self.seat + 1:
            del taken[-1]  # a forked child releases what its parent holds
            return
        del taken[-1]  # no signal is handled from here to the write
        words[at + HOLDER] = 0
        self._rest -= 1 << HELD
        os.write(self.memory.fds[2], data)

    def all_taken(self) -> bool:
        """Tell whether no permit is free."""
        return not waiting(self.readable)

    def free_permits(self) -> int:
        return waiting(self.readable)

    def holders(self) -> list[str]:
        """Who holds the permits, by the names of tasks and the ids of processes."""
        found: list[str] = []
        for number in range(self._total):
            seat = int(self.words[BODY + SIZE * number + HOLDER])
            if seat:
                found.append(f"{self._name_of(number)} in process {self.process_of(seat - 1)}")
        return sorted(found)

    # -- waiting

    def sleep(self, task: CurrentTask | None, deadline: float | None, pause: float, shielded: bool) -> bool:
        """Sleep until a permit may be free; ``False`` if none was for `pause` seconds.

        Raises:
            Cancelled: the task was requested to stop.
            TimeoutError: the deadline has passed.
        """
        poll = select.poll()
        poll.register(self.readable, select.POLLIN)
        if shielded:
            return bool(poll.poll(pause * 1000))
        bell: Bell | None = None
        try:
            if task is not None:
                bell = thread_bell()
                poll.register(bell.fds[0], select.POLLIN)
                sleepers[bell] = task
            return sleep(poll, task, deadline, pause)
        finally:
            if bell is not None:
                sleepers.pop(bell, None)
                bell.silence()

    # -- the gate and the audit

    def look_for_dead(self, patience: float = PATIENCE) -> bool:
        return self._audit(patience)

    def _give_back(self, dead: list[int]) -> None:
        """Put back what dead processes had: abandoned, if one is noted as the holder; otherwise it was on its way."""
        words = self.words
        free = drain(self.readable)
        back: list[int] = []
        for number in set(range(self._total)).difference(free):
            at = BODY + SIZE * number
            holder = int(words[at + HOLDER])
            if holder and holder - 1 in dead:
                words[at + ABANDONED] = int(words[holder - 1 + PID]) << 1
                words[at + HOLDER] = 0
                back.append(number)
            elif not holder:
                back.append(number)
        fill(self.memory.fds[2], [*free, *back])
        for seat in dead:  # last: an audit that dies before is done again
            words[seat + PID] = 0
            words[seat + STATE] = 0
