"""Arguments of the wrong kind are refused where they are written; no task waits for ever because of one."""

from __future__ import annotations

import os
from collections.abc import Callable
from decimal import Decimal
from fractions import Fraction
from functools import partial
from typing import Any

import anyio
import numpy as np
import pytest

from unified_exec import (
    Barrier,
    Channel,
    Collect,
    Condition,
    Event,
    Limit,
    Pipeline,
    ProcessPool,
    Quorum,
    Race,
    Rate,
    Retry,
    Semaphore,
    SharedValue,
    Supervise,
    SyncTaskScope,
    TaskScope,
    ThreadPool,
    blocking,
    current_task,
    exponential,
    observe,
)
from unified_exec._loops.current import current_adapter
from unified_exec.executor import ProcessExecutor, ThreadExecutor

NAN = float("nan")


def own_name() -> str:
    task = current_task()
    assert task is not None
    return task.name


async def nothing() -> None:
    pass


def three_times(x: int) -> int:
    return 3 * x


class Service:
    def ask(self) -> str:
        return own_name()


@pytest.mark.parametrize("on", ["thread", "process", "loop"])
@pytest.mark.one_loop
async def test_a_name_may_be_a_number(on: Any) -> None:
    async def in_coroutine() -> str:
        return own_name()

    with anyio.fail_after(60):
        async with TaskScope(1) as scope:  # type: ignore[arg-type]
            if on == "loop":
                assert await scope.spawn(in_coroutine, name=7) == "7"  # type: ignore[call-overload]
            else:
                assert await scope.spawn(own_name, on=on, name=7) == "7"  # type: ignore[call-overload]
            service = scope.actor(Service, on=on, name=8)  # type: ignore[call-overload]
            assert await service.call(Service.ask, name=9) == "9"
        assert scope.name == "1"


WRONG: list[tuple[Callable[..., object], str, type[Exception], str]] = [
    (ProcessPool, "initializer=3", TypeError, "initializer must be a callable, got 3"),
    (ProcessPool, "initializer=nothing", TypeError, r"nothing\(\) is async"),
    (ProcessPool, "initializer=print, initargs='x'", TypeError, r"must be a tuple, got 'x': write initargs=\('x',\)"),
    (ProcessPool, "initargs=3", TypeError, "initargs must be a tuple, got 3"),
    (ProcessPool, "env={'THREADS': 1}", TypeError, "env must be a dict of strings, got 'THREADS': 1"),
    (ProcessPool, "env={'A=B': ''}", ValueError, "env has a variable that no process can have"),
    (ProcessPool, "env='x'", TypeError, "env must be a dict of strings, got 'x'"),
    (ProcessPool, "grace=None", TypeError, "grace must be a number of seconds, got None"),
    (ProcessPool, "grace=NAN", ValueError, "grace must be a number of seconds, got nan"),
    (ProcessPool, "idle_timeout=NAN", ValueError, "idle_timeout must be a number of seconds, got nan"),
    (ProcessPool, "start_timeout=0", ValueError, "start_timeout must be positive, got 0; use None for no limit"),
    (ThreadPool, "max_workers=2.5", TypeError, "max_workers must be a whole number or None, got 2.5"),
    (ThreadExecutor, "max_workers='2'", TypeError, "max_workers must be a whole number or None, got '2'"),
    (ThreadExecutor, "initializer=nothing", TypeError, "is async"),
    (ThreadExecutor, "pool=3", TypeError, "pool must be a ThreadPool, got 3"),
    (ProcessExecutor, "pool=ThreadPool", TypeError, "pool must be a ProcessPool, got <class"),
    (ProcessExecutor, "max_tasks_per_child=True", TypeError, "must be an integer, got True"),
    (Retry, "times=1.5", TypeError, r"Retry\(times\) must be a whole number, got 1.5"),
    (Retry, "times=0", ValueError, r"Retry\(times\) must be at least 1, got 0"),
    (Retry, "backoff=NAN", ValueError, r"Retry\(backoff\) must be a number of seconds, got nan"),
    (Retry, "backoff=nothing", TypeError, "is async"),
    (Retry, "on=[ValueError]", TypeError, "takes an exception type or a tuple of them"),
    (Supervise, "on='x'", TypeError, r"Supervise\(on=...\) takes an exception type or a tuple of them, got 'x'"),
    (Supervise, "restarts=NAN", TypeError, r"Supervise\(restarts\) must be a whole number, got nan"),
    (Supervise, "within=0", ValueError, r"Supervise\(within\) must be positive, got 0"),
    (exponential, "first='x'", TypeError, "first must be a number of seconds, got 'x'"),
    (partial(Rate, 1), "per='x'", TypeError, "got per='x'"),
    (partial(Rate, 10**30), "per=1", ValueError, r"Rate\(n\) must be at most"),
    (Race, "n=True", TypeError, r"Race\(n\) must be a whole number, got True"),
    (Condition, "lock=3", TypeError, "needs a Lock or an RLock of this package, got 3"),
    (partial(Pipeline([]).batch), "size=1.5", TypeError, r"batch\(size\) must be a whole number, got 1.5"),
    (partial(Pipeline([]).batch, 1), "every=NAN", ValueError, "must be a number of seconds, got nan"),
    (Pipeline([]).filter, "keep=nothing", TypeError, r"nothing\(\) is async: nothing awaits it"),
    (
        partial(Pipeline([]).map, print),
        "on_error=nothing",
        TypeError,
        r"on_error must be a plain function, and nothing\(\)",
    ),
    (TaskScope, "debug=nothing", TypeError, r"debug must be a plain function, and nothing\(\) is async"),
    (observe.watch, "fn=nothing", TypeError, r"nothing\(\) is async"),
    (Pipeline([]).map, "fn=None", TypeError, r"map\(\) takes a function and its arguments, got None"),
    (blocking, "fn=3", TypeError, "@blocking cannot mark 3"),
    (observe.watch, "fn=3", TypeError, r"watch\(\) takes a function of a list of events, got 3"),
    (TaskScope, "timeout=10**5000", ValueError, "timeout must be a number of seconds, got one that no float can hold"),
    (TaskScope, "timeout=[1]", TypeError, r"timeout must be a number of seconds or None, got \[1\]"),
]


@pytest.mark.parametrize(("make", "arguments", "error", "words"), WRONG, ids=[f"{each[1]}" for each in WRONG])
def test_an_argument_of_the_wrong_kind_is_refused_where_it_is_written(
    make: Callable[..., object], arguments: str, error: type[Exception], words: str
) -> None:
    with pytest.raises(error, match=words):
        make(**eval(f"dict({arguments})"))


@pytest.mark.parametrize("seconds", [np.float32(60), np.int64(60), Fraction(60)])
async def test_seconds_may_be_numbers_of_other_kinds(seconds: Any) -> None:
    async with ProcessPool(1, grace=seconds, idle_timeout=seconds, start_timeout=seconds) as pool:
        async with TaskScope(timeout=seconds) as scope:
            assert await scope.spawn(pow, 2, 3, on=pool, timeout=seconds, retry=Retry(2, backoff=seconds)) == 8
            assert await scope.spawn(pow, 2, 3, on="thread", timeout=seconds) == 8
        event = Event()
        event.set()
        event.wait_sync(timeout=seconds)
        assert Rate(3, per=seconds).per == 60


@pytest.mark.parametrize("seconds", [np.float32(0.01), Fraction(1, 100)])
async def test_a_timer_waits_for_seconds_of_other_kinds(seconds: Any) -> None:
    over = anyio.Event()
    current_adapter().call_later(seconds, over.set)
    await over.wait()


class Three:
    """A whole number, as those of NumPy and SymPy are."""

    def __index__(self) -> int:
        return 3


@pytest.mark.parametrize("three", [np.int64(3), Three()], ids=["int64", "another"])
@pytest.mark.one_loop
async def test_a_whole_number_may_be_one_of_another_library(three: Any) -> None:
    """Wherever one is asked for; what is kept is an `int`, which does not overflow."""
    barrier, semaphore = Barrier(three), Semaphore(three)
    made = [Limit(three).n, Rate(three).n, Race(three).n, Quorum(three, of=three).of, Supervise(three).restarts]
    made += [Retry(three).times, Channel[int](three).capacity, barrier.parties, semaphore.available]
    async with ProcessPool(three, max_tasks_per_worker=three) as pool, ThreadPool(three) as threads:
        made += [pool.max_workers, threads.max_workers]
        async with TaskScope(priority=three) as scope:
            assert await scope.spawn(pow, 2, 3, on="process", priority=three, limit=three) == 8
            for on in "process", "thread":
                options: dict[str, Any] = {"on": on, "limit": three, "priority": three}
                tripled = scope.map(three_times, range(7), chunk=three, buffer=three, **options)
                assert [x async for x in tripled] == list(range(0, 21, 3))
            actors = scope.actors(Service, count=three, on="thread")
            assert len(actors) == 3
            actor = scope.actor(Service, on="loop", concurrency=three)
            assert await actor.call(Service.ask)
        assert await Pipeline(range(7)).batch(three).collect() == [[0, 1, 2], [3, 4, 5], [6]]
    assert made == [3] * len(made)
    assert {type(number) for number in made} == {int}


@pytest.mark.parametrize("start", [2**62, np.int64(2**62)], ids=["int", "int64"])
def test_a_shared_value_refuses_a_sum_that_has_no_room_whoever_s_numbers_are_added(start: Any) -> None:
    value = SharedValue(start)
    with pytest.raises(OverflowError):
        value.add(np.int64(2**62))
    assert (value.get(), type(value.get())) == (2**62, int)
    value.set(np.uint8(255))
    value.add(np.uint8(1))
    assert value.get() == 256
    tenths = SharedValue(np.float64(0.1))
    tenths.add(np.float32(0.5))
    tenths.add(0.1)
    assert tenths.get() == 0.1 + 0.5 + 0.1


async def test_arguments_of_calls_are_checked_too() -> None:
    channel: Channel[int] = Channel(2)
    channel.send_nowait(1)
    with pytest.raises(TypeError, match=r"receive_many\(most\) must be a whole number, got '1'"):
        await channel.receive_many("1")  # type: ignore[arg-type]
    assert channel.receive_nowait() == 1
    changed = Condition()
    async with changed:
        with pytest.raises(TypeError, match=r"notify\(n\) must be a whole number, got 1.5"):
            changed.notify(1.5)  # type: ignore[arg-type]
    async with TaskScope(policy=Collect()) as scope:
        with pytest.raises(TypeError, match=r"progress must be a plain function, and nothing\(\) is async"):
            scope.spawn(own_name, progress=nothing)  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"actor\(\) takes a class, and nothing\(\) is async"):
            scope.actor(nothing)
        with pytest.raises(ValueError, match="grace must be a number of seconds, got nan"):
            scope.actor(Service, on="thread", grace=NAN)
        actor = scope.actor(Service, on="thread")
        for wrong, error in ((NAN, ValueError), ("1", TypeError), (Decimal(1), TypeError)):
            refused = scope.spawn(partial(Event().wait_sync, timeout=wrong))  # type: ignore[arg-type]
            await refused.wait()
            assert isinstance(refused.exception(), error)
            with pytest.raises(error, match="timeout must be a number of seconds"):
                await Event().wait(timeout=wrong)  # type: ignore[arg-type]
            with pytest.raises(error, match="timeout must be a number of seconds"):
                actor.call(Service.ask, timeout=wrong)  # type: ignore[call-overload]
            retry = Retry(backoff=lambda _, wrong=wrong: wrong)  # type: ignore[misc]
            with pytest.raises(error, match=r"Retry\(backoff\) returned must be a number of seconds, got"):
                await scope.spawn(int, "x", on="thread", retry=retry)


async def test_a_number_of_seconds_may_be_huge() -> None:
    def wait() -> None:
        Channel(1).receive_sync(timeout=1e300)

    event = Event()
    current_adapter().call_soon(event.set)
    await event.wait(timeout=10**400)
    event.wait_sync(timeout=10**400)
    async with ProcessPool(1, grace=1e300, idle_timeout=1e300, start_timeout=1e300) as pool:
        async with TaskScope(processes=pool, policy=Collect()) as scope:
            assert await scope.spawn(pow, 2, 3, on="process", timeout=1e300) == 8
            waits = scope.spawn(wait)
            await anyio.wait_all_tasks_blocked()
            waits.cancel()
    assert waits.cancelled()


async def test_what_a_worker_takes_over_and_cannot_travel_fails_the_task_that_waits_for_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("warnings.filters", [object()])
    async with ProcessPool(1) as pool, TaskScope(processes=pool, policy=Collect()) as scope:
        with anyio.fail_after(60):
            handle = scope.spawn(pow, 2, 3, on="process")
            await handle.wait()
    assert "a worker could not" in str(handle.exception()) or "object" in str(handle.exception())


async def test_a_program_without_argv_has_workers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr("sys.argv")
    async with ProcessPool(1) as pool, TaskScope(processes=pool) as scope:
        assert await scope.spawn(pow, 2, 3, on="process") == 8
        assert str(os.getpid()) in observe.dump()  # which says what program it is


def test_a_blocking_wait_for_what_is_no_number_of_seconds_is_refused() -> None:
    with SyncTaskScope() as scope:
        handle = scope.spawn(abs, -1, on="thread")
        for wrong, error in ((NAN, ValueError), ("1", TypeError), (10**400, ValueError)):
            with pytest.raises(error, match="timeout must be a number of seconds"):
                handle.result(timeout=wrong)  # type: ignore[arg-type]
        assert handle.result(timeout=1e300) == 1
    with ThreadExecutor(1) as executor:
        assert list(executor.map(abs, [-1], timeout=float("inf"))) == [1]
        with pytest.raises(TypeError, match="timeout must be a number of seconds"):
            executor.map(abs, [-1], timeout="1")  # type: ignore[arg-type]
