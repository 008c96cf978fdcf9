"""How a library performs a plan. What a row times is written once, as a plan; each library performs it its own way."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Generator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from time import perf_counter
from typing import Any, NamedTuple, TypeVar

from .. import work
from ..row import Contender, Settings

T = TypeVar("T")

WORKERS = 2


@dataclass(frozen=True)
class Batch:
    """Calls to be timed.

    Attributes:
        fn: a function of `benchmarks.work`; engines that call coroutine functions use its ``_async`` twin.
        together: all calls are submitted at once and then awaited; else each is awaited before the next.
        check: is given the last value, after the time was taken.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    calls: int = 1
    together: bool = False
    check: Callable[[Any], None] | None = None


Plan = Generator[Batch, float, float]
"""Yields a batch, is sent the seconds it took, ..., and returns the figure."""


class Calls(NamedTuple):
    """How a library with warm workers calls a function.

    Attributes:
        one: ``one(fn, args)`` makes one call; returns its value, or in an async recipe an awaitable of it.
        many: ``many(fn, args, count)`` submits all calls at once and waits for them; returns the last value, or in an
            async recipe an awaitable of it.
    """

    one: Callable[[Callable[..., Any], tuple[Any, ...]], Any]
    many: Callable[[Callable[..., Any], tuple[Any, ...], int], Any]


Recipe = Callable[[], "Iterator[Calls] | AsyncIterator[Calls]"]
"""Opens the workers, yields `Calls`, closes the workers; an async recipe runs on the event loop."""


@dataclass(frozen=True)
class Engine:
    """One library's fastest documented way to call functions in warm workers.

    Attributes:
        name: its name in the report.
        recipe: the code that its user would write.
        needs: modules that must be installed.
        peer: counts for `BEST_PEER`.
        only: the one event loop that it runs on, whatever the run's loop; on ``"asyncio"`` that includes uvloop.
        coroutines: it calls coroutine functions.
    """

    name: str
    recipe: Recipe
    needs: tuple[str, ...] = ()
    peer: bool = True
    only: str | None = None
    coroutines: bool = False

    def contender(self, plan: Callable[[Settings], Plan]) -> Contender:
        """Return this engine, performing `plan`, as a contender of a row."""
        return Contender(self.name, lambda settings: self.perform(plan(settings), settings), self.needs, self.peer)

    def perform(self, plan: Plan, settings: Settings) -> float:
        """Open the workers, perform the plan, close the workers; return the plan's figure."""
        if inspect.isasyncgenfunction(self.recipe):
            keeps = self.only is None or (self.only == "asyncio" and settings.loop == "uvloop")
            return on_loop(settings.loop if keeps else str(self.only), self._perform_async, plan)
        opened: Any = contextmanager(self.recipe)  # type: ignore[arg-type]
        with opened() as calls:
            return drive(plan, lambda batch: self._timed(batch, calls))

    def _timed(self, batch: Batch, calls: Calls) -> tuple[float, Any]:
        fn, args, one, value = self._function(batch), batch.args, calls.one, None
        began = perf_counter()
        if batch.together:
            value = calls.many(fn, args, batch.calls)
        else:
            for _ in range(batch.calls):
                value = one(fn, args)
        return perf_counter() - began, value

    async def _perform_async(self, plan: Plan) -> float:
        opened: Any = asynccontextmanager(self.recipe)  # type: ignore[arg-type]
        figure = 0.0
        async with opened() as calls:
            batch = next(plan)
            while True:
                seconds, value = await self._timed_async(batch, calls)
                try:
                    batch = _next_batch(plan, batch, seconds, value)
                except StopIteration as stop:
                    figure = float(stop.value)
                    break
        return figure

    async def _timed_async(self, batch: Batch, calls: Calls) -> tuple[float, Any]:
        fn, args, one, value = self._function(batch), batch.args, calls.one, None
        began = perf_counter()
        if batch.together:
            value = await calls.many(fn, args, batch.calls)
        else:
            for _ in range(batch.calls):
                value = await one(fn, args)
        return perf_counter() - began, value

    def _function(self, batch: Batch) -> Callable[..., Any]:
        return getattr(work, f"{batch.fn.__name__}_async") if self.coroutines else batch.fn


def drive(plan: Plan, timed: Callable[[Batch], tuple[float, Any]]) -> float:
    """Perform a plan; `timed` runs a batch and returns its seconds and its last value."""
    batch = next(plan)
    while True:
        seconds, value = timed(batch)
        try:
            batch = _next_batch(plan, batch, seconds, value)
        except StopIteration as stop:
            return float(stop.value)


def _next_batch(plan: Plan, batch: Batch, seconds: float, value: Any) -> Batch:
    if batch.check is not None:
        batch.check(value)
    return plan.send(seconds)


def on_loop(loop: str, fn: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Run a coroutine function on a new event loop of the given kind."""
    if loop == "trio":
        import trio

        return trio.run(fn, *args)
    if loop == "uvloop":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(fn(*args))
    return asyncio.run(fn(*args))
