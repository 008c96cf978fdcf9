"""Each kind of event, on each backend and event loop; and that a listener harms nobody."""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path
from typing import Any

import anyio
import pytest

from tests.observe import workloads
from tests.observe.patience import until_async
from unified_exec import Collect, Limit, ProcessPool, Retry, TaskScope, TaskState, ThreadPool, observe
from unified_exec._tasks import events
from unified_exec.observe.recording import schema
from unified_exec.observe.recording.ring import ring

pytestmark = pytest.mark.anyio

CALLS = {"loop": workloads.coroutine, "thread": workloads.value, "process": workloads.value}


@pytest.fixture(autouse=True)
def nobody_is_left_listening() -> Iterator[None]:
    yield
    assert events.rows is None
    assert events.moves is None


class Seen:
    """Collects events until it is left."""

    def __init__(self, *kinds: str) -> None:
        self.events: list[Any] = []
        self._kinds = kinds or None

    def __enter__(self) -> Seen:
        self._stop = observe.watch(self.events.extend, kinds=self._kinds)
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop()
        numbers = [event.n for event in self.events]
        assert len(numbers) == len(set(numbers))
        assert ring.dropped == 0

    def of(self, kind: str) -> list[Any]:
        return [event for event in self.events if event.kind == kind]

    def of_task(self, task: int) -> list[str]:
        """The kinds of the events of one task, in the order of their instants."""
        found = [event for event in self.events if getattr(event, "task", 0) == task and event.kind[:5] == "task."]
        return [event.kind[5:] for event in sorted(found, key=lambda event: (event.at, event.n))]


@pytest.mark.every_loop
@pytest.mark.parametrize("on", CALLS)
async def test_a_task_tells_its_life(on: str) -> None:
    with Seen() as seen:
        async with TaskScope(name="outer", timeout=60) as scope:
            handle = scope.spawn(CALLS[on], 7, on=on, name="seven")
            await handle
    kinds = seen.of_task(handle.id)
    assert [kind for kind in kinds if kind not in ("queued", "returned")] == {
        "loop": ["spawned", "started", "settled"],
        "thread": ["spawned", "started", "settled"],
        "process": ["spawned", "sent", "started", "settled"],
    }[on]
    [opened], [closed] = seen.of("scope.opened"), seen.of("scope.closed")
    [spawned], [settled] = seen.of("task.spawned"), seen.of("task.settled")
    assert (opened.name, opened.policy, opened.timeout, opened.task) == ("outer", "FailFast", 60, 0)
    assert opened.loop in ("asyncio", "uvloop", "trio")
    assert (closed.scope, closed.outcome, closed.values) == (opened.scope, "", 1)
    assert (spawned.name, spawned.backend, spawned.parent) == ("seven", on, 0)
    assert spawned.scope == settled.scope == opened.scope
    assert spawned.fn == f"tests.observe.workloads:{CALLS[on].__name__}"
    assert (settled.outcome, settled.fn, settled.worker) == ("value", spawned.fn, handle.worker or 0)
    assert settled.spawned <= settled.started <= settled.finished <= settled.at
    if on == "process":
        [sent], [started] = seen.of("task.sent"), seen.of("task.started")
        assert (sent.worker, sent.ahead) == (handle.worker, 0)
        assert sent.bytes == settled.bytes_sent > 0
        assert settled.bytes_received > 0
        assert started.late


@pytest.mark.parametrize("on", CALLS)
async def test_the_spawner_of_a_task_is_told(on: str) -> None:
    async def outer() -> None:
        async with TaskScope() as inner:
            inner.spawn(CALLS[on], on=on, name="inner")

    with Seen("task.settled", "scope.opened") as seen:
        async with TaskScope() as scope:
            handle = scope.spawn(outer)
    [inner] = [event for event in seen.of("task.settled") if event.name == "inner"]
    assert inner.parent == handle.id
    assert [event.task for event in seen.of("scope.opened")] == [0, handle.id]


@pytest.mark.parametrize(
    ("fn", "on", "outcome", "error"),
    [
        (workloads.fails, "thread", "error", "ValueError"),
        (workloads.fails, "process", "error", "ValueError"),
        (workloads.crashes, "process", "crashed", "WorkerCrashed"),
        (workloads.until_cancelled, "thread", "timed_out", "TaskTimeout"),
        (workloads.until_cancelled, "process", "timed_out", "TaskTimeout"),
    ],
)
async def test_how_a_task_ended_is_told(fn: Callable[[], None], on: Any, outcome: str, error: str) -> None:
    timeout = 0.05 if outcome == "timed_out" else None
    with Seen() as seen:
        async with ProcessPool(1, grace=30) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
            if on == "process":
                await scope.spawn(workloads.value, on="process", name="warm")
            handle = scope.spawn(fn, on=on, timeout=timeout, name="it")
    [settled] = [event for event in seen.of("task.settled") if event.task == handle.id]
    assert (settled.outcome, settled.error) == (outcome, error)
    if outcome == "error":
        assert "ValueError: wrong" in settled.traceback
    if outcome == "timed_out":
        assert [event.task for event in seen.of("task.asked")] == [handle.id]
    if on == "process":
        pid = settled.worker
        assert next(event.worker for event in seen.of("worker.started")) > 0
        died = {event.worker: event for event in seen.of("worker.died")}
        assert died[pid].code == (3 if outcome == "crashed" else 0)
        assert died[pid].task == (handle.id if outcome == "crashed" else 0)
        assert all(event.took >= 0 for event in seen.of("worker.ready"))


async def test_a_cancelled_task_that_does_not_end_has_its_worker_killed() -> None:
    with Seen() as seen:
        async with ProcessPool(1, grace=0.05) as pool, TaskScope(policy=Collect(), processes=pool) as scope:
            handle = scope.spawn(stubborn, on="process")
            await until_async(lambda: handle.state is TaskState.RUNNING)
            handle.cancel("enough")
    [asked], [killed] = seen.of("task.asked"), seen.of("worker.killed")
    assert (asked.task, asked.reason) == (handle.id, "enough")
    assert (killed.task, killed.why) == (handle.id, "grace")
    settled = seen.of("task.settled")[-1]
    assert settled.outcome == "cancelled"
    assert settled.spawned < settled.started < settled.finished  # about: its worker told no instants


def stubborn() -> None:
    import time

    while True:
        try:
            time.sleep(60)
        except BaseException:
            pass


@pytest.mark.parametrize("on", ["thread", "process"])
async def test_an_attempt_that_failed_is_told_and_the_task_settles_once(on: Any, tmp_path: Path) -> None:
    with Seen() as seen:
        async with TaskScope() as scope:
            handle = scope.spawn(workloads.flaky, str(tmp_path / "once"), on=on, retry=Retry(2, backoff=lambda n: 0.0))
    [tried], [settled] = seen.of("task.tried"), seen.of("task.settled")
    assert (tried.task, tried.attempt, tried.error) == (handle.id, 1, "OSError")
    assert (settled.task, settled.attempts, settled.outcome) == (handle.id, 2, "value")
    assert {event.task for event in seen.of("task.started")} == {handle.id}


async def test_chunks_of_a_map_tell_their_items_and_the_function_of_the_user() -> None:
    with Seen("task.settled") as seen:
        async with TaskScope() as scope:
            assert [x async for x in scope.map(workloads.value, range(50), on="thread", chunk=10)] == [*range(50)]
    assert [event.items for event in seen.events] == [10] * 5
    assert {event.fn for event in seen.events} == {"tests.observe.workloads:value"}


async def test_waits_for_a_limit_are_told() -> None:
    limit = Limit(1)

    async def holds(entered: anyio.Event) -> None:
        async with limit:
            entered.set()
            await until_async(lambda: len(seen.of("wait.begun")) == 2)

    async def waits() -> None:
        async with limit:
            pass

    with Seen() as seen:
        async with TaskScope() as scope:
            entered = anyio.Event()
            scope.spawn(holds, entered)
            await entered.wait()
            handles = [scope.spawn(waits), scope.spawn(workloads.value, limit=limit)]
    assert {event.task for event in seen.of("wait.begun")} == {handle.id for handle in handles}
    assert {event.task for event in seen.of("wait.ended")} == {handle.id for handle in handles}
    assert {event.name for event in seen.of("wait.begun")} == {"Limit(1)"}


async def test_threads_tell_their_start() -> None:
    with Seen("worker.started", "task.settled") as seen:
        async with ThreadPool(1) as pool, TaskScope(threads=pool) as scope:
            await scope.spawn(workloads.value, on="thread")
    [started] = seen.of("worker.started")
    assert (started.backend, started.worker) == ("thread", seen.of("task.settled")[0].worker)


async def test_every_site_tells_the_fields_of_its_kind() -> None:
    """`build` refuses a row that does not fit its class; here each class says that its fields are documented."""
    for kind, cls in schema.TYPES.items():
        assert cls._fields[:3] == ("n", "kind", "at"), kind
        assert cls.__doc__


async def test_without_moves_no_step_is_built() -> None:
    with Seen("task.settled"):
        assert events.moves is None
        with Seen():
            assert events.moves is not None
        assert events.moves is None


async def test_a_listener_that_raises_is_logged_and_called_no_more(caplog: pytest.LogCaptureFixture) -> None:
    def broken(batch: list[Any]) -> None:
        calls.append(len(batch))
        raise ValueError("listener")

    calls: list[int] = []
    with caplog.at_level(logging.ERROR, "unified_exec"):
        stop = observe.watch(broken)
        with Seen() as seen:
            async with TaskScope() as scope:
                scope.spawn(workloads.value)
            await until_async(lambda: bool(calls))
            async with TaskScope() as scope:
                scope.spawn(workloads.value)
        stop()
    assert len(calls) == 1
    assert len(seen.of("task.settled")) == 2
    assert "a listener failed and is called no more" in caplog.text


async def test_a_listener_that_blocks_delays_no_task_and_no_other_listener() -> None:
    blocked, go_on = threading.Event(), threading.Event()

    def blocks(batch: list[Any]) -> None:
        blocked.set()
        go_on.wait(30)

    stop = observe.watch(blocks)
    try:
        with Seen("task.settled") as seen:
            async with TaskScope() as scope:
                await scope.spawn(workloads.value)
                await until_async(blocked.is_set)
                assert await scope.spawn(workloads.value, 2) == 2
        assert len(seen.events) == 2
    finally:
        go_on.set()
        stop()


async def test_a_listener_may_end_its_own_watching() -> None:
    seen: list[Any] = []
    done = threading.Event()

    def once(batch: list[Any]) -> None:
        seen.extend(batch)
        stop()
        done.set()

    stop = observe.watch(once, kinds=["scope.opened"])
    async with TaskScope():
        pass
    await until_async(done.is_set)
    async with TaskScope():
        pass
    assert len(seen) == 1


def test_an_unknown_kind_is_refused() -> None:
    with pytest.raises(ValueError, match=r"there are no events task\.done"):
        observe.watch(print, kinds={"task.done"})


def test_what_a_site_tells_while_the_list_is_taken_comes_with_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unified_exec.observe.recording.ring.HELD_SECONDS", 3600.0)
    told: list[Any] = []
    end = ring.subscribe(lambda batch: told.append(batch.rows), moves=False)
    try:
        sink = events.rows
        assert sink is not None
        events.emit(events.WORKER_RETIRED, 1)
        ring.drain()
        assert told == []
        sink((events.WORKER_RETIRED, 0.0, 2))
        del sink
    finally:
        end()
    assert [row[3] for rows in told for row in rows] == [1, 2]


async def test_a_thread_task_that_runs_for_long_holds_no_events_back(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unified_exec.observe.recording.ring.HELD_SECONDS", 3600.0)
    told: list[Any] = []
    end = ring.subscribe(lambda batch: told.extend(batch.rows), moves=True)
    go_on = threading.Event()

    def started() -> bool:
        ring.drain()
        return ("task.started", handle.id) in {(row[1], row[3]) for row in told}

    async with TaskScope() as scope:
        handle = scope.spawn(go_on.wait, on="thread")
        try:
            await until_async(started)
        finally:
            go_on.set()
    end()


def test_the_oldest_events_are_dropped_if_there_are_too_many() -> None:
    told = [field for number in range(5) for field in ("worker.ready", 0.5, number, 1.0)]
    assert schema.cut(told, 10) == 3
    assert [row[3] for row in schema.split(told, count(1))] == [3, 4]


def test_all_listeners_get_the_same_events_whose_numbers_tell_what_was_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("unified_exec.observe.recording.ring.FIELDS_MAX", 6)
    seen: list[list[Any]] = []
    ends = [ring.subscribe(lambda batch: seen.append(batch.rows), moves=False) for _ in range(2)]
    try:
        for number in range(4):
            events.emit(events.WORKER_RETIRED, number)
        ring.drain()
        assert ring.dropped == 2
        events.emit(events.WORKER_RETIRED, 4)
    finally:
        for end in ends:
            end()
    assert seen[0] is seen[1]
    first = seen[0][0][0]
    assert [(row[0], row[3]) for rows in seen[::2] for row in rows] == [(first, 2), (first + 1, 3), (first + 2, 4)]
    assert first > 2
