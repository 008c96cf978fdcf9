"""Running a generator in a worker: its items are sent in batches, for which the parent gives credit."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from functools import partial
from time import monotonic

from .._tasks.current import current
from .._tasks.messages import Batch
from .._wire.pickling import codec
from ..errors import Cancelled, SerializationError
from . import forked
from .context import WorkerContext, WorkerTask

TYPE_CHECKING = False  # `typing` is not imported: a worker must stay light
if TYPE_CHECKING:
    from typing import Any

AHEAD = 4
"""Batches a generator may send before the first is consumed: the credit that comes with the task, which may still move
to another worker. Credit that the parent gives later reaches a task that has begun, and so does not move."""
BATCH_MAX = 1000
QUICK, SLOW = 0.0005, 0.002
"""A batch that took fewer seconds than this may grow, one that took more shrinks: a slow generator sends each item at
once."""


class Batches:
    """Gathers items and sends them in numbered batches.

    The parent may request what has been gathered (`flush`), in the signal handler: an item is taken off the deque only
    to be sent, and `_sending` keeps the handler out of a `_send` that it interrupted. Nor may the handler raise: that
    an item cannot travel is kept in `_failed` for the next `send`.
    """

    def __init__(self, context: WorkerContext, id: int) -> None:
        self._context = context
        self._id = id
        self._gathered: deque[Any] = deque()
        self._sending = False
        self._wanted = False
        self._failed: SerializationError | None = None
        self._size = 1
        self._began = monotonic()
        self.count = 0

    def add(self, item: Any) -> bool:
        """Gather an item; ``True`` if the batch must be sent, because it is full or the parent waits for it."""
        self._gathered.append(item)
        return self._wanted or len(self._gathered) >= self._size

    def flush(self) -> None:
        """Send what has been gathered if there is credit for it; if nothing has been, the next item is sent at once."""
        if not self._gathered:
            self._wanted = True
        elif not self._sending and self._failed is None and self.may_send():
            self._send()

    def on_credit(self) -> None:
        """Send what was gathered while there was no credit: the generator itself may wait for its consumer."""
        if self._gathered:
            self.flush()

    def may_send(self) -> bool:
        """Tell whether there is credit for one more batch."""
        return AHEAD + self._context.credit.get(self._id, 0) > self.count

    def send(self) -> None:
        """Wait for credit and send. Raises `Cancelled` if the task is requested to stop meanwhile.

        Raises:
            SerializationError: an item cannot travel. Those before it are sent.
        """
        if self._gathered and self._failed is None:
            now = monotonic()
            if now - self._began < QUICK:
                self._size = min(2 * self._size, BATCH_MAX)
            elif now - self._began > SLOW:
                self._size = max(1, self._size // 2)
            self._context.wait_for_credit(self._id, self.count - AHEAD)
            if self._gathered:  # else the parent requested it meanwhile
                self._send()
            self._began = monotonic()
        if self._failed is not None:
            raise self._failed

    def _send(self) -> None:
        self._sending = True
        try:
            gathered = self._gathered
            items = [gathered.popleft() for _ in range(len(gathered))]
            if not items:  # `flush` ran just before `_sending` was set
                return
            self._wanted = False
            try:
                self._context.send(self._id, Batch(self.count, items))
            except SerializationError as exc:
                self._send_until_failure(items, exc)
            self.count += 1
        finally:
            self._sending = False

    def _send_until_failure(self, items: list[Any], error: SerializationError) -> None:
        travel: list[Any] = []
        try:
            for item in items:
                codec.encode_value(item, "an item of the generator")
                travel.append(item)
        except SerializationError as exc:
            error = exc
        self._failed, self._wanted = error, True
        if travel:
            self._context.send(self._id, Batch(self.count, travel))


def _this_task() -> WorkerTask:
    task = current.get()
    assert isinstance(task, WorkerTask)
    return task


def run_generator(fn: Callable[..., Iterator[Any]], args: tuple[Any, ...]) -> int:
    """Run a generator function to its end; returns how many batches were sent."""
    task = _this_task()
    context, id = task.context, task.id
    batches = Batches(context, id)
    items = fn(*args)
    context.flushes[id] = batches.flush
    try:
        for item in items:
            if forked.happened:
                forked.end(None)
            if batches.add(item):
                batches.send()
        if forked.happened:
            forked.end(None)
        batches.send()
    except Cancelled:
        raise
    except BaseException as exc:
        if forked.happened:
            forked.end(exc)
        batches.send()
        raise
    finally:
        context.flushes.pop(id, None)
        context.credit.pop(id, None)
        if hasattr(items, "close"):
            items.close()
    return batches.count


async def run_async_generator(fn: Callable[..., AsyncIterator[Any]], args: tuple[Any, ...]) -> int:
    """The same for an async generator function, in a worker with an event loop."""
    import asyncio

    task = _this_task()
    context, id = task.context, task.id
    batches = Batches(context, id)
    credited = asyncio.Event()
    loop = asyncio.get_running_loop()

    def on_credit() -> None:
        credited.set()
        batches.on_credit()

    # The signal handler may come when the loop has decided to sleep, or after the look at the credit below: an event
    # that is set at once would wake nobody, or be cleared unseen.
    context.on_credit[id] = partial(loop.call_soon_threadsafe, on_credit)
    items = fn(*args)

    async def send() -> None:
        while not batches.may_send():
            credited.clear()
            await credited.wait()
        batches.send()

    try:
        async for item in items:
            if forked.happened:
                forked.end(None)
            if batches.add(item):
                await send()
            else:
                loop.call_later(SLOW, batches.flush)
        if forked.happened:
            forked.end(None)
        await send()
    except Exception as exc:
        if forked.happened:
            forked.end(exc)
        await send()
        raise
    finally:
        context.on_credit.pop(id, None)
        context.credit.pop(id, None)
        if hasattr(items, "aclose"):
            await items.aclose()
    return batches.count
