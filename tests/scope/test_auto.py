"""``on="auto"``, through the public names."""

from __future__ import annotations

import os
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest

from unified_exec import Decision, Retry, SyncTaskScope, TaskHandle, TaskScope, call
from unified_exec._auto import placement_model as rule
from unified_exec._auto import placer
from unified_exec._tasks import loaded

pytestmark = pytest.mark.skipif(loaded.gil_is_off(), reason="without a GIL everything stays in threads")


@pytest.fixture(autouse=True)
def two_cores_and_no_past(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(placer, "cpu_count", lambda: 2)  # where there is one, nothing would ever move
    placer.forget()
    yield
    placer.forget()


def compute(turns: int) -> int:
    total = 0
    for turn in range(turns):
        total += turn & 7
    return total


def compute_and_tell_where(turns: int) -> int:
    compute(turns)
    return os.getpid()


def with_a_lock(lock: Any, turns: int) -> int:
    return compute(turns)


def gives_a_generator(turns: int) -> Iterator[int]:
    compute(turns)
    return iter_of(turns)


def iter_of(turns: int) -> Iterator[int]:
    yield turns


def sorts(numbers: list[int]) -> None:
    compute(TURNS)
    numbers.append(len(numbers))


results: list[int] = []
total = 0


def collects(number: int) -> None:
    compute(TURNS)
    results.append(number)


def counts(number: int) -> None:
    global total
    total += compute(TURNS)


def fails_after_work(turns: int) -> None:
    compute(turns)
    raise ValueError(os.getpid())


async def double(number: int) -> int:
    return 2 * number


TURNS = 300_000
PATIENCE = 60
"""Calls after which a function that belongs to processes is there, however busy the machine is."""


async def one_by_one(scope: TaskScope, times: int, fn: Callable[..., Any], *args: Any) -> list[TaskHandle[Any]]:
    handles = []
    for _ in range(times):
        handles.append(scope.spawn(fn, *args, on="auto"))
        await handles[-1].wait()
    return handles


async def moved(scope: TaskScope, fn: Callable[..., Any], *args: Any) -> list[TaskHandle[Any]]:
    """Call `fn` until a call goes to a process."""
    return await called_until(scope, lambda handle: handle.backend == "process", fn, *args)


async def called_until(
    scope: TaskScope, is_last: Callable[[TaskHandle[Any]], bool], fn: Callable[..., Any], *args: Any
) -> list[TaskHandle[Any]]:
    handles: list[TaskHandle[Any]] = []
    while len(handles) < PATIENCE and not (handles and is_last(handles[-1])):
        handles += await one_by_one(scope, 1, fn, *args)
    return handles


def tells_why(word: str) -> Callable[[TaskHandle[Any]], bool]:
    return lambda handle: handle.decision is not None and word in handle.decision.reason


async def test_a_function_that_computes_begins_in_a_thread_and_moves_to_processes() -> None:
    async with TaskScope() as scope:
        handles = await moved(scope, compute_and_tell_where, TURNS)
        assert handles[0].backend == "thread"
        assert handles[0].result() == os.getpid()
        assert handles[-1].backend == "process"
        assert handles[-1].result() != os.getpid()
        for handle in handles:
            assert handle.decision is not None
            assert handle.decision.place == handle.backend
    decision = handles[-1].decision
    assert isinstance(decision, Decision)
    assert "holds the GIL" in decision.reason
    assert decision.figures["cpu"] > decision.figures["transfer"]


@pytest.mark.parametrize("fn", [time.sleep, abs])
async def test_a_function_that_waits_or_is_over_at_once_stays_in_threads(fn: Callable[[float], Any]) -> None:
    async with TaskScope() as scope:
        handles = await one_by_one(scope, 20, fn, 0.002)
    assert {handle.backend for handle in handles} == {"thread"}


async def test_an_async_function_runs_on_the_loop() -> None:
    async with TaskScope() as scope:
        handle = scope.spawn(double, 4, on="auto")
        assert await handle == 8
    assert handle.backend == "loop"
    assert handle.decision is not None
    assert handle.decision.place == "loop"


async def test_without_auto_there_is_no_decision() -> None:
    async with TaskScope() as scope:
        handle = scope.spawn(abs, 1, on="thread")
    assert handle.decision is None


async def test_an_argument_that_cannot_travel_keeps_the_call_in_a_thread_and_the_reason_names_it() -> None:
    async with TaskScope() as scope:
        handles = await called_until(scope, tells_why("lock"), with_a_lock, threading.Lock(), TURNS)
        assert {handle.result() for handle in handles} == {compute(TURNS)}
    assert {handle.backend for handle in handles} == {"thread"}
    assert tells_why("lock")(handles[-1])


async def test_a_call_that_cannot_travel_after_others_could_runs_in_a_thread() -> None:
    async with TaskScope() as scope:
        handles = await moved(scope, with_a_lock, None, TURNS)
        assert handles[-1].backend == "process"
        late = scope.spawn(with_a_lock, threading.Lock(), TURNS, on="auto")
        assert await late == compute(TURNS)
    assert late.backend == "thread"
    assert late.decision is not None
    assert "with_a_lock" in late.decision.reason


async def test_a_result_that_cannot_travel_keeps_the_function_in_threads() -> None:
    async with TaskScope() as scope:
        handles = await one_by_one(scope, 8, gives_a_generator, TURNS)
        assert next(handles[-1].result()) == TURNS
    assert {handle.backend for handle in handles} == {"thread"}


async def test_a_function_that_changes_its_arguments_never_leaves() -> None:
    numbers: list[int] = []
    async with TaskScope() as scope:
        handles = await one_by_one(scope, 8, sorts, numbers)
    assert len(numbers) == 8
    assert handles[-1].decision is not None
    assert "changes its arguments" in handles[-1].decision.reason


@pytest.mark.one_loop
async def test_a_function_that_changes_a_global_never_leaves() -> None:
    global total
    results.clear()
    total = 0
    async with TaskScope() as scope:
        collected = await one_by_one(scope, 8, collects, 3)
        counted = await one_by_one(scope, 8, counts, 3)
    assert results == 8 * [3]
    assert total == 8 * compute(TURNS)
    assert collected[-1].decision is not None
    assert "'results'" in collected[-1].decision.reason
    assert counted[0].decision is not None
    assert "counts() assigns" in counted[0].decision.reason


async def test_methods_and_partials_are_known_by_the_function_behind_them() -> None:
    async with TaskScope() as scope:
        assert (await moved(scope, compute, TURNS))[-1].backend == "process"
        handle = scope.spawn(partial(compute, TURNS), on="auto")
        assert await handle == compute(TURNS)
    assert handle.backend == "process"


async def test_an_error_keeps_its_type_and_shows_no_line_of_ours() -> None:
    with pytest.raises(ValueError) as raised:
        await call(fails_after_work, 10, on="auto")
    names = [entry.name for entry in traceback.extract_tb(raised.value.__traceback__)]
    assert "fails_after_work" in names
    assert "run_measured" not in names


async def test_retry_timeout_and_progress_work_with_it() -> None:
    seen: list[Any] = []
    async with TaskScope() as scope:
        await moved(scope, compute, TURNS)
        handle = scope.spawn(compute, TURNS, on="auto", timeout=60, retry=Retry(2), progress=seen.append)
        assert await handle == compute(TURNS)
    assert handle.backend == "process"


@pytest.mark.parametrize("option", ["interrupt", "abandon"])
async def test_options_of_threads_are_refused(option: str) -> None:
    async with TaskScope() as scope:
        with pytest.raises(TypeError, match=f"{option}=True is for thread tasks"):
            scope.spawn(compute, 1, on="auto", **{option: True})


async def test_what_is_no_function_is_refused_as_ever() -> None:
    async with TaskScope() as scope:
        with pytest.raises(TypeError, match="takes a function"):
            scope.spawn(3, on="auto")  # type: ignore[arg-type]
        with pytest.raises(ValueError, match="did you mean on='auto'"):
            scope.spawn(abs, 3, on="atuo")  # type: ignore[arg-type]


@pytest.mark.one_loop
async def test_a_map_moves_to_processes_in_its_course_and_keeps_the_order() -> None:
    async with TaskScope() as scope:
        first = [pid async for pid in scope.map(compute_and_tell_where, 300 * [TURNS // 10], on="auto")]
        pids = first
        for _ in range(10):
            if pids[-1] != os.getpid():
                break
            pids = [pid async for pid in scope.map(compute_and_tell_where, 300 * [TURNS // 10], on="auto")]
        values = [value async for value in scope.map(abs, range(-500, 0), on="auto")]
        doubles = [value async for value in scope.map(double, range(5), on="auto")]
    assert first[0] == os.getpid()
    assert pids[-1] != os.getpid()
    assert values == list(range(500, 0, -1))
    assert doubles == [0, 2, 4, 6, 8]


async def test_a_map_with_items_that_cannot_travel_ends_in_threads() -> None:
    items = [threading.Lock() for _ in range(60)]
    async with TaskScope() as scope:
        values = [value async for value in scope.map(lambda lock: compute(30_000), items, on="auto")]
    assert values == 60 * [compute(30_000)]


def test_it_works_without_async() -> None:
    with SyncTaskScope() as scope:
        for _ in range(PATIENCE):
            handle = scope.spawn(compute, TURNS, on="auto")
            assert handle.result() == compute(TURNS)
            assert handle.decision is not None
            if handle.decision.place == "process":
                break
        assert handle.decision.place == "process"
        assert list(scope.map(abs, range(-3, 0), on="auto")) == [3, 2, 1]


async def test_generators_are_streamed_from_a_thread() -> None:
    async with TaskScope() as scope:
        assert [item async for item in scope.stream(iter_of, 3, on="auto")] == [3]


async def test_a_cancelled_measured_call_does_not_stop_the_measuring() -> None:
    async with TaskScope() as scope:
        for _ in range(3 * placer.AT_ONCE):
            handle = scope.spawn(time.sleep, 0.01, on="auto")
            handle.cancel()
            await handle.wait()
        record = placer.record_of(time.sleep)
        assert record.measuring == 0
        await one_by_one(scope, 4, time.sleep, 0.001)
    assert record.model.calls > 0


def test_functions_made_anew_forever_take_no_memory_forever() -> None:
    for number in range(placer.REMEMBERED + 50):
        namespace: dict[str, Any] = {}
        exec(f"def made(): return {number}", namespace)
        placer.record_of(namespace["made"])
    assert len(placer._records) == placer.REMEMBERED


async def test_without_a_gil_it_is_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unified_exec._tasks.loaded.gil_is_off", lambda: True)
    async with TaskScope() as scope:
        handles = await one_by_one(scope, 6, compute, TURNS)
    assert {handle.backend for handle in handles} == {"thread"}
    assert handles[-1].decision == rule.NO_GIL
