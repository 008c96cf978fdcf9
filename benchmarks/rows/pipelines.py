"""Items through stages on different backends, and a generator in another process."""

from __future__ import annotations

import asyncio
import contextlib
import multiprocessing
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter
from typing import Any

import anyio.lowlevel

from unified_exec import Pipeline, ProcessPool, TaskScope

from .. import work
from ..child import environment
from ..engines.bare import receive, share
from ..engines.engine import WORKERS, on_loop
from ..row import OURS, Bar, Contender, Row, Settings

ITEMS = 5_000
STREAMED = 100_000

_turns: list[int] = []


def _millisecond() -> int:
    if not _turns:
        _turns.append(work.turns_for(0.001, tries=20))
    return _turns[0]


async def _fetch(turns: int) -> int:
    await anyio.lowlevel.checkpoint()
    return turns


def _same(turns: int) -> int:
    return turns


def _store(total: int) -> int:
    return total


def _source(settings: Settings) -> list[int]:
    return [_millisecond()] * settings.calls(ITEMS)


def _ours(settings: Settings) -> float:
    return on_loop(settings.loop, _our_pipeline, _source(settings))


async def _our_pipeline(source: list[int]) -> float:
    async with ProcessPool(WORKERS) as pool:
        await _our_stages([1000] * 20, pool)
        began = perf_counter()
        count = await _our_stages(source, pool)
        seconds = perf_counter() - began
    assert count == len(source)
    return seconds


async def _our_stages(source: list[int], pool: ProcessPool) -> int:
    return await Pipeline(source).map(_fetch).map(work.count, on=pool).map(_store, on="thread").run()


def _aiostream(settings: Settings) -> float:
    source = _source(settings)

    async def main() -> float:
        context = multiprocessing.get_context("forkserver")
        with ProcessPoolExecutor(WORKERS, mp_context=context) as executor:
            await _aiostream_stages([1000] * 20, executor)
            began = perf_counter()
            await _aiostream_stages(source, executor)
            return perf_counter() - began

    return on_loop("uvloop" if settings.loop == "uvloop" else "asyncio", main)


async def _aiostream_stages(source: list[int], executor: ProcessPoolExecutor) -> None:
    from aiostream import pipe, stream

    loop = asyncio.get_running_loop()

    async def count(turns: int, *_: Any) -> int:
        return await loop.run_in_executor(executor, work.count, turns)

    async def store(total: int, *_: Any) -> int:
        return await asyncio.to_thread(_store, total)

    async def fetch(turns: int, *_: Any) -> int:
        return await _fetch(turns)

    stages = (
        stream.iterate(source)
        | pipe.map(fetch, task_limit=100)
        | pipe.map(count, task_limit=4 * WORKERS)
        | pipe.map(store, task_limit=10)
    )
    async with stages.stream() as results:
        async for _ in results:
            pass


def _pypeln(settings: Settings) -> float:
    # In a session of its own, which can be killed: it forks, and a failure in one of its stages may make it hang.
    source = _source(settings)
    command = [sys.executable, "-W", "ignore", "-m", __name__, str(len(source)), str(source[0])]
    with subprocess.Popen(
        command, env=environment(), stdout=subprocess.PIPE, text=True, start_new_session=True
    ) as process:
        try:
            output, _ = process.communicate(timeout=120)
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
    if process.returncode:
        raise RuntimeError(f"pypeln's process exited with {process.returncode}")
    return float(output)


def _pypeln_alone(items: int, turns: int) -> float:
    import pypeln

    began = perf_counter()
    fetched = pypeln.thread.map(_same, [turns] * items, workers=1, maxsize=100)
    counted = pypeln.process.map(work.count, fetched, workers=WORKERS, maxsize=100)
    stored = pypeln.thread.map(_store, counted, workers=1, maxsize=100)
    count = sum(1 for _ in stored)
    assert count == items
    return perf_counter() - began


def _bare(settings: Settings) -> float:
    return share(_source(settings))


def _numbers(n: int) -> Iterator[int]:
    yield from range(n)


async def _our_stream(items: int) -> float:
    async with ProcessPool(1) as pool, TaskScope() as scope:
        async for _ in scope.stream(_numbers, 1000, on=pool):
            pass
        count = 0
        began = perf_counter()
        async for _ in scope.stream(_numbers, items, on=pool):
            count += 1
        seconds = perf_counter() - began
        assert count == items
        return seconds
    raise AssertionError("unreachable")


ROWS = [
    Row(
        "pipeline",
        f"three stages (loop, process, thread), {ITEMS:,} items of 1 ms of CPU",
        "s",
        "The bare processes do only the CPU part. pypeln starts its workers within the measured time, which it cannot "
        "avoid, and its first stage is a thread: on CPython 3.13 an asyncio stage before a process stage never ends. "
        "aiostream gets an executor with warm workers.",
        (
            Contender(OURS, _ours, peer=False),
            Contender("two bare processes", _bare, peer=False),
            Contender("pypeln", _pypeln, ("pypeln", "pkg_resources")),
            Contender("aiostream", _aiostream, ("aiostream",)),
        ),
        (Bar(0.9, "two bare processes", at_least=True),),
        rounds_most=5,
    ),
    Row(
        "stream",
        f"a generator in a process, {STREAMED:,} small items",
        "s",
        "From the call to the last item, with a warm worker. The bare pipe carries pickled lists of 100.",
        (
            Contender(OURS, lambda settings: on_loop(settings.loop, _our_stream, STREAMED), peer=False),
            Contender("bare pipe", lambda settings: receive(STREAMED), peer=False),
        ),
        (Bar(2.0, "bare pipe"),),
    ),
]

if __name__ == "__main__":
    print(_pypeln_alone(int(sys.argv[1]), int(sys.argv[2])))
