"""The items of a generator that runs in a worker process: numbered batches, for which the consumer gives credit."""

from __future__ import annotations

from abc import abstractmethod
from collections import deque
from collections.abc import Callable
from functools import partial
from inspect import isasyncgenfunction
from typing import Any

from ..._rules.dispatch import unwrap
from ..._tasks.messages import Batch
from ..._tasks.task import Task
from ..._tasks.types import Outcome
from ...abc import Lane, StreamReader


class CreditLane(Lane):
    """A lane whose tasks send no more messages than they have credit for."""

    @abstractmethod
    def give_credit(self, task: Task, count: int) -> None:
        """Allow a running task `count` more messages; 0 makes it send what it has gathered."""


class ProcessStreamReader(StreamReader):
    """Puts the batches, which arrive on two sockets, in order, and gives a credit for each that was taken."""

    def __init__(self, lane: CreditLane, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        from ..._worker.run_generator import run_async_generator, run_generator  # loaded with the first stream

        self.fn = partial(run_async_generator if isasyncgenfunction(unwrap(fn)) else run_generator, fn)
        self.args = (args,)
        self.items: deque[Any] = deque()
        self._lane = lane
        self._early: dict[int, Batch] = {}  # batches that arrived before those with lower numbers
        self._next = 0
        self._sizes: deque[int] = deque()  # how many items of each batch are still in `items`

    def on_message(self, message: Any) -> bool:
        if isinstance(message, Exception):
            self._fail(message)
            return False
        self._early[message.number] = message
        while self._next in self._early and self.error is None:
            batch = self._early.pop(self._next)
            self._next += 1
            self.items.extend(batch.items)
            if batch.items:
                self._sizes.append(len(batch.items))
            if batch.error is not None:
                self._fail(batch.error)
        return True

    def _fail(self, error: Exception) -> None:
        self.error = error
        self._lane.cancel([self.task], "an item could not be rebuilt")

    def item_taken(self) -> None:
        self._sizes[0] -= 1
        if not self._sizes[0]:
            self._sizes.popleft()
            if self.task.outcome is None:
                self._give_credit(1)

    def flush(self) -> None:
        self._give_credit(0)

    def is_complete(self, outcome: Outcome[Any]) -> bool:
        return not outcome.is_value or self.error is not None or outcome.unwrap() == self._next

    def _give_credit(self, count: int) -> None:
        """Allow the generator `count` more batches; 0 makes it send what it has gathered."""
        self._lane.give_credit(self.task, count)
