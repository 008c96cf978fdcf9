"""Runs a function by the plan and measures each call."""

from __future__ import annotations

import sys
import time
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from functools import partial
from statistics import median
from typing import Any, NamedTuple

import anyio

from unified_exec import Collect, ProcessPool, TaskHandle, TaskScope, UnifiedExecError

from ..._auto import captured_state, payload
from ..._auto.placement_model import Sample, waited
from ..._auto.profile_call import run_measured
from ..._platform.cpu_count import cpu_count
from ..._tasks import loaded
from ..._tasks.messages import Measurement
from ..._wire.pickling.functions import encode_call
from ...errors import SerializationError
from ..measuring.clocks import peak_memory
from ..measuring.machine import library_threads
from .facts import Facts, Machine, Measured, Transfer
from .in_interpreter import call_in_interpreter
from .run_plan import Step
from .target_function import Call, rebound_names

INTERVAL = 0.003
"""Seconds between two checks whether the event loop is blocked."""
COMPARED = 1 << 28
"""Arguments of up to this many bytes are compared before and after a call."""


class RunFailed(Exception):
    """The function raised; there is no advice."""

    def __init__(self, name: str, place: str, run: int, error: BaseException) -> None:
        super().__init__(f"{name} raised {type(error).__name__} in run {run}, in a {place}: {error}")
        self.error = error


class Reading(NamedTuple):
    """What one call took.

    Attributes:
        cpu: CPU seconds of its own thread.
        wall: seconds from start to end.
        blocked: seconds for which the GIL could not be had; ``None`` if the call was too short to tell.
        others: CPU seconds of other threads meanwhile.
        carried: what was pickled, or ``None``.
    """

    cpu: float
    wall: float
    blocked: float | None
    others: float
    carried: payload.Payload | None


class LoopDelay:
    """Measures the longest time for which the event loop was blocked."""

    def __init__(self) -> None:
        self.longest = 0.0

    @asynccontextmanager
    async def measured(self) -> AsyncIterator[None]:
        async with anyio.create_task_group() as group:
            group.start_soon(self._measure)
            await anyio.sleep(2 * INTERVAL)
            self.longest = 0.0
            try:
                yield
                await anyio.sleep(2 * INTERVAL)  # for the check that may still be late
            finally:
                group.cancel_scope.cancel()

    async def _measure(self) -> None:
        while True:
            due = time.perf_counter() + INTERVAL
            await anyio.sleep(INTERVAL)
            self.longest = max(self.longest, time.perf_counter() - due)


class FunctionMeasurement:
    """Calls a function where the plan says and collects the facts.

    Args:
        call: the function and its arguments.
        runs: number of calls that were allowed.
        longest: seconds after which no more runs start.
    """

    def __init__(self, call: Call, runs: int, longest: float) -> None:
        self.call = call
        self.ends = time.perf_counter() + longest
        version = "{}.{}.{}".format(*sys.version_info)
        self.facts = Facts(call.name, Machine(version, not loaded.gil_is_off(), cpu_count()), call.is_async, runs)
        self._single: list[Reading] = []  # of calls without another at the same time
        self._blocked: list[float] = []

    async def run(self, steps: list[Step]) -> Facts:
        """Make the runs.

        Raises:
            RunFailed: the function raised.
            BadTarget: the setup function returned no arguments.
        """
        facts = self.facts
        facts.rebound = rebound_names(self.call.fn)
        facts.reads = sorted(
            name for name in captured_state.mutable_state(self.call.fn) if name.startswith("the global")
        )
        for number, step in enumerate(steps):
            if number and time.perf_counter() > self.ends:
                break
            if step.place == "process":
                if facts.transfer.possible and not facts.changed and not facts.rebound:
                    await self._in_processes([step for step in steps if step.place == "process"])
                    if steps[-1].place == "interpreter" and time.perf_counter() < self.ends:
                        await call_in_interpreter(self.call, facts)
                break
            await (self._on_loop(step) if step.place == "loop" else self._in_threads(step))
            self._sum_up()
        facts.pools = library_threads()
        return facts

    def _sum_up(self) -> None:
        facts = self.facts
        single = self._single
        facts.cpu = median(reading.cpu for reading in single)
        # The minimum: on a busy machine a call seems to wait and the GIL seems held; nothing has the opposite effect.
        facts.wait = min(waited(_sample(reading)) for reading in single)
        facts.gil = facts.cpu * min(_share_of_cpu_with_gil(reading) for reading in single)
        facts.own_threads = median(reading.others / reading.wall if reading.wall > 0.001 else 0.0 for reading in single)
        facts.blocked = min(self._blocked, default=0.0)

    # -- in threads

    async def _in_threads(self, step: Step) -> None:
        readings: list[Reading] = []
        delay = LoopDelay()
        began = time.perf_counter()
        rounds = step.runs // step.at_once
        async with TaskScope("advise", policy=Collect()) as scope, delay.measured():
            for _ in range(rounds):
                if readings and time.perf_counter() > self.ends:
                    break
                await self._one_round(scope, step, readings, delay)
        self._add(step, readings, time.perf_counter() - began - 4 * INTERVAL, delay.longest)

    async def _one_round(self, scope: TaskScope, step: Step, readings: list[Reading], delay: LoopDelay) -> None:
        def note(figures: tuple[Any, ...]) -> None:
            readings.append(Reading(*figures))

        alone = step.at_once == 1
        handles: list[TaskHandle[Any]] = []
        peak = peak_memory()
        delay.longest = 0.0
        for _ in range(step.at_once):
            fn, args = self.call.fresh()
            if alone:
                self._check_transfer(fn, args)
            handles.append(
                scope.spawn(partial(run_measured, fn, note, alone, COMPARED if alone else 0), *args, on="thread")
            )
        await self._ends(handles, "thread")
        if alone:
            newest = readings[-1]
            self._blocked.append(delay.longest)
            self._single.append(newest)
            assert newest.carried is not None
            self._add_payload(newest.carried)
            if len(readings) == 1 and peak is not None:
                self.facts.growth = max(0, (peak_memory() or 0) - peak)

    async def _ends(self, handles: list[TaskHandle[Any]], place: str) -> None:
        """Wait for the calls, and raise the first failure as `RunFailed`.

        The scopes have the policy `Collect`: with any other, the error itself would end them.
        """
        for handle in handles:
            await handle.wait()
            self.facts.made += 1
            error = handle.exception()
            if error is not None:
                raise RunFailed(self.call.name, place, self.facts.made, error)

    def _check_transfer(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            encode_call(fn, args)
        except SerializationError as error:
            self.facts.transfer = Transfer(False, str(error))
        except Exception as error:  # the user's __reduce__ may raise anything
            self.facts.transfer = Transfer(False, f"pickling it raised {type(error).__name__}: {error}")
        else:
            self.facts.transfer = Transfer(True)

    def _add_payload(self, carried: payload.Payload) -> None:
        facts = self.facts
        sent, back, seconds, changed, refusal = carried
        facts.weighed = True
        for change in changed.split(" and ") if changed else ():
            if change not in facts.changed:
                facts.changed.append(change)
        if facts.transfer.possible:
            facts.transfer = Transfer(not refusal, refusal, sent, back, seconds)

    def _add(self, step: Step, readings: Sequence[Reading], span: float, blocked: float) -> None:
        if not readings:
            return
        cpu = sum(reading.cpu + (reading.others if step.at_once == 1 else 0.0) for reading in readings)
        if step.at_once == 1:
            span = sum(reading.wall for reading in readings)
        self.facts.measured.append(
            Measured(
                step.place,
                step.at_once,
                len(readings),
                median(reading.wall for reading in readings),
                median(reading.cpu for reading in readings),
                span,
                cpu / span if span > 0 else 0.0,
                blocked,
            )
        )

    # -- in processes

    async def _in_processes(self, steps: list[Step]) -> None:
        delay = LoopDelay()
        at_once = steps[0].at_once
        readings: list[Reading] = []
        try:
            async with (
                ProcessPool(at_once, name="advise") as pool,
                TaskScope("advise", policy=Collect()) as scope,
                delay.measured(),
            ):
                for step in steps:  # the last one counts; during the first the workers import modules
                    if readings and time.perf_counter() > self.ends:
                        break
                    readings, handles = [], []
                    delay.longest = 0.0
                    began = time.perf_counter()
                    for _ in range(step.runs):
                        fn, args = self.call.fresh()
                        handle = scope.spawn(partial(run_measured, fn, None, False, 0), *args, on=pool)
                        handle.listener = partial(_on_message, readings)
                        handles.append(handle)
                    await self._ends(handles, "process")
                    span = time.perf_counter() - began
                peaks = [scope.spawn(peak_memory, on=pool) for _ in range(at_once)]
                self.facts.worker = max([peak for peak in [await peak for peak in peaks] if peak], default=None)
        except ExceptionGroup as group:
            failed = group.exceptions[0]
            while isinstance(failed, ExceptionGroup):
                failed = failed.exceptions[0]
            if not isinstance(failed, RunFailed):
                raise
            cause = failed.error
            what = str(cause) if isinstance(cause, UnifiedExecError) else f"{type(cause).__name__}: {cause}"
            self.facts.transfer = Transfer(False, f"in a process it raised {what}")
        else:
            self._add(steps[-1], readings, span, delay.longest)

    # -- on the loop

    async def _on_loop(self, step: Step) -> None:
        readings: list[Reading] = []
        began = time.perf_counter()
        blocked = 0.0
        for number in range(step.runs // step.at_once):
            if readings and time.perf_counter() > self.ends:
                break
            delay = LoopDelay()
            watched = (
                step.at_once > 1 or number % 2 == 0
            )  # in every other run: its own CPU time is part of the readings
            if watched:
                async with delay.measured():
                    began = time.perf_counter()
                    await self._coroutines(step.at_once, readings)
                    span = time.perf_counter() - began
                blocked = max(blocked, delay.longest)
                if step.at_once == 1:
                    self._blocked.append(delay.longest)
            else:
                began = time.perf_counter()
                await self._coroutines(step.at_once, readings)
                span = time.perf_counter() - began
        self._add(step, readings, span, blocked)
        if step.at_once == 1:
            least = min(reading.cpu for reading in readings)
            # While it blocks the loop it may be waiting for a core rather than computing: hence the minimum.
            self._single = [Reading(least, reading.wall, min(self._blocked), 0.0, None) for reading in readings]

    async def _coroutines(self, at_once: int, readings: list[Reading]) -> None:
        alone = at_once == 1
        handles: list[TaskHandle[Any]] = []
        before: payload.CallSnapshot | None = None
        async with TaskScope("advise", policy=Collect(), debug=self._seen_blocking) as scope:
            cpu, began = time.thread_time(), time.perf_counter()
            for _ in range(at_once):
                fn, args = self.call.fresh()
                if alone:
                    self._check_transfer(fn, args)
                    before = payload.snapshot_call(fn, args, True, COMPARED)
                    cpu, began = time.thread_time(), time.perf_counter()
                handles.append(scope.spawn(fn, *args, on="loop"))
            try:
                await self._ends(handles, "coroutine")
            finally:
                wall, own = time.perf_counter() - began, time.thread_time() - cpu
        readings += [Reading(own / at_once, wall, 0.0, 0.0, None)] * at_once
        if before is not None:
            self._add_payload(payload.measure_payload(before, handles[0].result()))

    def _seen_blocking(self, report: Any) -> None:
        if report.where:
            self.facts.blocked_at = report.where


def _on_message(readings: list[Reading], message: Any) -> None:
    if type(message) is Measurement:
        readings.append(Reading(*message.figures))


def _sample(reading: Reading) -> Sample:
    return Sample(reading.cpu, reading.wall, _blocked(reading), reading.others)


def _share_of_cpu_with_gil(reading: Reading) -> float:
    return min(1.0, _blocked(reading) / reading.cpu) if reading.cpu else 0.0


def _blocked(reading: Reading) -> float:
    return reading.cpu if reading.blocked is None else reading.blocked
