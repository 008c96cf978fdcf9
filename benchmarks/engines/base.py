"""The face: an engine performs a plan. What a row times is written once, as a plan, and each library performs it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass
from typing import Any, TypeVar

from ..model import Contender, Settings

T = TypeVar("T")

WORKERS = 2


@dataclass(frozen=True)
class Batch:
    """Calls to be timed.

    Attributes:
        fn: a function of `benchmarks.work`; engines that run coroutine functions take its ``_async`` twin.
        together: all calls are given out at once and then waited for; else each is waited for before the next.
        check: is given the last value, outside of the time taken.
    """

    fn: Callable[..., Any]
    args: tuple[Any, ...] = ()
    calls: int = 1
    together: bool = False
    check: Callable[[Any], None] | None = None


Plan = Generator[Batch, float, float]
"""Yields a batch, is sent the seconds it took, ..., and returns the figure."""


class Engine(ABC):
    """One library's own fastest documented way to call functions in two warm workers.

    Attributes:
        name: as the report shows it.
        needs: modules that must be installed.
    """

    name: str
    needs: tuple[str, ...] = ()
    peer = True
    loops: tuple[str, ...] = ("asyncio", "uvloop", "trio")

    @abstractmethod
    def perform(self, plan: Plan, settings: Settings) -> float:
        """Open the workers, perform the plan, close the workers; return the plan's figure."""

    def contender(self, plan: Callable[[Settings], Plan]) -> Contender:
        """This engine, performing `plan`, as a contender of a row."""

        def measure(settings: Settings) -> float:
            return self.perform(plan(settings), settings)

        return Contender(self.name, measure, self.needs, self.peer, self.loops)


class AsyncEngine(Engine):
    """An engine on the event loop: `serve` runs in it from the opening of the workers to their end."""

    def perform(self, plan: Plan, settings: Settings) -> float:
        return on_loop(settings.loop, self.serve, plan)

    @abstractmethod
    async def serve(self, plan: Plan) -> float:
        """Perform the plan with `perform_async` inside the library's own context managers."""


class AsyncioEngine(AsyncEngine):
    """An engine that only runs on asyncio; under ``--loop trio`` it goes on to run on asyncio."""

    def perform(self, plan: Plan, settings: Settings) -> float:
        return on_loop("asyncio" if settings.loop == "trio" else settings.loop, self.serve, plan)


def perform_sync(plan: Plan, timed: Callable[[Batch], tuple[float, Any]]) -> float:
    """Perform a plan; `timed` runs a batch and returns its seconds and its last value."""
    batch = next(plan)
    while True:
        seconds, value = timed(batch)
        if batch.check is not None:
            batch.check(value)
        try:
            batch = plan.send(seconds)
        except StopIteration as stop:
            return float(stop.value)


async def perform_async(plan: Plan, timed: Callable[[Batch], Coroutine[Any, Any, tuple[float, Any]]]) -> float:
    """`perform_sync` with a coroutine function."""
    batch = next(plan)
    while True:
        seconds, value = await timed(batch)
        if batch.check is not None:
            batch.check(value)
        try:
            batch = plan.send(seconds)
        except StopIteration as stop:
            return float(stop.value)


def on_loop(loop: str, fn: Callable[..., Coroutine[Any, Any, T]], *args: Any) -> T:
    """Run a coroutine function on a new loop of the kind named."""
    if loop == "trio":
        import trio

        return trio.run(fn, *args)
    if loop == "uvloop":
        import uvloop

        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return runner.run(fn(*args))
    return asyncio.run(fn(*args))
