"""The memory of a shared lock: gate, seats, and words of its own; and the pipe, whose reading end its waiters watch."""

from __future__ import annotations

import os
from mmap import mmap

from ..._platform import posix
from ..._platform.shared_memory import close_all
from ..shared import seats
from ..shared.pipes import make_pipe
from ..shared.seats import SEATS_END, Page
from ..shared.travel import SharedFormBase

BODY = SEATS_END
"""The first of the words that a kind of lock has for itself."""


class LockPage(Page):
    """The page of a lock in this process.

    Attributes:
        fds: memory, and the reading and the writing end of the pipe, if it has one.
        kind: what it belongs to, for errors.
    """

    __slots__ = ("kind", "map", "on_seat_freed")

    def __init__(self, fds: list[int], kind: str) -> None:
        self.fds = tuple(fds)
        self.page_fd = fds[0]
        self.kind = kind
        self.map = mmap(fds[0], 0, **posix.UNTRACKED)
        self.words = memoryview(self.map).cast("Q")

    @classmethod
    def create(cls, kind: str, words: int, pipe: bool = True) -> LockPage:
        """Make the memory, with `words` words of its own, all zero, and a pipe.

        Raises:
            OSError: no descriptor or no memory is left.
        """
        fds: list[int] = []
        try:
            fds.append(posix.anonymous_memory())
            size = (BODY + words) * 8 + 4095 & ~4095
            if hasattr(os, "posix_fallocate"):
                os.posix_fallocate(fds[0], 0, size)  # a store into memory that cannot be had would kill the process
            else:
                os.ftruncate(fds[0], size)
            if pipe:
                fds += make_pipe()
            return cls(fds, kind)
        except BaseException:
            close_all(fds)
            raise


class SharedLockForm(SharedFormBase):
    """The shared form of a lock in this process, with a seat."""

    __slots__ = ("__weakref__", "memory", "page", "seat", "words")

    def __init__(self, page: LockPage) -> None:
        self.page = self.memory = page
        self.words = page.words
        self.sit_down()
        self.take_part()

    def sit_down(self) -> None:
        """Take a seat; a forked child takes one of its own.

        Raises:
            SerializationError: there is none.
        """
        self.seat = seats.take_seat(self.memory)

    def after_fork(self) -> None:
        """In a forked child: it is another participant."""
        self.sit_down()

    def descriptors(self) -> tuple[int, ...]:
        return self.memory.fds

    def stop_reading(self) -> None:
        pass

    def process_of(self, seat: int) -> int:
        return int(self.words[seat + seats.PID])

    def is_dead(self, seat: int) -> bool:
        """Tell whether the process of a seat has died."""
        return seats.is_dead(self.words[seat + seats.PID], self.words[seat + seats.START])
