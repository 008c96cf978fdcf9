"""The context of the functions that a scope calls for a request; and what stays alive of a request, and of a loop."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from contextvars import ContextVar
from typing import Any

import anyio
import pytest

from unified_exec import (
    Pipeline,
    ProcessPool,
    Retry,
    Supervise,
    Tally,
    TaskScope,
    ThreadPool,
    Verdict,
    call,
    report,
)

request_id = ContextVar("request_id", default="none")


def fail(*_: object) -> None:
    raise ValueError


def reports() -> None:
    report(1, 2)
    report(2, 2)


class Judge:
    """A policy of a user."""

    def __init__(self, hear: Callable[[object], float]) -> None:
        self.hear = hear

    def judge(self, tally: Tally) -> Verdict:
        self.hear(tally)
        return Verdict.GO_ON

    def raises(self, tally: Tally) -> bool:
        return False


async def make_each_callback(me: str, on: Any, heard: dict[str, set[tuple[str, str]]]) -> None:
    """Make a scope call each kind of function that a user may give it, for the request `me`."""
    request_id.set(me)

    def hears(what: str) -> Callable[..., float]:
        def hear(*_: object) -> float:
            heard.setdefault(what, set()).add((me, request_id.get()))
            return 0.0

        return hear

    async with TaskScope() as scope:
        await scope.spawn(reports, on=on, progress=hears("progress of spawn"))
        async for _ in scope.map(abs, range(3), on=on, progress=hears("progress of map")):
            pass
        retry = Retry(1, backoff=hears("backoff of map"))
        async for _ in scope.map(fail, range(2), on=on, retry=retry, return_exceptions=True):
            pass
    with pytest.raises(ValueError):
        await call(fail, on=on, retry=Retry(1, backoff=hears("backoff of spawn")))
    with pytest.raises(ExceptionGroup):
        async with TaskScope(policy=Supervise(1, backoff=hears("backoff of a policy"))) as scope:
            scope.spawn(fail, on=on)
    await Pipeline(range(3)).map(fail, on=on, on_error=hears("on_error of a pipeline")).run()
    async with TaskScope(policy=Judge(hears("judge of a policy"))) as scope:
        scope.spawn(abs, -1, on=on)


@pytest.mark.parametrize("on", ["thread", "process"])
async def test_what_a_scope_calls_for_a_request_runs_in_the_context_of_the_request(on: str) -> None:
    heard: dict[str, set[tuple[str, str]]] = {}
    requests = ("a", "b", "c")
    async with TaskScope() as scope:
        for me in requests:
            scope.spawn(make_each_callback, me, on, heard)
    assert len(heard) == 7
    assert heard == {what: {(me, me) for me in requests} for what in heard}


async def test_a_policy_judges_in_the_context_of_the_spawn_not_of_the_scope() -> None:
    heard: list[str] = []

    def hear(_: object) -> float:
        heard.append(request_id.get())
        return 0.0

    async with TaskScope(policy=Judge(hear)) as scope:
        for me in ("a", "b"):
            request_id.set(me)
            await scope.spawn(abs, -1)
    assert heard == ["a", "b"]


class Session:
    """What a request has in its context."""


session: ContextVar[Session] = ContextVar("session")


async def one_request(on: Any, sessions: list[weakref.ref[Session]]) -> None:
    mine = Session()
    sessions.append(weakref.ref(mine))
    session.set(mine)
    await call(abs, -1, on=on, timeout=60)
    async with TaskScope() as scope:
        async for _ in scope.map(abs, range(3), on=on):
            pass


@pytest.mark.asyncio
@pytest.mark.parametrize("kind", [ThreadPool, ProcessPool])
async def test_nothing_of_a_requests_context_stays_alive_by_a_pool(kind: type[ThreadPool | ProcessPool]) -> None:
    sessions: list[weakref.ref[Session]] = []
    due_before = asyncio.get_running_loop().call_later(50, int)  # asyncio keeps cancelled timers behind it
    async with kind(1) as pool:
        for _ in range(3):
            await asyncio.create_task(one_request(pool, sessions))
        await call(abs, -1, on=pool)
        gc.collect()
        assert [alive() for alive in sessions] == [None] * 3
    due_before.cancel()


LOOPS = """
import asyncio, gc, sys, time, weakref
try:
    from uvloop import new_event_loop
except ImportError:  # it has no build for this Python
    new_event_loop = None
from unified_exec import ProcessPool, TaskScope, ThreadPool, call

loops = []

async def main(places):
    loops.append(weakref.ref(asyncio.get_running_loop()))
    for on in places:
        await call(abs, -1, on=on)
        async with TaskScope() as scope:
            scope.spawn(abs, -1, on=on, timeout=60)
            assert [x async for x in scope.map(abs, range(3), on=on)] == [0, 1, 2]

with ProcessPool(1) as processes, ThreadPool(1) as threads:
    for factory in (None, new_event_loop):
        for places in ([None], ["thread"], ["process"], ["auto"], [processes, threads], ["thread", "process", threads]):
            with asyncio.Runner(loop_factory=factory) as runner:
                runner.run(main(places))
            del runner
            until = time.monotonic() + 30  # a thread may be on its way out of the loop's own functions
            while gc.collect() >= 0 and loops[-1]() is not None and time.monotonic() < until:
                time.sleep(0.001)
            assert loops[-1]() is None, (factory, places, gc.get_referrers(loops[-1]()))
print("all gone")
"""


def test_nothing_of_an_event_loop_stays_alive_after_its_run() -> None:
    done = subprocess.run([sys.executable, "-W", "error", "-c", LOOPS], capture_output=True, text=True, timeout=100)
    assert (done.stdout, done.stderr) == ("all gone\n", "")


def test_workers_of_a_loop_that_has_ended_serve_the_next_one_at_once() -> None:
    with ProcessPool(1) as pool:

        async def pid() -> int:
            return await call(os.getpid, on=pool)

        assert len({asyncio.run(pid()) for _ in range(3)}) == 1
        assert len({anyio.run(pid, backend="trio") for _ in range(3)}) == 1


def test_an_event_loop_may_be_used_after_its_async_generators_were_shut_down() -> None:
    async def main() -> list[int]:
        with ProcessPool(1) as pool, ThreadPool(1) as threads:
            async with TaskScope() as scope:
                seen = [await scope.spawn(abs, -1, on=pool), await scope.spawn(abs, -1, on=threads)]
                await asyncio.get_running_loop().shutdown_asyncgens()
                seen += [await scope.spawn(abs, -1, on=pool), await scope.spawn(abs, -1, on=threads)]
            await pool.aclose()
            await threads.aclose()
        return seen

    assert asyncio.run(main()) == [1] * 4


def leave(*_: object) -> Any:
    raise SystemExit(7)


async def map_all(scope: TaskScope, fn: Any, on: Any, **options: Any) -> None:
    async for _ in scope.map(fn, [1], on=on, **options):
        pass


CALLBACKS: dict[str, Callable[[TaskScope, Any], Any]] = {
    "progress": lambda scope, on: scope.spawn(reports, on=on, progress=leave),
    "progress of a map": lambda scope, on: map_all(scope, abs, on, progress=leave),
    "backoff": lambda scope, on: scope.spawn(fail, on=on, retry=Retry(backoff=leave)),
    "backoff of a map": lambda scope, on: map_all(scope, fail, on, retry=Retry(backoff=leave)),
    "judge": lambda scope, on: scope.spawn(abs, -1, on=on),
    "on_error": lambda scope, on: Pipeline([1]).map(fail, on=on, on_error=leave).run(),
    "progress of a pipeline": lambda scope, on: Pipeline([1]).map(abs, on=on).run(progress=leave),
}


@pytest.mark.parametrize("which", CALLBACKS)
@pytest.mark.parametrize("on", ["thread", "process"])
@pytest.mark.parametrize("loop", ["asyncio", "trio"])
def test_sys_exit_in_a_function_that_a_scope_calls_ends_the_block(loop: str, on: str, which: str) -> None:
    async def main() -> None:
        async with TaskScope(policy=Judge(leave) if which == "judge" else None) as scope:  # type: ignore[arg-type]
            await CALLBACKS[which](scope, on)
            await anyio.sleep_forever()

    with pytest.raises(BaseException) as caught:
        anyio.run(main, backend=loop)
    error = caught.value
    while isinstance(error, BaseExceptionGroup):
        [error] = error.exceptions
    assert isinstance(error, SystemExit)
    assert error.code == 7
