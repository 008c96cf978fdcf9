"""Random tasks, cancels and ends of programs for workers that are interpreters (CPython 3.14 on).

Each session opens pools of one worker, cancels their tasks at random instants, and compares what the interpreters have
noted with what was submitted: no task ran twice, each ``finally`` and ``__exit__`` that was due has run. Then programs
end with busy interpreters, where CPython by itself crashes.
"""

from __future__ import annotations

import os
import random
import subprocess
import sys
import threading
import time
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

import anyio
import anyio.lowlevel

from unified_exec import Collect, InterpreterPool, TaskScope

from ..child import ROOT, environment
from . import interpreter_jobs as jobs

PATIENCE = 30.0
"""Seconds without an end after which a task counts as hung."""
POOLS = 2
AHEAD = 3
"""Tasks that one worker has at a time: one runs, the others wait."""
STATES = ("python", "sleeping", "threads", "starting", "error")
"""What the interpreters of `tests.programs.interpreter_end` do when it ends."""


class Ended(NamedTuple):
    """One task: what became of it."""

    number: int
    runs_python: bool
    cancelled: bool
    seconds: float


class Session(NamedTuple):
    """What a session has done."""

    tasks: int
    interrupted: int
    entered: int
    seconds: list[float]


async def run(interrupts: int, seed: int, ends: int = 20, per_session: int = 400) -> str:
    """Run sessions until `interrupts` tasks were cancelled while they ran, then `ends` programs.

    Returns:
        the figures.

    Raises:
        AssertionError: the law was broken.
        TimeoutError: a task hung.
    """
    rng, sessions, before = random.Random(seed), list[Session](), (0, 0)
    while sum(session.interrupted for session in sessions) < interrupts:
        sessions.append(await _session(rng, per_session, f"session {len(sessions)} of seed {seed}"))
        before = before if len(sessions) > 1 else _held()
    grown = [now > at_first for now, at_first in zip(_held(), before, strict=True)]
    assert not any(grown), f"descriptors and threads: {before} became {_held()}, seed {seed}"
    for n in range(ends):
        _end_program(STATES[n % len(STATES)])
    tasks, interrupted, entered = (sum(column) for column in list(zip(*sessions, strict=True))[:3])
    seconds = sorted(second for session in sessions for second in session.seconds) or [0.0]
    median, late = (seconds[int(len(seconds) * part)] * 1000 for part in (0.5, 0.99))
    return (
        f"interpreters: seed {seed}, {tasks:,} tasks, {interrupted:,} cancelled while they ran, {entered:,} blocks: "
        f"finally or __exit__ skipped 0, run twice 0, hung 0; Python code ended {median:.2f} ms after its cancel "
        f"(median), {late:.1f} ms (p99); {ends} of {ends} programs ended cleanly"
    )


async def _session(rng: random.Random, count: int, name: str) -> Session:
    interrupted = entered = 0
    seconds: list[float] = []
    async with AsyncExitStack() as stack:
        pools = [await stack.enter_async_context(InterpreterPool(1)) for _ in range(POOLS)]
        results: list[list[Ended]] = [[] for _ in pools]
        async with anyio.create_task_group() as group:
            for at, pool in enumerate(pools):
                group.start_soon(_use, pool, range(at, count, POOLS), random.Random(rng.random()), results[at])
        for pool, ended in zip(pools, results, strict=True):
            async with TaskScope() as scope:
                found: jobs.Ledger = await scope.spawn(jobs.ledger, on=pool)
            assert not found.unbalanced, f"{found.unbalanced} of {found.entered} blocks were not left, {name}"
            assert found.ran == found.finished, f"{found.ran - found.finished} have not ended, {name}"
            assert set(found.ran.values()) <= {1}, f"ran twice: {found.ran.most_common(3)}, {name}"
            lost = {one.number for one in ended if not one.cancelled} - set(found.ran)
            assert not lost, f"{lost} have a result and did not run, {name}"
            stopped = [one for one in ended if one.cancelled and one.number in found.ran]
            interrupted += len(stopped)
            entered += found.entered
            seconds += [one.seconds for one in stopped if one.runs_python]
    return Session(count, interrupted, entered, seconds)


async def _use(pool: InterpreterPool, numbers: range, rng: random.Random, ended: list[Ended]) -> None:
    """Submit tasks to one worker, and cancel mostly the one that runs."""
    waiting: list[tuple[int, bool, Any]] = []
    async with TaskScope(policy=Collect()) as scope:
        await scope.spawn(jobs.ledger, on=pool)  # it has started
        for number in [*numbers, *[None] * (AHEAD - 1)]:
            if number is not None:
                job = rng.choice(jobs.ENDLESS if rng.random() < 0.8 else jobs.SHORT)
                handle = scope.spawn(jobs.run, job.__name__, number, rng.randrange(40), on=pool)
                waiting.append((number, job in jobs.PYTHON, handle))
            if number is None or len(waiting) == AHEAD:
                at = rng.choice((0, 0, 0, 0, 0, 0, 0, len(waiting) - 1))
                ended.append(await _cancel(*waiting.pop(at), at == 0, rng))


async def _cancel(number: int, runs_python: bool, handle: Any, is_next: bool, rng: random.Random) -> Ended:
    with anyio.fail_after(PATIENCE):
        while is_next and handle.worker is None and not handle.done():
            await anyio.lowlevel.checkpoint()
        await anyio.sleep(rng.random() * 0.003)
        began = time.perf_counter()
        handle.cancel()
        await handle.wait()
    seconds = time.perf_counter() - began
    if not handle.cancelled():
        assert handle.result() == number
    return Ended(number, runs_python, handle.cancelled(), seconds)


def _held() -> tuple[int, int]:
    return len(os.listdir("/proc/self/fd")), threading.active_count()


def _end_program(state: str) -> None:
    command = [sys.executable, "-m", "tests.programs.interpreter_end", state]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=100, cwd=ROOT, env=environment())
    expected = 1 if state == "error" else 0
    told = 70 if state == "threads" and sys.version_info >= (3, 15) else expected  # CPython waits for threads there
    assert ended.returncode == told, f"{state}: exit code {ended.returncode}, {ended.stderr}"
