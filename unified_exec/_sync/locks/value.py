"""`SharedValue`: a number that many tasks add to, without a lock of theirs.

In the shared form each process has a cell of its own, and the number is the sum of all cells and a base that `set`
corrects. An aligned word is stored by one instruction, so nobody reads half of it, and a death loses nothing.
"""

from __future__ import annotations

import os
from _thread import allocate_lock
from math import fsum
from operator import index
from typing import Any, Generic, TypeVar
from weakref import WeakSet

from ..._tasks.fork_lock import in_forked_child
from ..shared.seats import SEAT_SIZE, SEATS, SEATS_MAX, record_lock
from ..shared.travel import SharedFormBase, Traveller
from .page import BODY, LockPage, SharedLockForm

N = TypeVar("N", int, float)

IS_FLOAT, SETS, HIGHEST = range(BODY, BODY + 3)
"""Words: the kind of number; how often `set` was called; the highest cell that was ever in use, plus one."""
BASES = BODY + 4
"""Two bases of two words each. The number of calls of `set` tells which one holds: the other one is written first."""
CELLS = BODY + 8


class SharedCells(SharedLockForm):
    """The cells of a number in this process.

    Attributes:
        cells: one for each seat.
        cell: the index of that of this process.
    """

    __slots__ = ("_bases", "_is_float", "cell", "cells")

    def __init__(self, page: LockPage) -> None:
        super().__init__(page)
        self._is_float = bool(self.words[IS_FLOAT])
        numbers: Any = memoryview(page.map).cast("d" if self._is_float else "q")
        self._bases = numbers[BASES : BASES + 4]
        self.cells = numbers[CELLS : CELLS + SEATS_MAX]

    @classmethod
    def create(cls, value: float) -> SharedCells:
        """Make the cells of a number.

        Raises:
            OSError: no descriptor or no memory is left.
            OverflowError: the number has more than 64 bits.
        """
        page = LockPage.create(SharedValue.kind, CELLS - BODY + SEATS_MAX, pipe=False)
        page.words[IS_FLOAT] = type(value) is float
        made = cls(page)
        made.set(value)
        return made

    def sit_down(self) -> None:
        super().sit_down()
        self.cell = (self.seat - SEATS) // SEAT_SIZE
        with record_lock(self.memory.page_fd, True):
            self.words[HIGHEST] = max(int(self.words[HIGHEST]), self.cell + 1)

    @property
    def kind(self) -> type[float]:
        """``int`` or ``float``."""
        return float if self._is_float else int

    def get(self) -> float:
        words = self.words
        while True:
            sets = words[SETS]
            base = 2 * (sets & 1)
            parts = [*self._bases[base : base + 2].tolist(), *self.cells[: words[HIGHEST]].tolist()]
            if words[SETS] == sets:
                return fsum(parts) if self._is_float else sum(parts)

    def set(self, value: float) -> None:
        with record_lock(self.memory.page_fd, True):
            sets = int(self.words[SETS]) + 1
            base = 2 * (sets & 1)
            parts = self.cells[: self.words[HIGHEST]].tolist()
            self._bases[base] = value
            self._bases[base + 1] = -fsum(parts) if self._is_float else -sum(parts)
            self.words[SETS] = sets

    def look_for_dead(self, patience: float = 1.0) -> bool:
        return True  # what the dead have added stays


class SharedValue(Traveller, Generic[N]):
    """A number that coroutines, threads and process tasks add to at the same time.

    For counters and flags: no lock is needed, and the death of a process loses nothing that it has added. It cannot add
    and return the new sum in one step; use a `Lock` for that. Integers have 64 bits. Passed to a process task it
    becomes shared, as a `Channel` does.

    Args:
        value: what it begins with. An ``int`` makes it an integer, a ``float`` a float.

    Raises:
        TypeError: `value` is neither.
        OverflowError: it does not fit into 64 bits.

    Example:
        done = SharedValue(0)

        def work(rows):                                   # in any number of process tasks
            for row in rows:
                ...
                done.add(1)

        print(done.get())
    """

    __slots__ = ("_added", "_kind", "_lock", "_own")

    kind = "a shared value"
    _shared: SharedCells | None

    def __init__(self, value: N) -> None:
        is_float = isinstance(value, float)
        if isinstance(value, bool) or not (is_float or hasattr(value, "__index__")):
            raise TypeError(f"SharedValue(value) needs an int or a float, got {value!r}")
        super().__init__(None)
        self._kind: type[float] = float if is_float else int
        self._lock = allocate_lock()
        self._own: Any = memoryview(bytearray(8)).cast("d" if is_float else "q")
        self._added: float = self._plain(value)  # what is in our own cell
        try:
            self._own[0] = self._added
        except ValueError:
            raise OverflowError(f"{value} does not fit into 64 bits") from None

    def _plain(self, number: Any) -> Any:
        """Return a number as one of this kind. NumPy's would bring their own bounds and precision into the sum."""
        if type(number) is self._kind:
            return number
        return index(number) if self._kind is int else float(number + 0.0)

    def add(self, amount: N) -> None:
        """Add a number.

        Args:
            amount: what to add; negative to subtract.

        Raises:
            TypeError: a float is added to an integer.
            OverflowError: the sum does not fit into 64 bits. Nothing was added.
        """
        try:
            if type(amount) is not self._kind:
                amount = self._plain(amount)
            with self._lock:
                added = self._added + amount
                self._own[0] = added
                self._added = added
        except (TypeError, ValueError) as error:
            raise self._refused("add", amount, error) from None

    def get(self) -> N:
        """Return the number."""
        own = self._own  # first: it stays what it was if the number becomes shared now
        shared = self._shared
        return own[0] if shared is None else shared.get()  # type: ignore[return-value]

    def set(self, value: N) -> None:
        """Set the number. What is added at the same time counts as added before or after.

        Raises:
            TypeError: a float is given for an integer.
            OverflowError: it does not fit into 64 bits.
        """
        try:
            value = self._plain(value)
            with self._lock:
                if self._shared is None:
                    self._own[0] = value
                    self._added = value
                else:
                    self._shared.set(value)
        except (TypeError, ValueError) as error:
            raise self._refused("set", value, error) from None

    def _refused(self, verb: str, value: object, error: Exception) -> Exception:
        kind = self._kind.__name__
        if isinstance(error, TypeError):
            return TypeError(f"cannot {verb} {value!r}: this is a SharedValue of {kind}")
        return OverflowError(f"cannot {verb} {value!r}: a SharedValue of {kind} has 64 bits")

    def __repr__(self) -> str:
        return f"SharedValue({self.get()!r})"

    # -- between processes

    def share(self) -> None:
        with self._lock:
            if self._shared is None:
                form = SharedCells.create(self._own[0])
                self.become(os.urandom(16), form)

    def become(self, token: bytes, form: Any) -> None:
        super().become(token, form)
        self._take_cell(form)
        _shared_values.add(self)

    def after_fork(self) -> None:
        """In a forked child: it has a cell of its own, and no other thread holds the lock."""
        self._lock = allocate_lock()
        if self._shared is not None:
            self._take_cell(self._shared)

    def _take_cell(self, form: SharedCells) -> None:
        self._own = form.cells[form.cell : form.cell + 1]
        self._added = self._own[0]

    @classmethod
    def from_descriptors(cls, name: str | None, fds: list[int]) -> tuple[SharedValue[N], SharedFormBase]:
        form = SharedCells(LockPage(fds, cls.kind))
        made: SharedValue[N] = cls(form.kind())  # type: ignore[arg-type]
        return made, form


_shared_values: WeakSet[SharedValue[Any]] = WeakSet()


@in_forked_child  # after the forms, which take their seats
def _after_fork() -> None:
    for value in list(_shared_values):
        value.after_fork()
