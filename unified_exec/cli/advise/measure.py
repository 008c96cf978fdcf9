"""Runs the plan and notes what it took."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from contextlib import asynccontextmanager
from functools import partial
from statistics import median
from typing import Any

import anyio

from unified_exec import Collect, ProcessPool, TaskHandle, TaskScope, UnifiedExecError

from ..._auto import captured_state, payload
from ..._auto.placement_model import Sample, waited
from ..._auto.profile_call import run_measured
from ..._platform.cpu_count import cpu_count
from ..._pools.default_pools import gil_is_off
from ..._tasks.messages import Measurement
from ..._wire.pickling.functions import encode_call
from ...errors import SerializationError
from . import machine
from .facts import Facts, Machine, Measured, Travel
from .plan import Step
from .target import Call

BEAT = 0.003
"""Seconds between two looks whether the event loop is free."""


COMPARED = 1 << 28
"""Bytes of arguments up to which they are compared before and after a call."""


class RunFailed(Exception):
    """The function raised; there is nothing to advise."""

    def __init__(self, name: str, place: str, run: int, error: BaseException) -> None:
        super().__init__(f"{name} raised {type(error).__name__} in run {run}, in a {place}: {error}")
        self.error = error


class Heart:
    """Beats on the event loop as long as the loop lets it; `latest` is the longest beat missed."""

    def __init__(self) -> None:
        self.latest = 0.0

    @asynccontextmanager
    async def beating(self) -> Any:
        async with anyio.create_task_group() as group:
            group.start_soon(self._beat)
            await anyio.sleep(2 * BEAT)
            self.latest = 0.0
            try:
                yield
                await anyio.sleep(2 * BEAT)  # one more: the last may be late
            finally:
                group.cancel_scope.cancel()

    async def _beat(self) -> None:
        while True:
            due = time.perf_counter() + BEAT
            await anyio.sleep(BEAT)
            self.latest = max(self.latest, time.perf_counter() - due)


class Measuring:
    """One function's session.

    Args:
        call: what is called.
        runs: calls that were allowed.
        longest: seconds after which no more runs are begun.
    """

    def __init__(self, call: Call, runs: int, longest: float) -> None:
        self.call = call
        self.ends = time.perf_counter() + longest
        version = "{}.{}.{}".format(*sys.version_info)
        self.facts = Facts(call.name, Machine(version, not gil_is_off(), cpu_count()), call.is_async, runs)
        self._alone: list[tuple[float, float, float, float]] = []  # cpu, wall, blocked, others
        self._blocked: list[float] = []

    async def run(self, steps: list[Step]) -> Facts:
        """Make the runs.

        Raises:
            RunFailed: the function raised.
            BadTarget: the setup function gave no arguments.
        """
        facts = self.facts
        facts.rebound = machine.rebound_names(self.call.fn)
        facts.reads = sorted(
            name for name in captured_state.mutable_state(self.call.fn) if name.startswith("the global")
        )
        for number, step in enumerate(steps):
            if number and time.perf_counter() > self.ends:
                break
            if step.place == "process":
                if facts.travel.possible and not facts.changed and not facts.rebound:
                    await self._in_processes([step for step in steps if step.place == "process"])
                break
            await (self._on_loop(step) if step.place == "loop" else self._in_threads(step))
            self._sum_up()
        facts.pools = machine.library_threads()
        return facts

    def _sum_up(self) -> None:
        facts = self.facts
        facts.cpu = median(cpu for cpu, *_ in self._alone)
        # The least: a busy machine makes a call seem to wait and the lock seem held, nothing does the contrary.
        facts.wait = min(waited(Sample(*seen)) for seen in self._alone)
        facts.gil = facts.cpu * min(min(1.0, blocked / cpu) if cpu else 0.0 for cpu, _, blocked, _ in self._alone)
        facts.own_threads = median(others / wall if wall > 0.001 else 0.0 for _, wall, _, others in self._alone)
        facts.blocked = min(self._blocked, default=0.0)

    # -- in threads

    async def _in_threads(self, step: Step) -> None:
        seen: list[Any] = []
        heart = Heart()
        began = time.perf_counter()
        rounds = step.runs // step.at_once
        async with TaskScope("advise", policy=Collect()) as scope, heart.beating():
            for _ in range(rounds):
                if seen and time.perf_counter() > self.ends:
                    break
                await self._one_round(scope, step, seen, heart)
        self._note(step, seen, time.perf_counter() - began - 4 * BEAT, heart.latest)

    async def _one_round(self, scope: TaskScope, step: Step, seen: list[Any], heart: Heart) -> None:
        alone = step.at_once == 1
        handles: list[TaskHandle[Any]] = []
        peak = machine.peak_memory()
        heart.latest = 0.0
        for _ in range(step.at_once):
            fn, args = self.call.fresh()
            if alone:
                self._look_at_travel(fn, args)
            handles.append(
                scope.spawn(partial(run_measured, fn, seen.append, alone, COMPARED if alone else 0), *args, on="thread")
            )
        await self._ends(handles, "thread")
        if alone:
            cpu, wall, blocked, others, carried = seen[-1]
            self._blocked.append(heart.latest)
            self._alone.append((cpu, wall, cpu if blocked is None else blocked, others))
            self._weigh(carried)
            if len(seen) == 1 and peak is not None:
                self.facts.growth = max(0, (machine.peak_memory() or 0) - peak)

    async def _ends(self, handles: list[TaskHandle[Any]], place: str) -> None:
        """Raise the first failure as `RunFailed`: for it the scopes collect, else the bare error would end them."""
        for handle in handles:
            await handle.wait()
            self.facts.made += 1
            error = handle.exception()
            if error is not None:
                raise RunFailed(self.call.name, place, self.facts.made, error)

    def _look_at_travel(self, fn: Callable[..., Any], args: tuple[Any, ...]) -> None:
        try:
            encode_call(fn, args)
        except SerializationError as error:
            self.facts.travel = Travel(False, str(error))
        except Exception as error:  # a __reduce__ of the user's may raise anything
            self.facts.travel = Travel(False, f"pickling it raised {type(error).__name__}: {error}")
        else:
            self.facts.travel = Travel(True)

    def _weigh(self, carried: payload.Payload) -> None:
        facts = self.facts
        sent, back, seconds, changed, refusal = carried
        facts.weighed = True
        for change in changed.split(" and ") if changed else ():
            if change not in facts.changed:
                facts.changed.append(change)
        if facts.travel.possible:
            facts.travel = Travel(not refusal, refusal, sent, back, seconds)

    def _note(self, step: Step, seen: list[Any], span: float, latest: float) -> None:
        if not seen:
            return
        cpu = sum(figures[0] + (figures[3] if step.at_once == 1 else 0.0) for figures in seen)
        if step.at_once == 1:
            span = sum(figures[1] for figures in seen)
        self.facts.measured.append(
            Measured(
                step.place,
                step.at_once,
                len(seen),
                median(figures[1] for figures in seen),
                median(figures[0] for figures in seen),
                span,
                cpu / span if span > 0 else 0.0,
                latest,
            )
        )

    # -- in processes

    async def _in_processes(self, steps: list[Step]) -> None:
        heart = Heart()
        at_once = steps[0].at_once
        seen: list[Any] = []
        try:
            async with (
                ProcessPool(at_once, name="advise") as pool,
                TaskScope("advise", policy=Collect()) as scope,
                heart.beating(),
            ):
                for step in steps:  # the last one is what counts: before it the workers import
                    if seen and time.perf_counter() > self.ends:
                        break
                    seen, handles = [], []
                    heart.latest = 0.0
                    began = time.perf_counter()
                    for _ in range(step.runs):
                        fn, args = self.call.fresh()
                        handle = scope.spawn(partial(run_measured, fn, None, False, 0), *args, on=pool)
                        handle.listener = partial(_heard, seen)
                        handles.append(handle)
                    await self._ends(handles, "process")
                    span = time.perf_counter() - began
                peaks = [scope.spawn(machine.peak_memory, on=pool) for _ in range(at_once)]
                self.facts.worker = max([peak for peak in [await peak for peak in peaks] if peak], default=None)
        except ExceptionGroup as group:
            failed = group.exceptions[0]
            while isinstance(failed, ExceptionGroup):
                failed = failed.exceptions[0]
            if not isinstance(failed, RunFailed):
                raise
            cause = failed.error
            what = str(cause) if isinstance(cause, UnifiedExecError) else f"{type(cause).__name__}: {cause}"
            self.facts.travel = Travel(False, f"in a process it raised {what}")
        else:
            self._note(steps[-1], seen, span, heart.latest)

    # -- on the loop

    async def _on_loop(self, step: Step) -> None:
        seen: list[Any] = []
        began = time.perf_counter()
        latest = 0.0
        for number in range(step.runs // step.at_once):
            if seen and time.perf_counter() > self.ends:
                break
            heart = Heart()
            watched = step.at_once > 1 or number % 2 == 0  # the heart's own CPU time is in the figures of the others
            if watched:
                async with heart.beating():
                    began = time.perf_counter()
                    await self._coroutines(step.at_once, seen)
                    span = time.perf_counter() - began
                latest = max(latest, heart.latest)
                if step.at_once == 1:
                    self._blocked.append(heart.latest)
            else:
                began = time.perf_counter()
                await self._coroutines(step.at_once, seen)
                span = time.perf_counter() - began
        self._note(step, seen, span, latest)
        if step.at_once == 1:
            least = min(figures[0] for figures in seen)
            # What holds the loop and computes may be waiting for a core meanwhile, as what holds the lock.
            self._alone = [(least, wall, min(self._blocked), 0.0) for _, wall, *_ in seen]

    async def _coroutines(self, at_once: int, seen: list[Any]) -> None:
        alone = at_once == 1
        handles: list[TaskHandle[Any]] = []
        before: payload.CallSnapshot | None = None
        async with TaskScope("advise", policy=Collect(), debug=self._seen_blocking) as scope:
            cpu, began = time.thread_time(), time.perf_counter()
            for _ in range(at_once):
                fn, args = self.call.fresh()
                if alone:
                    self._look_at_travel(fn, args)
                    before = payload.snapshot_call(fn, args, True, COMPARED)
                    cpu, began = time.thread_time(), time.perf_counter()
                handles.append(scope.spawn(fn, *args, on="loop"))
            try:
                await self._ends(handles, "coroutine")
            finally:
                wall, own = time.perf_counter() - began, time.thread_time() - cpu
        seen += [(own / at_once, wall, 0.0, 0.0, None)] * at_once
        if before is not None:
            self._weigh(payload.measure_payload(before, handles[0].result()))

    def _seen_blocking(self, report: Any) -> None:
        if report.where:
            self.facts.blocked_at = report.where


def _heard(seen: list[Any], message: Any) -> None:
    if type(message) is Measurement:
        seen.append(message.figures)
