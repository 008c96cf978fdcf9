"""What the type checkers know about `spawn` and `call`. Checked by mypy --strict and pyright, never run.

A line that must be refused carries an ignore: mypy reports the ignore once the line is refused no more.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import assert_type

import anyio
import anyio.abc

from unified_exec import (
    Collect,
    Decision,
    FailFast,
    Policy,
    ProcessPool,
    Race,
    Retry,
    SyncTaskHandle,
    SyncTaskScope,
    Tally,
    TaskHandle,
    TaskScope,
    TaskState,
    ThreadPool,
    Verdict,
    blocking,
    call,
    cpu_bound,
    current_task,
    time_left,
)
from unified_exec._map.generator_stream import GeneratorStream
from unified_exec._map.stream import MapStream


async def fetch(url: str, retries: int) -> bytes:
    return url.encode() * retries


def crunch(data: bytes, level: int = 1) -> float:
    return len(data) / level


@cpu_bound
def marked(x: int) -> str:
    return str(x)


@blocking
def marked_blocking(x: int) -> str:
    return str(x)


def countdown(n: int) -> Iterator[int]:
    yield n


class Parser:
    def __init__(self, strict: bool) -> None:
        self.strict = strict

    def parse(self, text: str) -> list[str]:
        return text.split()

    async def load(self, path: str) -> dict[str, int]:
        return {path: 1}

    def __call__(self, text: str) -> int:
        return len(text)


class UpToOneFailure:
    def judge(self, tally: Tally) -> Verdict:
        return Verdict.CANCEL_SCOPE if tally.errors > 1 else Verdict.GO_ON

    def raises(self, tally: Tally) -> bool:
        return tally.errors > 1


async def the_handle_has_the_functions_type(scope: TaskScope) -> None:
    page = scope.spawn(fetch, "url", 3)
    assert_type(page, TaskHandle[bytes])
    assert_type(await page, bytes)
    assert_type(page.result(), bytes)
    assert_type(page.exception(), BaseException | None)
    assert_type(page.state, TaskState)
    stats = scope.spawn(crunch, b"", on="cpu", timeout=3, name="stats")
    assert_type(await scope.spawn(crunch, b"", on="auto"), float)
    assert_type(stats.decision, Decision | None)
    assert_type(stats, TaskHandle[float])
    assert_type(await stats, float)
    assert_type(scope.spawn(crunch, b"", 2, interrupt=True, abandon=False), TaskHandle[float])
    assert_type(scope.spawn(marked, 1), TaskHandle[str])
    assert_type(scope.spawn(marked_blocking, 1), TaskHandle[str])
    assert_type(scope.spawn(Parser(True).parse, "x"), TaskHandle[list[str]])
    assert_type(scope.spawn(Parser(True).load, "x"), TaskHandle[dict[str, int]])
    assert_type(scope.spawn(Parser(True), "x"), TaskHandle[int])
    assert_type(scope.spawn(Parser, False), TaskHandle[Parser])
    assert_type(scope.spawn(partial(crunch, level=2), b""), TaskHandle[float])
    assert_type(scope.spawn(anyio.sleep, 1), TaskHandle[None])


async def call_has_the_functions_type() -> None:
    assert_type(await call(fetch, "url", 3), bytes)
    assert_type(await call(crunch, b"", on="process", timeout=1.5), float)


async def arguments_are_checked(scope: TaskScope) -> None:
    scope.spawn(fetch, "url")  # type: ignore[arg-type]
    scope.spawn(fetch, "url", "3")  # type: ignore[arg-type, call-arg]
    scope.spawn(fetch, "url", 3, 4)  # type: ignore[arg-type, call-arg]
    scope.spawn(crunch, "text")  # type: ignore[arg-type]
    scope.spawn(crunch, b"", level=2)  # type: ignore[call-overload]
    scope.spawn(fetch("url", 3))  # type: ignore[call-overload]
    scope.spawn(crunch(b""))  # type: ignore[call-overload]
    scope.spawn(crunch, b"", on="proces")  # type: ignore[call-overload]
    scope.spawn(crunch, b"", timeout="3")  # type: ignore[call-overload]
    await call(fetch, 3, 3)  # type: ignore[arg-type, call-arg]
    await call(crunch, b"", on="gpu")  # type: ignore[call-overload]


async def scopes_take_policies_and_pools(processes: ProcessPool, threads: ThreadPool) -> None:
    async with TaskScope("name", policy=FailFast(), timeout=3, processes=processes, threads=threads) as scope:
        assert_type(scope, TaskScope)
        assert_type(scope.spawn(crunch, b"", on=processes), TaskHandle[float])
        assert_type(scope.spawn(crunch, b"", on=threads), TaskHandle[float])
        assert_type(scope.cancel_scope, anyio.CancelScope)
        group: anyio.abc.TaskGroup = scope
        assert_type(group.start_soon(fetch, "url", 1), anyio.TaskHandle[bytes])
        assert_type(scope.start_soon(fetch, "url", 1), anyio.TaskHandle[bytes])
        assert_type(scope.create_task(fetch("url", 1)), anyio.TaskHandle[bytes])
    for policy in (Collect(), Race(2), UpToOneFailure()):
        checked: Policy = policy
        TaskScope(policy=checked)
    TaskScope(policy=FailFast)  # type: ignore[arg-type]
    TaskScope(processes=threads)  # type: ignore[arg-type]


def inside_a_task() -> float:
    task = current_task()
    if task is not None:
        assert_type(task.name, str)
        assert_type(task.deadline, float | None)
    return time_left()


async def maps_and_streams_have_the_functions_type(scope: TaskScope) -> None:
    assert_type(scope.map(marked, [1, 2], on="cpu", limit=3, ordered=False), MapStream[str])
    assert_type(scope.map(Parser(True).load, ["x"], retry=Retry(3), timeout=1), MapStream[dict[str, int]])
    assert_type(scope.stream(countdown, 3, on="process"), GeneratorStream[int])
    assert_type(await scope.gather(scope.spawn(marked, 1), scope.spawn(marked, 2)), list[str])
    scope.map(marked, [1], on="gpu")  # type: ignore[call-overload]
    scope.map(marked, [1], chunk="big")  # type: ignore[call-overload]
    scope.map(marked, [1], level=2)  # type: ignore[call-overload]
    scope.stream(countdown, 3, timeout=2)  # type: ignore[call-overload]


def the_blocking_scope_has_the_functions_type(scope: SyncTaskScope) -> None:
    assert_type(scope.spawn(fetch, "url", 3, timeout=1), SyncTaskHandle[bytes])
    assert_type(scope.spawn(marked, 1, on="process").result(), str)
    assert_type(scope.map(marked, [1, 2], limit=3), Iterator[str])
    assert_type(scope.stream(countdown, 3), Iterator[int])
    scope.spawn(crunch, b"", on="gpu")  # type: ignore[call-overload]
    scope.map(marked, [1], level=2)  # type: ignore[call-overload]
