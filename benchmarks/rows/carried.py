"""What a process task carries: context variables there, log records back."""

from __future__ import annotations

import logging
import logging.handlers
import multiprocessing
import time
from concurrent.futures import ProcessPoolExecutor
from contextvars import ContextVar
from time import perf_counter
from typing import Any

from unified_exec import ProcessPool, TaskScope

from .. import work
from ..engines.engine import WORKERS, on_loop
from ..row import OURS, Bar, Contender, Row, Settings

RECORDS = 3000
"""Records of one task: as many as a worker may send at once, whatever it has sent before."""
NONE, TWO = "no variable", "two variables"

request: ContextVar[str] = ContextVar("request")
tenant: ContextVar[int] = ContextVar("tenant")


class Counting(logging.Handler):
    """Handles a record as cheaply as can be."""

    def __init__(self) -> None:
        super().__init__()
        self.count = 0

    def handle(self, record: logging.LogRecord) -> bool:
        self.count += 1
        return True


def _burst(settings: Settings) -> dict[str, float]:
    return on_loop(settings.loop, _time_bursts, settings.calls(10_000))


async def _time_bursts(calls: int) -> dict[str, float]:
    times: dict[str, list[float]] = {NONE: [], TWO: []}
    async with ProcessPool(WORKERS) as pool:

        async def burst(name: str) -> None:
            if name is TWO:
                request.set("a request's id")
                tenant.set(12345)
            began = perf_counter()
            async with TaskScope(processes=pool) as scope:
                for _ in range(calls):
                    scope.spawn(work.nothing, on="process")
            times[name].append((perf_counter() - began) / calls)

        for name in (NONE, NONE, TWO, NONE, TWO, NONE, TWO):
            async with TaskScope() as scope:
                scope.spawn(burst, name)  # a coroutine task has a context of its own
    return {NONE: min(times[NONE][1:]), TWO: min(times[TWO])}


def _records(settings: Settings) -> float:
    return on_loop(settings.loop, _cpu_of_records)


async def _cpu_of_records() -> float:
    counting, logger = _listen()
    try:
        async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
            await scope.spawn(work.log_records, 100, on="process")
            counting.count = 0
            began = time.process_time()
            in_worker = await scope.spawn(work.log_records, RECORDS, on="process")
            in_worker += await scope.spawn(work.log_records, 0, on="process")
            used = time.process_time() - began + in_worker
            if counting.count != RECORDS:
                raise AssertionError(f"{counting.count} of {RECORDS} records have arrived")
        return used / RECORDS
    finally:
        logger.removeHandler(counting)


def _listen() -> tuple[Counting, logging.Logger]:
    counting, logger = Counting(), logging.getLogger(work.LOGGER)
    logger.addHandler(counting)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    return counting, logger


def _queue_handler(settings: Settings) -> float:
    """A `QueueHandler` in the worker and a `QueueListener` here, as the logging cookbook has it."""
    context = multiprocessing.get_context("forkserver")
    queue: Any = context.Queue()
    counting = Counting()
    listener = logging.handlers.QueueListener(queue, counting)
    listener.start()
    try:
        with ProcessPoolExecutor(1, context, work.send_records_to, (queue,)) as executor:
            executor.submit(work.log_records, 100).result()
            _wait_for(counting, 100)
            counting.count = 0
            began = time.process_time()
            in_worker = executor.submit(work.log_records, RECORDS).result()
            _wait_for(counting, RECORDS)
            # What its feeder thread has used since is counted by the second call, which logs nothing.
            in_worker += executor.submit(work.log_records, 0).result()
            used = time.process_time() - began + in_worker
        return used / RECORDS
    finally:
        listener.stop()
        queue.close()
        queue.join_thread()


def _wait_for(counting: Counting, count: int) -> None:
    while counting.count < count:
        time.sleep(0.01)


ROWS = [
    Row(
        "context-burst",
        "10,000 no-op process calls at once, two context variables set",
        "s",
        "10,000 calls submitted at once to two warm workers, without and with two variables of the program's in the "
        "spawner's context; time per call, the best of three.",
        (Contender(OURS, _burst),),
        (Bar(1.1, f"{OURS}: {NONE}", f"{OURS}: {TWO}"),),
        rounds_most=7,
    ),
    Row(
        "log-record",
        "processor time of one log record, from a worker to the program",
        "s",
        f"One task logs {RECORDS:,} records; processor time of both processes for each, until all were handled.",
        (Contender(OURS, _records), Contender("QueueHandler", _queue_handler)),
        (Bar(0.8, "QueueHandler"),),
        rounds_most=7,
    ),
]
