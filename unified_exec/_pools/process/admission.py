"""Whether a pool takes work, and how it is closed only while it has none."""

from __future__ import annotations

import threading
import time
import weakref
from collections.abc import Callable, Iterable, Sequence

from ..._loops.adapter import LoopAdapter
from ..._tasks.fork_lock import in_forked_child
from ...errors import PoolClosed
from .worker_group import WorkerGroup
from .worker_registry import HasGroups

Lanes = Sequence[tuple[LoopAdapter, HasGroups]]


class Admission:
    """Admits work to a pool until it is closed.

    Attributes:
        closed: no work is admitted.
        guarded: closed, or about to be: work must be admitted with `admit`. Without it, asking would cost time.
    """

    def __init__(self, pool: str) -> None:
        self._pool = pool
        self.closed = False
        self._reset()
        _all.add(self)

    def _reset(self) -> None:
        self._lock = threading.Lock()
        self._checks: set[IdleCheck] = set()
        self.guarded = self.closed

    def admit(self) -> None:
        """Admit work; a pool that was about to be closed stays open.

        Raises:
            PoolClosed: the pool is closed.
        """
        with self._lock:
            if self.closed:
                raise PoolClosed(self._pool)
            for check in self._checks:
                check.refused = True

    def close(self) -> None:
        """Admit no work from now on."""
        self.closed = self.guarded = True

    def close_if_idle(self, lanes: Callable[[], Lanes], grace: float) -> bool:
        """Close unless a loop has tasks in the pool, or submits one before all loops have answered."""
        check = IdleCheck(grace)
        with self._lock:
            self._checks.add(check)
            self.guarded = True
        try:
            check.ask(lanes())
            while check.is_pending():
                time.sleep(0.0005)
            with self._lock:
                idle = check.is_idle()
                self.closed = self.closed or idle
            return idle
        finally:
            with self._lock:
                self._checks.discard(check)
                self.guarded = self.closed or bool(self._checks)


class IdleCheck:
    """Asks the loops of other threads, each in its own thread, whether they have tasks in a pool that looks idle: from
    here, a task that is being moved from the queue to a worker is seen in neither. The pool is guarded meanwhile.

    Attributes:
        refused: work was admitted since.
    """

    def __init__(self, grace: float) -> None:
        self._until = time.monotonic() + grace
        self._answers: list[tuple[LoopAdapter, list[bool]]] = []
        self.refused = False

    def ask(self, lanes: Lanes) -> None:
        for adapter, lane in lanes:
            if adapter.elsewhere():
                answer: list[bool] = []
                if adapter.call_threadsafe(_answer, lane.groups, answer):
                    self._answers.append((adapter, answer))

    def is_pending(self) -> bool:
        """Tell whether an answer is still to come. A loop that is blocked for long moves no task and is ignored."""
        over = self.refused or time.monotonic() >= self._until
        return not over and any(not answer and not adapter.ended() for adapter, answer in self._answers)

    def is_idle(self) -> bool:
        return not self.refused and not any(answer == [True] for _, answer in self._answers)


def have_tasks(groups: Iterable[WorkerGroup]) -> bool:
    """Tell whether tasks wait or run there. Certain in the loop's own thread only."""
    return any(group.has_tasks() for group in groups)


def _answer(groups: Iterable[WorkerGroup], answer: list[bool]) -> None:
    answer.append(have_tasks(groups))


_all: weakref.WeakSet[Admission] = weakref.WeakSet()


@in_forked_child
def _after_fork() -> None:
    for admission in list(_all):
        admission._reset()
